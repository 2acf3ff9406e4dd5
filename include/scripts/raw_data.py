"""Reads one city's raw CSV or Parquet files into one row per known period.

Only rows known by as_of are looked at beyond their time cells: a mistake in a later row must not change what
an earlier as_of sees. How many there are is counted, and said.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from calendar_grid import Duration, noun, period_start
from csv_dialect import folder_columns
from job_failure import JobFailure, listed
from period_rows import LAST, Aggregated, OnePerPeriod, PeriodRule, Row
from raw_records import DataFile, Record
from row_reader import LARGEST, Complaints, Later, Limits, RowReader
from rows_ahead import RowsAhead, values_of
from same_period import repeated_note
from time_columns import TimeColumns

#: Names of files and folders that tools leave beside the data they write: hidden ones (``.part-0.csv.crc``), those of
#: Spark, Hadoop and Glue (``_SUCCESS``, ``_committed_1``, ``_temporary/``, ``raw_$folder$``, checksums) and Athena's.
NO_DATA = re.compile(
    r"[._].*|.*\.crc|.*_\$folder\$|.*\.csv\.metadata|[0-9a-f-]{36}-manifest\.csv", re.IGNORECASE | re.DOTALL
)


@dataclass
class RawCity:
    """What one city's files hold.

    :param rows: the rows known by as_of, by period.
    :param inputs: one manifest entry per file.
    :param lacking: columns that may be missing, and are in every file.
    :param later: how many rows are of periods that are not known yet by as_of; nothing is made of them.
    :param filled: how many periods have no row, which counts as 0.
    :param ahead: of rows that are not known yet: number of a period → what is known ahead of it.
    """

    rows: list[Row] = field(default_factory=list)
    inputs: list[dict[str, Any]] = field(default_factory=list)
    lacking: frozenset[str] = frozenset()
    later: int = 0
    filled: int = 0
    ahead: dict[int, dict[str, float | None]] = field(default_factory=dict)


def read_city(
    folder: Path,
    uri: str,
    *,
    time: TimeColumns,
    limits: Mapping[str, Limits],
    as_of: datetime,
    available_after: Duration,
    optional: frozenset[str] = frozenset(),
    rule: PeriodRule | None = None,
    order: Sequence[str] | None = None,
    decimal_comma: bool = False,
    ahead: RowsAhead | None = None,
) -> RawCity:
    """Read all files of a city.

    :param folder: the city's folder; files at any depth, those that are no data (:data:`NO_DATA`) left out.
    :param uri: the folder's S3 URI, for messages and the manifest; ends in a slash.
    :param time: how a row says its period.
    :param limits: the number columns needed, and what their values may be.
    :param as_of: rows known later are not used.
    :param available_after: a row is known at the start of its period plus this.
    :param optional: number columns that a file may lack.
    :param rule: what becomes of several rows of one period; None: they are a mistake.
    :param order: names of the files, the newest last, for a rule that goes by that; None: they are sorted by name.
    :param decimal_comma: CSV files write numbers as 1.234,5.
    :param ahead: takes what rows of periods to come hold; None where nothing is known ahead.
    :return: rows in the order of their periods.
    :raises JobFailure: when a file cannot be read or holds impossible values, or two rows contradict each other.
    """
    rule = rule or PeriodRule()
    files = in_order(data_files(folder, uri), folder, order, by_age=rule.duplicates == LAST)
    city, complaints = RawCity(), Complaints()
    reader = RowReader(time, limits, as_of, available_after, rule, complaints, ahead)
    zeros = {name: each.allow(0.0) for name, each in limits.items()}
    periods = _collector(rule, time.frequency, zeros, complaints)
    # Of a period to come that has no row nobody knows whether it is one of none of it.
    to_come = ahead and _collector(ahead.rule(rule), time.frequency, dict.fromkeys(limits, False), complaints)
    # Transactions are compared as a whole; the rows of a period by what they say.
    compares = bool(rule.aggregate) and len(files) > 1
    needed = [*time.columns, *(column for column in limits if column not in time.columns)]
    for path in files:
        name = path.relative_to(folder).as_posix()
        file = DataFile(path, uri + name, needed, optional, folder_columns(name))
        for each in (periods, to_come) if to_come else (periods,):
            each.begin_file()
        rows = used = repeated = 0
        later, comma = city.later, decimal_comma and not name.lower().endswith(".parquet")
        for record in file.records():
            rows += 1
            found = reader.read(file, record, comma)
            mark = _fingerprint(file.others, record) if compares and found is not None else 0
            if isinstance(found, Later):
                city.later += 1
                if to_come and found.ahead is not None:
                    to_come.add(*found.ahead, mark)
            elif found is not None:
                row, moment = found
                if periods.add(row, moment, mark):
                    used += 1
                else:
                    repeated += 1
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
                "rows_later": city.later - later,
            }
        )
    complaints.raise_any()
    city.rows = periods.finish()
    planned = to_come.finish() if to_come else []
    city.ahead = values_of(planned)
    if isinstance(periods, Aggregated):
        city.filled = periods.filled
        _check_aggregates([*city.rows, *planned], limits, rule, time.frequency, complaints)
        complaints.raise_any()
    what = f"{noun(time.frequency)}s"
    say_later(uri, city.later, what, as_of, len(city.ahead))
    if city.filled:
        print(f"{uri}: {city.filled} {noun(time.frequency)}s without a row count as 0", flush=True)
    return city


def _collector(
    rule: PeriodRule, frequency: str, fills: Mapping[str, bool], complaints: Complaints
) -> OnePerPeriod | Aggregated:
    """Return what makes one row of those of a period.

    :param fills: number column → whether it may be 0 in a period without a row.
    """
    if rule.aggregate:
        return Aggregated(rule, frequency, fills)
    return OnePerPeriod(rule, frequency, complaints.add)


def _fingerprint(others: Sequence[str], record: Record) -> int:
    """Return a number that tells a row's cells from others, whatever the order of the columns."""
    return hash(frozenset((*record[1].items(), *zip(others, record[2], strict=True))))


