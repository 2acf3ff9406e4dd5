"""The compiled form of a fleet file: what it says, as plain JSON, in a manifest and shards of cities.

Made of a file that can be used, so that whoever needs one city of ten thousand reads one shard of it and no YAML, and
so that a fleet goes on while its file is broken. ``${…}`` stays unresolved: a form is the same in every environment.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import yaml

from city_fleet import clock
from city_fleet.config.cities import CityEntry, entries_of_mapping
from city_fleet.config.city_list import entries_of_list
from city_fleet.config.cohort_rule import home_of
from city_fleet.config.fleet_file import FleetReading
from city_fleet.config.mistakes import FieldPath
from city_fleet.config.parts import shard_of, shards_for
from city_fleet.config.yaml_reader import Document, flaws
from city_fleet.errors import ConfigError

#: Of how a form is written. A form of another version is read by nobody.
FORM_VERSION = 1
CITIES_PER_SHARD = 256
_MOST_SHARDS = 1024
_CONFIG = Path(__file__).parent
_FACTS = ("file", "line", "city", "field", "got", "allowed", "nearest", "hint")


@dataclass(frozen=True)
class Form:
    """A form as it is kept.

    :param digest: of what it was made of; its name.
    :param manifest: bytes of JSON; it holds the digests of the shards.
    """

    digest: str
    manifest: bytes
    shards: tuple[bytes, ...]

    def digested_shards(self) -> list[tuple[str, bytes]]:
        """Return each shard with the digest of its bytes."""
        return [(sha256(shard), shard) for shard in self.shards]


@dataclass(frozen=True)
class Variable:
    """A value that holds ``${…}``."""

    text: str
    quoted: bool


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@functools.cache
def rules_digest() -> str:
    """Return a digest of the code that reads fleet files: another version of it makes its forms anew."""
    found = hashlib.sha256()
    for path in sorted([*_CONFIG.glob("*.py"), *_CONFIG.glob("*.json")]):
        found.update(path.read_bytes())
    return found.hexdigest()


def source_digest(path: Path, listed: str | None) -> str:
    """Return the digest of all that decides what a form says: the file, its list of cities, how both are read.

    :param listed: the list of cities, as the fleet file names it; None where it names none.
    :raises OSError: one of the files can't be read.
    """
    parts = [str(FORM_VERSION), rules_digest(), sha256(path.read_bytes()), str(listed)]
    if listed is not None:
        file = path.parent / listed
        if not file.is_file():  # a pipe or a device would be read for ever
            raise FileNotFoundError(listed)
        parts.append(sha256(file.read_bytes()))
    return sha256("\n".join(parts).encode())[:40]


def list_named(reading: FleetReading) -> str | None:
    """Return the list of cities that a fleet file names, or None where the cities stand in the file."""
    cities = reading.document.data.get("cities")
    named = cities.get("from") if isinstance(cities, dict) else None
    return named if isinstance(named, str) else None


def compile_form(path: Path, reading: FleetReading, digest: str) -> Form | None:
    """Return the form of a fleet file that can be used.

    :param digest: of the source, :func:`source_digest`.
    :return: None where an environment variable decides which list of cities it is.
    :raises ConfigError: the list of cities can't be read any more.
    """
    document = _Unresolved(reading.document.name, reading.document.root, {})
    data = dict(document.data)
    cities = data.pop("cities", None)
    listed = list_named(reading)
    if listed is not None and cities["from"] != listed:
        return None
    if listed is None:
        entries = entries_of_mapping(cities, document)
    else:
        entries = entries_of_list(path.parent / listed, reading.entries[0].file)
        if [_written(entry) for entry in entries] != [_written(entry) for entry in reading.entries]:
            return None  # the list has changed since it was read
    count = shards_for(len(entries), CITIES_PER_SHARD, _MOST_SHARDS)
    homes = home_of(reading.fleet.members)
    shards: list[list[dict[str, Any]]] = [[] for _ in range(count)]
    for raw, read in zip(entries, reading.entries, strict=True):
        shards[shard_of(homes.get(read.id, read.id), count)].append(
            _city(raw, read, reading.mistakes.get(read.id))
        )
    kept = tuple(_json(shard) for shard in shards)
    settings, specials = _plain(data)
    manifest = {
        "format_version": FORM_VERSION,
        "source": digest,
        "file": reading.document.name,
        "listed": listed,
        "list_file": reading.entries[0].file if listed else None,
        "made_at": clock.iso(datetime.now(UTC)),
        "cities": len(entries),
        "children": {parent: list(children) for parent, children in reading.fleet.children.items()},
        **({"members": reading.fleet.members} if reading.fleet.members else {}),
        "settings": settings,
        "specials": specials,
        "shards": [sha256(shard) for shard in kept],
        "broken": {slug: [_facts(error) for error in found] for slug, found in reading.mistakes.items()},
    }
    return Form(digest, _json(manifest), kept)


def _written(entry: CityEntry) -> tuple[str, int, dict[str, Any]]:
    return entry.key, entry.line, entry.overrides


def _city(raw: CityEntry, read: CityEntry, mistakes: list[ConfigError] | None) -> dict[str, Any]:
    overrides, specials = _plain(raw.overrides)
    city: dict[str, Any] = {"key": raw.key, "id": read.id, "line": raw.line}
    if overrides:
        city["overrides"] = overrides
    if specials:
        city["specials"] = specials
    if mistakes:
        city["mistakes"] = [_facts(error) for error in mistakes]
        # Else an environment variable may be what is wrong, and be right elsewhere.
        city["settled"] = read.settled or any(True for _ in flaws(raw.overrides))
    return city


def _facts(error: ConfigError) -> dict[str, Any]:
    return {name: value for name in _FACTS if (value := getattr(error, name)) is not None}


class _Unresolved(Document):
    """A parsed file whose variables stay as they are written."""

    def _scalar(self, node: yaml.ScalarNode) -> object:
        # What no file can hold is for the base class to refuse.
        if "${" in node.value and node.value.isprintable():
            return Variable(node.value, bool(node.style))
        return super()._scalar(node)


def _plain(value: object) -> tuple[Any, list[list[Any]]]:
    """Return a value as JSON can hold it, and what JSON can't hold: its path, its kind, its text, whether in quotes."""
    specials: list[list[Any]] = []

    def plain(node: object, path: FieldPath) -> object:
        if isinstance(node, dict):
            return {key: plain(child, (*path, key)) for key, child in node.items()}
        if isinstance(node, list):
            return [plain(child, (*path, index)) for index, child in enumerate(node)]
        if isinstance(node, Variable):
            specials.append([list(path), "variable", node.text, node.quoted])
        elif isinstance(node, date):
            specials.append([list(path), "date", node.isoformat(), False])
        elif node is None or isinstance(node, str | int | float):
            return node
        return None

    return plain(value, ()), specials


def _json(value: Mapping[str, Any] | list[Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
