"""A call over HTTP as API Gateway hands it to a Lambda function (payload format 2.0), and the answer it takes. Pure.

``local/stack`` makes such events of plain HTTP, so that what serves on a laptop is the function's own code.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from city_fleet.errors import show_value

MAX_BODY_BYTES = 1_048_576
EXAMPLE = (
    '{"city": "austin"} or {"city": "austin", "features": {"sales_lag_1": 2873, "inventory_lag_1": null}}'
)
EXAMPLE_OF_MANY = '{"cities": [{"city": …}, …]}'
_ALLOWED_HEADERS = "authorization, content-type, x-amz-date, x-amz-security-token, x-api-key"
# How long a browser believes the answer to a preflight request.
_PREFLIGHT_SECONDS = 600
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?")
ANY_ORIGIN = "*"


class Refused(Exception):
    """A request that asks for nothing that there is.

    :param kind: what it is called in the answer's ``error``.
    """

    def __init__(self, status: int, kind: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self.body: dict[str, Any] = {"status": status, "error": kind, "message": message}


@dataclass(frozen=True)
class HttpCall:
    """A call.

    :param path: below the stage, without a slash at its end; percent signs are decoded.
    :param headers: names in lower case.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    event: Mapping[str, Any]

    def json(self) -> Any:
        """Return what the body says.

        :raises Refused: it is too large, or no JSON.
        """
        return json_of(_body(self.event))


def is_http(event: Any) -> bool:
    """Tell an event of API Gateway or of a function URL from a request that is handed over as it is."""
    return isinstance(event, dict) and isinstance(event.get("requestContext"), dict)


def read(event: Mapping[str, Any]) -> HttpCall:
    """Read an event of API Gateway.

    :raises Refused: it is of another format.
    """
    context = event["requestContext"]
    http = context.get("http")
    if event.get("version") != "2.0" or not isinstance(http, dict):
        raise Refused(
            500,
            "WrongPayloadFormat",
            "The function understands payload format 2.0 of API Gateway's HTTP APIs; set it with "
            "`aws apigatewayv2 update-integration --payload-format-version 2.0`.",
        )
    path = str(event.get("rawPath", ""))
    stage = context.get("stage", "$default")
    if stage != "$default":
        path = path.removeprefix(f"/{stage}")
    return HttpCall(
        str(http.get("method")),
        unquote(path.rstrip("/")),
        {str(name).lower(): str(value) for name, value in _mapping(event.get("headers")).items()},
        {str(name): str(value) for name, value in _mapping(event.get("queryStringParameters")).items()},
        event,
    )


def answer(body: Mapping[str, Any] | None, status: int, headers: Mapping[str, str]) -> dict[str, Any]:
    """Return a response for API Gateway.

    :param body: None for an answer without one.
    """
    kind = {} if body is None else {"content-type": "application/json"}
    return {
        "statusCode": status,
        "headers": {**kind, **headers},
        "body": "" if body is None else json.dumps(body, allow_nan=False),
        "isBase64Encoded": False,
    }


def is_origin(text: str) -> bool:
    """Tell whether a text is an origin as browsers send it, or stands for all of them."""
    return text == ANY_ORIGIN or _ORIGIN.fullmatch(text) is not None


def cross_origin(call: HttpCall | None, origins: Sequence[str]) -> dict[str, str]:
    """Return the headers that let a page of another origin read an answer; none for one that may not.

    :param origins: that may: as browsers send them, or ``*``.
    """
    origin = call.headers.get("origin") if call is not None else None
    if not origins or origin is None:
        return {}
    if ANY_ORIGIN in origins:
        return {"access-control-allow-origin": ANY_ORIGIN}
    return {"vary": "origin"} | ({"access-control-allow-origin": origin} if origin in origins else {})


def preflight(call: HttpCall, origins: Sequence[str], methods: Sequence[str]) -> dict[str, Any]:
    """Return the answer to a browser that asks whether it may send a request."""
    headers = cross_origin(call, origins)
    if "access-control-allow-origin" in headers:
        headers |= {
            "access-control-allow-methods": ", ".join(methods),
            "access-control-allow-headers": _ALLOWED_HEADERS,
            "access-control-max-age": str(_PREFLIGHT_SECONDS),
        }
    return answer(None, 204, headers)


def json_of(text: str) -> Any:
    """Return what a text says as JSON; a name twice in one object is refused.

    :raises Refused: it is no JSON.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
            raise bad(f"The body has {show_value(twice)} twice in one object; allowed: once.")
        return value

    try:
        return json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise bad(f"The body is not JSON ({error}); allowed: {EXAMPLE} or {EXAMPLE_OF_MANY}.") from None


def bad(message: str) -> Refused:
    return Refused(400, "BadRequest", message)


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def _body(event: Mapping[str, Any]) -> str:
    body = event.get("body") or ""
    if event.get("isBase64Encoded"):
        # Four characters stand for three bytes: what is far too large need not be decoded to know it.
        _check_size(len(body) * 3 // 4 - 2)
        try:
            content = base64.b64decode(body, validate=True)
        except (binascii.Error, ValueError):
            raise bad("The body is marked as Base64, but is not.") from None
        _check_size(len(content))
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise bad(f"The body is not UTF-8 text (byte {error.start}).") from None
    _check_size(len(body) if len(body) > MAX_BODY_BYTES else len(body.encode(errors="surrogatepass")))
    return str(body).removeprefix("\ufeff")


def _check_size(size_bytes: int) -> None:
    if size_bytes > MAX_BODY_BYTES:
        raise Refused(
            413, "BodyTooLarge", f"The body: got {size_bytes} bytes or more; allowed: {MAX_BODY_BYTES} bytes."
        )