def say_later(uri: str, later: int, what: str, as_of: datetime, ahead: int = 0) -> None:
    """Say in the log how many rows are left out because they are not known yet.

    :param what: their moments, or their periods by name.
    :param ahead: of how many periods something is known ahead.
    """
    if later:
        are = "1 row is" if later == 1 else f"{later} rows are"
        moment = f"{as_of:%Y-%m-%dT%H:%M:%SZ}"
        but = f", but for what is known ahead of {ahead} {what}" if ahead else ""
        print(f"{uri}: {are} of {what} that are not known yet at {moment} (as_of): left out{but}", flush=True)


def _check_aggregates(
    rows: Sequence[Row],
    limits: Mapping[str, Limits],
    rule: PeriodRule,
    frequency: str,
    complaints: Complaints,
) -> None:
    """Complain of what rows together make and no value may be."""
    for row in rows:
        for column, value in row.values.items():
            if value is not None and not (abs(value) <= LARGEST and limits[column].allow(value)):
                day = period_start(row.index, frequency).isoformat()
                complaints.add(
                    f"{row.file}: the {rule.aggregate[column]} of column '{column}' in the {noun(frequency)} of {day} "
                    f"is {value:g}; allowed: {limits[column]}."
                )


def in_order(files: Sequence[Path], folder: Path, order: Sequence[str] | None, *, by_age: bool) -> list[Path]:
    """Sort a city's files, the newest last.

    :param order: their names as the run knows them by age; None where it says nothing.
    :param by_age: whether it matters; then the log says what the order goes by.
    """
    names = {path.relative_to(folder).as_posix(): path for path in files}
    if by_age and len(files) > 1:
        by = "name: the settings do not say how old they are" if order is None else "age in S3"
        newest = max(names) if order is None else next((n for n in reversed(order) if n in names), max(names))
        print(
            f"Of rows of one period those of the newest file count; files are sorted by {by}; newest: {newest}"
        )
    if order is None:
        return list(files)
    places = {name: at for at, name in enumerate(order)}
    return [names[name] for name in sorted(names, key=lambda name: (places.get(name, -1), name))]


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
