"""Read and check fleet files.

A mistake within one city breaks that city alone; a mistake anywhere else refuses the file, with every mistake listed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from city_fleet.config.cities import CityEntry, Resolver, entries_of_mapping
from city_fleet.config.city_list import entries_of_list, entries_of_text
from city_fleet.config.cohort_rule import members_of, number_problems
from city_fleet.config.last_good import LastGood
from city_fleet.config.mistakes import FieldPath, field_text, located_problems, schema_of
from city_fleet.config.parents import children_of, parent_problems
from city_fleet.config.places import ALLOWED_PATH, is_inside, project_path, source_places
from city_fleet.config.settings import City, Fleet, FleetSettings
from city_fleet.config.value_types import Problem
from city_fleet.config.variables import as_written
from city_fleet.config.yaml_reader import Document, Flaw, flaws, read_yaml
from city_fleet.errors import (
    ConfigError,
    FleetFileError,
    display_path,
    list_names,
    nearest_match,
    raised_in,
    show_value,
)

FLEET_FILE_SUFFIXES = (".yaml", ".yml")
_TOP_LEVEL = (*FleetSettings.model_fields, "cities")


def load_fleet(path: str | Path, environ: Mapping[str, str] | None = None) -> Fleet:
    """Read and check a fleet file.

    :param path: the fleet file.
    :param environ: environment variables for ``${NAME}``; the process's own by default.
    :return: the fleet; a city with a mistake is in ``broken`` instead of ``cities``.
    :raises FleetFileError: a mistake outside the cities, no city at all, or a variable that a fleet file may not
        read; holds every mistake of the file.
    """
    return read_fleet(Path(path), os.environ if environ is None else environ).fleet


@dataclass(frozen=True)
class FleetReading:
    """A fleet file that can be used, and what it was read from.

    :param entries: its cities as they stand in the file, or in its list.
    :param mistakes: every mistake of each city that has one, by slug or what comes nearest to one.
    """

    fleet: Fleet
    document: Document
    entries: list[CityEntry]
    mistakes: dict[str, list[ConfigError]]


def read_fleet(path: Path, environ: Mapping[str, str]) -> FleetReading:
    """Read and check a fleet file, and keep what it was read from.

    :raises FleetFileError: as :func:`load_fleet`.
    """
    name = display_path(path)
    try:
        return _read(path, name, environ)
    except FleetFileError:
        raise
    except ConfigError as error:
        raise FleetFileError([error]) from None
    except Exception as error:
        # Whatever it is, it is the matter of this file alone.
        raise FleetFileError([_unexpected(error, name, None)]) from error


def _read(path: Path, name: str, environ: Mapping[str, str]) -> FleetReading:
    if not is_inside(path, path.parent):
        raise ConfigError(file=name, got="a link that leads out of the project", allowed=ALLOWED_PATH)
    document = read_yaml(path, name, environ)
    data = dict(document.data)
    raw_cities = data.pop("cities", None)
    errors: list[ConfigError] = []
    settings = _settings(document, data, path, errors)
    entries = _entries(document, path, raw_cities, errors)
    resolver = Resolver(data, None if errors else settings, document)
    cities, mistakes = resolve_all(resolver, entries, path)
    _look_at_parents(resolver, entries, cities, mistakes)
    if settings is not None:
        _look_at_cohorts(resolver, settings, entries, cities, mistakes)
    if errors or settings is None or any(flaw.problem.of_file for _, flaw in flaws(raw_cities)):
        # One mistake of the fleet's own sections is the same error for each of its cities.
        in_cities = {id(error): error for found in mistakes.values() for error in found}
        raise FleetFileError([*errors, *in_cities.values()], name)
    return FleetReading(assembled(settings, path, cities, mistakes), document, entries, mistakes)


def read_with_list(
    path: Path, environ: Mapping[str, str], text: str, name: str
) -> tuple[dict[str, City], dict[str, list[ConfigError]]]:
    """Return the settings and the mistakes of the cities that a fleet file would have with another list.

    :param text: the list, as CSV.
    :param name: the list, as messages name it.
    :raises FleetFileError: the fleet file's own sections can't be used.
    :raises ConfigError: the text is no list of cities.
    """
    document = read_yaml(path, display_path(path), environ)
    data = {key: value for key, value in document.data.items() if key != "cities"}
    errors: list[ConfigError] = []
    settings = _settings(document, data, path, errors)
    if errors or settings is None:
        raise FleetFileError(errors, display_path(path))
    entries = entries_of_text(text, name)
    resolver = Resolver(data, settings, document)
    cities, mistakes = resolve_all(resolver, entries, path)
    _look_at_parents(resolver, entries, cities, mistakes)
    _look_at_cohorts(resolver, settings, entries, cities, mistakes)
    return {slug: city for slug, city in cities.items() if slug not in mistakes}, mistakes


def _look_at_parents(
    resolver: Resolver,
    entries: Iterable[CityEntry],
    cities: Mapping[str, City],
    mistakes: dict[str, list[ConfigError]],
) -> None:
    """Add the mistakes that two cities make together; whatever environment variables say, they are the file's."""
    by_slug = {entry.id: entry for entry in entries}
    good = {slug: city for slug, city in cities.items() if slug not in mistakes}
    for slug, problem in [*resolver.varying_parents(good, by_slug), *parent_problems(good, by_slug)]:
        by_slug[slug].settled = True
        mistakes.setdefault(slug, []).append(resolver.parent_error(by_slug[slug], problem))


