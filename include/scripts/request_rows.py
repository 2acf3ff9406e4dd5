"""Reads the rows of a request one by one: what comes behind the first bad row is never read.

A body may hold 6 MB. Nothing here keeps the interpreter to itself for more than milliseconds, so a model server goes on
answering others meanwhile.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

try:
    # The managed container answers with the status and message of its own kind of error only.
    from sagemaker_inference.errors import BaseInferenceToolkitError as _ToolkitError
except ImportError:

    class _ToolkitError(Exception):  # type: ignore[no-redef]
        """Stands in where the toolkit is not installed."""


SHAPE = '{"instances": [[1.5, null]]} or {"instances": [{"feature": 1.5}]}'
SHOWN_CHARACTERS = 50
#: How far the usual beginning of a request goes: what is before the list.
_INSTANCES = re.compile(r'\s*\{\s*"instances"\s*:\s*\[\s*')
_BETWEEN = re.compile(r"\s*([,\]])\s*")

# A row as it came: values in feature order, or by feature name.
Row: TypeAlias = "Sequence[float] | dict[str, float]"


class BadRequest(_ToolkitError, ValueError):
    """A request that the caller can put right.

    :param message: one sentence.
    """

    def __init__(self, message: str) -> None:
        Exception.__init__(self, message)
        self.status_code = 400
        self.message = message
        self.phrase = "Bad Request"


def csv_rows(text: str) -> Iterator[Row]:
    """Read text/csv: one row per line, no header, empty or nan where missing.

    :raises BadRequest: at the first row that can't be read.
    """
    # A StringIO knows all ends of lines, but begins with a copy four times the size.
    lines, number = csv.reader(io.StringIO(text, newline="") if "\r" in text else _lines(text)), 0
    while True:
        try:
            line = next(lines, None)
        except csv.Error as error:
            allowed = f"numbers between commas, each at most {csv.field_size_limit()} characters"
            raise BadRequest(f"Row {number + 1}: not CSV ({error}); allowed: {allowed}.") from None
        if line is None:
            return
        if not line:
            continue
        number += 1
        try:
            row = list(map(float, line))
        except ValueError:
            row = []
        # An empty cell, an infinity and a missing value are looked at one by one.
        if not row or not math.isfinite(sum(row)):
            row = [_csv_value(cell, number, position) for position, cell in enumerate(line, start=1)]
        yield row


def json_rows(text: str) -> Iterator[Row]:
    """Read application/json: an object whose list ``instances`` holds lists or objects, null where missing.

    :raises BadRequest: at the first row that can't be read, or when the document is none.
    """
    try:
        for number, instance in enumerate(_instances(text), start=1):
            yield _json_row(instance, number)
    except (ValueError, RecursionError) as error:
        if isinstance(error, BadRequest):
            raise
        raise BadRequest(f"The request is not JSON ({error}); allowed: {SHAPE}.") from None


def shown(text: str) -> str:
    """A value of the request as messages quote it: not at length."""
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def _lines(text: str) -> Iterator[str]:
    at = 0
    while at < len(text):
        end = text.find("\n", at) + 1 or len(text)
        yield text[at:end]
        at = end


def _csv_value(cell: str, row: int, position: int) -> float:
    text = cell.strip()
    if text.lower() in ("", "nan"):
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.inf
    if math.isinf(value):
        raise BadRequest(
            f"Row {row}, value {position}: got '{shown(text)}'; allowed: a number, or empty (no header row)."
        )
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise BadRequest(f"The request has '{shown(twice)}' twice in one object; allowed: once.")
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)


def _instances(text: str) -> Iterator[Any]:
    """The instances one by one where the request begins with them, as nearly all do; else all at once."""
    begin = _INSTANCES.match(text)
    if begin is None:
        document = _DECODER.decode(text)
        instances = document.get("instances") if isinstance(document, dict) else None
        if not isinstance(instances, list):
            raise BadRequest(f"The request has no list of instances; allowed: {SHAPE}.")
        yield from instances
        return
    at = begin.end()
    if text[at : at + 1] == "]":
        at += 1
    else:
        while True:
            instance, at = _DECODER.raw_decode(text, at)
            yield instance
            between = _BETWEEN.match(text, at)
            if between is None:
                raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
            at = between.end()
            if between[1] == "]":
                break
    # What follows the list is read as if the list had been empty, so that nothing in it goes unnoticed.
    _DECODER.decode('{"instances": []' + text[at:])


def _json_row(instance: Any, number: int) -> Row:
    if isinstance(instance, list):
        return [_json_value(value, f"value {at}", number) for at, value in enumerate(instance, start=1)]
    if isinstance(instance, dict):
        return {
            name: _json_value(value, f"feature '{shown(name)}'", number) for name, value in instance.items()
        }
    got = shown(json.dumps(instance))
    raise BadRequest(f"Row {number}: got {got}; allowed: a list of values or an object.")


def _json_value(value: Any, where: str, row: int) -> float:
    if value is None:
        return math.nan
    number = math.inf
    if isinstance(value, int | float) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            number = float(value)
    if math.isinf(number):
        got = shown(json.dumps(value))
        raise BadRequest(f"Row {row}, {where}: got {got}; allowed: a number, or null where missing.")
    return number
