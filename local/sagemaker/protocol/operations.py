"""The register of operations: which function answers which SageMaker operation, and how faithfully."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from local.sagemaker.reach import Server

#: Gets the server and the request (validated; botocore's member names; timestamps as datetime, blobs as
#: bytes) and returns the result by member names.
Handler = Callable[[Server, dict[str, Any]], dict[str, Any]]

OPERATIONS: dict[str, Handler] = {}


@dataclass(frozen=True)
class Fidelity:
    """What an operation does of what AWS documents; reference.py makes a table of it.

    :param source: where its behaviour comes from: titles of pages of the AWS documentation. "API Reference"
        alone means the operation's own page there.
    :param differs: sentences that say what differs from AWS, each the stand-in's own choice.
    :param refused: members of the request that are refused by name, as ``ResourceConfig.InstanceGroups``, or
        single values of them, as ``IncludedData=MetadataOnly``.
    :param no_effect: members that are checked, kept and described, but change nothing here.
    """

    source: str = "API Reference"
    differs: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    no_effect: tuple[str, ...] = ()


FIDELITY: dict[str, Fidelity] = {}


def operation(
    name: str,
    *,
    source: str = "API Reference",
    differs: Sequence[str] = (),
    refused: Sequence[str] = (),
    no_effect: Sequence[str] = (),
) -> Callable[[Handler], Handler]:
    """Register a function as the answer to a SageMaker operation; see :class:`Fidelity`.

    :param name: the operation as botocore spells it, for example ``CreateModel``.
    :raises ValueError: if another function answers it already.
    """

    def register(handler: Handler) -> Handler:
        if name in OPERATIONS:
            raise ValueError(f"{name} is answered by {OPERATIONS[name]} already")
        OPERATIONS[name] = handler
        FIDELITY[name] = Fidelity(source, tuple(differs), tuple(refused), tuple(no_effect))
        return handler

    return register
