"""Fleets out of compiled forms.

What comes out of a form is validated as what comes out of a fleet file, each shared section once: a form is believed no
more than a file is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from city_fleet.config.cities import CityEntry, Resolver
from city_fleet.config.cohort_rule import home_of
from city_fleet.config.compiled_form import FORM_VERSION, sha256
from city_fleet.config.fleet_file import assembled, leads_out, resolve_all
from city_fleet.config.last_good import LastGood
from city_fleet.config.mistakes import FieldPath
from city_fleet.config.parts import EVERY_CITY, Part
from city_fleet.config.settings import Fleet, FleetSettings
from city_fleet.config.variables import interpolate
from city_fleet.config.yaml_reader import Document, flaws
from city_fleet.errors import ConfigError, FleetFileError
from city_fleet.naming import is_slug


class UnusableForm(Exception):
    """A form that is damaged, of another version, or does not fit the environment. The file is read instead."""


@dataclass(frozen=True)
class OpenForm:
    """A form whose shards are read where they are needed.

    :param manifest: as :func:`open_form` has checked it.
    :param shard: reads the bytes of a shard by its number.
    """

    manifest: Mapping[str, Any]
    shard: Callable[[int], bytes]

    @property
    def shards(self) -> list[str]:
        """Return the digest of each shard."""
        return list(self.manifest["shards"])

    @property
    def made_at(self) -> str:
        """Return when the form was made, in UTC."""
        return str(self.manifest["made_at"])

    @property
    def digest(self) -> str:
        """Return the form's name."""
        return str(self.manifest["source"])

    def fleet(
        self,
        path: Path,
        environ: Mapping[str, str],
        part: Part = EVERY_CITY,
        error: FleetFileError | None = None,
    ) -> Fleet:
        """Return the fleet with some of its cities.

        :param path: the fleet file.
        :param environ: environment variables for ``${NAME}``.
        :param error: what is wrong with the file, if this form stands in for it.
        :raises UnusableForm: the form is damaged, or another environment makes a mistake of what was right.
        """
        try:
            return self._fleet(path, environ, part, error)
        except UnusableForm:
            raise
        except Exception as problem:
            # Whatever the bytes are, they are no form; nothing but the file is at fault for the fleet.
            raise UnusableForm(f"{type(problem).__name__}: {problem}") from problem

    def _fleet(
        self, path: Path, environ: Mapping[str, str], part: Part, error: FleetFileError | None
    ) -> Fleet:
        data = _restored(self.manifest["settings"], self.manifest["specials"], environ)
        if any(True for _ in flaws(data)):
            raise UnusableForm("an environment variable is not set")
        settings = FleetSettings.model_validate(data)
        if leads_out(settings, path):
            raise UnusableForm("a path that leads out of the project")
        texts = _written(self.manifest["specials"])
        lines = _FileOfForm(self.manifest["file"], texts, _filled(texts, environ))
        listed = self.manifest["list_file"]
        entries: list[CityEntry] = []
        known: dict[str, list[ConfigError]] = {}
        settled: dict[str, list[ConfigError]] = {}
        for city in self._cities(part):
            if mistakes := city.get("mistakes"):
                of = settled if city["settled"] else known
                of[city["id"]] = [ConfigError(**facts) for facts in mistakes]
            if city["id"] in settled:
                continue
            overrides = _restored(city.get("overrides", {}), city.get("specials", ()), environ)
            own = _written(city.get("specials", ()), ("cities", city["key"]))
            lines.texts.update(own)
            lines.filled.update(_filled(own, environ))
            name = listed or lines.name
            entries.append(
                CityEntry(
                    city["key"], overrides, name, city["line"], None if listed else _City(name, city["line"])
                )
            )
        cities, found = resolve_all(Resolver(data, settings, lines), entries, path)
        for slug, now in found.items():
            then = known.get(slug, [])
            if [(one.field, one.got) for one in then] == [(one.field, one.got) for one in now]:
                found[slug] = then  # which knows its lines
            elif error is None:
                raise UnusableForm("the environment breaks a city in another way")
        broken = settled | found
        good = None if error is None else LastGood(self.made_at, error)
        children = _slugs_by_name(self.manifest.get("children", {}))
        members = _slugs_by_name(self.manifest.get("members", {}))
        return assembled(settings, path, cities, broken, last_good=good, children=children, members=members)

    def _cities(self, part: Part) -> list[dict[str, Any]]:
        digests = self.shards
        found = []
        homes = home_of(_slugs_by_name(self.manifest.get("members", {})))
        for number in part.shards(len(digests), homes):
            content = self.shard(number)
            if sha256(content) != digests[number]:
                raise UnusableForm(f"shard {number} is damaged")
            found += [city for city in json.loads(content) if part.takes(city["id"], homes.get(city["id"]))]
        return found


