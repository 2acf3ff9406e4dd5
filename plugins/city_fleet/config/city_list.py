"""Reads the cities of a fleet from a CSV: the columns ``city``, ``name`` and settings by dotted paths."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from city_fleet.config.cities import OVERRIDES, CityEntry
from city_fleet.config.mistakes import keys_of, schema_of
from city_fleet.config.settings import City
from city_fleet.config.value_types import Problem
from city_fleet.config.yaml_reader import Flaw, flow_value, read_text
from city_fleet.errors import ConfigError, list_names, nearest_match, show_value

MAX_LIST_BYTES = 64 * 1024 * 1024


def entries_of_list(path: Path, name: str) -> list[CityEntry]:
    """Read a CSV list of cities: ``city``, ``name`` and any setting by its dotted path.

    :param path: the CSV.
    :param name: the file as messages name it.
    :raises ConfigError: the file cannot be read or its header is wrong.
    """
    return entries_of_text(read_text(path, name, MAX_LIST_BYTES), name)


def entries_of_text(text: str, name: str) -> list[CityEntry]:
    """Read the text of such a list.

    :raises ConfigError: it is not CSV, or its header is wrong.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    entries: list[CityEntry] = []
    line = 1
    try:
        header = [cell.strip() for cell in next(reader, [])]
        paths = _header_paths(header, name)
        line = reader.line_num + 1
        for row in reader:
            if any(row):
                entries.append(_entry_of_row(row, header, paths, name, line))
            line = reader.line_num + 1
    except csv.Error as error:
        raise ConfigError(file=name, line=line, got=f"a line that is not CSV ({error})") from None
    return entries


def _header_paths(header: list[str], name: str) -> list[tuple[str, ...]]:
    def wrong(column: str, problem: Problem) -> ConfigError:
        return problem.error(file=name, line=1, field=column)

    if "city" not in header and "name" not in header:
        allowed = "a header with the column city, and if needed name and settings such as gate.tolerance"
        found = list_names(column for column in header if column)
        raise ConfigError(file=name, line=1, got=f"the columns {found}", allowed=allowed,
                          nearest="city" if nearest_match("city", header) else None)  # fmt: skip
    schema = schema_of(City)
    for index, column in enumerate(header):
        if column in header[:index] or any(column.startswith(f"{other}.") for other in header if other):
            raise wrong(column, Problem("the column a second time", "each setting once"))
        parts = column.split(".")
        for depth, part in enumerate(parts if column != "city" else []):
            keys = OVERRIDES if depth == 0 else keys_of(schema, parts[:depth])
            free = depth > 0 and ".".join(parts[:depth]) in ("algorithm.hyperparameters", "gate.limits")
            if not free and part not in (keys or ()):
                near = nearest_match(part, keys or ())
                nearest = ".".join([*parts[:depth], near]) if near else None
                raise wrong(column, Problem("an unknown column", list_names(sorted(keys or ())), nearest))
    return [tuple(column.split(".")) for column in header]


def _entry_of_row(
    row: list[str], header: list[str], paths: list[tuple[str, ...]], file: str, line: int
) -> CityEntry:
    cells = dict(zip(header, (cell.strip() for cell in row), strict=False))
    key = cells.get("city") or cells.get("name") or ""
    entry = CityEntry(key, {}, file, line)
    if len(row) != len(header):
        entry.problem = Problem(f"{len(row)} cells", f"{len(header)}, as many as the header has columns")
    elif not key:
        entry.problem = Problem("a row without a city", "a slug or a name in the column city")
    for column, path in zip(header, paths, strict=True):
        text = cells.get(column, "")
        if column == "city" or not text:
            continue
        node = entry.overrides
        for part in path[:-1]:
            node = node.setdefault(part, {})
        node[path[-1]] = _cell(text, line)
    return entry


def _cell(text: str, line: int) -> object:
    """Return a cell's value: a list or mapping in brackets, null, or text (the field's type reads it)."""
    if text == "null":
        return None
    if text[0] in "[{":
        try:
            return flow_value(text)
        except ValueError as error:
            return Flaw(Problem(show_value(text), str(error)), line)
    return text
