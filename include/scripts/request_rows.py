"""Reads the rows of a request one by one: what comes behind the first bad row is never read.

Rows of numbers are read as such at once. Those of a model with other features stay as they came until
:func:`encoded_row` reads each cell as what its feature is.

A body may hold 6 MB, and be made to cost as much as can be. Nothing here keeps the interpreter to itself for more than
milliseconds, so a model server goes on answering others meanwhile; and what is no row, or none that any model has, is
refused before it is understood.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from table_schema import Feature

try:
    # The managed container answers with the status and message of its own kind of error only.
    from sagemaker_inference.errors import BaseInferenceToolkitError as _ToolkitError
except ImportError:

    class _ToolkitError(Exception):  # type: ignore[no-redef]
        """Stands in where the toolkit is not installed."""


SHOWN_CHARACTERS = 50
#: More than any row has: a model has at most 32,767 features.
MOST_VALUES = 32_767
MOST_ROW_CHARACTERS = 500_000
#: Without a row in between.
MOST_EMPTY_LINES = 1000

# A row as it came: values in feature order, or by feature name.
Row: TypeAlias = "Sequence[float] | dict[str, float]"
# The same before anything is known of its features: texts of CSV, values of JSON.
RawRow: TypeAlias = "list[Any] | dict[str, Any]"
TRUTH = {"true": True, "false": False}


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
    for number, line in enumerate(csv_cells(text), start=1):
        try:
            row = list(map(float, line))
        except ValueError:
            row = []
        # An empty cell, an infinity and a missing value are looked at one by one.
        if not row or not math.isfinite(sum(row)):
            row = [_csv_value(cell, number, position) for position, cell in enumerate(line, start=1)]
        yield row


def csv_cells(text: str) -> Iterator[list[str]]:
    """Read text/csv without looking at its cells: one row per line, no header.

    :raises BadRequest: at the first row that can't be read.
    """
    source = _Lines(text)
    lines, number, empty = csv.reader(source), 0, 0
    while True:
        source.row = number + 1
        try:
            line = next(lines, None)
        except csv.Error as error:
            allowed = f"numbers between commas, each at most {csv.field_size_limit()} characters"
            raise BadRequest(f"Row {number + 1}: not CSV ({error}); allowed: {allowed}.") from None
        if line is None:
            return
        source.taken = 0
        if not line:
            empty += 1
            if empty > MOST_EMPTY_LINES:
                raise BadRequest(
                    f"Row {number + 1}: got {empty} empty lines before it; allowed: {MOST_EMPTY_LINES}."
                )
            continue
        empty = 0
        number += 1
        check_count(len(line), number)
        yield line


def encoded_row(
    features: Sequence[Feature], values: Sequence[Any], number: int, *, text: bool
) -> list[float]:
    """Turn the raw values of a row into the numbers that the model takes.

    :param values: one per feature, in their order.
    :param number: of the row.
    :param text: the values are cells of CSV.
    :raises BadRequest: naming the first feature whose value is of another kind.
    """
    row = []
    for feature, value in zip(features, values, strict=True):
        raw = _cell(feature, value) if text else value
        try:
            cell = feature.encode(raw)
            allowed = "" if not math.isinf(cell) else "a number"
        except OverflowError:
            allowed = "a number"
        except ValueError as error:
            allowed = str(error)
        if allowed:
            got = f"'{shown(value)}'" if text else shown_json(value)
            missing = "empty" if text else "null"
            raise BadRequest(
                f"Row {number}, feature '{shown(feature.name)}': got {got}; allowed: {allowed}, or {missing} where "
                "missing."
            )
        row.append(cell)
    return row


def shown(text: str) -> str:
    """A value of the request as messages quote it: not at length."""
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def shown_json(value: object) -> str:
    """A value of a JSON request as messages quote it."""
    try:
        return shown(json.dumps(value))
    except RecursionError:
        return "lists in lists without end"


class _Lines:
    """The lines of a text, however they end; a row may go over some, but not without end.

    :param text: the whole of it.
    """

    def __init__(self, text: str) -> None:
        # A StringIO knows all ends of lines, but begins with a copy four times the size.
        self._source = iter(io.StringIO(text, newline="")) if "\r" in text else self._cut(text)
        self.row = 1
        self.taken = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._source)
        self.taken += len(line)
        if self.taken > MOST_ROW_CHARACTERS:
            raise too_long(self.row)
        return line

    @staticmethod
    def _cut(text: str) -> Iterator[str]:
        at = 0
        while at < len(text):
            end = text.find("\n", at) + 1 or len(text)
            yield text[at:end]
            at = end


def too_long(row: int) -> BadRequest:
    return BadRequest(
        f"Row {row}: got more than {MOST_ROW_CHARACTERS} characters; allowed: {MOST_ROW_CHARACTERS}."
    )


def check_count(values: int, row: int) -> None:
    """Refuse a row that no model has, before each of its values is looked at."""
    if values > MOST_VALUES:
        raise BadRequest(f"Row {row}: got {values} values; allowed: at most {MOST_VALUES}.")


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


def _cell(feature: Feature, cell: str) -> Any:
    """A cell of CSV as JSON would have it; one of another kind stays text, which its feature then refuses."""
    text = cell.strip()
    if not text:
        return None
    if feature.kind == "number":
        try:
            return float(text)
        except ValueError:
            return text
    if feature.kind == "boolean":
        return TRUTH.get(text.lower(), text)
    return cell if feature.kind == "category" else text
