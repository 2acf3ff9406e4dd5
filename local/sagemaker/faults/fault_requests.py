"""Faults of requests: the handler that makes requests fail, and the HTTP API that turns faults on and off.

GET    /_local/faults        what is on, and what it has done
POST   /_local/faults        one fault, or {"seed": 7, "faults": [...]}: turned on in addition to those that are on
PUT    /_local/faults        the same, but those that are on are turned off first
DELETE /_local/faults        all off
DELETE /_local/faults/<id>   one off
"""

from __future__ import annotations

import asyncio
import json

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from local.sagemaker.faults.fault_specs import FaultError, FaultSpec
from local.sagemaker.faults.faults import Faults
from local.sagemaker.protocol.bounded_request import BoundedRequest
from local.sagemaker.services.called import QUERY, RUNTIME, Call, read_call
from local.sagemaker.services.service_errors import error_answer, internal_code

PATH = "/_local/faults"
#: The caller is the one that GetCallerIdentity answers here.
_DENIED = (
    "User: arn:aws:sts::123456789012:user/moto is not authorized to perform: {action} because no identity-based policy"
    " allows the {action} action"
)
_EXPIRED = "The security token included in the request is expired"
#: Code, message and status by what goes wrong: of a service, else of a protocol, else of all. "Error responses" of S3's
#: API Reference, "Common Errors" of the others'; who may not and whose token is old is 403 except where a JSON protocol
#: answers each of its caller's errors with 400.
ERRORS = {
    "too fast": {
        "s3": ("SlowDown", "Please reduce your request rate.", 503),
        QUERY: ("Throttling", "Rate exceeded", 400),
        "": ("ThrottlingException", "Rate exceeded", 400),
    },
    "internal": {
        "s3": (internal_code("s3"), "We encountered an internal error. Please try again.", 500),
        "iam": (
            internal_code("iam"),
            "The request processing has failed because of an unknown error, exception or failure.",
            500,
        ),
        "": (
            internal_code(""),
            "The request processing has failed because of an unknown error, exception or failure.",
            500,
        ),
    },
    "denied": {
        "s3": ("AccessDenied", "Access Denied", 403),
        QUERY: ("AccessDenied", _DENIED, 403),
        RUNTIME: ("AccessDeniedException", _DENIED, 403),
        "": ("AccessDeniedException", _DENIED, 400),
    },
    "expired": {
        "s3": ("ExpiredToken", "The provided token has expired.", 400),
        QUERY: ("ExpiredToken", _EXPIRED, 403),
        RUNTIME: ("ExpiredTokenException", _EXPIRED, 403),
        "": ("ExpiredTokenException", _EXPIRED, 400),
    },
    "conflict": {
        "": (
            "ConditionalRequestConflict",
            "The conditional request cannot succeed due to a conflicting operation against this resource.",
            409,
        ),
    },
}
CAUSES = {
    "throttling": "too fast",
    "rate_limit": "too fast",
    "slow_down": "too fast",
    "internal_error": "internal",
    "conditional_conflict": "conflict",
    "access_denied": "denied",
    "expired_token": "expired",
}


async def admin(faults: Faults, request: BoundedRequest) -> Response | None:
    """Turn faults on and off."""
    path = request.path
    if path != PATH and not path.startswith(f"{PATH}/"):
        return None
    number = path[len(PATH) + 1 :]
    try:
        if request.method == "GET" and not number:
            return JSONResponse(faults.to_json())
        if request.method in ("POST", "PUT") and not number:
            try:
                document = json.loads(await request.body())
            except ValueError as error:
                raise FaultError(f"the body is not JSON: {error}") from None
            (faults.add if request.method == "POST" else faults.replace)(document)
        elif request.method == "DELETE":
            found = faults.clear(int(number) if number.isdecimal() else -1) if number else faults.clear()
            if number and not found:
                return JSONResponse({"error": f"there is no fault {number}; GET {PATH} lists them"}, 404)
        else:
            return JSONResponse(
                {
                    "error": f"{request.method} {request.url.path}: allowed are GET, POST, PUT and DELETE of {PATH}"
                },
                405,
            )
    except FaultError as error:
        return JSONResponse({"error": str(error)}, 400)
    faults.tell()
    return JSONResponse(faults.to_json())


async def inject(faults: Faults, own_access_key: str, request: BoundedRequest) -> Response | None:
    """Answer a request that meets a fault, with an error, late or not at all.

    :param own_access_key: signs the server's own requests, which never meet a fault.
    """
    if not faults.any_on or request.access_key == own_access_key:
        return None
    body = await request.body()
    call = read_call(request, body)
    conditional = bool(
        call.access and call.access.writes and (call.access.if_match or call.access.if_none_match)
    )
    delay, spec = faults.meet_request(call.service, call.operation, subject(request, call, body), conditional)
    if delay:
        await asyncio.sleep(delay)
    if spec is None:
        return None
    spoilt = spoil(spec, call)
    if spec.members.get("when") == "after":
        request.answer_instead = spoilt
        return None
    return spoilt


def subject(request: BoundedRequest, call: Call, body: bytes) -> str:
    """What a request is about: ``bucket/key``, the endpoint it invokes, the resource it names."""
    if call.access is not None:
        return f"{call.access.buckets[0]}/{call.access.key}" if call.access.key else call.access.buckets[0]
    if call.service == "sagemaker-runtime":
        return request.path.split("/")[2]
    if call.service != "sagemaker":
        return ""
    try:
        document = json.loads(body or b"{}")
    except ValueError:
        return ""
    names = {
        member: value
        for member, value in (document.items() if isinstance(document, dict) else ())
        if isinstance(value, str) and member.endswith(("Name", "Arn"))
    }
    own = [member for member in names if member.removesuffix("Name") in call.operation]
    return names[max(own, key=len)] if own else next(iter(names.values()), "")


def spoil(spec: FaultSpec, call: Call) -> Response:
    """The answer of a request that meets a fault."""
    if spec.kind in ("timeout", "dropped_connection"):
        return SilentResponse(closes=spec.kind == "dropped_connection")
    errors = ERRORS[CAUSES[spec.kind]]
    code, message, status = errors.get(call.service) or errors.get(call.protocol) or errors[""]
    action = f"{call.service.removesuffix('-runtime')}:{call.operation}"
    return error_answer(call, code, message.replace("{action}", action), status)


class SilentResponse(Response):
    """An answer that is never sent.

    :param closes: whether the connection is closed; else it stays open until the caller gives up.
    """

    def __init__(self, closes: bool) -> None:
        super().__init__()
        self._closes = closes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send nothing, and return when the connection is gone."""
        if self._closes:
            scope["state"]["transport"].abort()
        while (await receive())["type"] != "http.disconnect":
            pass
