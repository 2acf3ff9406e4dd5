"""Rows of features from a CSV file, Parquet or JSON lines: a batch of them is in memory, not the file."""

from __future__ import annotations

import gzip
import json
import math
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from typing import IO, Any, cast

from city_fleet.data.csv_rows import csv_rows
from city_fleet.errors import DataError, list_names, nearest_match, show_value
from city_fleet.prediction.feature_row import value_of_text
from city_fleet.state.forecast_table import pyarrow

FORMS = ("csv", "parquet", "jsonl")
ALLOWED = "a file that ends in .csv, .csv.gz, .txt, .parquet or .jsonl, or - for standard input"
_ENDS = {
    ".csv": "csv",
    ".csv.gz": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
#: In CSV, for a value that is missing; a category may be called so.
_MISSING = ("na", "nan", "none")
_IN_MEMORY_BYTES = 16 << 20
_BATCH_ROWS = 1000
_MOST_LINE_BYTES = 1_000_000
_BROKEN = (OSError, EOFError, zlib.error)

Row = dict[str, Any]


@dataclass(frozen=True)
class ScoredInput:
    """A file of rows.

    :param name: what it is called in messages.
    :param columns: in their order.
    :param kinds: types of pyarrow by column, of Parquet; empty for others.
    :param rows: the number of each, and its values by column: lines of the file as an editor counts them, or of Parquet
        rows from 1. A row that is none has a sentence instead.
    :param is_text: whether values are text that has to be read.
    """

    name: str
    columns: list[str]
    rows: Iterator[tuple[int, Row | str]]
    kinds: dict[str, Any] = field(default_factory=dict)
    is_text: bool = False


def form_of(file: str, form: str | None) -> str | None:
    """Return what a file holds, by its name where nobody says it; None where neither tells."""
    if form is not None:
        return form
    return next(
        (found for end, found in _ENDS.items() if file.lower().endswith(end)), "csv" if file == "-" else None
    )


@contextmanager
def opened(file: str, form: str, needed: Collection[str]) -> Iterator[ScoredInput]:
    """Open a file of rows.

    :param file: its path; ``-`` is standard input.
    :param form: one of :data:`FORMS`.
    :param needed: columns that tell what stands between the cells of CSV.
    :raises DataError: it can't be read, is empty, or a column is there twice.
    """
    name = "standard input" if file == "-" else file
    with ExitStack() as stack:
        try:
            given = _READERS[form](stack.enter_context(_stream(file)), name, needed)
        except _BROKEN as error:
            raise _unreadable(name, error) from error
        yield replace(given, rows=_guarded(given))


def _guarded(given: ScoredInput) -> Iterator[tuple[int, Row | str]]:
    try:
        yield from given.rows
    except _BROKEN as error:
        raise _unreadable(given.name, error) from error


def _unreadable(name: str, error: Exception) -> DataError:
    got = str(getattr(error, "strerror", None) or error)
    return DataError(file=name, got=got, allowed="a readable file")


@contextmanager
def _stream(file: str) -> Iterator[IO[bytes]]:
    if file != "-":
        opener = cast("Callable[..., IO[bytes]]", gzip.open if file.lower().endswith(".gz") else open)
        with opener(file, "rb") as stream:
            yield stream
        return
    # A pipe can't be looked at twice, which Parquet and the place of a broken byte want.
    with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as kept:
        shutil.copyfileobj(sys.stdin.buffer, kept)
        kept.seek(0)
        yield cast("IO[bytes]", kept)


def _csv(stream: IO[bytes], name: str, needed: Collection[str]) -> ScoredInput:
    found = csv_rows(stream, name, needed)
    head = next(found, None)
    columns = _columns([cell.strip() for cell in head[1]] if head else [], name)

    def rows() -> Iterator[tuple[int, Row | str]]:
        for number, cells in found:
            if not cells:
                continue  # an empty line
            if len(cells) != len(columns):
                yield number, f"got {len(cells)} values; allowed: {len(columns)}, as the header has"
                continue
            yield number, dict(zip(columns, cells, strict=True))

    return ScoredInput(name, columns, rows(), is_text=True)


def _parquet(stream: IO[bytes], name: str, needed: Collection[str]) -> ScoredInput:
    parquet = pyarrow("pyarrow.parquet")
    try:
        file = parquet.ParquetFile(stream)
        schema = file.schema_arrow
    except (OSError, ValueError) as error:
        raise _not_parquet(name, error) from None
    columns = _columns(list(schema.names), name)

    def rows() -> Iterator[tuple[int, Row | str]]:
        number = 0
        try:
            for batch in file.iter_batches(_BATCH_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
        except (OSError, ValueError, NotImplementedError) as error:
            raise _not_parquet(name, error) from None

    return ScoredInput(name, columns, rows(), dict(zip(columns, schema.types, strict=True)))


def _jsonl(stream: IO[bytes], name: str, needed: Collection[str]) -> ScoredInput:
    lines = enumerate(iter(lambda: stream.readline(_MOST_LINE_BYTES + 1), b""), start=1)

    def rows() -> Iterator[tuple[int, Row | str]]:
        for number, line in lines:
            if len(line) > _MOST_LINE_BYTES:
                raise DataError(file=name, row=number, got=f"a line of more than {_MOST_LINE_BYTES:,} bytes")
            if line.strip():
                yield number, _object(line)

    found = rows()
    first = next(found, None)
    columns: list[str] = []
    if first is not None:
        if isinstance(first[1], str):
            raise DataError(file=name, row=first[0], got=first[1].removeprefix("got "))
        columns = list(first[1])
    # Every row is to have the columns of the first: what is written has one set.
    known = set(columns)

    def checked() -> Iterator[tuple[int, Row | str]]:
        for number, row in [first] if first else []:
            yield number, row
        for number, row in found:
            more = "" if isinstance(row, str) else next((each for each in row if each not in known), None)
            if more:
                yield number, f"got member {show_value(more)}, which the first row does not have"
            else:
                yield number, row

    return ScoredInput(name, _columns(columns, name), checked())


def _object(line: bytes) -> Row | str:
    try:
        value = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return "got a line that is not JSON"
    return value if isinstance(value, dict) else f"got {show_value(value)}; allowed: a JSON object per line"


_READERS: dict[str, Callable[[IO[bytes], str, Collection[str]], ScoredInput]] = {
    "csv": _csv,
    "parquet": _parquet,
    "jsonl": _jsonl,
}


def _columns(columns: list[str], name: str) -> list[str]:
    if not columns:
        raise DataError(file=name, got="no rows", allowed="a row of column names, and rows of features")
    twice = next((each for each in columns if columns.count(each) > 1), None)
    if twice is not None:
        raise DataError(file=name, column=twice, got="the column twice", allowed="each column once")
    return columns


def _not_parquet(name: str, error: Exception) -> DataError:
    said = " ".join(str(error).split())[:200]
    return DataError(file=name, got=f"a Parquet file that can't be read ({said})")


def missing_columns(
    columns: Collection[str], features: Collection[str], name: str, city: str
) -> DataError | None:
    """Return what is said of a file that lacks features of a city's model; None where it has all."""
    missing = [feature for feature in features if feature not in columns]
    if not missing:
        return None
    unknown = [column for column in columns if column not in features]
    near = {feature: nearest_match(feature, unknown) for feature in missing}
    hints = [f"{feature!r} (is it {found!r}?)" if found else repr(feature) for feature, found in near.items()]
    count = f"{len(missing)} of the {len(features)} features"
    got = f"no column for {count} of the model of {city!r}: {list_names(missing)}"
    hint = (
        f"Name like them: {', '.join(each for each in hints if '?' in each)}" if any(near.values()) else None
    )
    return DataError(
        file=name, got=got, allowed="a column for each feature, whose cells may be empty", hint=hint
    )


def features_of(row: Row, kinds: dict[str, str], *, is_text: bool) -> Row:
    """Return a row's features as a prediction takes them.

    :param kinds: feature → kind; other columns are left out.
    :param is_text: whether the values are text, as of CSV.
    """
    return {name: _value(row[name], kind, is_text) for name, kind in kinds.items() if name in row}


def _value(value: Any, kind: str, is_text: bool) -> Any:
    if is_text:
        return (
            None if kind != "category" and value.strip().lower() in _MISSING else value_of_text(value, kind)
        )
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, date):
        return (value.date() if isinstance(value, datetime) else value).isoformat()
    return value
