"""The settings of each city: the defaults merged with the city's own, from the fleet file or from a CSV list.

A section that a city does not override is the fleet's own, already validated object, and equal overrides are
validated once: 5,000 cities load in about a second.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import ValidationError

from city_fleet import naming
from city_fleet.config.cohort_rule import DECIDING
from city_fleet.config.data_section import OF_INGEST
from city_fleet.config.dataset import SERIES
from city_fleet.config.mistakes import TAG, FieldPath, adapter, field_text, located_problems, schema_of
from city_fleet.config.name_types import CITY_SLUG
from city_fleet.config.settings import City, Defaults, FleetSettings, city_problems
from city_fleet.config.value_types import Problem
from city_fleet.config.variables import as_written
from city_fleet.config.yaml_reader import Document, Flaw, flaws
from city_fleet.errors import ConfigError, list_names, nearest_match, show_value

_NO_SLUG = "Write a slug of your choice, and the name as the raw data have it: {name: …}."
# Of a key that is far too long for a city.
_SHOWN_OF_KEY = 120
OVERRIDES = tuple(name for name in City.model_fields if name != "slug")


class Lines(Protocol):
    """A file that knows where its values stand."""

    @property
    def name(self) -> str: ...

    def line(self, path: FieldPath) -> int: ...

    def written(self, path: FieldPath) -> str | None: ...

    @property
    def filled(self) -> Mapping[str, str]: ...


@dataclass
class CityEntry:
    """One city as it stands in a file.

    :param key: what stands for the city there: a slug, or in a list also a raw name.
    :param overrides: the city's own settings.
    :param file: where it stands, as messages name the file.
    :param line: 1-based line of the city; 0 where it stands in no file.
    :param document: the fleet file when the city stands in it; knows the line of each field.
    :param problem: why the entry cannot be read, if it cannot.
    :param settled: whether it is broken whatever environment variables say; known once it was resolved.
    """

    key: str
    overrides: dict[str, Any]
    file: str
    line: int
    document: Lines | None = None
    problem: Problem | None = None
    settled: bool = False

    @property
    def id(self) -> str:
        """The city's slug. For a key that is not a slug, one made of it, so that it can name a DAG."""
        slug = _slug_or_none(self.key) or f"line_{self.line}"
        if len(slug) <= CITY_SLUG.max_length:
            return slug
        return f"{slug[: CITY_SLUG.max_length - 7].rstrip('_')}_{naming.digest(slug, 6)}"

    def error(self, path: FieldPath, problem: Problem) -> ConfigError:
        """Return a problem of this city as an error with file and line.

        :param path: the field at fault, relative to the city.
        """
        line = self.document.line(("cities", self.key, *path)) if self.document and path else self.line
        city = self.key if len(self.key) <= _SHOWN_OF_KEY else self.key[:_SHOWN_OF_KEY] + "…"
        return problem.error(file=self.file, line=line or None, field=field_text(path), city=city)

    def wrote(self, path: FieldPath) -> bool:
        """Tell whether the city itself sets the field at ``path``."""
        node: Any = self.overrides
        for part in path:
            # A list that the city writes is its own as a whole.
            if isinstance(node, list):
                return True
            if not isinstance(node, dict) or part not in node:
                return False
            node = node[part]
        return True


