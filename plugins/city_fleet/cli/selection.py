"""Which fleets and cities a command is about: the shared option ``--fleet``, and how names are found."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Annotated

import typer

from city_fleet.config import Fleet, fleet_files, load_fleet, load_fleets
from city_fleet.config.places import fleets_folder
from city_fleet.errors import ConfigError, FleetFileError, PlatformError, UnknownName, display_path
from city_fleet.naming import is_slug

FleetName = Annotated[
    str | None,
    typer.Option(
        "--fleet", metavar="NAME", help="The fleet's name, or the path of its file; all by default."
    ),
]


def no_fleet_file() -> ConfigError:
    """Return the error that says that the folder holds no fleet file."""
    return ConfigError(file=str(fleets_folder()), got="no fleet file", allowed="files ending in .yaml")


def fleets_named(name: str | None) -> list[Fleet]:
    """Return the fleet of that name or file, or all of the folder.

    :raises CityFleetError: a file that cannot be used, no fleet at all, or no fleet of that name.
    """
    if name is not None and (os.sep in name or name.endswith((".yaml", ".yml"))):
        return [load_fleet(name)]
    folder = fleets_folder()
    loaded = load_fleets(folder)
    if name is None:
        if not loaded:
            raise no_fleet_file()
        for item in loaded:
            if isinstance(item, FleetFileError):
                raise item
    found = [item for item in loaded if isinstance(item, Fleet) and name in (None, item.fleet)]
    if not found:
        for item, path in zip(loaded, fleet_files(folder), strict=True):
            if isinstance(item, FleetFileError) and path.stem == name:
                raise item
        names = [item.fleet for item in loaded if isinstance(item, Fleet)]
        raise UnknownName("fleet", str(name), names, display_path(folder))
    return found


def cities_named(
    fleets: list[Fleet], names: Iterable[str], serves: Callable[[Fleet, str], bool]
) -> list[tuple[Fleet, str]]:
    """Return each named city with its fleet, in the order they were named and each once.

    A city that has left the fleet file, or whose settings are broken, is found too: its model may serve on.

    :param serves: tells whether a model of a city ever went live; asked only for a city of no fleet file.
    :raises UnknownName: no fleet has the city, with the nearest one that exists.
    :raises typer.BadParameter: more than one fleet has it.
    """
    found = []
    for name in dict.fromkeys(names):
        own = [fleet for fleet in fleets if name in fleet.cities or name in fleet.broken]
        if not own and is_slug(name):
            # Where AWS can't be asked, what can be said is that the files do not know it.
            with suppress(PlatformError):
                own = [fleet for fleet in fleets if serves(fleet, name)]
        if not own:
            known = {slug for fleet in fleets for slug in (*fleet.cities, *fleet.broken)}
            which = ", ".join(repr(fleet.fleet) for fleet in fleets)
            raise UnknownName("city", name, known, f"fleet {which}")
        if len(own) > 1:
            which = ", ".join(fleet.fleet for fleet in own)
            raise typer.BadParameter(
                f"city {name!r} is in several fleets: {which}. Say which one with --fleet."
            )
        found.append((own[0], name))
    return found
