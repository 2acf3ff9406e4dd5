"""Command ``status``: how the cities of the fleets are."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from city_fleet import clock
from city_fleet.cli import status_text
from city_fleet.cli.aws import PARALLEL_CITIES, aws_errors, client
from city_fleet.cli.output import AsJson, errors, print_json
from city_fleet.cli.selection import FleetName, fleets_named
from city_fleet.config import Fleet
from city_fleet.errors import UnknownName, display_path
from city_fleet.naming import Keys, package_group

if TYPE_CHECKING:
    from city_fleet.views.drill_down import Difference
    from city_fleet.views.fleet import CityStatus
    from city_fleet.views.fleet_facts import Picture

commands = typer.Typer()

#: New run records read by one call, so that it answers in seconds on the morning after a night of thousands too.
RECORDS_AT_ONCE = 2000
STATES = ("BROKEN", "REMOVED_BUT_SERVING", "NOT_DEPLOYED", "STALE", "OUT_OF_DATE", "UP_TO_DATE")


@dataclass(frozen=True)
class _Shown:
    """What is shown of one fleet.

    :param differences: None when nobody asked for them.
    """

    picture: Picture
    cities: Sequence[CityStatus]
    differences: Sequence[Difference] | None = None

    def to_dict(self) -> dict[str, Any]:
        snapshot, refreshed = self.picture.snapshot, self.picture.refreshed
        found: dict[str, Any] = {
            "fleet": snapshot.fleet,
            "environment": snapshot.environment,
            "at": clock.iso(snapshot.at),
            "index": {"new_runs": refreshed.runs, "behind": refreshed.behind},
            "problems": list(self.picture.problems),
            "counts": {state.value: count for state, count in snapshot.counts.items()},
            "cities": [city.to_dict() for city in self.cities],
        }
        if self.differences is not None:
            found["differences"] = [difference.to_dict() for difference in self.differences]
        return found


@commands.command()
def status(
    cities: Annotated[
        list[str] | None, typer.Argument(metavar="[CITY]...", help="Slugs of cities; all by default.")
    ] = None,
    *,
    fleet: FleetName = None,
    state: Annotated[
        list[str] | None,
        typer.Option("--state", metavar="STATE", help="Only cities in this state; may be repeated."),
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Compare with S3 and the registry, and say what repairs a difference."),
    ] = False,
    rebuild_index: Annotated[
        bool, typer.Option("--rebuild-index", help="Make the index anew from all run records and pointers.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say of each city whether its model is up to date, how its last run ended, and what waits for a person.

    \b
    States, the most urgent first:
      BROKEN               its settings have a mistake, or its live pointer can't be read
      REMOVED_BUT_SERVING  it is not in the fleet file any more, and its model serves on
      NOT_DEPLOYED         no model of it serves
      STALE                its model has not seen the data of the schedule's last tick
      OUT_OF_DATE          settings or scripts have changed since its model was made
      UP_TO_DATE           its model serves as it should

    \b
    Exit codes: 0 done, 1 --check found a difference, or something could not be done; 2 wrong usage.

    \b
    Examples:
      ./fleet status
      ./fleet status --state STALE --state NOT_DEPLOYED
      ./fleet status austin waco --check
      ./fleet status --fleet texas_housing --json
    """
    wanted = _states(state or [])
    with errors(as_json), aws_errors():
        fleets = fleets_named(fleet)
        pictures = [(item, _picture(item, anew=rebuild_index)) for item in fleets]
        _refuse_unknown(pictures, cities or [])
        shown = []
        for item, picture in pictures:
            chosen = [
                each
                for each in picture.snapshot.cities
                if (not cities or each.city in cities) and (not wanted or each.state in wanted)
            ]
            if chosen or not cities:
                shown.append(_Shown(picture, chosen, _differences(item, chosen) if check else None))
    if as_json:
        print_json([each.to_dict() for each in shown])
    else:
        for each in shown:
            narrowed = bool(cities or wanted)
            for line in status_text.lines(each.picture, each.cities, each.differences, narrowed=narrowed):
                typer.echo(line)
    raise typer.Exit(1 if any(each.differences for each in shown) else 0)


def _states(names: Sequence[str]) -> set[str]:
    """Return states as they are written, in whatever case they were given.

    :raises typer.BadParameter: there is no such state.
    """
    found = {name.upper().replace("-", "_") for name in names}
    for name in found - set(STATES):
        raise typer.BadParameter(f"--state: got {name!r}; allowed: {', '.join(STATES)}.")
    return found


def _picture(fleet: Fleet, *, anew: bool) -> Picture:
    from city_fleet.views import fleet_facts  # noqa: PLC0415 - imports botocore

    return fleet_facts.picture(
        fleet,
        client(fleet, "s3"),
        client(fleet, "sagemaker"),
        datetime.now(UTC),
        limit=RECORDS_AT_ONCE,
        anew=anew,
        say=lambda text: typer.echo(text, err=True),
    )


def _refuse_unknown(pictures: Sequence[tuple[Fleet, Picture]], cities: Sequence[str]) -> None:
    """:raises UnknownName: no fleet has a city of that slug."""
    known = {each.city for _, picture in pictures for each in picture.snapshot.cities}
    for slug in cities:
        if slug not in known:
            raise UnknownName(
                "city", slug, known, ", ".join(display_path(fleet.path) for fleet, _ in pictures)
            )


def _differences(fleet: Fleet, cities: Sequence[CityStatus]) -> list[Difference]:
    from city_fleet.views import drill_down  # noqa: PLC0415 - imports botocore

    s3, sagemaker = client(fleet, "s3"), client(fleet, "sagemaker")
    keys = Keys(fleet.bucket, fleet.fleet)

    def look(each: CityStatus) -> list[Difference]:
        group = package_group(fleet.fleet, fleet.environment, each.city)
        return drill_down.check(each, s3, sagemaker, keys, group=group)

    with ThreadPoolExecutor(PARALLEL_CITIES) as pool:
        return [difference for found in pool.map(look, cities) for difference in found]
