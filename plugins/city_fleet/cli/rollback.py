"""Commands ``rollback`` and ``unpin``: back to an earlier model, and on from there."""

from __future__ import annotations

from datetime import datetime
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
    instant,
    run_moves,
    unchanged,
)
from city_fleet.cli.output import AsJson, say
from city_fleet.cli.selection import CityNames, FleetName, NamedCities, fleets_named, only_fleet
from city_fleet.state.outcomes import Outcome

if TYPE_CHECKING:
    from city_fleet.champions.moves import Move
    from city_fleet.champions.served import Destination


def rollback(
    cities: CityNames = None,
    *,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="WHERE",
            help="A seq of ./fleet history, a target model, or an as_of date; a newer one is allowed too.",
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="INSTANT",
            help="Roll back every city (or those named) whose model was published since, to the model before.",
        ),
    ] = None,
    fleet: FleetName = None,
    by: By = None,
    reason: Reason = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Return cities to the model that served before, and pin it.

    Pinned means that no new model goes live until `./fleet unpin`. A model is restored only if its artifact exists, its
    version in the registry is Approved, and the endpoint gives the right predictions for the sample rows in the
    artifact. A second rollback goes further back.

    Exit codes: 0 done (or there was nothing to do), 1 a city could not be rolled back, 2 wrong usage.

    \b
    Examples:
      ./fleet rollback austin --reason "prices ten times too high"
      ./fleet rollback austin --to 3
      ./fleet rollback austin waco --to 2014-01-01 --dry-run
      ./fleet rollback --since 2026-11-22T18:00 --by ann --reason "raw data of last night is wrong"
    """
    from city_fleet.champions import moves  # noqa: PLC0415 - imports botocore

    named = cities or []
    if not named and since is None:
        raise typer.BadParameter("name cities, or give --since.")
    if to is not None and since is not None:
        raise typer.BadParameter("give --to or --since, not both.")
    moment = instant("--since", since) if since is not None else None
    order = moves.Rollback(_destination(to, len(set(named))), moment, dry_run)
    who = author(by, reason)
    if moment is None or named:
        targets = cities_and_clients(fleet, named)
    else:
        owner = only_fleet(fleets_named(fleet), "--since without cities needs")
        targets = _moved_since(FleetClients(owner), moment)

    if not targets and not as_json:
        say(f"No model was published since {since}; there is nothing to do.")

    def show(move: Move) -> str | None:
        # With --since alone, cities that were not published since then are not mentioned.
        return _show_rollback(move) if named or move.outcome != Outcome.UNCHANGED else None

    run_moves(targets, lambda city: moves.rollback(city, who, order), show, as_json=as_json)


def unpin(
    cities: NamedCities,
    fleet: FleetName = None,
    by: By = None,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Let new models of pinned cities go live again.

    The live model serves until a new one goes live.

    Exit codes: 0 done (or it was not pinned), 1 a city could not be unpinned, 2 wrong usage.

    \b
    Examples:
      ./fleet unpin austin --reason "raw data is repaired"
      ./fleet unpin austin waco dallas --by ann
    """
    from city_fleet.champions import moves  # noqa: PLC0415 - imports botocore

    who = author(by, reason)
    targets = cities_and_clients(fleet, cities)
    run_moves(targets, lambda city: moves.unpin(city, who), _show_unpin, as_json=as_json)


def _destination(to: str | None, cities: int) -> Destination | None:
    from city_fleet.champions.served import Destination  # noqa: PLC0415 - imports botocore

    if to is None:
        return None
    try:
        destination = Destination.parse(to)
    except ValueError as error:
        raise typer.BadParameter(f"--to: {error}.") from None
    if destination.as_of is None and cities > 1:
        raise typer.BadParameter(
            "--to with a seq or a target model takes one city; with an as_of it takes many."
        )
    return destination


def _moved_since(clients: FleetClients, since: datetime) -> list[tuple[FleetClients, str]]:
    """Return the cities whose live pointer changed since; the rollback checks when their models were published."""
    from city_fleet.champions import moves  # noqa: PLC0415 - imports botocore

    with aws_errors():
        return [(clients, city) for city in moves.cities_moved_since(clients.s3, clients.keys, since)]


def _show_rollback(move: Move) -> str:
    if move.outcome == Outcome.UNCHANGED or move.before is None or move.after is None:
        return unchanged(move)
    before, after, would = move.before, move.after, move.outcome == Outcome.PLANNED
    if before.target_model == after.target_model:
        verb = "would be" if would else "is"
        return f"{after.target_model}, which serves, {verb} pinned as sequence {after.sequence}."
    if after.origin > before.origin:
        verb = "would go forward" if would else "went forward"
    else:
        verb = "would roll back" if would else "rolled back"
    return (
        f"{verb} from {before.target_model} to {after.target_model}, which went live with sequence "
        f"{after.restores}; pinned as sequence {after.sequence}."
    )


def _show_unpin(move: Move) -> str:
    if move.outcome == Outcome.UNCHANGED or move.after is None:
        return unchanged(move)
    return f"unpinned as sequence {move.after.sequence}; {move.after.target_model} serves until a new model goes live."