@dataclass
class Resolver:
    """Validates the cities of a fleet, equal settings only once.

    :param raw: the fleet file's data, as read.
    :param settings: the same, validated; None when the fleet file itself is wrong.
    :param document: the fleet file, which knows the line of each field.
    """

    raw: Mapping[str, Any]
    settings: FleetSettings | None
    document: Lines
    _seen: dict[tuple[str, str], object] = field(default_factory=dict)
    _slugs: dict[str, CityEntry] = field(default_factory=dict)
    _names: dict[str, CityEntry] = field(default_factory=dict)
    _aws_names: dict[str, CityEntry] = field(default_factory=dict)
    _base: dict[str, Any] = field(default_factory=dict)
    _shared: dict[Problem, ConfigError] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.settings is not None:
            for name in OVERRIDES:
                source = self.settings.defaults if name in Defaults.model_fields else self.settings
                self._base[name] = getattr(source, name, None)
            # What the fleet's own sections get wrong between them is one mistake, on its own line, of all cities.
            everywhere = City.model_construct(None, **self._base)
            self._shared = {problem: self._fleets_own(problem) for problem in self._problems(everywhere)}

    def resolve(self, entry: CityEntry) -> tuple[City | None, list[ConfigError]]:
        """Return the city's settings, or None and every mistake in them."""
        problems = self._identify(entry)
        entry.settled = bool(problems)
        unreadable = [entry.error(path, flaw.problem) for path, flaw in flaws(entry.overrides)]
        if problems or unreadable:
            return None, [*(self.error(entry, path, problem) for path, problem in problems), *unreadable]
        values = dict(self._base)
        for name, override in entry.overrides.items():
            if name not in OVERRIDES:
                nearest = nearest_match(name, OVERRIDES)
                allowed = list_names(sorted(OVERRIDES))
                problems.append(((name,), Problem("an unknown key", allowed, nearest, of_key=True)))
                continue
            try:
                values[name] = self._validated(name, override)
            except _Refused as refused:
                problems += refused.problems
        if not problems and self.settings is not None:
            slug = values["slug"] = _slug_of(entry)
            values["name"] = values.get("name") or (entry.key if slug != entry.key else slug)
            if values.get("parent") == slug:
                values["parent"] = None  # the defaults' parent is one of the cities that they are for
            city = City.model_construct(None, **values)
            city.write_name(self.document.written(("cities", entry.key, "name")) if entry.document else None)
            found = self._problems(city)
            if not found:
                return city, []
            return None, [self._shared.get(each) or self.error(entry, each.path, each) for each in found]
        if self.settings is None:
            # The fleet's own sections are wrong: report what the city itself wrote, not what it inherits.
            problems = [(path, problem) for path, problem in problems if entry.wrote(path)]
        return None, [self.error(entry, path, problem) for path, problem in problems]

    def _problems(self, city: City) -> list[Problem]:
        return city_problems(city, self.settings)

    def error(self, entry: CityEntry, path: FieldPath, problem: Problem) -> ConfigError:
        """Return a problem of a city as an error, which doesn't show what came out of the environment."""
        places = (("defaults", *path), path) if path else ()
        if entry.document is not None and path:
            places = (("cities", entry.key, *path), *places)
        written = (self.document.written(place) for place in places)
        return entry.error(path, as_written(problem, next(filter(None, written), None), self.document.filled))

    def varying_parents(
        self, cities: Mapping[str, City], entries: Mapping[str, CityEntry]
    ) -> Iterator[tuple[str, Problem]]:
        """Find parents that an environment variable names: a form of the file is the same in every environment."""
        allowed = "a slug that is written out: which cities a model is pooled over is the same everywhere"
        everywhere = self.document.written(("defaults", "parent"))
        for slug, city in cities.items():
            entry = entries[slug]
            if city.parent is None and "parent" not in entry.overrides:
                continue
            own = ("cities", entry.key, "parent")
            written = self.document.written(own) if "parent" in entry.overrides else everywhere
            if written is not None:
                yield slug, Problem(show_value(written), allowed, path=("parent",))

    def varying_cohorts(
        self, cities: Mapping[str, City], entries: Mapping[str, CityEntry]
    ) -> Iterator[tuple[str, Problem]]:
        """Find what decides about cohorts and comes from an environment variable: a form of the file is the same in
        every environment.

        :param cities: those that name a cohort.
        """
        allowed = (
            "a value that is written out, or cohort: null: which cities share a job is the same everywhere"
        )
        for slug in cities:
            entry = entries[slug]
            for name in DECIDING:
                above: FieldPath = ("cities", entry.key) if name in entry.overrides else ("defaults",)
                if name not in entry.overrides and name not in ("cohort", "approval", "entry"):
                    continue  # the fleet's own, of all its cities
                node = entry.overrides.get(name)
                for path in _leaves(node, (name,)):
                    own = name in entry.overrides and entry.document is None
                    if not own and (written := self.document.written((*above, *path))) is not None:
                        yield slug, Problem(show_value(written), allowed, path=path)

    def parent_error(self, entry: CityEntry, problem: Problem) -> ConfigError:
        """Return what is wrong with a city's parent; of one that the defaults name, one mistake of all cities."""
        where = ("parent",)
        if "parent" in entry.overrides:
            return self.error(entry, where, problem)
        return self._shared.setdefault(problem, self._fleets_own(problem))

    def _fleets_own(self, problem: Problem) -> ConfigError:
        path = ("defaults", *problem.path) if problem.path[0] in Defaults.model_fields else problem.path
        document = self.document
        shown = as_written(problem, document.written(path), document.filled)
        return shown.error(file=document.name, line=document.line(path), field=field_text(path))

    def _validated(self, name: str, override: object) -> object:
        key = (name, repr(override))
        if key not in self._seen:
            base = self.raw.get("defaults") if name in Defaults.model_fields else self.raw
            base = base.get(name) if isinstance(base, dict) else None
            merged = merge(_of_the_kind(base, override) if name == "dataset" else base, override)
            try:
                self._seen[key] = adapter(City, name).validate_python(merged)
            except ValidationError as error:
                schema = schema_of(City)
                found = located_problems(error, _field_schema(schema, name))
                self._seen[key] = _Refused([((name, *path), problem) for path, problem in found])
        value = self._seen[key]
        if isinstance(value, _Refused):
            raise value
        return value

    def _identify(self, entry: CityEntry) -> list[tuple[FieldPath, Problem]]:
        """Return what is wrong with the city's slug and name, by themselves or because another city has them."""
        if entry.problem is not None:
            return [((), entry.problem)]
        slug = _slug_of(entry)
        if slug is not None and len(slug) > CITY_SLUG.max_length:
            hint = "Give it a shorter slug, and its name in the raw data as name: {name: …}."
            return [((), Problem(f"a slug of {len(slug)} characters", CITY_SLUG.allowed, hint=hint))]
        if slug is None:
            near = _slug_or_none(entry.key) if entry.document is not None else None
            hint = f"Write {near}: {{name: {entry.key}}}." if near else _NO_SLUG
            return [((), Problem(f"{show_value(entry.key)} as a slug", CITY_SLUG.allowed, near, hint))]
        other = self._slugs.setdefault(slug, entry)
        if other is not entry:
            got = f"slug {slug!r}, which {other.key!r} on line {other.line} has already"
            return [((), Problem(got, "one city per slug", hint="Give one of them a slug of its own."))]
        problems: list[tuple[FieldPath, Problem]] = []
        name = entry.overrides.get("name")
        raw_name = name if isinstance(name, str) else entry.key
        other = self._names.setdefault(raw_name, entry)
        if other is not entry:
            got = f"{raw_name!r}, which city {other.key!r} on line {other.line} has already"
            problems.append((("name",), Problem(got, "each name of the raw data for one city")))
        if self.settings is not None:
            aws_name = naming.package_group(self.settings.fleet, self.settings.environment, slug)
            other = self._aws_names.setdefault(aws_name, entry)
            if other is not entry:
                got = f"the AWS name that city {other.key!r} on line {other.line} has already"
                problems.append(((), Problem(got, "slugs that differ in their AWS names")))
        return problems


