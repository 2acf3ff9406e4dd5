"""Columns that no raw data have to hold, because a city's own ``features.py`` may make them."""

from __future__ import annotations

from city_fleet.config import Fleet
from city_fleet.config.places import project_path

_HOOK = "features.py"


def needed_columns(fleet: Fleet) -> frozenset[str]:
    """Return the columns that a file to ingest has to have."""
    return frozenset(column for _, column in fleet.dataset.columns_named()) - own_columns(fleet)


def own_columns(fleet: Fleet) -> frozenset[str]:
    """Return the columns that a model sees of cities with a ``features.py``; their targets are not among them."""
    found: set[str] = set()
    folders = {city.scripts for city in fleet.cities.values()}
    with_hook = {folder for folder in folders if (project_path(folder) / _HOOK).is_file()}
    for city in fleet.cities.values():
        if city.own_scripts.features is not None or city.scripts in with_hook:
            found |= set(city.dataset.value_columns) - {city.dataset.target.column}
    return frozenset(found)
