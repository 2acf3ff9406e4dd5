"""A city's raw data files in S3: what they hold, who wrote them, and how one is taken away.

An object that ``./fleet ingest`` writes carries notes as S3 metadata: that it is ingest's, of which file, by whom, and
how many rows and periods it holds. What has no such note was put there by somebody else, and only a person decides
about it.
"""

from __future__ import annotations

import io
from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, unquote

from city_fleet import clock, naming
from city_fleet.config import Fleet
from city_fleet.data.csv_rows import csv_rows
from city_fleet.data.own_columns import needed_columns, own_columns
from city_fleet.data.records import Record, RecordReader
from city_fleet.errors import DataError, UnknownName
from city_fleet.state.objects import ObjectStore
from city_fleet.state.raw_listing import raw_items

INGEST = "fleet-ingest"
#: As the preprocess job knows it (``include/scripts/table_rows.py``).
_KNOWN = "known="
_NOTES = ("written-by", "author", "source", "rows", "periods", "first", "last", "md5")


@dataclass(frozen=True)
class RawFile:
    """A file below a city's prefix.

    :param name: its key behind the prefix.
    :param by_ingest: whether ``./fleet ingest`` wrote it; else somebody put it there.
    :param author: who ran ingest, where that is known.
    :param source: name of the file that was ingested, where that is known.
    :param md5: of the bytes, noted by ingest: with a key of KMS the ETag is another one.
    :param rows: rows, :param periods: periods that differ, ``first`` and ``last`` of them; None where that is not
        known: the file is no CSV, or lacks a column.
    """

    name: str
    key: str
    size_bytes: int
    modified: datetime
    etag: str
    by_ingest: bool
    author: str | None = None
    source: str | None = None
    rows: int | None = None
    periods: int | None = None
    first: str | None = None
    last: str | None = None
    md5: str | None = None

    @property
    def is_data(self) -> bool:
        """Whether a run reads it as data."""
        return naming.is_data_file(self.name)

    @property
    def is_csv(self) -> bool:
        return self.is_data and self.name.lower().endswith(".csv")

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "modified": self.modified.isoformat(), "is_data": self.is_data}


def known_folder(moment: datetime) -> str:
    """Return the folder, below a city's, of a file whose rows are known since a moment."""
    return f"{_KNOWN}{clock.stamp(moment)}"


def known_name(name: str) -> str | None:
    """Return a file's name within such a folder; None for a file that is in none."""
    folder, slash, rest = name.partition("/")
    return rest if slash and folder.startswith(_KNOWN) else None


def notes(
    source: str, author: str, rows: int, periods: Collection[str], *, names: int, md5: str
) -> dict[str, str]:
    """Return the notes beside an object that ingest writes.

    :param rows: how many it holds, :param names: how many of them differ in period or name.
    :param periods: its periods; empty for a table, whose rows have names in no order.
    """
    first, last = min(periods, default=""), max(periods, default="")
    values = (INGEST, author, source, rows, names, first, last, md5)
    # S3 takes ASCII alone, and a little of it.
    return {name: quote(str(value), safe=" :./+-")[:200] for name, value in zip(_NOTES, values, strict=True)}


def raw_files(fleet: Fleet, store: ObjectStore, city: str) -> list[RawFile]:
    """Return a city's files with what their writers noted, sorted by name; one request per file and one more.

    Of data elsewhere, which ingest does not write, nobody has noted anything.

    :param store: whose client is used, for the bucket that the files are in.
    """
    place = fleet.raw_place(city)
    found = []
    for item in raw_items(store.client, place):
        name = item.key.removeprefix(place.folder)
        metadata = ObjectStore(store.client, place.bucket).metadata_of(item.key) if place.own else {}
        noted = {key: unquote(value) for key, value in metadata.items()}
        by_ingest = noted.get("written-by") == INGEST
        mine = noted if by_ingest else {}
        found.append(
            RawFile(
                name, item.key, item.size_bytes, item.modified, item.etag, by_ingest,
                author=mine.get("author"), source=mine.get("source"),
                rows=_number(mine.get("rows")), periods=_number(mine.get("periods")),
                first=mine.get("first"), last=mine.get("last"),
                md5=mine.get("md5"),
            )
        )  # fmt: skip
    return found


def read_records(fleet: Fleet, store: ObjectStore, file: RawFile) -> tuple[int, dict[str, Record]] | None:
    """Return how many rows a file holds, and what they say by period.

    :return: None where that can't be read: no CSV, not UTF-8, or a column is missing. A run would say why.
    """
    found = store.get(file.key) if file.is_csv else None
    if found is None:
        return None
    records: dict[str, Record] = {}
    count = 0
    try:
        # Who puts a city's files there need not write its name into each row.
        needed = needed_columns(fleet) - {fleet.dataset.city_column or ""}
        lines = csv_rows(io.BytesIO(found.body), file.key, needed)
        reader = _reader(fleet, next(lines, (1, []))[1])
        for number, row in lines:
            if any(cell.strip() for cell in row):
                count += 1
                record = reader.read(row, number)
                records.setdefault(record.period, record)
    except (ValueError, DataError):
        return None
    return count, records


def _reader(fleet: Fleet, header: list[str]) -> RecordReader:
    try:
        return RecordReader(fleet.dataset, header)
    except ValueError:  # a column is missing, which is all right for one that a city's own code makes
        return RecordReader(fleet.dataset, header, own_columns(fleet))


def remove_file(store: ObjectStore, files: list[RawFile], name: str, city: str) -> RawFile:
    """Delete one of a city's files, unless it has changed since it was listed.

    :raises UnknownName: the city has no such file.
    """
    for file in files:
        if file.name == name:
            store.delete(file.key, file.etag)
            return file
    raise UnknownName("raw data file", name, [file.name for file in files], f"city {city!r}")


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None
