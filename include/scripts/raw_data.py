"""Reads one city's raw CSV or Parquet files into one row per known period.

Only rows known by as_of are looked at beyond their time cells: a mistake in a later row must not change what
an earlier as_of sees. Every complaint names file, row (as an editor counts them: 1 is the header), column,
what was got and what is allowed; all of them are collected, so that a person does not correct a file one run
at a time.
"""

from __future__ import annotations

import csv
import hashlib
import importlib
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from calendar_grid import Duration, period_index, period_start
from job_failure import JobFailure, listed, nearest
from same_period import contradiction, is_repeated, repeated_note
from time_columns import TimeColumns

#: Names of files and folders that tools leave beside the data they write: hidden ones (``.part-0.csv.crc``), those of
#: Spark, Hadoop and Glue (``_SUCCESS``, ``_committed_1``, ``_temporary/``, ``raw_$folder$``, checksums) and Athena's.
NO_DATA = re.compile(
    r"[._].*|.*\.crc|.*_\$folder\$|.*\.csv\.metadata|[0-9a-f-]{36}-manifest\.csv", re.IGNORECASE | re.DOTALL
)
#: A number beyond this is none that a model could learn: XGBoost reckons in single precision, and errors are squared.
LARGEST = 1e18
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none"})
COMPLAINTS_SHOWN = 3


@dataclass(frozen=True)
class Limits:
    """What a column's values may be.

    :param low: smallest value, or None.
    :param high: largest value, or None.
    :param above_zero: whether 0 is too little (for a target under a logarithm).
    """

    low: float | None = None
    high: float | None = None
    above_zero: bool = False

    def allow(self, value: float) -> bool:
        """Say whether a value is possible.

        :param value: a finite number.
        """
        return not (
            (self.low is not None and value < self.low)
            or (self.high is not None and value > self.high)
            or (self.above_zero and value <= 0)
        )

    def __str__(self) -> str:
        if self.low is not None and self.high is not None:
            return f"a number from {self.low:.12g} to {self.high:.12g}"
        if self.high is not None:
            return (
                f"a number above 0 and of at most {self.high:.12g}"
                if self.above_zero
                else f"a number of at most {self.high:.12g}"
            )
        if self.low is not None and not (self.above_zero and self.low <= 0):
            return f"a number of at least {self.low:.12g}"
        return "a number above 0" if self.above_zero else "a number"


@dataclass
class Row:
    """One period of one city, as the file has it.

    :param number: row in the file; 1 is the header.
    :param cells: used columns → text as in the file.
    :param values: number columns → value; None where missing.
    :param others: the file's other columns → value; None where missing or no number.
    """

    file: str
    number: int
    index: int
    cells: dict[str, str]
    values: dict[str, float | None]
    others: dict[str, float | None] = field(default_factory=dict)


@dataclass
class RawCity:
    """What one city's files hold.

    :param rows: the rows known by as_of, by period.
    :param inputs: one manifest entry per file.
    """

    rows: list[Row] = field(default_factory=list)
    inputs: list[dict[str, Any]] = field(default_factory=list)


def read_city(
    folder: Path,
    uri: str,
    *,
    time: TimeColumns,
    limits: Mapping[str, Limits],
    as_of: datetime,
    available_after: Duration,
) -> RawCity:
    """Read all files of a city.

    :param folder: the city's folder; files at any depth, those that are no data (:data:`NO_DATA`) left out.
    :param uri: the folder's S3 URI, for messages and the manifest; ends in a slash.
    :param time: how a row says its period.
    :param limits: the number columns needed, and what their values may be.
    :param as_of: rows known later are not used.
    :param available_after: a row is known at the start of its period plus this.
    :return: rows in the order of their periods.
    :raises JobFailure: when a file cannot be read or holds impossible values, or two rows contradict each other.
    """
    files = _data_files(folder, uri)
    city = RawCity()
    complaints: list[str] = []
    seen: dict[int, Row] = {}
    needed = [*time.columns, *(column for column in limits if column not in time.columns)]
    for path in files:
        file_uri = uri + path.relative_to(folder).as_posix()
        content = path.read_bytes()
        rows = used = repeated = 0
        for number, cells in _records(path, file_uri, content, needed):
            rows += 1
            index = _index(file_uri, number, cells, time, complaints)
            if index is None or available_after.after(period_start(index, time.frequency)) > as_of:
                continue
            values = _values(file_uri, number, cells, limits, complaints)
            others = {name: _other(text) for name, text in cells.items() if name not in needed}
            row = Row(file_uri, number, index, cells, values, others)
            if index in seen and is_repeated(seen[index], row):
                repeated += 1
                continue
            used += 1
            if index in seen:
                complaints.append(contradiction(seen[index], row, time.frequency))
            seen.setdefault(index, row)
        if repeated:
            print(repeated_note(file_uri, repeated), flush=True)
        city.inputs.append(
            {
                "uri": file_uri,
                "size_bytes": len(content),
                # The ETag that S3 gives an object put in one part.
                "etag": hashlib.md5(content, usedforsecurity=False).hexdigest(),
                "sha256": hashlib.sha256(content).hexdigest(),
                "rows": rows,
                "rows_used": used,
                "rows_repeated": repeated,
            }
        )
    if complaints:
        more = len(complaints) - COMPLAINTS_SHOWN
        tail = f" There are {more} more like these." if more > 0 else ""
        raise JobFailure(" ".join(complaints[:COMPLAINTS_SHOWN]) + tail + " Correct the data and run again.")
    city.rows = [seen[index] for index in sorted(seen)]
    return city