def _look_at_cohorts(
    resolver: Resolver,
    settings: FleetSettings,
    entries: Iterable[CityEntry],
    cities: Mapping[str, City],
    mistakes: dict[str, list[ConfigError]],
) -> None:
    """Add the mistakes of cohorts, which are the same in every environment."""
    by_slug = {entry.id: entry for entry in entries}
    good = {slug: city for slug, city in cities.items() if slug not in mistakes and city.cohort is not None}
    for slug, problem in [*resolver.varying_cohorts(good, by_slug), *number_problems(good, settings)]:
        by_slug[slug].settled = True
        mistakes.setdefault(slug, []).append(resolver.error(by_slug[slug], problem.path, problem))


def resolve_all(
    resolver: Resolver, entries: Iterable[CityEntry], file: Path
) -> tuple[dict[str, City], dict[str, list[ConfigError]]]:
    """Return the settings of each city, and every mistake of each city that has one.

    A city may be in both: two entries with one slug.

    :param file: the fleet file.
    """
    cities: dict[str, City] = {}
    mistakes: dict[str, list[ConfigError]] = {}
    for entry in entries:
        try:
            city, found = resolver.resolve(entry)
            if city is not None and (outside := _leading_out(_paths_of_city(city, resolver.settings), file)):
                city, found = None, [resolver.error(entry, each.path, each) for each in outside]
        except Exception as error:  # the matter of this city alone
            city, found = None, [_unexpected(error, entry.file, entry.line, entry.id)]
        if city is not None:
            cities[city.slug] = city
        if found:
            mistakes.setdefault(entry.id, []).extend(found)
    return cities, mistakes


def assembled(
    settings: FleetSettings,
    path: Path,
    cities: Mapping[str, City],
    mistakes: Mapping[str, list[ConfigError]],
    *,
    last_good: LastGood | None = None,
    children: Mapping[str, tuple[str, ...]] | None = None,
    members: Mapping[str, tuple[str, ...]] | None = None,
) -> Fleet:
    """Return a fleet of settings and cities that were validated before.

    :param last_good: of a fleet whose file can't be used now.
    :param children: the cities of each parent; None where ``cities`` are all there are.
    :param members: the cities of each cohort; None as well.
    """
    fields = {name: getattr(settings, name) for name in FleetSettings.model_fields}
    in_cities = {id(error): error for found in mistakes.values() for error in found}
    # Two entries with one slug: which of them is meant is not ours to guess.
    usable = {slug: city for slug, city in sorted(cities.items()) if slug not in mistakes}
    children = dict(children_of(usable) if children is None else children)
    if members is None:
        members = members_of(usable, settings, children, broken=len(mistakes))
    return Fleet.model_construct(
        None,
        **fields,
        path=path,
        cities=usable,
        broken={slug: found[0] for slug, found in sorted(mistakes.items())},
        errors=tuple(sorted(in_cities.values(), key=lambda error: error.line or 0)),
        last_good=last_good,
        children=children,
        members=dict(members),
    )


