"""The expressions of Search: which properties a filter may name, and the test it makes of a record.

Follows the pages SearchExpression, Filter and NestedFilters of the API Reference. Property names are paths into
the resource's shape in SearchRecord; ``HyperParameters.<name>``, ``Tags.<key>``, ``Metrics.<name>`` and other
maps take any key. Hyperparameters are texts that are compared as numbers when both sides are numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botocore.model import Shape

from local.sagemaker import moments
from local.sagemaker.errors import ValidationException

Record = dict[str, Any]
Test = Callable[[Record], bool]

MAX_CONDITIONS = 50
_ORDERED: dict[str, Callable[[Any, Any], bool]] = {
    "GreaterThan": lambda a, b: a > b,
    "GreaterThanOrEqualTo": lambda a, b: a >= b,
    "LessThan": lambda a, b: a < b,
    "LessThanOrEqualTo": lambda a, b: a <= b,
}
_NUMBERS = frozenset({"integer", "long", "float", "double"})


@dataclass(frozen=True)
class Property:
    """A property that a filter names.

    :param type_name: type of its shape, for example ``string``.
    :param values: all its values in a record; several where a list is on the way.
    :param free: whether its values are texts of the caller's own that may be numbers (hyperparameters).
    """

    name: str
    type_name: str
    values: Callable[[Record], list[Any]]
    free: bool = False


def find_property(shape: Shape, name: str) -> Property:
    """Find a property by its name.

    :param shape: the resource's shape in SearchRecord.
    :raises ValidationException: if the resource has none of that name.
    """
    head, _, rest = name.partition(".")
    if head == "Tags" and rest and "Tags" in shape.members:
        return Property(name, "string", _pairs("Tags", "Key", rest))
    if head == "Metrics" and rest and "FinalMetricDataList" in shape.members:
        return Property(name, "float", _pairs("FinalMetricDataList", "MetricName", rest))
    path: list[str] = []
    current = shape
    parts = name.split(".")
    for number, part in enumerate(parts):
        current = _element(current)
        if current.type_name == "map":
            path.append(".".join(parts[number:]))
            return Property(name, current.value.type_name, _walk(path), head == "HyperParameters")
        if current.type_name != "structure" or part not in current.members:
            raise ValidationException(f"Unknown property name: {name}")
        path.append(part)
        current = current.members[part]
    return Property(name, _element(current).type_name, _walk(path))


def _element(shape: Shape) -> Shape:
    while shape.type_name == "list":
        shape = shape.member
    return shape


def _pairs(member: str, key: str, wanted: str) -> Callable[[Record], list[Any]]:
    """Values of a list of pairs that are named by their keys."""
    return lambda record: [each["Value"] for each in record.get(member, []) if each.get(key) == wanted]


def _walk(path: list[str]) -> Callable[[Record], list[Any]]:
    def values(record: Record) -> list[Any]:
        found: list[Any] = [record]
        for part in path:
            found = [each[part] for each in found if isinstance(each, dict) and part in each]
            found = [item for each in found for item in (each if isinstance(each, list) else [each])]
        return found

    return values


def expression_test(shape: Shape, expression: dict[str, Any]) -> Test:
    """The test that an expression is.

    :raises ValidationException: if it is empty, too large, or one of its conditions makes no sense.
    """
    count, contains = _size(expression)
    if count > MAX_CONDITIONS:
        raise ValidationException(
            f"A SearchExpression can have {MAX_CONDITIONS} Filters, NestedFilters and SubExpressions, got"
            f" {count}."
        )
    if contains > 1:
        raise ValidationException("'CONTAINS' operator usage limit of 1 exceeded.")
    return _combined(shape, expression)


def _size(expression: dict[str, Any]) -> tuple[int, int]:
    """How many conditions an expression has, and how many of them say Contains."""
    filters = [
        *expression.get("Filters", []),
        *(each for nested in expression.get("NestedFilters", []) for each in nested["Filters"]),
    ]
    inner = [_size(each) for each in expression.get("SubExpressions", [])]
    count = len(filters) + len(expression.get("NestedFilters", [])) + sum(1 + each for each, _ in inner)
    contains = sum(each.get("Operator") == "Contains" for each in filters)
    return count, contains + sum(each for _, each in inner)


def _combined(shape: Shape, expression: dict[str, Any]) -> Test:
    tests = [
        *(_filter(shape, each) for each in expression.get("Filters", [])),
        *(_nested(shape, each) for each in expression.get("NestedFilters", [])),
        *(_combined(shape, each) for each in expression.get("SubExpressions", [])),
    ]
    if not tests:
        raise ValidationException(
            "A SearchExpression must have at least one subexpression, filter, or nested filter."
        )
    quantifier = any if expression.get("Operator") == "Or" else all
    return lambda record: quantifier(test(record) for test in tests)


def _nested(shape: Shape, nested: dict[str, Any]) -> Test:
    """A nested filter holds if a single object of a list satisfies all its filters."""
    name = nested["NestedPropertyName"]
    listed = shape.members.get(name)
    if listed is None or listed.type_name != "list" or listed.member.type_name != "structure":
        raise ValidationException(f"Unknown nested property name: {name}")
    tests = []
    for each in nested["Filters"]:
        if not each["Name"].startswith(f"{name}."):
            raise ValidationException(f"The filters of {name} must begin with '{name}.', got {each['Name']}")
        tests.append(_filter(listed.member, {**each, "Name": each["Name"].removeprefix(f"{name}.")}))
    return lambda record: any(all(test(item) for test in tests) for item in record.get(name, []))


def _filter(shape: Shape, condition: dict[str, Any]) -> Test:
    """The test that one filter is."""
    found = find_property(shape, condition["Name"])
    operator = condition.get("Operator", "Equals")
    if operator in ("Exists", "NotExists"):
        return lambda record: bool(found.values(record)) == (operator == "Exists")
    if "Value" not in condition:
        raise ValidationException(f"Filter on {found.name}: {operator} needs a Value.")
    value: str = condition["Value"]
    kind = found.type_name
    is_text = kind == "string"
    if operator in ("Contains", "In") and not is_text:
        raise ValidationException(
            f"Filter on {found.name}: {operator} is only supported for text properties."
        )
    if operator in _ORDERED and is_text and not found.free:
        raise ValidationException(f"Filter on {found.name}: {operator} is not supported for text properties.")
    if kind in ("structure", "list", "map", "blob"):
        raise ValidationException(f"Filter on {found.name}: it has no value to compare; name one inside it.")
    compare = _comparison(found, operator, value)
    if operator == "NotEquals":
        return lambda record: not any(compare(each) for each in found.values(record))
    return lambda record: any(compare(each) for each in found.values(record))


def _comparison(found: Property, operator: str, value: str) -> Callable[[Any], bool]:
    match operator:
        case "Contains":
            return lambda each: value in each
        case "In":
            allowed = {part.strip() for part in value.split(",")}
            return lambda each: each in allowed
    wanted = _wanted(found, value)
    if found.free:
        return _free_comparison(operator, value)
    compare = _ORDERED.get(operator, lambda a, b: a == b)
    return lambda each: compare(each, wanted)


def _free_comparison(operator: str, value: str) -> Callable[[Any], bool]:
    """Compare hyperparameters: as whole numbers if the value is one, as decimals if it is one, else as text."""
    wanted = _number(value)
    if operator in _ORDERED and wanted is None:
        raise ValidationException(
            f"{operator} is not supported for text properties; got the value '{value}'."
        )
    whole = wanted is not None and value.strip().lstrip("+-").isdecimal()
    compare = _ORDERED.get(operator, lambda a, b: a == b)

    def test(each: str) -> bool:
        number = _number(each)
        if wanted is None or number is None:
            return operator not in _ORDERED and each == value
        return compare(math.trunc(number) if whole else number, wanted)

    return test


def _wanted(found: Property, value: str) -> Any:
    """The value of a filter as its property's type.

    :raises ValidationException: if it can't be that.
    """
    kind = found.type_name
    if kind in _NUMBERS:
        number = _number(value)
        if number is None:
            raise ValidationException(
                f"Filter on {found.name}: the value must be an integer or floating-point decimal, got '{value}'."
            )
        return number
    if kind == "boolean":
        if value.lower() not in ("true", "false"):
            raise ValidationException(
                f"Filter on {found.name}: the value must be true or false, got '{value}'."
            )
        return value.lower() == "true"
    if kind == "timestamp":
        try:
            return moments.parse(value)
        except ValueError:
            raise ValidationException(
                f"Filter on {found.name}: the value must be a date-time like 2014-01-01T00:00:00, got '{value}'."
            ) from None
    return value


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