def _data_files(folder: Path, uri: str) -> list[Path]:
    """Find the files that hold data, and say in the log which are ignored.

    :raises JobFailure: there is none.
    """
    files, ignored = [], []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder)
        if any(NO_DATA.fullmatch(part) for part in name.parts):
            ignored.append(name.as_posix())
        else:
            files.append(path)
    if ignored:
        print(f"{uri}: ignored as no data, by their names: {listed(ignored)}", flush=True)
    if not files:
        beside = f" Ignored by their names: {listed(ignored)}." if ignored else ""
        raise JobFailure(f"{uri}: no raw data; expected at least one .csv or .parquet file there.{beside}")
    return files


def _records(
    path: Path, file_uri: str, content: bytes, needed: Sequence[str]
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield row number and texts of every row of a file: of the needed columns, and of others named only once."""
    if path.suffix.lower() == ".parquet":
        yield from _parquet_records(file_uri, content, needed)
        return
    if path.suffix.lower() != ".csv":
        raise JobFailure(
            f"{file_uri}: raw data must be .csv or .parquet files. Convert the file, or move it elsewhere."
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise JobFailure(
            f"{file_uri}: not UTF-8 text (byte {error.start}). Save the file as UTF-8."
        ) from None
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        yield from _csv_records(reader, file_uri, needed)
    except csv.Error as error:
        raise JobFailure(
            f"{file_uri}, row {reader.line_num}: not CSV ({error}); often a quote that is never closed. "
            "Correct the row, or export the file again."
        ) from None


def _csv_records(reader: Any, file_uri: str, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a csv.reader, whose class has no public name."""
    header = [name.strip() for name in next(reader, [])]
    if not any(header):
        raise JobFailure(f"{file_uri}: no header; row 1 must name the columns {listed(needed)}.")
    _check_columns(file_uri, header, needed)
    positions = {column: header.index(column) for column in _readable(header, needed)}
    number = reader.line_num + 1
    for cells in reader:
        if any(cell.strip() for cell in cells):
            # A short row has missing cells; what they mean is judged per column.
            yield number, {name: cells[at] if at < len(cells) else "" for name, at in positions.items()}
        number = reader.line_num + 1


def _parquet_records(
    file_uri: str, content: bytes, needed: Sequence[str]
) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise JobFailure(
            f"{file_uri}: reading Parquet needs pyarrow, which is not installed here. Use CSV instead."
        ) from None
    try:
        table = parquet.read_table(io.BytesIO(content))
    except Exception as error:  # pyarrow's own kinds, of which not all are an OSError or a ValueError
        raise JobFailure(f"{file_uri}: not a readable Parquet file ({error}).") from None
    _check_columns(file_uri, table.column_names, needed)
    names = _readable(table.column_names, needed)
    columns = [_parquet_texts(table.column(name)) for name in names]
    for number, texts in enumerate(zip(*columns, strict=True), start=2):
        yield number, dict(zip(names, texts, strict=True))


def _parquet_texts(column: Any) -> list[str]:
    """Return a column's cells as text; of a moment that no calendar holds, the number it is stored as."""
    try:
        values = column.to_pylist()
    except (ValueError, OverflowError):
        values = [_parquet_value(cell) for cell in column]
    return ["" if value is None else str(value) for value in values]


def _parquet_value(cell: Any) -> Any:
    try:
        return cell.as_py()
    except (ValueError, OverflowError):
        return f"{cell.value} ({cell.type})"


def _readable(header: Sequence[str], needed: Sequence[str]) -> list[str]:
    return [*needed, *(name for name in header if name and name not in needed and header.count(name) == 1)]


def _other(text: str) -> float | None:
    """Read a cell of a column that the settings do not ask for: whatever is no number is missing."""
    try:
        value = math.nan if "_" in text else float(text.strip())
    except ValueError:
        return None
    return value if abs(value) <= LARGEST else None


def _check_columns(file_uri: str, header: Sequence[str], needed: Sequence[str]) -> None:
    for column in needed:
        if header.count(column) > 1:
            raise JobFailure(
                f"{file_uri}, row 1: column '{column}' is there {header.count(column)} times; allowed: once."
            )
        if column not in header:
            raise JobFailure(
                f"{file_uri}: column '{column}' is missing; columns found: {listed(header)}."
                f"{nearest(column, header)}"
            )


def _index(
    file_uri: str, number: int, cells: Mapping[str, str], time: TimeColumns, complaints: list[str]
) -> int | None:
    texts = [cells[column] for column in time.columns]
    try:
        return period_index(time.read(texts), time.frequency)
    except ValueError as error:
        names = "', '".join(time.columns)
        plural = "s" if len(texts) > 1 else ""
        got = "', '".join(texts)
        complaints.append(
            f"{file_uri}, row {number}, column{plural} '{names}': got '{got}'; allowed: {error}."
        )
        return None


def _values(
    file_uri: str, number: int, cells: Mapping[str, str], limits: Mapping[str, Limits], complaints: list[str]
) -> dict[str, float | None]:
    values: dict[str, float | None] = {}
    for column, allowed in limits.items():
        text = cells[column].strip()
        values[column] = None
        if text.lower() in MISSING:
            continue
        try:
            # Python reads 1_000 as a number; raw data never mean that.
            value = math.nan if "_" in text else float(text)
        except ValueError:
            value = math.nan
        if abs(value) <= LARGEST and allowed.allow(value):
            values[column] = value
        else:
            size = f" (between -{LARGEST:g} and {LARGEST:g})" if LARGEST < abs(value) < math.inf else ""
            complaints.append(
                f"{file_uri}, row {number}, column '{column}': got '{text}'; allowed: {allowed}{size}, or empty."
            )
    return values
