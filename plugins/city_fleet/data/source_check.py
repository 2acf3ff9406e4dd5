"""What ``fleet lint`` finds by comparing a fleet file with its ``dataset.source``, where that is a file at the desk."""

from __future__ import annotations

from collections.abc import Iterator

from city_fleet import naming
from city_fleet.config import City, Fleet
from city_fleet.config.dataset import Dataset
from city_fleet.config.mistakes import FieldPath, field_text
from city_fleet.config.value_types import Problem
from city_fleet.config.variables import as_written
from city_fleet.config.yaml_reader import Document, read_as_written
from city_fleet.data.own_columns import needed_columns, own_columns
from city_fleet.data.source_rows import ALLOWED, source_rows
from city_fleet.data.source_split import LONGEST_NAME, find_source
from city_fleet.errors import ConfigError, DataError, display_path, list_names, nearest_match

#: Different names that are compared with the fleet's: far more than a fleet has cities.
MOST_NAMES = 1_000_000


def source_mistakes(fleet: Fleet) -> list[ConfigError]:
    """Return what the source says against the fleet file: it is not there, lacks a column, or has no row of a city.

    What the fleet itself sets is said once, on its own line.
    """
    if fleet.dataset.source is None:
        return []
    document = read_as_written(fleet.path, display_path(fleet.path))
    written = document.written(("dataset", "source"))
    try:
        path = find_source(fleet, None)
        name = written or display_path(path)
    except DataError as error:
        hint = (
            "A relative path is below the project's root, or beside the fleet file; null if none is ingested."
        )
        problem = Problem(f"{fleet.dataset.source!r}: {error.got}", ALLOWED, error.nearest, hint)
        return [_error(document, ("dataset", "source"), problem)]
    names: set[str] = set()
    try:
        lines = source_rows(path, name, needed_columns(fleet))
        header = next(lines, (1, []))[1]
        missing = list(_missing(fleet, document, name, header))
        if missing:
            return missing
        if fleet.dataset.city_column is None:
            return []
        at = header.index(fleet.dataset.city_column)
        for _, row in lines:
            if len(row) > at and len(names) < MOST_NAMES:
                names.add(row[at].strip()[:LONGEST_NAME])
    except (OSError, DataError) as error:
        said = f"row {error.row}: {error.got}" if isinstance(error, DataError) else str(error)
        problem = Problem(f"{fleet.dataset.source!r}, which can't be read ({said})", f"{ALLOWED}, as UTF-8")
        return [_error(document, ("dataset", "source"), problem)]
    return list(_cities(fleet, document, name, names))


def _missing(fleet: Fleet, document: Document, source: str, header: list[str]) -> Iterator[ConfigError]:
    said = set()
    there = {*header, *own_columns(fleet)}
    for path, column in _columns(fleet.dataset):
        if column not in there:
            said.add((path, column))
            yield _error(document, path, _no_column(column, source, header))
    for city in fleet.cities.values():
        for path, column in _columns(city.dataset) if city.dataset is not fleet.dataset else ():
            if column not in there and (path, column) not in said:
                yield _error(document, path, _no_column(column, source, header), city)


def _columns(dataset: Dataset) -> Iterator[tuple[FieldPath, str]]:
    for path, column in dataset.columns_named():
        yield ("dataset", *path), column


def _no_column(column: str, source: str, header: list[str]) -> Problem:
    got = f"{column!r}, which {source} has no column of"
    return Problem(got, f"one of {list_names(header)}", nearest_match(column, header))


def _cities(fleet: Fleet, document: Document, source: str, names: set[str]) -> Iterator[ConfigError]:
    slugs = {_slug(name) for name in names}
    for city in fleet.cities.values():
        if city.dataset.raw is not None:
            continue  # its rows are elsewhere
        # As ingest matches them: by the name, or by the slug of a city that has no other name.
        there = city.name in names or (city.name == city.slug and city.slug in slugs)
        if there and city.slug in fleet.children:
            got = f"{city.name!r}, of which {source} has rows in column {fleet.dataset.city_column!r}"
            allowed = "a name that the data lack: a parent's rows are those of its cities"
            yield _error(document, ("name",), Problem(got, allowed), city)
        elif not there and city.slug not in fleet.children:
            near = nearest_match(city.name, sorted(names))
            got = f"{city.name!r}, of which {source} has no row in column {fleet.dataset.city_column!r}"
            problem = Problem(got, "a name that the data have, written as they write it", near)
            yield _error(document, ("name",), problem, city)


def _slug(name: str) -> str:
    try:
        return naming.slug(name)
    except ValueError:
        return ""


def _error(document: Document, path: FieldPath, problem: Problem, city: City | None = None) -> ConfigError:
    where = ("cities", city.slug, *path) if city else path
    slug = city.slug if city else None
    problem = as_written(problem, document.written(where) or document.written(path))
    return problem.error(file=document.name, line=document.line(where), field=field_text(path), city=slug)
