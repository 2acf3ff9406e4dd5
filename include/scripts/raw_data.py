"""Reads one city's raw CSV or Parquet files into one row per known period.

Only rows known by as_of are looked at beyond their time cells: a mistake in a later row must not change what
an earlier as_of sees. Every complaint names file, row (as an editor counts them: 1 is the header), column,
what was got and what is allowed; all of them are collected, so that a person does not correct a file one run
at a time.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from calendar_grid import Duration, period_index, period_start
from job_failure import JobFailure, listed, quoted
from raw_records import DataFile, Record
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


@dataclass(slots=True)
class Row:
    """One period of one city, as the file has it.

    :param number: row in the file; 1 is the header.
    :param cells: needed columns → text as in the file.
    :param values: number columns → value; None where missing.
    :param other_names: the file's other columns; all its rows share them.
    :param other_values: one for each of them; NaN where missing or no number.
    """

    file: str
    number: int
    index: int
    cells: dict[str, str]
    values: dict[str, float | None]
    other_names: tuple[str, ...] = ()
    other_values: array[float] = field(default_factory=lambda: array("d"))

    @property
    def others(self) -> Iterator[tuple[str, float | None]]:
        """The other columns with their values; None where missing or no number."""
        for name, value in zip(self.other_names, self.other_values, strict=True):
            yield name, None if math.isnan(value) else value


class Complaints:
    """What is wrong with the data: all of it is counted, and the first is kept."""

    def __init__(self) -> None:
        self._first: list[str] = []
        self._count = 0

    def add(self, complaint: str) -> None:
        """Note one."""
        self._count += 1
        if len(self._first) < COMPLAINTS_SHOWN:
            self._first.append(complaint)

    def raise_any(self) -> None:
        """Fail if there is one.

        :raises JobFailure: naming the first, and how many there are.
        """
        if self._first:
            more = self._count - len(self._first)
            tail = f" There are {more} more like these." if more > 0 else ""
            raise JobFailure(" ".join(self._first) + tail + " Correct the data and run again.")


@dataclass
class RawCity:
    """What one city's files hold.

    :param rows: the rows known by as_of, by period.
    :param inputs: one manifest entry per file.
    :param lacking: columns that may be missing, and are in every file.
    """

    rows: list[Row] = field(default_factory=list)
    inputs: list[dict[str, Any]] = field(default_factory=list)
    lacking: frozenset[str] = frozenset()


def read_city(
    folder: Path,
    uri: str,
    *,
    time: TimeColumns,
    limits: Mapping[str, Limits],
    as_of: datetime,
    available_after: Duration,
    optional: frozenset[str] = frozenset(),
) -> RawCity:
    """Read all files of a city.

    :param folder: the city's folder; files at any depth, those that are no data (:data:`NO_DATA`) left out.
    :param uri: the folder's S3 URI, for messages and the manifest; ends in a slash.
    :param time: how a row says its period.
    :param limits: the number columns needed, and what their values may be.
    :param as_of: rows known later are not used.
    :param available_after: a row is known at the start of its period plus this.
    :param optional: number columns that a file may lack.
    :return: rows in the order of their periods.
    :raises JobFailure: when a file cannot be read or holds impossible values, or two rows contradict each other.
    """
    files = data_files(folder, uri)
    city = RawCity()
    complaints = Complaints()
    seen: dict[int, Row] = {}
    needed = [*time.columns, *(column for column in limits if column not in time.columns)]
    for path in files:
        file = DataFile(path, uri + path.relative_to(folder).as_posix(), needed, optional)
        rows = used = repeated = 0
        for record in file.records():
            rows += 1
            number, cells, _ = record
            index = _index(file.uri, number, cells, time, complaints)
            if index is None or available_after.after(period_start(index, time.frequency)) > as_of:
                continue
            row = _row(file, record, index, _values(file.uri, number, cells, limits, complaints))
            if index in seen and is_repeated(seen[index], row):
                repeated += 1
                continue
            used += 1
            if index in seen:
                complaints.add(contradiction(seen[index], row, time.frequency))
            seen.setdefault(index, row)
        city.lacking = file.lacking if path == files[0] else city.lacking & file.lacking
        if repeated:
            print(repeated_note(file.uri, repeated), flush=True)
        city.inputs.append(
            {
                "uri": file.uri,
                "size_bytes": file.size_bytes,
                # The ETag that S3 gives an object put in one part.
                "etag": file.md5,
                "sha256": file.sha256,
                "rows": rows,
                "rows_used": used,
                "rows_repeated": repeated,
            }
        )
    complaints.raise_any()
    city.rows = [seen[index] for index in sorted(seen)]
    return city


def _row(file: DataFile, record: Record, index: int, values: dict[str, float | None]) -> Row:
    number, cells, texts = record
    return Row(file.uri, number, index, cells, values, file.others, array("d", map(_other, texts)))


def data_files(folder: Path, uri: str) -> list[Path]:
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


def _other(text: str) -> float:
    """Read a cell of a column that the settings do not ask for: whatever is no number is missing (NaN)."""
    try:
        value = math.nan if "_" in text else float(text.strip())
    except ValueError:
        return math.nan
    return value if abs(value) <= LARGEST else math.nan


def _index(
    file_uri: str, number: int, cells: Mapping[str, str], time: TimeColumns, complaints: Complaints
) -> int | None:
    texts = [cells[column] for column in time.columns]
    try:
        return period_index(time.read(texts), time.frequency)
    except ValueError as error:
        names = "', '".join(time.columns)
        plural = "s" if len(texts) > 1 else ""
        got = "', '".join(quoted(text) for text in texts)
        complaints.add(f"{file_uri}, row {number}, column{plural} '{names}': got '{got}'; allowed: {error}.")
        return None


def _values(
    file_uri: str, number: int, cells: Mapping[str, str], limits: Mapping[str, Limits], complaints: Complaints
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
            complaints.add(
                f"{file_uri}, row {number}, column '{column}': got '{quoted(text)}'; "
                f"allowed: {allowed}{size}, or empty."
            )
    return values
