"""A fleet as it would be with other settings of one city: for trying them before they stand in the fleet file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import yaml

from city_fleet.config.algorithm_section import DEFAULT_ALGORITHM
from city_fleet.config.algorithm_specs import algorithm_problems, specs_of
from city_fleet.config.cities import OVERRIDES, Resolver, merge
from city_fleet.config.fleet_file import read_fleet, resolve_all
from city_fleet.config.settings import City, Fleet
from city_fleet.config.yaml_reader import Flaw, flow_value
from city_fleet.errors import ConfigError, FleetFileError, show_value

#: Where the settings come from, as errors name it.
OPTION = "--set"
_HYPERPARAMETERS = ("algorithm", "hyperparameters")


def read_changes(texts: list[str]) -> dict[tuple[str, ...], Any]:
    """Read settings as a person writes them on a command line.

    :param texts: ``max_depth=6``, a hyperparameter; ``dataset.horizon=1``, a setting of the city by its path; values
        are as in a fleet file.
    :raises ConfigError: a text is none.
    """
    changes: dict[tuple[str, ...], Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        path = tuple(name.strip().split("."))
        if not equals or not all(path):
            allowed = "NAME=VALUE, such as max_depth=6 or dataset.horizon=1"
            raise ConfigError(file=OPTION, got=show_value(text), allowed=allowed)
        try:
            found = flow_value(value.strip())
        except ValueError:
            allowed = "a value as in a fleet file: a number, a text, [1, 2] or {name: value}"
            raise ConfigError(
                file=OPTION, field=name.strip(), got=show_value(value), allowed=allowed
            ) from None
        if isinstance(found, Flaw):
            raise found.problem.error(file=OPTION, line=None, field=name.strip())
        if len(path) == 1 and path[0] not in OVERRIDES:
            path = (*_HYPERPARAMETERS, *path)
        changes[path] = found
    return changes


def overridden(fleet: Fleet, slug: str, changes: Mapping[tuple[str, ...], Any]) -> Fleet:
    """Return a fleet in which a city has other settings, as if they stood in the fleet file.

    A city that gets another algorithm does not inherit hyperparameters that this one has not.

    :param changes: path of a setting below the city → its value.
    :raises ConfigError, FleetFileError: the settings can't be used.
    """
    reading = read_fleet(fleet.path, os.environ)
    entry = next(each for each in reading.entries if each.id == slug)
    own: Any = entry.overrides
    for path, value in changes.items():
        own = merge(own, _nested(path, value))
    own = _without_others(own, fleet.cities[slug], changes)
    # Errors name the option, as no line of a file is at fault.
    changed = replace(entry, overrides=own, file=OPTION, line=0, document=None)
    data = {name: value for name, value in reading.document.data.items() if name != "cities"}
    resolver = Resolver(data, reading.fleet, reading.document)
    cities, mistakes = resolve_all(resolver, [changed], fleet.path)
    if mistakes:
        raise FleetFileError(mistakes[changed.id], OPTION)
    city = cities[slug]
    if wrong := algorithm_problems(city, specs_of(city.scripts)):
        raise FleetFileError([changed.error(each.path, each) for each in wrong], OPTION)
    return fleet.model_copy(update={"cities": {**fleet.cities, slug: city}})


def as_yaml(slug: str, fleet: Fleet, changes: Mapping[tuple[str, ...], Any]) -> str:
    """Return the lines that would make settings stand in the fleet file, below ``cities``."""
    own: Any = {}
    for path, value in changes.items():
        own = merge(own, _nested(path, value))
    own = _without_others(own, fleet.cities[slug], changes)
    return yaml.safe_dump(
        {"cities": {slug: own}}, sort_keys=False, allow_unicode=True, default_flow_style=None
    )


def _nested(path: tuple[str, ...], value: Any) -> Any:
    for name in reversed(path):
        value = {name: value}
    return value


def _without_others(own: Any, city: City, changes: Mapping[tuple[str, ...], Any]) -> Any:
    """Take the hyperparameters away that a newly named algorithm has not; ``null`` stands for one that is inherited."""
    name = changes.get(("algorithm", "name"))
    specs = specs_of(city.scripts) if isinstance(name, str) else None
    spec = (specs or {}).get(str(name))
    if spec is None or (city.algorithm.name or DEFAULT_ALGORITHM) == name:
        return own
    depth = len(_HYPERPARAMETERS)
    given = {path[depth] for path in changes if path[:depth] == _HYPERPARAMETERS and len(path) > depth}
    others = set(city.algorithm.hyperparameters) - set(spec["hyperparameters"]) - given - {"seed"}
    return merge(own, _nested(_HYPERPARAMETERS, dict.fromkeys(sorted(others)))) if others else own