def _no_shard(number: int) -> bytes:
    raise UnusableForm("only the manifest is here")


def open_form(manifest: bytes, shard: Callable[[int], bytes] = _no_shard) -> OpenForm:
    """Return a form to read from.

    :param shard: reads the bytes of a shard by its number.
    :raises UnusableForm: these bytes are no manifest of this version.
    """
    try:
        found = json.loads(manifest)
    except (ValueError, RecursionError) as error:
        raise UnusableForm("no JSON") from error
    if not isinstance(found, dict) or found.get("format_version") != FORM_VERSION:
        raise UnusableForm("a form of another version")
    # A form may come from a bucket: these name files and stand in messages.
    digest, shards, made_at, listed = (found.get(name) for name in ("source", "shards", "made_at", "listed"))
    if not (isinstance(digest, str) and re.fullmatch("[0-9a-f]{40}", digest)):
        raise UnusableForm("no digest")
    if not (isinstance(shards, list) and all(re.fullmatch("[0-9a-f]{64}", str(each)) for each in shards)):
        raise UnusableForm("no digests of shards")
    if not (isinstance(made_at, str) and re.fullmatch(r"[0-9T:.+-]{20,40}Z?", made_at)):
        raise UnusableForm("no time")
    if not (listed is None or isinstance(listed, str)):
        raise UnusableForm("no name of a list")
    return OpenForm(found, shard)


@dataclass(frozen=True)
class _FileOfForm:
    """The file that a form was made of.

    :param texts: the texts that hold a ``${…}``, by their path.
    :param filled: what these came to, and how the file writes that.
    """

    name: str
    texts: dict[FieldPath, str]
    filled: dict[str, str]

    def line(self, path: FieldPath) -> int:
        return 1

    def written(self, path: FieldPath) -> str | None:
        return self.texts.get(tuple(path))


@dataclass(frozen=True)
class _City:
    """A city's place in the file that a form was made of."""

    name: str
    at: int

    def line(self, path: FieldPath) -> int:
        return self.at

    def written(self, path: FieldPath) -> str | None:
        return None  # asked of the file

    @property
    def filled(self) -> Mapping[str, str]:
        return {}  # asked of the file


def _slugs_by_name(value: Any) -> dict[str, tuple[str, ...]]:
    """Read the cities of each parent, or of each cohort; a form of before has none."""
    slugs = [slug for name, of_name in value.items() for slug in (name, *of_name)]
    if not all(isinstance(slug, str) and is_slug(slug) for slug in slugs):
        raise UnusableForm("children or members that are no slugs")
    return {name: tuple(of_name) for name, of_name in value.items()}


def _written(specials: Any, above: FieldPath = ()) -> dict[FieldPath, str]:
    return {(*above, *path): text for path, kind, text, _ in specials if kind == "variable"}


def _filled(texts: Mapping[FieldPath, str], environ: Mapping[str, str]) -> dict[str, str]:
    return {interpolate(text, environ)[0]: text for text in texts.values()}


def _restored(plain: Any, specials: Any, environ: Mapping[str, str]) -> Any:
    """Put dates and variables back to their places, variables resolved as in a file."""
    variables = [(path, text, quoted) for path, kind, text, quoted in specials if kind == "variable"]
    values = resolved([(text, quoted) for _, text, quoted in variables], environ)
    for (path, _, _), value in zip(variables, values, strict=True):
        _put(plain, path, value)
    for path, kind, text, _ in specials:
        if kind == "date":
            _put(plain, path, date.fromisoformat(text))
    return plain


def _put(plain: Any, path: list[Any], value: object) -> None:
    node = plain
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value


def resolved(texts: list[tuple[str, bool]], environ: Mapping[str, str]) -> list[object]:
    """Return what texts with variables say, by the rules of a fleet file."""
    if not texts:
        return []
    mark = yaml.Mark("", 0, 0, 0, "", 0)
    pairs = [
        (
            yaml.ScalarNode("tag:yaml.org,2002:str", str(number), mark, mark),
            yaml.ScalarNode("tag:yaml.org,2002:str", text, mark, mark, style='"' if quoted else None),
        )
        for number, (text, quoted) in enumerate(texts)
    ]
    root = yaml.MappingNode("tag:yaml.org,2002:map", pairs, mark, mark)
    return list(Document("", root, environ).data.values())
