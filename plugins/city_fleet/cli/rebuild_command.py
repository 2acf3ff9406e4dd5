"""Command ``rebuild``: restore live pointers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from city_fleet.cli.aws import aws_errors
from city_fleet.cli.moving import (
    By,
    DryRun,
    FleetClients,
    Reason,
    author,
    cities_and_clients,
    run_moves,
    unchanged,
)
from city_fleet.cli.output import AsJson, say
from city_fleet.cli.selection import FleetName, fleets_named
from city_fleet.state.outcomes import Outcome

if TYPE_CHECKING:
    from city_fleet.champions.moves import Move


def rebuild(
    cities: Annotated[
        list[str] | None,
        typer.Argument(metavar="CITY", help="Slugs of cities; all of the fleet file by default."),
    ] = None,
    *,
    fleet: FleetName = None,
    by: By = None,
    reason: Reason = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Restore live pointers that are missing or broken.

    Also those that contradict their history. The live model stays if possible. A missing pointer is restored from the
    newest entry of the history whose model may serve; without a history, from the newest published version in the
    registry. Pointers in order are not changed, so it is safe to run at any time. A city that was removed comes back
    only if you name it.

    Exit codes: 0 all are in order now (or nothing was ever live), 1 a pointer could not be restored, 2 wrong usage.

    \b
    Examples:
      ./fleet rebuild --dry-run
      ./fleet rebuild austin --by ann
      ./fleet rebuild --fleet texas_housing --reason "live/ was deleted by mistake"
    """
    from city_fleet.champions import rebuild as rebuilding  # noqa: PLC0415 - imports botocore

    who = author(by, reason)
    targets = cities_and_clients(fleet, cities) if cities else []
    for item in fleets_named(fleet) if not cities else ():
        clients = FleetClients(item)
        clients.refuse_old_layout()
        targets += [(clients, city) for city in sorted({*item.cities, *item.broken})]
        _name_those_left_alone(clients)

    def show(move: Move) -> str | None:
        if move.outcome == Outcome.UNCHANGED:
            return unchanged(move) if cities else None
        return _show(move)

    run_moves(
        targets,
        lambda city: rebuilding.rebuild(city, who, undo_removal=bool(cities), dry_run=dry_run),
        show,
        as_json=as_json,
    )


def _name_those_left_alone(clients: FleetClients) -> None:
    """Name the cities that have served but have no live pointer and are not in the fleet file: perhaps removed."""
    from city_fleet.champions.rebuild import lost_cities  # noqa: PLC0415 - imports botocore

    with aws_errors():
        lost = lost_cities(clients.s3, clients.keys)
    left = [city for city in lost if city not in clients.fleet.cities and city not in clients.fleet.broken]
    if left:
        say(
            f"{clients.fleet.fleet}: not in the fleet file, and therefore not restored: {', '.join(left)}. "
            "Name a city to restore its pointer.",
            err=True,
        )


def _show(move: Move) -> str:
    verb = "would be restored" if move.outcome == Outcome.PLANNED else "is restored"
    where = f" as sequence {move.after.sequence}, {move.after.target_model}" if move.after else ""
    return f"the live pointer {verb}{where}."