class _Refused(Exception):
    def __init__(self, problems: list[tuple[FieldPath, Problem]]) -> None:
        super().__init__()
        self.problems = problems


def merge(base: object, override: object) -> object:
    """Return a city's settings merged into the fleet's: mappings key by key; anything else, a list too, is replaced.

    Neither input is changed.
    """
    if isinstance(base, dict) and isinstance(override, dict):
        return base | {key: merge(base.get(key), value) for key, value in override.items()}
    return override


def _leaves(node: object, path: FieldPath) -> Iterator[FieldPath]:
    """Yield the paths of the single values of a setting."""
    if not isinstance(node, dict):
        yield path
        return
    for key, child in node.items():
        yield from _leaves(child, (*path, key))


def _of_the_kind(base: object, override: object) -> object:
    """Return what a city inherits of the fleet's dataset: of one of another kind only where the rows come from."""
    if not isinstance(base, dict) or not isinstance(override, dict) or TAG not in override:
        return base
    if override[TAG] == base.get(TAG, SERIES):
        return base
    return {name: value for name, value in base.items() if name in OF_INGEST}


def entries_of_mapping(cities: Mapping[str, Any], document: Document) -> list[CityEntry]:
    """Return the cities that stand in the fleet file itself."""
    entries = []
    for key, value in cities.items():
        line = document.line(("cities", key))
        overrides = value if isinstance(value, dict) else {}
        problem = None
        if isinstance(value, Flaw):
            problem, line = value.problem, value.line
        elif value is not None and not isinstance(value, dict):
            problem = Problem(show_value(value), "a mapping of settings such as {name: Austin}, or nothing")
            problem = as_written(problem, document.written(("cities", key)))
        entries.append(CityEntry(key, overrides, document.name, line, document, problem))
    return entries


def _slug_of(entry: CityEntry) -> str | None:
    """Return the city's slug, or None. In a CSV list it may be made of the raw name, in the fleet file it may not."""
    if naming.is_slug(entry.key):
        return entry.key
    return None if entry.document is not None else _slug_or_none(entry.key)


def _slug_or_none(text: str) -> str | None:
    try:
        return naming.slug(text)
    except ValueError:
        return None


def _field_schema(schema: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return {**schema["properties"][name], "$defs": schema.get("$defs", {})}
