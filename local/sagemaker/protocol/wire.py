"""SageMaker's wire protocol, JSON 1.1, driven by botocore's service model.

Requests become Python values by the operation's input shape, results become JSON by its output shape. A
member that a shape does not have is refused in both directions: nothing is dropped silently.
"""

from __future__ import annotations

import base64
import binascii
import functools
import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import botocore.session
from botocore.model import OperationModel, ServiceModel, Shape
from starlette.responses import Response

from local.sagemaker import moments
from local.sagemaker.errors import (
    SageMakerError,
    SerializationException,
    UnsupportedOperation,
    ValidationException,
)

CONTENT_TYPE = "application/x-amz-json-1.1"
TARGET_PREFIX = "SageMaker."
#: Search may nest 50 expressions, two levels each.
MAX_NESTING = 128


class ResponseShapeError(TypeError):
    """A result that the output shape does not allow: a bug of the operation, not of the caller."""


@functools.cache
def service_model() -> ServiceModel:
    """botocore's description of SageMaker: every operation and shape."""
    return botocore.session.Session().get_service_model("sagemaker")


@functools.cache
def operation_model(operation: str) -> OperationModel:
    """botocore's description of one operation.

    :raises UnsupportedOperation: if botocore does not know it.
    """
    if operation not in service_model().operation_names:
        raise UnsupportedOperation(f"{operation} is not an operation of SageMaker that this botocore knows.")
    return service_model().operation_model(operation)


