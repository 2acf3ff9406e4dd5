"""Which fleets and cities a command is about: the option ``--fleet``, the argument ``CITY``, and how they are found."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from city_fleet.cli.aws import shared_form
from city_fleet.cli.output import say
from city_fleet.config import City, Fleet, fleet_files, load_fleet, load_fleets
from city_fleet.config.places import command_name, compiled_folder, fleets_folder
from city_fleet.config.usable_fleets import usable_fleet, usable_fleets
from city_fleet.errors import (
    AmbiguousCity,
    CityFleetError,
    ConfigError,
    FleetFileError,
    PlatformError,
    UnknownName,
    display_path,
)
from city_fleet.naming import is_slug, slug

FleetName = Annotated[
    str | None,
    typer.Option(
        "--fleet", metavar="NAME", help="Name of a fleet, or path of its file; all fleets by default."
    ),
]

OwnerName = Annotated[
    str | None,
    typer.Option(
        "--owner", metavar="NAME", help="Only cities of this owner, or with this tag, in the fleet file."
    ),
]


def _begun(incomplete: str) -> list[str]:
    """Return the slugs that begin as what a person has typed, for the shell."""
    try:
        loaded = usable_fleets(fleets_folder())
    except CityFleetError:
        return []
    slugs = {slug for fleet in loaded if isinstance(fleet, Fleet) for slug in (*fleet.cities, *fleet.broken)}
    return sorted(slug for slug in slugs if slug.startswith(incomplete))


_ONE = 'A city: its slug or its name, such as austin or "Fort Worth".'
_SOME = 'Cities: their slugs or names, such as austin "Fort Worth".'
CityName = Annotated[
    str, typer.Argument(metavar="CITY", help=_ONE, show_default=False, autocompletion=_begun)
]
OneCity = Annotated[
    str | None, typer.Argument(metavar="CITY", help=_ONE, show_default=False, autocompletion=_begun)
]
CityNames = Annotated[list[str] | None, typer.Argument(metavar="CITY", help=_SOME, autocompletion=_begun)]
FleetFiles = Annotated[list[Path] | None, typer.Argument(metavar="FILE", help="Fleet files; all by default.")]
FleetNames = Annotated[
    list[str] | None,
    typer.Option(
        "--fleet", metavar="NAME", help="Name of a fleet, or path of its file; repeatable, beside FILE."
    ),
]
NamedCities = Annotated[list[str], typer.Argument(metavar="CITY", help=_SOME, autocompletion=_begun)]


def no_fleet_file() -> ConfigError:
    """Return the error for a folder without a fleet file."""
    return ConfigError(file=str(fleets_folder()), got="no fleet file", allowed="files ending in .yaml")


def files_named(files: Iterable[Path] | None, names: Iterable[str] | None) -> list[Path]:
    """Return the files of the fleets that a command is about, also of one that can't be read; all by default.

    :param files: their paths, :param names: of fleets, or paths of their files.
    :raises CityFleetError: the folder has no fleet file, or no fleet of a name.
    """
    folder = fleets_folder()
    found = [*(files or ())]
    for name in names or ():
        if _is_path(name):
            found.append(Path(name))
            continue
        known = fleet_files(folder)
        by_name = {path.stem: path for path in known}
        loaded = zip(load_fleets(folder), known, strict=True)
        by_name |= {item.fleet: path for item, path in loaded if isinstance(item, Fleet)}
        if name not in by_name:
            raise UnknownName("fleet", name, by_name, display_path(folder))
        found.append(by_name[name])
    found = found if files or names else fleet_files(folder)
    if not found:
        raise no_fleet_file()
    return list(dict.fromkeys(found))


def _is_path(name: str) -> bool:
    return os.sep in name or name.endswith((".yaml", ".yml"))


def fleets_named(name: str | None, *, as_they_are: bool = False) -> list[Fleet]:
    """Return the fleet of that name or file, or all of the folder.

    A file that can't be used is taken as it was when it was last right, with a warning.

    :param as_they_are: for what must not go by the settings of before: a file that can't be used is an error.
    :raises CityFleetError: a file that cannot be used, no fleet at all, or no fleet of that name.
    """
    found = _fleets_named(name, as_they_are)
    for item in found:
        if item.last_good is not None:
            say(f"warning: {item.fleet}: {item.last_good.sentence}", err=True)
    return found


def _fleets_named(name: str | None, as_they_are: bool) -> list[Fleet]:
    if name is not None and _is_path(name):
        return [load_fleet(name) if as_they_are else _usable(usable_fleet(name, fetch=shared_form))]
    folder = fleets_folder()
    loaded = load_fleets(folder) if as_they_are else usable_fleets(folder, fetch=shared_form)
    if name is None:
        if not loaded:
            raise no_fleet_file()
        return [_usable(item, as_they_are=as_they_are) for item in loaded]
    found = [item for item in loaded if isinstance(item, Fleet) and name == item.fleet]
    if not found:
        for item, path in zip(loaded, fleet_files(folder), strict=True):
            if isinstance(item, FleetFileError) and path.stem == name:
                _usable(item, as_they_are=as_they_are)
        names = [item.fleet for item in loaded if isinstance(item, Fleet)]
        raise UnknownName("fleet", str(name), names, display_path(folder))
    return found


def _usable(item: Fleet | FleetFileError, *, as_they_are: bool = False) -> Fleet:
    """:raises FleetFileError: there is nothing to work with."""
    if isinstance(item, Fleet):
        return item
    if not as_they_are:
        say(
            f"{item.file} can't be used, and no form of it from before is in {compiled_folder()} or in the fleet's "
            f"bucket. Mend it; `{command_name()} lint` lists the mistakes. `{command_name()} compile` keeps what a "
            "file says, for the next time.",
            err=True,
        )
    raise item


def with_owner(fleets: list[Fleet], name: str | None) -> list[Fleet]:
    """Return the fleets that have a city of an owner, or with a tag, of that name; all where it is None.

    :raises UnknownName: no fleet has one.
    """
    if name is None:
        return fleets
    found = [fleet for fleet in fleets if fleet.cities_of_owner(name)]
    if not found:
        known = {owner for fleet in fleets for owner in fleet.owners}
        raise UnknownName(
            "owner or tag", name, known, ", ".join(display_path(fleet.path) for fleet in fleets)
        )
    return found


def only_fleet(fleets: list[Fleet], what: str) -> Fleet:
    """Return the one fleet there is.

    :param what: the beginning of the message if there are more, such as ``--all needs``.
    :raises typer.BadParameter: there are several.
    """
    if len(fleets) > 1:
        raise typer.BadParameter(f"{what} --fleet: there are {', '.join(item.fleet for item in fleets)}.")
    return fleets[0]


def city_named(fleets: list[Fleet], name: str) -> tuple[Fleet, City]:
    """Return a city of the fleet files and its fleet.

    :raises CityFleetError: no fleet has it, or its settings are broken.
    :raises typer.BadParameter: more than one fleet has it.
    """
    ((fleet, slug),) = cities_named(fleets, [name])
    if slug in fleet.broken:
        raise fleet.broken[slug]
    return fleet, fleet.cities[slug]


def as_slugs(fleets: Iterable[Fleet], names: Iterable[str]) -> list[str]:
    """Return the slugs of cities as people write them, each once: ``Fort Worth`` is ``fort_worth``.

    What is neither a city's slug nor its name becomes a slug where one can be made of it, and else stays: whoever looks
    the city up says that there is none.
    """
    return list(dict.fromkeys(map(slug_finder(fleets), names)))


def slug_finder(fleets: Iterable[Fleet]) -> Callable[[str], str]:
    """Return a function that returns the slug of a city as people write it, as :func:`as_slugs` does."""
    fleets = list(fleets)
    known = {slug for fleet in fleets for slug in (*fleet.cities, *fleet.broken)}
    shown = {city.shown_name.casefold(): slug for fleet in fleets for slug, city in fleet.cities.items()}

    def slug_of(name: str) -> str:
        if name in known:
            return name
        if name.casefold() in shown:
            return shown[name.casefold()]
        with suppress(ValueError):
            return slug(name)
        return name

    return slug_of


def cities_fleet(city: str, fleets: list[Fleet]) -> Fleet:
    """Return the fleet that a city belongs to.

    :raises CityFleetError: it belongs to none of several, or to more than one.
    """
    if len(fleets) == 1:
        return fleets[0]  # a city that has left its fleet file may still be served: the pointer decides
    found = [fleet for fleet in fleets if city in fleet.cities or city in fleet.broken]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UnknownName(
            "city", city, {slug for fleet in fleets for slug in fleet.cities}, "The fleets together"
        )
    names = ", ".join(fleet.fleet for fleet in found)
    raise AmbiguousCity(
        f"city {city!r} is in the fleets {names}; say which with --fleet.", city=city, fleets=names
    )


def _only_files_count(*_: Any) -> bool:
    return False


def cities_named(
    fleets: list[Fleet], names: Iterable[str], serves: Callable[[Fleet, str], bool] = _only_files_count
) -> list[tuple[Fleet, str]]:
    """Return each named city's slug with its fleet, in the order they were named and each once.

    A city that has left the fleet file, or whose settings are broken, is found too: its model may serve on.

    :param serves: tells whether a model of a city has ever been live; asked only for a city that is in no fleet file.
    :raises UnknownName: no fleet has the city; the message proposes the nearest name.
    :raises typer.BadParameter: more than one fleet has it.
    """
    found = []
    for name in as_slugs(fleets, names):
        own = [fleet for fleet in fleets if name in fleet.cities or name in fleet.broken]
        if not own and is_slug(name):
            # If AWS can't be reached, the fleet files alone decide.
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
