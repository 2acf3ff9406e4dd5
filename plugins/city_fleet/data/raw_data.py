"""The raw data file of a fleet: find it, check its columns, split it by city."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from city_fleet.config import Fleet
from city_fleet.config.places import project_path
from city_fleet.errors import ConfigError, DataError, display_path, list_names, nearest_match


@dataclass
class Rows:
    """One city's part of the file, as CSV text."""

    buffer: io.StringIO = field(default_factory=io.StringIO)
    count: int = 0


def find_source(fleet: Fleet, source: str | Path | None) -> Path:
    """Find the file to ingest: the one given, else the fleet file's ``dataset.source``.

    :raises ConfigError: neither is given.
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
    places = [Path(given)]
    if source is None and not places[0].is_absolute():
        places = [project_path(given), fleet.path.parent / given]
    for path in places:
        if path.is_file():
            if path.suffix.lower() not in (".csv", ".txt"):
                raise DataError(
                    file=display_path(path), got=f"a {path.suffix or 'nameless'} file", allowed="a CSV file"
                )
            return path
    tried = " or ".join(display_path(path) for path in places)
    siblings = [p.name for p in places[0].parent.iterdir()] if places[0].parent.is_dir() else []
    raise DataError(file=tried, got="no such file", nearest=nearest_match(places[0].name, siblings))


def split_by_city(fleet: Fleet, path: Path) -> tuple[dict[str, Rows], list[str]]:
    """Read the file once and collect each raw name's rows as CSV text, in the order of the file.

    :return: rows by raw name, and the header.
    :raises DataError: the file lacks columns or rows, or holds a malformed row.
    """
    rows: dict[str, Rows] = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = _Reader(file, path)
        header = next(reader, None)
        if not header:
            raise DataError(file=display_path(path), got="an empty file", allowed="a header and rows")
        city_index = _check_columns(fleet, path, header)
        writers: dict[str, Any] = {}
        line = 2
        for row in reader:
            if len(row) != len(header):
                if row:
                    got = f"{len(row)} values"
                    allowed = f"{len(header)}, as many as the header has columns"
                    raise DataError(file=display_path(path), row=line, got=got, allowed=allowed)
            else:
                name = row[city_index].strip()
                if not name:
                    raise DataError(
                        file=display_path(path),
                        row=line,
                        column=header[city_index],
                        got="nothing",
                        allowed="a city's name",
                    )
                if name not in rows:
                    rows[name] = Rows()
                    writers[name] = csv.writer(rows[name].buffer, lineterminator="\n")
                writers[name].writerow(row)
                rows[name].count += 1
            line = reader.line_num + 1
    if not rows:
        raise DataError(file=display_path(path), got="a header without rows", allowed="at least one row")
    return rows, header


class _Reader:
    """csv.reader whose errors are DataErrors with the line."""

    def __init__(self, file: TextIO, path: Path) -> None:
        self._rows = csv.reader(file, strict=True)
        self._path = path

    @property
    def line_num(self) -> int:
        return self._rows.line_num

    def __iter__(self) -> Iterator[list[str]]:
        return self

    def __next__(self) -> list[str]:
        try:
            return next(self._rows)
        except csv.Error as error:
            raise DataError(
                file=display_path(self._path), row=self._rows.line_num, got=f"a line that is no CSV ({error})"
            ) from None
        except UnicodeDecodeError as error:
            hint = "Save the file as UTF-8."
            raise DataError(
                file=display_path(self._path), got=f"bytes that are no UTF-8 ({error.reason})", hint=hint
            ) from None


def _check_columns(fleet: Fleet, path: Path, header: list[str]) -> int:
    """:return: the index of the city column, after making sure that every column the fleet needs is there."""
    for index, column in enumerate(header):
        if column in header[:index]:
            raise DataError(
                file=display_path(path),
                row=1,
                column=column,
                got="the column a second time",
                allowed="each once",
            )
    dataset = fleet.dataset
    needed = {
        "dataset.city_column": [dataset.city_column],
        "dataset.time.columns": list(dataset.time.columns),
        "dataset.target.column": [dataset.target.column],
        "dataset.features": [feature.column for feature in dataset.features],
    }
    missing = [
        (where, column) for where, columns in needed.items() for column in columns if column not in header
    ]
    if missing:
        where, column = missing[0]
        others = list_names(repr(name) for _, name in missing[1:])
        raise DataError(
            file=display_path(path),
            row=1,
            column=column,
            got="no such column",
            allowed=f"the columns of the file: {list_names(header)}",
            nearest=nearest_match(column, header),
            hint=f"The fleet file asks for it in {where}."
            + (f" Missing too: {others}." if missing[1:] else ""),
        )
    return header.index(dataset.city_column)