def parse_request(operation: str, body: bytes) -> dict[str, Any]:
    """Read a request body into values by member name.

    :returns: timestamps as datetime (UTC), blobs as bytes; members that are null are left out.
    :raises SerializationException: if the body is not JSON, or a value has the wrong type.
    :raises ValidationException: if there is a member the operation does not have.
    """
    try:
        # parse_constant: NaN and Infinity are not JSON, although Python reads them.
        document = json.loads(body or b"{}", parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise SerializationException(f"The request body is not JSON: {error}") from None
    shape = operation_model(operation).input_shape
    if not isinstance(document, dict):
        raise SerializationException("The request body must be a JSON object")
    if shape is None:
        return {}
    _check_nesting(document)
    parsed: dict[str, Any] = _parse(shape, document, "")
    return parsed


def serialise_result(operation: str, result: dict[str, Any]) -> bytes:
    """Write a result as JSON by the operation's output shape.

    Members that are None and private members (a leading "_", at the top only) are left out.

    :raises ResponseShapeError: if a member is unknown to the shape or has the wrong type.
    """
    public = {name: value for name, value in result.items() if not name.startswith("_")}
    shape = operation_model(operation).output_shape
    if shape is None:
        if public:
            raise ResponseShapeError(f"{operation} has no result, got members {sorted(public)}")
        return b"{}"
    return json.dumps(_serialise(shape, public, operation), separators=(",", ":"), allow_nan=False).encode()


def result_response(operation: str, result: dict[str, Any]) -> Response:
    """The HTTP response of an operation that went well."""
    return Response(serialise_result(operation, result), 200, _headers())


def error_response(error: SageMakerError) -> Response:
    """The HTTP response of an operation that did not."""
    body = json.dumps({"__type": error.code, "message": error.message, **error.members})
    return Response(body.encode(), error.status, {**_headers(), "x-amzn-errortype": error.code})


def _headers() -> dict[str, str]:
    return {"content-type": CONTENT_TYPE, "x-amzn-requestid": str(uuid.uuid4())}


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _check_nesting(document: Any) -> None:
    """Refuse what is nested more deeply than any request of SageMaker's: it is walked recursively later."""
    level = [document]
    for _ in range(MAX_NESTING):
        level = [
            item
            for each in level
            if isinstance(each, dict | list)
            for item in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return
    raise SerializationException(f"The request body is nested more than {MAX_NESTING} levels deep")


def _parse(shape: Shape, value: Any, path: str) -> Any:
    return _PARSERS[shape.type_name](shape, value, path)


def _parse_structure(shape: Shape, value: Any, path: str) -> dict[str, Any]:
    _expect(value, dict, "an object", path)
    unknown = sorted(set(value) - set(shape.members))
    if unknown:
        raise ValidationException(
            f"Unknown member '{unknown[0]}' in {path or 'the request'};"
            f" allowed: {', '.join(sorted(shape.members)) or 'none'}"
        )
    return {
        name: _parse(shape.members[name], item, f"{path}.{name}".lstrip("."))
        for name, item in value.items()
        if item is not None
    }


def _parse_list(shape: Shape, value: Any, path: str) -> list[Any]:
    _expect(value, list, "a list", path)
    return [_parse(shape.member, item, f"{path}.{number}") for number, item in enumerate(value, 1)]


def _parse_map(shape: Shape, value: Any, path: str) -> dict[str, Any]:
    _expect(value, dict, "an object", path)
    return {key: _parse(shape.value, item, f"{path}.{key}") for key, item in value.items()}


def _parse_string(shape: Shape, value: Any, path: str) -> str:
    _expect(value, str, "a string", path)
    return str(value)


def _parse_boolean(shape: Shape, value: Any, path: str) -> bool:
    _expect(value, bool, "true or false", path)
    return bool(value)


def _parse_whole_number(shape: Shape, value: Any, path: str) -> int:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    _expect(value, int, "a whole number", path)
    return int(value)


def _parse_number(shape: Shape, value: Any, path: str) -> float:
    _expect(value, (int, float), "a number", path)
    try:
        return float(value)
    except OverflowError:
        raise SerializationException(f"'{path}': the number is too large") from None


def _parse_timestamp(shape: Shape, value: Any, path: str) -> datetime:
    try:
        if isinstance(value, str):
            return moments.parse(value)
        _expect(value, (int, float), "epoch seconds", path)
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        raise SerializationException(f"'{path}': {value!r} is not a point in time") from None


def _parse_blob(shape: Shape, value: Any, path: str) -> bytes:
    _expect(value, str, "a base64 string", path)
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise SerializationException(f"'{path}': expected a base64 string") from None


_PARSERS: dict[str, Callable[[Shape, Any, str], Any]] = {
    "structure": _parse_structure,
    "list": _parse_list,
    "map": _parse_map,
    "string": _parse_string,
    "boolean": _parse_boolean,
    "integer": _parse_whole_number,
    "long": _parse_whole_number,
    "float": _parse_number,
    "double": _parse_number,
    "timestamp": _parse_timestamp,
    "blob": _parse_blob,
}


def _expect(value: Any, kind: type | tuple[type, ...], words: str, path: str) -> None:
    # True is an int for Python but not for JSON.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        got = "null" if value is None else type(value).__name__
        raise SerializationException(f"'{path or 'request'}': expected {words}, got {got}")


#: Python types a result may hold; a bool is none of the numbers.
_RESULT_TYPES: dict[str, type | tuple[type, ...]] = {
    "structure": dict,
    "list": (list, tuple),
    "map": dict,
    "string": str,
    "boolean": bool,
    "integer": int,
    "long": int,
    "float": (int, float),
    "double": (int, float),
    "timestamp": datetime,
    "blob": bytes,
}


def _fits(shape: Shape, value: Any) -> bool:
    kind = _RESULT_TYPES[shape.type_name]
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _serialise(shape: Shape, value: Any, path: str) -> Any:
    if not _fits(shape, value):
        raise ResponseShapeError(f"{path}: expected {shape.type_name}, got {type(value).__name__}")
    match shape.type_name:
        case "structure":
            unknown = sorted(set(value) - set(shape.members))
            if unknown:
                raise ResponseShapeError(f"{path}: {shape.name} has no member {unknown[0]!r}")
            return {
                name: _serialise(shape.members[name], item, f"{path}.{name}")
                for name, item in value.items()
                if item is not None
            }
        case "list":
            return [_serialise(shape.member, item, f"{path}[{number}]") for number, item in enumerate(value)]
        case "map":
            return {str(key): _serialise(shape.value, item, f"{path}.{key}") for key, item in value.items()}
        case "timestamp" if value.tzinfo is None:
            raise ResponseShapeError(f"{path}: the datetime has no time zone")
        case "timestamp":
            return round(value.timestamp(), 3)
        case "blob":
            return base64.b64encode(value).decode("ascii")
    return value