def load_fleets(folder: str | Path, environ: Mapping[str, str] | None = None) -> list[Fleet | FleetFileError]:
    """Read every fleet file of a folder; a broken one does not stop the others.

    :param folder: e.g. ``include/fleets``.
    :param environ: environment variables for ``${NAME}``; the process's own by default.
    :return: a fleet or its error per file, sorted by file name. The second file that uses a fleet's name, or
        the name of its endpoint in the same region, is an error.
    """
    loaded: list[Fleet | FleetFileError] = []
    claims = Claims()
    for path in fleet_files(folder):
        try:
            fleet = load_fleet(path, environ)
            claims.claim(fleet)
            loaded.append(fleet)
        except FleetFileError as error:
            loaded.append(error)
    return loaded


def fleet_files(folder: str | Path) -> list[Path]:
    """Return the fleet files of a folder, sorted by name; an empty list when the folder does not exist."""
    folder = Path(folder)
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix in FLEET_FILE_SUFFIXES)


class Claims:
    """What only one fleet file of a folder may have: a fleet's name, and an endpoint's name in a region."""

    def __init__(self) -> None:
        self._taken: dict[tuple[str, str], Fleet] = {}

    def claim(self, fleet: Fleet) -> None:
        """Take the names of a fleet.

        :raises FleetFileError: another file has one of them already.
        """
        self._claim(
            fleet,
            ("", fleet.fleet),
            "fleet",
            "a name of its own for each file (one Airflow runs one environment of a fleet)",
        )
        for name in fleet.endpoint_names:
            field = f"endpoints.{name}.name" if name else "endpoint.name"
            called = fleet.endpoint_name(name)
            self._claim(fleet, (fleet.region, called), field, "an endpoint of its own for each file")

    def _claim(self, fleet: Fleet, name: tuple[str, str], field: str, allowed: str) -> None:
        other = self._taken.setdefault(name, fleet)
        if other is fleet:
            return
        problem = Problem(f"{name[1]!r}, which {display_path(other.path)} has already", allowed)
        file = display_path(fleet.path)
        try:
            document = read_yaml(fleet.path, file, {})
        except ConfigError as error:  # the file has changed since it was read
            raise FleetFileError([error]) from None
        # An endpoint without a name of its own is named after the fleet and the environment.
        parts = (field.split("."), ("fleet",), ("environment",))
        if any(document.written(part) for part in parts):
            problem = replace(problem, got=f"the one that {display_path(other.path)} has already")
        raise FleetFileError([problem.error(file=file, line=document.line(parts[0]), field=field)])


def _unexpected(error: Exception, file: str, line: int | None, city: str | None = None) -> ConfigError:
    # Not its text, which may hold what the environment has given.
    got = f"something that City Fleet fails on ({type(error).__name__} {raised_in(error)})"
    hint = "Take back the last change there, and tell the maintainers: there should be a sentence here."
    return ConfigError(file=file, line=line, city=city, got=got, hint=hint)


def _settings(
    document: Document, data: dict[str, Any], file: Path, errors: list[ConfigError]
) -> FleetSettings | None:
    """Validate everything but the cities; mistakes are added to ``errors``."""
    unreadable = list(flaws(data))
    errors += [_flaw_error(document, path, flaw) for path, flaw in unreadable]
    try:
        settings = FleetSettings.model_validate(data)
        errors += [_error(document, each.path, each) for each in _leading_out(_paths(settings), file)]
        return settings
    except ValidationError as error:
        for path, problem in located_problems(error, schema_of(FleetSettings)):
            if path == () or not any(path[: len(flawed)] == flawed for flawed, _ in unreadable):
                errors.append(_error(document, path, _with_cities(path, problem)))
    return None


def leads_out(settings: FleetSettings, file: Path) -> bool:
    """Tell whether the fleet's own sections name what is not the project's."""
    return bool(_leading_out(_paths(settings), file))


def _paths(settings: FleetSettings) -> dict[FieldPath, str | None]:
    """Return what the fleet's own sections say about files."""
    return {
        ("dataset", "source"): settings.dataset.source,
        ("defaults", "scripts"): settings.defaults.scripts,
        **{("defaults", "own_scripts", name): given for name, given in settings.defaults.own_scripts},
        ("endpoint", "scripts"): settings.endpoint.scripts,
        **{("endpoints", name, "scripts"): each.scripts for name, each in settings.endpoints.items()},
    }


