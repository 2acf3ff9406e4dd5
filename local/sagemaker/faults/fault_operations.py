"""Which operations a fault can name: those that botocore knows of the services whose requests are told apart here.

A glob that fits none of them would never strike, and the test that relies on it would pass for nothing.
"""

from __future__ import annotations

import fnmatch
import functools
from collections.abc import Sequence
from difflib import get_close_matches

import botocore.session

from local.sagemaker.protocol import wire

#: As boto3 spells them.
SERVICES = ("sagemaker", "sagemaker-runtime", "s3", "sqs", "iam", "sts", "logs", "events")


def what_is_wrong(glob: str) -> str:
    """Say why a glob over operations fits none; empty when it fits one.

    :param glob: with or without a service: ``Describe*``, ``s3:PutObject``.
    """
    service_glob, colon, operation_glob = glob.rpartition(":")
    services = fnmatch.filter(SERVICES, service_glob) if colon else list(SERVICES)
    if not services:
        hint = _hint(service_glob, SERVICES)
        return f"no service that meets faults is called {service_glob}: {', '.join(SERVICES)}.{hint}"
    # The first one that fits ends it: reading what botocore knows of a service takes a while.
    if any(
        fnmatch.fnmatchcase(name, operation_glob) for service in services for name in _operations(service)
    ):
        return ""
    where = f"of {service_glob} " if colon else ""
    names = sorted({name for service in services for name in _operations(service)})
    return f"no operation {where}is called {operation_glob}.{_hint(operation_glob, names)}"


def _hint(got: str, allowed: Sequence[str]) -> str:
    by_lower = {name.lower(): name for name in allowed}
    near = fnmatch.filter(by_lower, got.lower()) or get_close_matches(got.lower(), by_lower, 1)
    return f" Did you mean {by_lower[near[0]]}?" if near else ""


@functools.cache
def _operations(service: str) -> frozenset[str]:
    model = wire.service_model() if service == "sagemaker" else _session().get_service_model(service)
    return frozenset(model.operation_names)


@functools.cache
def _session() -> botocore.session.Session:
    return botocore.session.Session()
