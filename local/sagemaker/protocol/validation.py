"""What SageMaker checks and botocore does not: required, min, max, pattern and enum, in SageMaker's words.

The constraints are those of botocore's service model. SageMaker lists every violation of a request in one
ValidationException: "2 validation errors detected: Value 'x' at 'trainingJobName' failed to satisfy
constraint: ...; ...".
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import Any

import regex
from botocore.model import Shape

from local.sagemaker.errors import ValidationException

#: Patterns of the service model that the regex package can't compile, with what they mean.
PATTERNS = {
    # UTF-16 surrogates, which Java sees and Python does not: every character but most control characters.
    r"[\u0020-\uD7FF\uE000-\uFFFD\uD800\uDC00-\uDBFF\uDFFF\t]*": (
        r"[\u0020-\uD7FF\uE000-\uFFFD\U00010000-\U0010FFFF\t]*"
    ),
}

#: A pattern that takes longer than this on a value is answered as not matching.
PATTERN_TIMEOUT_SECONDS = 2.0

#: Violations that are listed; a request of a thousand bad values is told the first of them.
MAX_LISTED = 20


def validate(shape: Shape | None, parameters: dict[str, Any]) -> None:
    """Check a parsed request.

    :param shape: the operation's input shape.
    :raises ValidationException: that names every violation.
    """
    violations = [] if shape is None else list(_check(shape, parameters, ""))
    if violations:
        errors = "1 validation error" if len(violations) == 1 else f"{len(violations)} validation errors"
        raise ValidationException(f"{errors} detected: {'; '.join(violations[:MAX_LISTED])}")


@functools.cache
def compile_pattern(pattern: str) -> regex.Pattern[str]:
    """A pattern of the service model, compiled; it always means the whole value."""
    return regex.compile(PATTERNS.get(pattern, pattern))


def _check(shape: Shape, value: Any, path: str) -> Iterator[str]:
    """All violations of a value and of what is inside it."""
    for constraint in _broken(shape, value):
        yield _violation(shape, value, path, constraint)
    match shape.type_name:
        case "structure":
            yield from _check_members(shape, value, path)
        case "list" if _is_plain(shape.member):
            yield from _check_items(shape.member, value, value, path, "Member")
        case "list":
            for number, item in enumerate(value, 1):
                yield from _check(shape.member, item, f"{path}.{number}.member")
        case "map":
            yield from _check_items(shape.key, value, value, path, "Map keys")
            if _is_plain(shape.value):
                yield from _check_items(shape.value, value.values(), value, path, "Map value")
            else:
                for key, item in value.items():
                    yield from _check(shape.value, item, f"{path}.{key}.member")


def _check_members(shape: Shape, value: dict[str, Any], path: str) -> Iterator[str]:
    for name in shape.required_members:
        if name not in value:
            yield _violation(shape.members[name], None, _join(path, name), "Member must not be null")
    for name, item in value.items():
        yield from _check(shape.members[name], item, _join(path, name))


def _check_items(shape: Shape, items: Iterable[Any], whole: Any, path: str, what: str) -> Iterator[str]:
    """Plain values of a list or map: SageMaker shows the whole of it, with all constraints of an item."""
    if any(True for item in items for _ in _broken(shape, item)):
        constraints = ", ".join(_constraints(shape))
        yield _violation(shape, whole, path, f"{what} must satisfy constraint: [{constraints}]")


def _violation(shape: Shape, value: Any, path: str, constraint: str) -> str:
    shown = "Value null"
    if value is not None:
        shown = "Value" if shape.metadata.get("sensitive") else f"Value '{_show(value)}'"
    return f"{shown} at '{path}' failed to satisfy constraint: {constraint}"


def _is_plain(shape: Shape) -> bool:
    return shape.type_name not in {"structure", "list", "map"}


def _broken(shape: Shape, value: Any) -> Iterator[str]:
    """The constraints of a shape that a value breaks, in SageMaker's words."""
    limits = shape.metadata
    match shape.type_name:
        case "string" | "list" | "map" | "blob":
            low, high, size = limits.get("min"), limits.get("max"), len(value)
        case "integer" | "long" | "float" | "double":
            low, high, size = limits.get("min"), limits.get("max"), value
        case _:
            return
    if high is not None and size > high:
        yield _at_most(shape, high)
    if low is not None and size < low:
        yield _at_least(shape, low)
    if shape.type_name == "string":
        if shape.enum and value not in shape.enum:
            yield _one_of(shape)
        pattern = limits.get("pattern")
        if pattern is not None and not _matches(pattern, value):
            yield _like(pattern)


def _constraints(shape: Shape) -> Iterator[str]:
    """All constraints of a shape, in SageMaker's words."""
    limits = shape.metadata
    if limits.get("max") is not None:
        yield _at_most(shape, limits["max"])
    if limits.get("min") is not None:
        yield _at_least(shape, limits["min"])
    if shape.type_name == "string" and shape.enum:
        yield _one_of(shape)
    if limits.get("pattern") is not None:
        yield _like(limits["pattern"])


def _at_most(shape: Shape, limit: int) -> str:
    return f"Member must have {_measure(shape)} less than or equal to {limit}"


def _at_least(shape: Shape, limit: int) -> str:
    return f"Member must have {_measure(shape)} greater than or equal to {limit}"


def _measure(shape: Shape) -> str:
    return "length" if shape.type_name in {"string", "list", "map", "blob"} else "value"


def _one_of(shape: Shape) -> str:
    return f"Member must satisfy enum value set: [{', '.join(shape.enum)}]"


def _like(pattern: str) -> str:
    return f"Member must satisfy regular expression pattern: {pattern}"


def _matches(pattern: str, value: str) -> bool:
    try:
        return compile_pattern(pattern).fullmatch(value, timeout=PATTERN_TIMEOUT_SECONDS) is not None
    except TimeoutError:
        return False


def _join(path: str, name: str) -> str:
    """The path of a member: SageMaker begins its members' names with a small letter."""
    member = name[:1].lower() + name[1:]
    return f"{path}.{member}" if path else member


def _show(value: Any) -> str:
    """A value as SageMaker shows it: lists and maps as Java prints them."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}={_show(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_show(item) for item in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)
