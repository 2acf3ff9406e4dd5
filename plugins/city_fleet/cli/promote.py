"""Command ``promote``: make a registered model live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from city_fleet.cli.moving import (
    By,
    DryRun,
    author,
    beginning_of_stamp,
    cities_and_clients,
    run_moves,
    unchanged,
)
from city_fleet.cli.output import AsJson
from city_fleet.cli.selection import CityName, FleetName
from city_fleet.state.outcomes import Outcome

if TYPE_CHECKING:
    from city_fleet.champions.moves import Move


def promote(
    city: CityName,
    *,
    reason: Annotated[
        str,
        typer.Option(
            "--reason",
            metavar="TEXT",
            help="Why, kept in the history and in the registry.",
            show_default=False,
        ),
    ],
    version: Annotated[
        int | None,
        typer.Option("--version", metavar="N", min=1, help="Version in the registry; the newest by default."),
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of", metavar="DATE", help="Instead of --version: the newest version of this as_of."
        ),
    ] = None,
    pin: Annotated[
        bool,
        typer.Option("--pin", help="Keep it live until ./fleet unpin; else the next run may replace it."),
    ] = False,
    fleet: FleetName = None,
    by: By = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Make a registered model live, whatever the gate decided.

    It also replaces a model with newer data, and a pinned one. First the endpoint must give the right predictions for
    the sample rows in the model's artifact; then its version in the registry becomes Approved and the live pointer
    changes. Your name is kept with it. No job is started.

    Exit codes: 0 live (or it was live already), 1 it could not be promoted, 2 wrong usage.

    \b
    Examples:
      ./fleet promote austin --reason "holds against the newest listings" --by ann
      ./fleet promote austin --version 7 --pin --reason "the gate compared with a poisoned champion"
      ./fleet promote austin --as-of 2014-01-01 --dry-run --reason "looking"
    """
    from city_fleet.champions import promotion  # noqa: PLC0415 - imports botocore

    if version is not None and as_of is not None:
        raise typer.BadParameter("give --version or --as-of, not both.")
    if not reason.strip():
        raise typer.BadParameter("--reason: it is empty; say why, the history keeps it.")
    choice = promotion.Choice(version, None if as_of is None else beginning_of_stamp("--as-of", as_of))
    who = author(by, reason)
    run_moves(
        cities_and_clients(fleet, [city]),
        lambda city: promotion.promote(city, who, choice, pin=pin, dry_run=dry_run),
        _show,
        as_json=as_json,
    )


def _show(move: Move) -> str:
    if move.outcome == Outcome.PLANNED:
        return "would be promoted:"
    if move.outcome == Outcome.UNCHANGED or move.after is None:
        return unchanged(move)
    if move.before is not None and move.before.target_model == move.after.target_model:
        return f"{move.after.target_model} stays live and is pinned now, as sequence {move.after.sequence}."
    pinned = ", pinned" if move.after.pinned else ""
    before = f"instead of {move.before.target_model}" if move.before else "as the first model"
    return f"{move.after.target_model} is live {before}, as sequence {move.after.sequence}{pinned}."