def _paths_of_city(city: City, settings: FleetSettings | None) -> dict[FieldPath, str | None]:
    """Return what a city says about files otherwise than the fleet."""
    paths: dict[FieldPath, str | None] = {}
    if settings is None or city.dataset is not settings.dataset:
        paths["dataset", "source"] = city.dataset.source
    if settings is None or city.scripts != settings.defaults.scripts:
        paths[("scripts",)] = city.scripts
    if settings is None or city.own_scripts is not settings.defaults.own_scripts:
        paths |= {("own_scripts", name): given for name, given in city.own_scripts}
    return paths


def _leading_out(paths: Mapping[FieldPath, str | None], file: Path) -> list[Problem]:
    """Return the problems of paths that lead to what is not the project's; nothing there has been read."""
    return [
        Problem(f"{show_value(given)}, which leads out of the project", ALLOWED_PATH, path=path)
        for path, given in paths.items()
        if given is not None
        and not (
            source_places(given, file)
            if path[-1] == "source"
            else is_inside(project_path(given), file.parent)
        )
    ]


def _with_cities(path: FieldPath, problem: Problem) -> Problem:
    """Name ``cities`` among the keys of the file: it is read apart from the other settings."""
    if len(path) != 1 or problem.got != "an unknown key":
        return problem
    near = nearest_match(path[0], _TOP_LEVEL)
    return Problem(problem.got, list_names(sorted(_TOP_LEVEL)), near, of_key=True)


def _flaw_error(document: Document, path: FieldPath, flaw: Flaw) -> ConfigError:
    """Return what could not be read as an error: it holds no value of a variable."""
    return flaw.problem.error(file=document.name, line=flaw.line, field=field_text(path))


def _error(document: Document, path: FieldPath, problem: Problem) -> ConfigError:
    shown = as_written(problem, document.written(path), document.filled)
    return shown.error(file=document.name, line=document.line(path), field=field_text(path))


def _entries(document: Document, path: Path, raw: object, errors: list[ConfigError]) -> list[CityEntry]:
    """Read the cities of a fleet file or of the list it names; mistakes are added to ``errors``."""
    allowed = "a mapping of cities such as austin: {name: Austin}, or {from: cities.csv}"
    before = len(errors)
    entries: list[CityEntry] = []
    if isinstance(raw, dict) and isinstance(raw.get("from"), Flaw):
        errors.append(_flaw_error(document, ("cities", "from"), raw["from"]))
    elif isinstance(raw, dict) and isinstance(raw.get("from"), str):
        if len(raw) > 1:
            others = Problem(f"from together with {list_names(sorted(set(raw) - {'from'}))}", allowed)
            errors.append(_error(document, ("cities", "from"), others))
            before += 1
        listed = path.parent / raw["from"]
        if not is_inside(listed, path.parent):
            problem = Problem(f"{show_value(raw['from'])}, which leads out of the project", ALLOWED_PATH)
            errors.append(_error(document, ("cities", "from"), problem))
        else:
            entries = _listed(document, listed, raw["from"], errors)
    elif isinstance(raw, dict):
        entries = entries_of_mapping(raw, document)
    elif isinstance(raw, Flaw):
        errors.append(_flaw_error(document, ("cities",), raw))
    elif raw is not None:
        errors.append(_error(document, ("cities",), Problem(show_value(raw), allowed)))
    if not entries and len(errors) == before:
        errors.append(_error(document, ("cities",), Problem("no city", f"at least one: {allowed}")))
    return entries


def _listed(document: Document, path: Path, name: str, errors: list[ConfigError]) -> list[CityEntry]:
    """Read the cities of a list; a mistake is added to ``errors``.

    :param name: the list, as the fleet file names it.
    """
    hint = None
    if name.startswith("s3://") or path.suffix.lower() == ".parquet":
        hint = "Name it as city_list.source and a CSV here; `./fleet cities --pull` copies the one into the other."
    problem = Problem(show_value(name), "a CSV file beside the fleet file, such as cities.csv", hint=hint)
    if path.suffix.lower() == ".csv":
        try:
            # Named as the fleet file does, where the environment has its part in it.
            return entries_of_list(path, document.written(("cities", "from")) or display_path(path))
        except ConfigError as error:
            if error.line is not None:
                errors.append(error)
                return []
            # The list itself is missing or unreadable: show who asks for it.
            problem = Problem(f"{name!r}: {error.got}", error.allowed, error.nearest)
    errors.append(_error(document, ("cities", "from"), problem))
    return []
