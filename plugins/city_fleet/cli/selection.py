"""Which fleets a command is about: the shared option ``--fleet``, and how its value is found."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from city_fleet.config import Fleet, fleet_files, load_fleet, load_fleets
from city_fleet.errors import ConfigError, FleetFileError, UnknownName, display_path

PROJECT_ROOT = Path(__file__).resolve().parents[3]

FleetName = Annotated[
    str | None,
    typer.Option(
        "--fleet", metavar="NAME", help="The fleet's name, or the path of its file; all by default."
    ),
]


def fleets_folder() -> Path:
    """Return the folder of fleet files."""
    return Path(os.environ.get("CITY_FLEET_FLEETS") or PROJECT_ROOT / "include" / "fleets")


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
