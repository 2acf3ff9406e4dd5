"""An error as each service words it on the wire: S3 and the query services in XML, the others in JSON."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Mapping
from xml.sax.saxutils import escape

import botocore.session
from botocore.exceptions import UnknownServiceError
from starlette.responses import Response

from local.sagemaker.errors import SageMakerError
from local.sagemaker.protocol import wire
from local.sagemaker.services.called import QUERY, REST, Call

#: What each service calls an error of its own (API References: "Error responses" of S3, ServiceFailure of IAM, "Common
#: Errors" of the others).
INTERNAL = {"s3": "InternalError", "iam": "ServiceFailure"}
INTERNAL_ELSEWHERE = "InternalFailure"


class Refusal(Exception):
    """A request that is refused before moto sees it.

    :param code: the error's code, as the service spells it.
    :param message: what people read.
    :param status: HTTP status.
    :param details: further elements of an S3 error, by name.
    """

    def __init__(
        self, code: str, message: str, status: int = 400, details: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.details = dict(details or {})

    def answer(self, call: Call) -> Response:
        """The response to the request.

        :param call: what it calls.
        """
        return error_answer(call, self.code, self.message, self.status, self.details)


def error_answer(
    call: Call, code: str, message: str, status: int, details: Mapping[str, str] | None = None
) -> Response:
    """The response that a client of the service takes for an error.

    :param call: what the request calls.
    :param code: the error's code.
    :param message: what people read.
    :param status: HTTP status.
    :param details: further elements of an S3 error, by name.
    """
    words = f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
    if call.service == "s3":
        more = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in (details or {}).items())
        xml = f"<Error>{words}{more}</Error>"
    elif call.service == "ec2":
        xml = f"<Response><Errors><Error>{words}</Error></Errors><RequestID>{uuid.uuid4()}</RequestID></Response>"
    elif call.protocol == QUERY or (call.protocol == REST and _speaks_xml(call.service)):
        fault = "Receiver" if status >= 500 else "Sender"
        xml = (
            f"<ErrorResponse><Error><Type>{fault}</Type>{words}</Error>"
            f"<RequestId>{uuid.uuid4()}</RequestId></ErrorResponse>"
        )
    else:
        return wire.error_response(SageMakerError(message, code, status))
    return Response(f'<?xml version="1.0" encoding="UTF-8"?>\n{xml}', status, media_type="application/xml")


@functools.cache
def _speaks_xml(service: str) -> bool:
    try:
        model = botocore.session.Session().get_service_model(service)
    except UnknownServiceError:
        return False
    return str(model.metadata["protocol"]) in ("rest-xml", "query")


def internal_code(service: str) -> str:
    """What a service calls an error of its own.

    :param service: as boto3 spells it.
    """
    return INTERNAL.get(service, INTERNAL_ELSEWHERE)


def not_written(call: Call, reason: str) -> Response:
    """The response to a request that could not be written and was undone. Clients try again by themselves.

    :param call: what it calls.
    :param reason: why.
    """
    return error_answer(call, internal_code(call.service), f"Nothing was changed: {reason}.", 500)


def failed(call: Call, error: Exception) -> Response:
    """The response to a request over which moto, or this server, has stumbled.

    :param call: what it calls.
    :param error: over what.
    """
    message = f"{call.operation}: {type(error).__name__}: {error}"
    return error_answer(call, internal_code(call.service), message, 500)


def not_answered(call: Call, reason: str = "") -> Response:
    """The response to a request that moto does not answer. 501 is no error that clients try again.

    :param call: what it calls.
    :param reason: why, if there is more to say than that it is not made.
    """
    message = f"The local SageMaker does not answer {call.operation} of {call.service}"
    return error_answer(call, "NotImplemented", f"{message}: {reason}." if reason else f"{message}.", 501)


def unknowable(call: Call) -> Response | None:
    """The response to a question that nothing here can answer truly; None for any other one.

    No policy counts here, so whether one would let somebody do something is not known. AWS words it the same way for
    whoever may not simulate, and clients such as the SageMaker SDK go on with a warning.

    :param call: what the request calls.
    """
    if call.service == "iam" and call.operation.startswith("Simulate"):
        reason = f"{call.operation}: the local IAM weighs no policies: everybody may do everything"
        return error_answer(call, "AccessDenied", reason, 403)
    return None
