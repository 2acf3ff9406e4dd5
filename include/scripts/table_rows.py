"""Reads a city's raw files into the rows of a table that were known at as_of: text, column by column.

A row with a moment is known at that moment and what the settings add. Rows without one are known when their file came:
``./fleet ingest`` puts a file into a folder ``known=<as_of>/``, and of the files of one name the last that was known by
as_of counts. Later rows are not looked at beyond their time cells.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from calendar_grid import Duration, parse_as_of
from csv_dialect import folder_columns
from job_failure import JobFailure, quoted
from raw_data import data_files, say_later
from raw_records import DataFile
from row_reader import LATER, Complaints, Later
from table_settings import TableSettings

_KNOWN = re.compile(r"known=([^/]*)/")
_BATCH_ROWS = 20_000
_CACHED_MOMENTS = 100_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass
class TableRows:
    """Rows of raw text.

    :param texts: column → one text per row, as the file has it.
    :param files: URIs; :param file_of: rows; the place in it of the row's file.
    :param number: rows; in the file, 1 being the header.
    :param moment: rows; microseconds since 1970, in UTC; None where the table has no time.
    :param inputs: one manifest entry per file.
    :param later: how many rows are not known yet by as_of; nothing is made of them.
    """

    texts: dict[str, pa.Array]
    files: list[str]
    file_of: np.ndarray
    number: np.ndarray
    moment: np.ndarray | None
    inputs: list[dict[str, Any]]
    later: int = 0

    def __len__(self) -> int:
        return len(self.number)

    def take(self, rows: np.ndarray) -> TableRows:
        """Return some of the rows.

        :param rows: their places, in the order wanted.
        """
        return TableRows(
            texts={name: column.take(pa.array(rows)) for name, column in self.texts.items()},
            files=self.files,
            file_of=self.file_of[rows],
            number=self.number[rows],
            moment=None if self.moment is None else self.moment[rows],
            inputs=self.inputs,
            later=self.later,
        )

    def where(self, row: int) -> str:
        """Return how a message names a row."""
        return f"{self.files[self.file_of[row]]}, row {self.number[row]}"


def read_rows(
    folder: Path, uri: str, settings: TableSettings, optional: frozenset[str] = frozenset()
) -> TableRows:
    """Read all files of a city.

    :param folder: the city's folder.
    :param uri: where it came from; ends in a slash.
    :param optional: columns that a file may lack.
    :raises JobFailure: when a file can't be read, lacks a column, or has a row without moment or key.
    """
    files = {path.relative_to(folder).as_posix(): path for path in data_files(folder, uri)}
    used = set(files) if settings.time else _current(files, uri, settings)
    complaints = Complaints()
    parts: list[_Part] = []
    inputs = []
    for name in _in_order(files):
        file = DataFile(files[name], uri + name, settings.needed, optional, folder_columns(name))
        part = _Part(file, settings, complaints)
        if name in used:
            part.read()
        else:
            file.skip()
        parts.append(part)
        inputs.append(
            {
                "uri": file.uri,
                "size_bytes": file.size_bytes,
                "etag": file.md5,
                "sha256": file.sha256,
                "rows": part.rows,
                "rows_used": len(part.numbers),
                "rows_later": part.later,
            }
        )
    complaints.raise_any()
    rows = _joined(parts, settings, inputs)
    rows.later = sum(part.later for part in parts)
    say_later(uri, rows.later, "moments", settings.as_of)
    return rows if settings.key is None else _one_per_key(rows, settings.key)


def _current(files: Sequence[str] | dict[str, Path], uri: str, settings: TableSettings) -> set[str]:
    """Find the files that were known at as_of: of each name the last."""
    stamps = {name: _stamp(name, uri) for name in files}
    if not any(stamps.values()):
        if datetime.now(UTC) - settings.as_of > timedelta(days=1):
            raise JobFailure(
                f"{uri}: as of {settings.as_of:%Y-%m-%d} nobody knows which rows were there: the table has no time "
                "column, and its files no folder known=<as_of>/ that says since when. Name a time column "
                "(dataset.time), or upload the data with ./fleet ingest, which keeps what was known when."
            )
        return set(files)
    current: dict[str, str] = {}
    for name in _in_order(files):
        stamp = stamps[name]
        if stamp is None or stamp <= settings.as_of:
            current[_KNOWN.sub("", name, count=1)] = name
    return set(current.values())


def _in_order(files: Sequence[str] | dict[str, Path]) -> list[str]:
    """Sort files by when they were known, those that don't say so first."""
    return sorted(files, key=lambda name: (found[1] if (found := _KNOWN.match(name)) else "", name))


def _stamp(name: str, uri: str) -> datetime | None:
    found = _KNOWN.match(name)
    if found is None:
        return None
    try:
        return parse_as_of(found[1])
    except ValueError:
        raise JobFailure(
            f"{uri}{name}: got folder 'known={quoted(found[1])}'; allowed: a UTC time written as 20140101T000000Z."
        ) from None


