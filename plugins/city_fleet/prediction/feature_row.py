"""One row of features by name becomes the row the endpoint takes; what does not fit is named. Pure, stdlib only."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TypeAlias

from city_fleet.errors import BadRequest, list_names, nearest_match, show_value

_MISSING = "or null where the value is missing"
ALLOWED_VALUE = f"a number, {_MISSING}"
_ALLOWED = {
    "number": ALLOWED_VALUE,
    "boolean": f"true or false, {_MISSING}",
    "category": f"text, {_MISSING}",
    "date": f"a date such as 2015-07-31, {_MISSING}",
}
_UNKNOWN_SHOWN = 10
_NAME_CHARACTERS = 100
LONGEST_TEXT = 100_000

Value: TypeAlias = float | str | bool | None


def read_row(
    city: str, features: Sequence[str], given: object, inputs: Sequence[Mapping[str, str]] = ()
) -> list[Value]:
    """Put values into the order of a model's features.

    :param features: the model's features, in the order of a request row.
    :param given: feature name → value, or None where it is missing. Every feature has to be there.
    :param inputs: of a table's model: name and kind of each feature; where there are none, all are numbers.
    :return: one value per feature.
    :raises BadRequest: with one entry in ``mistakes`` for each feature that is missing or unknown, or whose value
        is of another kind or not finite: feature, problem, got, allowed, nearest.
    """
    if not isinstance(given, Mapping):
        value = "value" if inputs else "number"
        raise BadRequest(
            f"city {city!r}, features: got {show_value(given)}; allowed: an object with a {value} (or null) for each "
            f"of the model's {len(features)} features: {list_names(features)}.",
            mistakes=[],
            features=list(features),
        )
    kinds = {each["name"]: each["kind"] for each in inputs}
    unknown = [name for name in given if name not in features]
    mistakes = [_unknown(name, given[name], features) for name in unknown[:_UNKNOWN_SHOWN]]
    row: list[Value] = []
    for name in features:
        kind = kinds.get(name, "number")
        if name not in given:
            mistakes.append(_mistake(name, "missing", "nothing", _ALLOWED[kind]))
            continue
        value_read, problem = _read(given[name], kind)
        if problem:
            mistakes.append(_mistake(name, problem, _shown(given[name]), _ALLOWED[kind]))
        row.append(value_read)
    if mistakes:
        text = _sentence(city, mistakes)
        if len(unknown) > _UNKNOWN_SHOWN:
            text += f" {len(unknown) - _UNKNOWN_SHOWN} more features are unknown."
        raise BadRequest(text, mistakes=mistakes, features=list(features))
    return row


def value_of_text(text: str, kind: str) -> Value:
    """Read a feature's value as people write it; one of another kind stays text, and :func:`read_row` refuses it."""
    word = text.strip().lower()
    if word in ("", "null"):
        return None
    if kind == "boolean":
        return {"true": True, "false": False}.get(word, text)
    if kind != "number":
        return text
    try:
        return float(text)
    except ValueError:
        return text


def json_request(row: Sequence[Value], top_k: int | None) -> bytes:
    """Write a row as inference.py reads application/json: raw values in feature order."""
    more = {} if top_k is None else {"top_k": top_k}
    return json.dumps({**more, "instances": [row]}, allow_nan=False).encode()


def csv_line(row: Sequence[Value]) -> bytes:
    """Write a row as inference.py reads text/csv: values in feature order, empty where missing."""
    line = ",".join("" if value is None else repr(value) for value in row)
    # An empty line is not a row; nan is the other way to say that a value is missing.
    return (line or "nan").encode()


def _read(value: object, kind: str) -> tuple[Value, str | None]:
    """:return: the value as a request has it, and what is wrong with it."""
    if kind == "number" or value is None:
        return _number(value)
    if kind == "boolean":
        return (value, None) if isinstance(value, bool) else (None, "not_a_boolean")
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        return None, "not_text" if kind == "category" else "not_a_date"
    if kind == "date":
        try:
            date.fromisoformat(value)
        except ValueError:
            return None, "not_a_date"
    return value, None


def _number(value: object) -> tuple[float | None, str | None]:
    """:return: the value as a float (None where it is missing), and what is wrong with it."""
    if value is None:
        return None, None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None, "not_a_number"
    try:
        number = float(value)
    except OverflowError:
        return None, "not_finite"
    return (number, None) if math.isfinite(number) else (None, "not_finite")


def _shown(value: object) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 1024:
        return "a number beyond the range of a 64-bit float"
    return show_value(value)


def _mistake(
    feature: str, problem: str, got: str, allowed: str, nearest: str | None = None
) -> dict[str, str | None]:
    return {"feature": feature, "problem": problem, "got": got, "allowed": allowed, "nearest": nearest}


def _unknown(name: object, value: object, features: Sequence[str]) -> dict[str, str | None]:
    shown = str(name)[:_NAME_CHARACTERS]
    return _mistake(shown, "unknown", _shown(value), list_names(features), nearest_match(shown, features))


def _sentence(city: str, mistakes: Sequence[Mapping[str, str | None]]) -> str:
    """Say what is wrong with a row, missing features together so that a row of nothing is one short sentence."""
    parts = []
    missing = [str(each["feature"]) for each in mistakes if each["problem"] == "missing"]
    for each in mistakes:
        if each["problem"] == "unknown":
            hint = f"did you mean {each['nearest']!r}?" if each["nearest"] else f"it has: {each['allowed']}."
            parts.append(f"feature {each['feature']!r}: the model does not have it; {hint}")
        elif each["problem"] != "missing":
            parts.append(f"feature {each['feature']!r}: got {each['got']}; allowed: {each['allowed']}.")
    if missing:
        what = "feature" if len(missing) == 1 else "features"
        allowed = {str(each["allowed"]) for each in mistakes if each["problem"] == "missing"}
        each_is = allowed.pop() if len(allowed) == 1 else f"a value of its kind, {_MISSING}"
        parts.append(f"{what} missing: {list_names(missing)}; allowed for each: {each_is}.")
    return f"city {city!r}: " + " ".join(parts)
