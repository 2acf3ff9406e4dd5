"""Command ``data``: a city's raw data files in S3."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from city_fleet.cli.aws import aws_errors, client
from city_fleet.cli.output import AsJson, print_json, say, table
from city_fleet.cli.selection import CityName, FleetName, cities_named, fleets_named
from city_fleet.outgoing_text import one_line

if TYPE_CHECKING:
    from city_fleet.config import Fleet
    from city_fleet.data.raw_files import RawFile
    from city_fleet.raw_places import RawPlace
    from city_fleet.state.objects import ObjectStore


def data(
    city: CityName,
    fleet: FleetName = None,
    *,
    remove: Annotated[
        str | None, typer.Option("--remove", metavar="NAME", help="Remove the file of this name from S3.")
    ] = None,
    confirm: Annotated[
        str | None,
        typer.Option("--confirm", metavar="NAME", help="The file's name again; else you are asked for it."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a city's raw data files in S3, or remove one.

    Shown are each file's rows, its first and last period, its size, when it was written and by whom. All `.csv`,
    `.csv.gz` and `.parquet` files together are the city's raw data. "?" is what could not be read.

    It also works for a city that is no longer in the fleet file. A removed file is gone, unless the bucket keeps
    versions.

    Exit codes: 0 done, 1 there is no such city or file, or it was not confirmed, 2 wrong usage.

    \b
    Examples:
      ./fleet data austin
      ./fleet data austin --remove full_2025-04.csv
      ./fleet data austin --remove old/data.csv --confirm old/data.csv --json
    """
    from city_fleet.data.raw_files import raw_files, remove_file  # noqa: PLC0415 - imports botocore
    from city_fleet.state.objects import ObjectStore  # noqa: PLC0415

    with aws_errors():
        ((item, slug),) = cities_named(fleets_named(fleet), [city], _has_raw_data)
        place = item.raw_place(slug)
        store = ObjectStore(client(item, "s3"), place.bucket)
        files = raw_files(item, store, slug)
        if remove is not None:
            _own(place, slug)
            _confirmed(files, remove, confirm, asks=not as_json)
            removed = remove_file(store, files, remove, slug)
            left = [file for file in files if file is not removed]
            _print_removed(item, slug, removed, left, as_json)
            return
        files = [_counted(item, store, file) for file in files]
    if as_json:
        shown = [file.to_dict() for file in files]
        print_json({"fleet": item.fleet, "city": slug, "bucket": place.bucket, "files": shown})
    else:
        _print(item, slug, files)


def _has_raw_data(fleet: Fleet, city: str) -> bool:
    from city_fleet.state.raw_listing import raw_items  # noqa: PLC0415

    with aws_errors():
        return bool(raw_items(client(fleet, "s3"), fleet.raw_place(city), limit=1))


def _own(place: RawPlace, city: str) -> None:
    """Refuse to remove what is somebody else's."""
    from city_fleet.errors import CityFleetError  # noqa: PLC0415

    if not place.own:
        raise CityFleetError(
            f"the raw data of city {city!r} are read in place, below {place.shown} (dataset.raw): City Fleet deletes "
            "nothing there. Whoever writes there takes a file away"
        )


def _counted(fleet: Fleet, store: ObjectStore, file: RawFile) -> RawFile:
    """Return a file with what it holds; read only where its writer did not note it."""
    from city_fleet.data.raw_files import read_records  # noqa: PLC0415

    read = read_records(fleet, store, file) if file.rows is None else None
    if read is None:
        return file
    count, records = read
    first, last = min(records, default=None), max(records, default=None)
    return replace(file, rows=count, periods=len(records), first=first, last=last)


def _confirmed(files: list[RawFile], name: str, confirm: str | None, *, asks: bool) -> None:
    from city_fleet.errors import CityFleetError  # noqa: PLC0415

    if confirm is None and asks and any(file.name == name for file in files):
        confirm = typer.prompt(
            f"Type the file's name to remove it ({one_line(name)})", default="", show_default=False
        )
    if confirm is None:
        raise typer.BadParameter("--remove with --json needs --confirm NAME, the file's name again.")
    if confirm != name:
        raise CityFleetError(f"{name!r} was not confirmed (got {confirm!r}); nothing was removed.")


def _print_removed(
    fleet: Fleet, city: str, removed: RawFile, left: list[RawFile], as_json: bool
) -> None:  # fmt: skip
    if as_json:
        names = [file.name for file in left]
        print_json({"fleet": fleet.fleet, "city": city, "removed": removed.to_dict(), "left": names})
        return
    say(f"{city}: removed s3://{fleet.bucket}/{removed.key}")
    if not any(file.is_data for file in left):
        say(f"{city}: no raw data are left; its next run fails. ./fleet ingest {city} brings them.")


def _print(fleet: Fleet, city: str, files: list[RawFile]) -> None:
    from city_fleet.retiring.retire_report import size  # noqa: PLC0415

    place = fleet.raw_place(city)
    say(f"{city}: {place.shown}" + ("" if place.own else ", read in place"))
    if not files and city in fleet.children:
        say(f"  nothing: its runs read the raw data of its {len(fleet.children[city])} cities.")
        return
    if not files:
        do = f"./fleet ingest {city} uploads its rows." if place.own else "dataset.raw leads there."
        say(f"  nothing; {do}")
        return
    rows = [
        [
            f"  {file.name}",
            "no data" if not file.is_data else "?" if file.rows is None else str(file.rows),
            file.first or "",
            file.last or "",
            size(file.size_bytes),
            f"{file.modified:%Y-%m-%d %H:%M}",
            f"ingest of {file.source} by {file.author}" if file.by_ingest else "somebody else",
        ]
        for file in files
    ]
    for line in table(["  file", "rows", "first", "last", "size", "written", "by"], rows):
        say(line)
