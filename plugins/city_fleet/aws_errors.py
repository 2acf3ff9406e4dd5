"""What an error of AWS means: one rule for every service. Nothing else compares error codes.

Sources: botocore's own retry handler (throttling); SageMaker API reference, "Common Errors"; Amazon S3 API reference,
"Error responses", and S3 User Guide, "Add preconditions to S3 operations with conditional requests".
Standard library and botocore only: the Lambda function carries this module.
"""

from __future__ import annotations

from socket import gaierror

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError
from botocore.exceptions import ConnectionError as NoConnection

_MISSING = frozenset({
    "NoSuchKey", "NotFound", "404", "ResourceNotFound", "NoSuchEntity",
    "RepositoryNotFoundException", "ImageNotFoundException", "NotFoundException", "ObjectNotFoundException",
    "ResourceNotFoundException",
})  # fmt: skip
# A bucket that has no such setting.
_UNSET = frozenset({
    "NoSuchPublicAccessBlockConfiguration", "NoSuchBucketPolicy", "ServerSideEncryptionConfigurationNotFoundError",
})  # fmt: skip
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException"})
# The request's own time is too far from AWS's; S3 has a code for it, the others say it of the signature.
_SKEWED = frozenset({"RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"})
_SIGNATURE = frozenset({"SignatureDoesNotMatch", "InvalidSignatureException"})
_SKEWED_WORDS = ("signature expired", "signature not yet current")
# SageMaker has no code of its own for "there is no such thing": it says so in a ValidationException.
_MISSING_WORDS = ("not found", "could not find", "cannot find", "does not exist")
_VALIDATION = frozenset({"ValidationException", "ValidationError"})
_DENIED = frozenset({
    "AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AllAccessDisabled", "Forbidden", "403",
})  # fmt: skip
_THROTTLED = frozenset({
    "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottledException", "RequestThrottled",
    "RequestLimitExceeded", "TooManyRequestsException", "SlowDown", "LimitExceededException",
})  # fmt: skip
# No quota or no machine left: it comes back when other jobs end.
_NO_CAPACITY = frozenset({"ResourceLimitExceeded", "CapacityError", "InsufficientCapacityException"})
# AWS's own fault, or a model that is still being loaded.
_UNWELL = frozenset({
    "InternalError", "InternalFailure", "InternalServerError", "InternalDependencyException",
    "ModelNotReadyException", "RequestTimeout", "ServiceUnavailable", "ServiceUnavailableException",
    "ConcurrentUpdateException", "InternalServiceException",
})  # fmt: skip
_TRANSIENT_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
# The request itself is wrong or forbidden, and will be next time.
_REFUSED = _DENIED | _VALIDATION | {"UnrecognizedClientException", "InvalidParameterValue", "NoSuchBucket"}


def code_of(error: ClientError) -> str:
    """Return the error's code, as AWS spells it."""
    return str(error.response["Error"].get("Code", ""))


def message_of(error: ClientError) -> str:
    """Return the error's own words; may be empty."""
    return str(error.response["Error"].get("Message", ""))


def is_missing(error: ClientError) -> bool:
    """Tell whether AWS says that the object, version, job, endpoint or role does not exist.

    A bucket that does not exist is another matter: it is a mistake in the settings, and hides what is asked for.
    """
    code, message = code_of(error), message_of(error).lower()
    return code in _MISSING or (code in _VALIDATION and any(words in message for words in _MISSING_WORDS))


def is_unset(error: ClientError) -> bool:
    """Tell whether S3 says that a bucket has no such setting."""
    return code_of(error) in _UNSET


def is_expired(error: ClientError) -> bool:
    """Tell whether the credentials were good once: a session that is over."""
    return code_of(error) in _EXPIRED


def is_skewed(error: ClientError) -> bool:
    """Tell whether AWS refuses a request because its time is too far from AWS's own."""
    code, message = code_of(error), message_of(error).lower()
    return code in _SKEWED or (code in _SIGNATURE and any(words in message for words in _SKEWED_WORDS))


def is_no_bucket(error: ClientError) -> bool:
    return code_of(error) == "NoSuchBucket"


def is_taken(error: ClientError) -> bool:
    """Tell whether SageMaker says that there is one of that name already."""
    return code_of(error) == "ResourceInUse"


def is_token_taken(error: ClientError) -> bool:
    """Tell whether SageMaker has answered another request with the same ClientToken."""
    return code_of(error) == "ConflictException"


def is_invalid(error: ClientError) -> bool:
    """Tell whether AWS says that the request itself does not fit, for example a job that is not in progress."""
    return code_of(error) in _VALIDATION


def is_model_error(error: ClientError) -> bool:
    """Tell whether it is the model's own answer that is an error, and not the endpoint's."""
    return code_of(error) == "ModelError"


def is_unchanged(error: ClientError) -> bool:
    """Tell whether S3 says that the object is still the one that is known (304)."""
    return code_of(error) in {"304", "NotModified"}


def is_lost_race(error: ClientError) -> bool:
    """Tell whether the condition of a write does not hold (412): another writer was first."""
    return code_of(error) in {"PreconditionFailed", "412"}


def is_conflict(error: ClientError) -> bool:
    """Tell whether another conditional write to the key was under way (409): try the same one again."""
    return code_of(error) in {"ConditionalRequestConflict", "OperationAborted", "409"}


def is_denied(error: Exception) -> bool:
    return isinstance(error, ClientError) and code_of(error) in _DENIED


def is_throttled(error: ClientError) -> bool:
    return code_of(error) in _THROTTLED


def is_no_capacity(error: ClientError) -> bool:
    """Tell whether AWS had no quota or machine left, which takes longer to pass than throttling."""
    return code_of(error) in _NO_CAPACITY


def is_refused(error: ClientError) -> bool:
    """Tell whether the same request would be refused again."""
    return code_of(error) in _REFUSED


def is_transient(error: BaseException) -> bool:
    """Tell whether the same request may succeed a little later: load, an error of AWS, of the network."""
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return is_throttled(error) or code_of(error) in _UNWELL or status in _TRANSIENT_STATUSES
    return isinstance(
        error, (HTTPClientError, NoConnection, IncompleteReadError, ConnectionError, TimeoutError, gaierror)
    )


def is_passing(error: BaseException) -> bool:
    """Tell whether what stands in the way passes by itself: as :func:`is_transient`, or no capacity, or other writers.

    What was raised from such an error passes with it. An error that is none of AWS says so by ``passes``.
    """
    cause: BaseException | None = error
    while cause is not None:
        if getattr(cause, "passes", False) or is_transient(cause):
            return True
        if isinstance(cause, ClientError) and (is_no_capacity(cause) or is_conflict(cause)):
            return True
        cause = cause.__cause__
    return False


def sentence(error: ClientError | BotoCoreError, service: str = "AWS") -> str:
    """Return what went wrong in AWS's own words: it refused, or could not be reached.

    :param service: who was asked, for example ``S3``.
    """
    if isinstance(error, ClientError):
        return f"{service} refused {error.operation_name}: {code_of(error)} {message_of(error)}"
    return (
        f"{service} could not be reached: {str(error).rstrip('.')}. Is the local stack up (`make up`), or are AWS "
        "credentials set?"
    )


def facts(error: ClientError | BotoCoreError) -> dict[str, str]:
    """Return operation and code of what AWS refused, for ``--json``; nothing where AWS could not be reached."""
    return (
        {"operation": error.operation_name, "code": code_of(error)} if isinstance(error, ClientError) else {}
    )
