"""An error as each service words it on the wire: S3 and the query services in XML, the others in JSON."""

from __future__ import annotations

import uuid
from xml.sax.saxutils import escape

from starlette.responses import Response

from local.sagemaker.errors import SageMakerError
from local.sagemaker.protocol import wire

QUERY_SERVICES = ("iam", "sts")


def error_answer(service: str, code: str, message: str, status: int) -> Response:
    """The response that a client of the service takes for an error.

    :param service: as boto3 spells it.
    :param code: the error's code.
    :param message: what people read.
    :param status: HTTP status.
    """
    if service == "s3":
        xml = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    elif service in QUERY_SERVICES:
        fault = "Receiver" if status >= 500 else "Sender"
        xml = (
            f"<ErrorResponse><Error><Type>{fault}</Type><Code>{code}</Code><Message>{escape(message)}</Message>"
            f"</Error><RequestId>{uuid.uuid4()}</RequestId></ErrorResponse>"
        )
    else:
        return wire.error_response(SageMakerError(message, code, status))
    return Response(f'<?xml version="1.0" encoding="UTF-8"?>\n{xml}', status, media_type="application/xml")


def not_written(service: str, reason: str) -> Response:
    """The response to a request that could not be written and was undone. Clients try again by themselves.

    :param service: as boto3 spells it.
    :param reason: why.
    """
    code = "InternalError" if service == "s3" else "InternalFailure"
    return error_answer(service, code, f"Nothing was changed: {reason}.", 500)


def not_answered(service: str, reason: str) -> Response:
    """The response to a request that moto does not answer.

    :param service: as boto3 spells it.
    :param reason: why.
    """
    return error_answer(service, "NotImplemented", reason, 501)


def unknowable(service: str, operation: str) -> Response | None:
    """The response to a question that nothing here can answer truly; None for any other one.

    No policy counts here, so whether one would let somebody do something is not known. AWS words it the same way for
    whoever may not simulate, and clients such as the SageMaker SDK go on with a warning.

    :param service: as boto3 spells it.
    :param operation: as botocore spells it.
    """
    if service == "iam" and operation.startswith("Simulate"):
        reason = f"{operation}: the local IAM weighs no policies: everybody may do everything"
        return error_answer(service, "AccessDenied", reason, 403)
    return None