class _Part:
    """What one file holds."""

    def __init__(self, file: DataFile, settings: TableSettings, complaints: Complaints) -> None:
        self.file = file
        self.rows = self.later = 0
        self.numbers: list[int] = []
        self.moments: list[int] = []
        self.names: list[str] = []
        self.chunks: list[list[pa.Array]] = []
        self._settings = settings
        self._complaints = complaints
        self._known: dict[tuple[str, ...], int | Later | None] = {}

    def read(self) -> None:
        time = self._settings.time
        needed = self._settings.needed
        places = [needed.index(name) for name in time.columns] if time else []
        key = needed.index(self._settings.key) if self._settings.key else None
        batch: list[list[str]] = []
        for number, cells in self.file.rows():
            self.rows += 1
            if places:
                moment = self._moment(number, tuple(cells[at] for at in places))
                if moment is None or isinstance(moment, Later):
                    self.later += moment is not None
                    continue
                self.moments.append(moment)
            if key is not None and not cells[key].strip():
                self._complaints.add(
                    f"{self.file.uri}, row {number}, column '{needed[key]}': got nothing; allowed: the row's key."
                )
            self.numbers.append(number)
            batch.append(cells)
            if len(batch) == _BATCH_ROWS:
                self._keep(batch)
                batch = []
        self._keep(batch)
        # A column that the file lacks is one of empty cells here; where all files lack it, it is none.
        self.names = [*needed, *self.file.others]

    def _keep(self, batch: list[list[str]]) -> None:
        if batch:
            self.chunks.append([pa.array(column, pa.large_string()) for column in zip(*batch, strict=True)])

    def _moment(self, number: int, cells: tuple[str, ...]) -> int | Later | None:
        """Return a row's moment; None for what is none."""
        if cells not in self._known:
            if len(self._known) >= _CACHED_MOMENTS:
                self._known.clear()
            self._known[cells] = self._read_moment(number, cells)
        return self._known[cells]

    def _read_moment(self, number: int, cells: tuple[str, ...]) -> int | Later | None:
        time = self._settings.time
        assert time is not None  # noqa: S101
        try:
            moment = time.read_moment(cells)
        except ValueError as error:
            names, got = "', '".join(time.columns), "', '".join(quoted(text) for text in cells)
            self._complaints.add(
                f"{self.file.uri}, row {number}, column{'s' if len(cells) > 1 else ''} '{names}': got '{got}'; "
                f"allowed: {error}."
            )
            return None
        if _after(self._settings.available_after, moment) > self._settings.as_of:
            return LATER
        return (moment - _EPOCH) // _MICROSECOND


@lru_cache(maxsize=1000)
def _after_midnight(available_after: Duration, day: date) -> datetime:
    return available_after.after(day)


def _after(available_after: Duration, moment: datetime) -> datetime:
    """Return when a row is known; rows of one day ask the calendar once."""
    time_of_day = moment - datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    try:
        return _after_midnight(available_after, moment.date()) + time_of_day
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def _joined(parts: list[_Part], settings: TableSettings, inputs: list[dict[str, Any]]) -> TableRows:
    read = [part for part in parts if part.numbers]
    names = list(dict.fromkeys(name for part in read for name in part.names)) or list(settings.needed)
    counts = [len(part.numbers) for part in read]
    lacking = frozenset.intersection(*(part.file.lacking for part in read)) if read else frozenset()
    texts: dict[str, pa.Array] = {}
    for name in names:
        if name in lacking:
            continue
        chunks: list[pa.Array] = []
        for part, count in zip(read, counts, strict=True):
            if name in part.names:
                at = part.names.index(name)
                chunks += [chunk[at] for chunk in part.chunks]
                for chunk in part.chunks:
                    chunk[at] = None  # one column at a time is there twice
            else:  # a column that only other files have
                chunks.append(pa.array([""] * count, pa.large_string()))
        texts[name] = pa.concat_arrays(chunks) if chunks else pa.array([], pa.large_string())
    return TableRows(
        texts=texts,
        files=[part.file.uri for part in read],
        file_of=np.repeat(np.arange(len(read), dtype=np.int32), counts),
        number=np.array([number for part in read for number in part.numbers], dtype=np.int64),
        moment=np.array([moment for part in read for moment in part.moments], dtype=np.int64)
        if settings.time
        else None,
        inputs=inputs,
    )


def _one_per_key(rows: TableRows, key: str) -> TableRows:
    """Keep the last row of each key: a later file's takes the place of an earlier one's.

    :raises JobFailure: one file has a key twice.
    """
    if not len(rows):
        return rows
    codes = rows.texts[key].dictionary_encode().indices.to_numpy()
    order = np.lexsort((np.arange(len(rows)), rows.file_of, codes))
    same_key = codes[order][1:] == codes[order][:-1]
    same_file = rows.file_of[order][1:] == rows.file_of[order][:-1]
    complaints = Complaints()
    for at in np.flatnonzero(same_key & same_file).tolist():
        first, second = int(order[at]), int(order[at + 1])
        complaints.add(
            f"{rows.where(second)}: key '{quoted(rows.texts[key][second].as_py())}' of column '{key}' is there "
            f"already, in row {rows.number[first]}; allowed: once in a file."
        )
    complaints.raise_any()
    last = np.append(~same_key, True)
    return rows if last.all() else rows.take(np.sort(order[last]))
