"""Command ``history``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from city_fleet.cli.aws import aws_errors
from city_fleet.cli.moves import FleetClients
from city_fleet.cli.output import AsJson, errors, print_json
from city_fleet.cli.selection import FleetName, cities_named, fleets_named

if TYPE_CHECKING:
    from city_fleet.champions.champion_history import History, Served

commands = typer.Typer()

_COLUMNS = ("", "seq", "from", "until", "as_of", "version", "MAPE", "moved")


@commands.command()
def history(
    city: Annotated[str, typer.Argument(metavar="CITY", help="Slug of the city.")],
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=0, help="Only the newest N moves; 0 for all.")
    ] = 20,
    fleet: FleetName = None,
    as_json: AsJson = False,
) -> None:
    """Say which model of a city served when, who moved it there, and why. The one marked with * serves now.

    \b
    Exit codes: 0 done, 1 there is no such city, or its live pointer is missing or broken; 2 wrong usage.

    \b
    Examples:
      ./fleet history austin
      ./fleet history austin --limit 0 --json
    """
    from city_fleet.champions.champion_history import history as history_of  # noqa: PLC0415 - imports botocore

    with errors(as_json), aws_errors():
        fleets = fleets_named(fleet)
        clients = {item.fleet: FleetClients(item) for item in fleets}
        ((owner, slug),) = cities_named(
            fleets, [city], lambda item, name: clients[item.fleet].ever_served(name)
        )
        found = history_of(clients[owner.fleet].s3, clients[owner.fleet].keys, slug, limit or None)
    if as_json:
        states = [state.to_dict() for state in found.states]
        print_json(
            {
                "fleet": owner.fleet,
                "city": slug,
                "problem": found.problem,
                "older": found.older,
                "states": states,
            }
        )
    else:
        _print(owner.fleet, found)
    raise typer.Exit(1 if found.problem else 0)


def _print(fleet: str, found: History) -> None:
    if not found.states and not found.problem:
        typer.echo(f"{found.city}: no model of it ever went live in fleet {fleet!r}.")
    if found.older:
        typer.echo(f"{found.older} older moves are not shown; --limit 0 shows all.")
    rows = [_COLUMNS, *(_row(state) for state in found.states)] if found.states else []
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))] if rows else []
    for row in rows:
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)]
        typer.echo("  ".join(cells).rstrip())
    if found.problem:
        typer.echo(f"{found.city}: {found.problem}.", err=True)


def _row(served: Served) -> tuple[str, ...]:
    state = served.state
    ended = state is not None and state.move == "remove"
    until = "now" if served.live else _minute(served.until) if served.until else "" if ended else "?"
    if state is None:
        return ("", str(served.sequence), "?", until, "?", "?", "?", served.error or "")
    mape = state.metrics.get("mape")
    return (
        "*" if served.live else "",
        str(state.sequence),
        _minute(state.moved_at),
        until,
        state.as_of,
        state.package_arn.rpartition("/")[2],
        f"{mape:.1%}" if mape is not None else "",
        _moved(state),
    )


def _moved(state: Any) -> str:
    what = state.move
    if state.move == "rollback":
        what = f"rollback to {state.restores}"
    pinned = ", pinned" if state.pinned else ""
    why = f": {state.reason}" if state.reason else ""
    return f"{what}{pinned}, by {state.moved_by}{why}"


def _minute(instant: str) -> str:
    """Return an ISO 8601 instant as it is read quickly, in UTC."""
    return instant.removesuffix("+00:00").replace("T", " ")
