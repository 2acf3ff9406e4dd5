"""The raw data file of a fleet: find it, check its columns, split it by city."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from city_fleet.config import Fleet
from city_fleet.config.mistakes import field_text
from city_fleet.config.places import ALLOWED_PATH, source_places
from city_fleet.config.series import Series
from city_fleet.config.yaml_reader import read_as_written
from city_fleet.data.own_columns import needed_columns, own_columns
from city_fleet.data.records import Record, RecordReader
from city_fleet.data.source_rows import ALLOWED, is_source, source_rows
from city_fleet.errors import ConfigError, DataError, display_path, list_names, nearest_match, show_value

LONGEST_NAME = 500


@dataclass
class Rows:
    """One city's part of the file, as CSV text.

    :param content: in UTF-8, without a header.
    :param records: what its rows say, by period; the first row of each.
    :param numbers: of its rows in the file.
    """

    content: bytearray = field(default_factory=bytearray)
    count: int = 0
    records: dict[str, Record] = field(default_factory=dict)
    numbers: array[int] = field(default_factory=lambda: array("Q"))

    def add(self, row: list[str]) -> None:
        """Add a row."""
        csv.writer(self, lineterminator="\n").writerow(row)
        self.count += 1

    def write(self, text: str) -> None:
        """Add text; for csv.writer."""
        self.content += text.encode()


def find_source(fleet: Fleet, source: str | Path | None) -> Path:
    """Find the file to ingest: the one given, else the fleet file's ``dataset.source``.

    :raises ConfigError: neither is given, or the fleet file's lies elsewhere on the host.
    :raises DataError: there is no such file.
    """
    given = source if source is not None else fleet.dataset.source
    if given is None:
        raise ConfigError(
            file=display_path(fleet.path),
            field="dataset.source",
            got="null",
            allowed="the CSV to ingest",
            hint="Set it in the fleet file, or name a file with --file.",
        )
    places = [Path(given)] if source is not None else source_places(str(given), fleet.path)
    if not places:
        got = f"{show_value(given)}, which leads out of the project"
        raise ConfigError(
            file=display_path(fleet.path), field="dataset.source", got=got, allowed=ALLOWED_PATH
        )
    for path in places:
        if path.is_file():
            if not is_source(path):
                got = f"a {path.suffix or 'nameless'} file"
                raise DataError(file=display_path(path), got=got, allowed=ALLOWED)
            return path
    written = None
    if source is None:
        written = read_as_written(fleet.path, display_path(fleet.path)).written(("dataset", "source"))
    tried = written or " or ".join(display_path(path) for path in places)
    folders = [path.parent for path in places if path.parent.is_dir()]
    siblings = [path.name for folder in folders for path in folder.iterdir() if path.is_file()]
    raise DataError(file=tried, got="no such file", nearest=nearest_match(places[0].name, siblings))


def only_city(fleet: Fleet, wanted: Collection[str]) -> str | None:
    """Return the name of the city that all rows are of, where no column says whose they are.

    :param wanted: slugs.
    :raises ConfigError: there are several.
    """
    if fleet.dataset.city_column is not None:
        return None
    if len(wanted) != 1:
        raise ConfigError(
            file=display_path(fleet.path),
            field="dataset.city_column",
            got=f"null, and {len(wanted)} cities",
            allowed="the column with the city's name, or one city that all rows are of",
            hint="Name the column, or the city with --city and its file with --file.",
        )
    slug = next(iter(wanted))
    return fleet.cities[slug].name if slug in fleet.cities else slug


def split_by_city(fleet: Fleet, path: Path, only: str | None = None) -> tuple[dict[str, Rows], list[str]]:
    """Read the file once and collect each raw name's rows as CSV text, in the order of the file.

    :param only: name of the city that all rows are of, where no column says whose they are.
    :return: rows by raw name, and the header.
    :raises DataError: the file lacks columns or rows, or holds a malformed row.
    """
    name = display_path(path)
    rows: dict[str, Rows] = {}
    if (
        isinstance(fleet.dataset, Series)
        and fleet.dataset.decimal == ","
        and path.suffix.lower() == ".parquet"
    ):
        got, hint = "a Parquet file, whose numbers have no decimal comma", 'Set dataset.decimal to ".".'
        raise DataError(file=name, got=got, allowed="a CSV file, because dataset.decimal is ','", hint=hint)
    lines = source_rows(path, name, needed_columns(fleet))
    _, header = next(lines, (1, []))
    if not header:
        raise DataError(file=name, got="an empty file", allowed="a header and rows")
    at = _city_column(fleet, name, header)
    reader = RecordReader(fleet.dataset, header, own_columns(fleet))
    for number, row in lines:
        if len(row) != len(header):
            if not row:
                continue
            allowed = f"{len(header)}, as many as the header has columns"
            raise DataError(file=name, row=number, got=f"{len(row)} values", allowed=allowed)
        city = row[at].strip() if at is not None else only or ""
        if not city:
            column, allowed = header[at or 0], "a city's name"
            raise DataError(file=name, row=number, column=column, got="nothing", allowed=allowed)
        if len(city) > LONGEST_NAME:
            got, allowed = f"{city[:50]!r}… of {len(city)} characters", f"a name of up to {LONGEST_NAME}"
            raise DataError(file=name, row=number, column=header[at or 0], got=got, allowed=allowed)
        part = rows.setdefault(city, Rows())
        part.add(row)
        part.numbers.append(number)
        record = reader.read(row, number)
        part.records.setdefault(record.period, record)
    if not rows:
        raise DataError(file=name, got="a header without rows", allowed="at least one row")
    return rows, header


def _city_column(fleet: Fleet, name: str, header: list[str]) -> int | None:
    """Return the index of the city column, None where there is none, if every column that is needed is there."""
    for index, column in enumerate(header):
        if column in header[:index]:
            got = "the column a second time"
            raise DataError(file=name, row=1, column=column, got=got, allowed="each once")
    dataset = fleet.dataset
    named = [(field_text(("dataset", *path)), each) for path, each in dataset.columns_named()]
    free = own_columns(fleet)
    missing = [(where, each) for where, each in named if each not in header and each not in free]
    if missing:
        where, column = missing[0]
        others = list_names(repr(each) for _, each in missing[1:])
        raise DataError(
            file=name,
            row=1,
            column=column,
            got="no such column",
            allowed=f"the columns of the file: {list_names(header)}",
            nearest=nearest_match(column, header),
            hint=f"The fleet file asks for it in {where}."
            + (f" Missing too: {others}." if missing[1:] else ""),
        )
    return None if dataset.city_column is None else header.index(dataset.city_column)
