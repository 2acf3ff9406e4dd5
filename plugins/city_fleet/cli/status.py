"""Command ``status``: the state of every city."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from city_fleet import clock
from city_fleet.cli import status_text
from city_fleet.cli.aws import PARALLEL_CITIES, aws_errors, client
from city_fleet.cli.output import AsJson, say, show
from city_fleet.cli.selection import (
    CityNames,
    FleetName,
    OwnerName,
    as_slugs,
    fleets_named,
    with_owner,
)
from city_fleet.config import Fleet
from city_fleet.errors import UnknownName, display_path
from city_fleet.naming import package_group

if TYPE_CHECKING:
    from city_fleet.views.drill_down import Difference
    from city_fleet.views.fleet import CityStatus
    from city_fleet.views.fleet_facts import Picture

#: New run records read by one call: it answers in seconds also after a night of thousands of runs.
RECORDS_AT_ONCE = 2000
STATES = ("BROKEN", "REMOVED_BUT_SERVING", "NOT_DEPLOYED", "STALE", "OUT_OF_DATE", "UP_TO_DATE")


@dataclass(frozen=True)
class _Shown:
    """What is shown of one fleet.

    :param differences: None without ``--check``.
    """

    fleet: Fleet
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
            "last_good_form": self.fleet.last_good.to_dict() if self.fleet.last_good else None,
            "problems": list(self.picture.problems),
            "counts": {state.value: count for state, count in snapshot.counts.items()},
            "cities": [city.to_dict() for city in self.cities],
        }
        if self.differences is not None:
            found["differences"] = [difference.to_dict() for difference in self.differences]
        return found


def status(
    cities: CityNames = None,
    *,
    fleet: FleetName = None,
    state: Annotated[
        list[str] | None,
        typer.Option("--state", metavar="STATE", help="Show only cities in this state; may be repeated."),
    ] = None,
    owner: OwnerName = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Compare with S3 and the registry, and say what repairs each difference.",
        ),
    ] = False,
    rebuild_index: Annotated[
        bool,
        typer.Option("--rebuild-index", help="Rebuild the index from all run records and live pointers."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the state of every city, and which need attention.

    Each city is listed with its last run and what awaits approval; of a fleet with more than 200 cities only those that
    need attention. Name cities or a state to see those. Of several fleets, one that nobody has begun with is a line.

    \b
    States, the most urgent first:
      BROKEN               the city's settings have a mistake, or its live pointer can't be read
      REMOVED_BUT_SERVING  the city is no longer in the fleet file, but its model still serves
      NOT_DEPLOYED         no model of the city serves
      STALE                its model lacks the data of the schedule's last tick
      OUT_OF_DATE          settings or scripts have changed since its model was trained
      UP_TO_DATE           nothing to do

    Exit codes: 0 done, 1 --check found a difference, or something could not be done, 2 wrong usage.

    \b
    Examples:
      ./fleet status
      ./fleet status --state STALE --state NOT_DEPLOYED
      ./fleet status austin waco --check
      ./fleet status --owner pricing_team
      ./fleet status --fleet texas_housing --json
    """
    wanted = _states(state or [])
    with aws_errors():
        fleets = with_owner(fleets_named(fleet), owner)
        cities = as_slugs(fleets, cities or ())
        pictures = [(item, _picture(item, anew=rebuild_index)) for item in fleets]
        _refuse_unknown(pictures, cities)
        shown = []
        for item, picture in pictures:
            theirs = None if owner is None else frozenset(item.cities_of_owner(owner))
            chosen = [
                each
                for each in picture.snapshot.cities
                if (not cities or each.city in cities)
                and (not wanted or each.state in wanted)
                and (theirs is None or each.city in theirs)
            ]
            if chosen or not cities:
                shown.append(_Shown(item, picture, chosen, _differences(item, chosen) if check else None))
    lines = (
        line
        for each in shown
        for line in status_text.lines(
            each.fleet,
            each.picture,
            each.cities,
            each.differences,
            narrowed=bool(cities or wanted or owner),
            alone=len(shown) == 1,
        )
    )
    show([each.to_dict() for each in shown], lines, as_json)
    raise typer.Exit(1 if any(each.differences for each in shown) else 0)


def _states(names: Sequence[str]) -> set[str]:
    """Return states in capitals, in whatever case they were given.

    :raises typer.BadParameter: a name is not a state.
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
        limit=RECORDS_AT_ONCE,
        anew=anew,
        say=lambda text: say(text, err=True),
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
    keys = fleet.keys

    def look(each: CityStatus) -> list[Difference]:
        group = package_group(fleet.fleet, fleet.environment, each.city)
        raw, parent = fleet.raw_place(each.city), each.city in fleet.children
        return drill_down.check(each, s3, sagemaker, keys, group=group, raw=raw, is_parent=parent)

    with ThreadPoolExecutor(PARALLEL_CITIES) as pool:
        return [difference for found in pool.map(look, cities) for difference in found]
