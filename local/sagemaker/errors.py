"""Errors as SageMaker words them: a code, a message and an HTTP status.

SageMakerError
  ValidationException        400  bad input, and also "Could not find ..."
  ResourceInUse              400  the name is taken
  ResourceNotFound           400  what tagging and a few others answer instead of a ValidationException
  ResourceLimitExceeded      400  no capacity
  ConflictException          400  changed by another request meanwhile, or still in use
  SerializationException     400  the body is not what the protocol says
  UnsupportedOperation       501  the stand-in's own: it does not do this (AWS has no such code)
  InternalFailure            500  a bug of the stand-in, or a disk that takes no more
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FAILURE_REASON_LENGTH = 1024


class SageMakerError(Exception):
    """An error that is answered to the caller.

    :param message: what the caller reads.
    :param members: further members of the error's shape, for example a ModelError's OriginalMessage.
    """

    code = "InternalFailure"
    status = 500

    def __init__(
        self,
        message: str,
        code: str | None = None,
        status: int | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.status = status or type(self).status
        self.members = dict(members or {})


class ValidationException(SageMakerError):
    """Input that breaks a constraint; also SageMaker's way to say that something does not exist."""

    code = "ValidationException"
    status = 400


class ResourceInUse(SageMakerError):
    """The name is taken."""

    code = "ResourceInUse"
    status = 400


class ResourceNotFound(SageMakerError):
    """Something does not exist, in operations in which SageMaker has a code of its own for that."""

    code = "ResourceNotFound"
    status = 400


class ResourceLimitExceeded(SageMakerError):
    """No capacity; waiting helps."""

    code = "ResourceLimitExceeded"
    status = 400


class ConflictException(SageMakerError):
    """The resource was changed meanwhile, or is still in use."""

    code = "ConflictException"
    status = 400


class SerializationException(SageMakerError):
    """The body is not what the wire protocol says."""

    code = "SerializationException"
    status = 400


class UnsupportedOperation(SageMakerError):
    """The stand-in does not do this. AWS has no such code, so it can't be taken for an answer of SageMaker."""

    code = "UnsupportedOperation"
    status = 501


class InternalFailure(SageMakerError):
    """A bug of the stand-in, whose traceback is in the log; or a disk that takes no more, which the message says."""


def not_found(what: str, arn: str) -> ValidationException:
    """What SageMaker answers when a named resource does not exist.

    :param what: the resource in words, for example ``model``.
    :param arn: the ARN it would have.
    """
    return ValidationException(f'Could not find {what} "{arn}".')


def shorten(reason: str, less: int = 0) -> str:
    """Cut a reason to the length a FailureReason may have.

    :param reason: the reason, of any length.
    :param less: how much of that length something else takes.
    """
    limit = FAILURE_REASON_LENGTH - less
    return reason if len(reason) <= limit else reason[: limit - 3] + "..."
