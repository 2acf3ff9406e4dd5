"""The register of operations: which function answers which SageMaker operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from local_sagemaker.server import Server

#: Gets the server and the request (validated; botocore's member names; timestamps as datetime, blobs as
#: bytes) and returns the result by member names.
Handler = Callable[["Server", dict[str, Any]], dict[str, Any]]

OPERATIONS: dict[str, Handler] = {}


def operation(name: str) -> Callable[[Handler], Handler]:
    """Register a function as the answer to a SageMaker operation.

    :param name: the operation as botocore spells it, for example ``CreateModel``.
    :raises ValueError: if another function answers it already.
    """

    def register(handler: Handler) -> Handler:
        if name in OPERATIONS:
            raise ValueError(f"{name} is answered by {OPERATIONS[name]} already")
        OPERATIONS[name] = handler
        return handler

    return register
