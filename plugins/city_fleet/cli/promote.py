"""Command ``promote``: make a registered model live, or carry one here from another installation."""

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
from city_fleet.cli.selection import CityNames, FleetName
from city_fleet.state.outcomes import Outcome

if TYPE_CHECKING:
    from city_fleet.champions.moves import Move


def promote(
    cities: CityNames = None,
    *,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="NAME",
            help="Carry the version from this other installation of the fleet file's installations.",
        ),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="With --from: all cities of the fleet that have a model there.")
    ] = False,
    reason: Annotated[
        str | None,
        typer.Option(
            "--reason",
            metavar="TEXT",
            help="Why, kept in the history and in the registry. Required without --from.",
            show_default=False,
        ),
    ] = None,
    version: Annotated[
        int | None,
        typer.Option(
            "--version",
            metavar="N",
            min=1,
            help="Version in the registry; the newest by default, with --from the one that serves there.",
        ),
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of", metavar="DATE", help="Instead of --version: the newest version of this as_of."
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="With --from: publish it whatever the gate here decides, over a pin, without a trial.",
        ),
    ] = False,
    pin: Annotated[
        bool,
        typer.Option("--pin", help="Keep it live until ./fleet unpin; else the next run may replace it."),
    ] = False,
    fleet: FleetName = None,
    by: By = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Make a registered model live, or carry one from elsewhere.

    Without --from, a version of this installation, whatever the gate decided: it also replaces a model with newer data,
    and a pinned one. First the endpoint must give the right predictions for the sample rows in the model's artifact;
    then its version in the registry becomes Approved and the live pointer changes. Your name is kept with it. No job is
    started.

    With --from, the version that serves in another installation (another environment, bucket or account, as the fleet
    file's installations say) with what judged it there. The gate here judges it against the champion here, on the same
    held-out rows; it is registered here with where it comes from, approved by a person where the city asks for that,
    and published. Nothing is written to the other installation; carried twice, it is one version.

    Exit codes: 0 live (or it was live already), with --from also waiting for approval; 1 it could not be promoted, or
    was held; 2 wrong usage.

    \b
    Examples:
      ./fleet promote austin --reason "holds against the newest listings" --by ann
      ./fleet promote austin --version 7 --pin --reason "the gate compared with a poisoned champion"
      ./fleet promote austin --as-of 2014-01-01 --dry-run --reason "looking"
      ./fleet promote --from staging austin "Fort Worth"
      ./fleet promote --from staging austin --version 7 --reason "two weeks in staging"
      ./fleet promote --from old_account --all --fleet texas_housing --dry-run
    """
    from city_fleet.champions import promotion  # noqa: PLC0415 - imports botocore

    if version is not None and as_of is not None:
        raise typer.BadParameter("give --version or --as-of, not both.")
    choice = promotion.Choice(version, None if as_of is None else beginning_of_stamp("--as-of", as_of))
    names = cities or []
    if source is not None:
        from city_fleet.cli.promote_from import promote_from  # noqa: PLC0415
        from city_fleet.importing.carry import Order  # noqa: PLC0415

        if bool(names) == every:
            raise typer.BadParameter("name cities, or give --all.")
        order = Order(choice, force=force, pin=pin, dry_run=dry_run)
        who = author(by, reason or "")
        promote_from(source, names, fleet, order, who, every=every, as_json=as_json)
        return
    if every or force:
        raise typer.BadParameter(f"{'--all' if every else '--force'} goes with --from alone.")
    if len(names) != 1:
        raise typer.BadParameter("name one city; several go with --from alone.")
    if not (reason or "").strip():
        raise typer.BadParameter("--reason: it is empty; say why, the history keeps it.")
    who = author(by, reason or "")
    run_moves(
        cities_and_clients(fleet, names),
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
