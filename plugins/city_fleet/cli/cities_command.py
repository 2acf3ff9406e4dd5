"""Command ``cities``: which cities the fleet files have."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from city_fleet.cli.aws import aws_errors, client
from city_fleet.cli.output import AsJson, count_cities, is_terminal, show
from city_fleet.cli.selection import FleetName, fleets_named

_MOST_ON_A_TERMINAL = 200


def cities(
    fleet: FleetName = None,
    *,
    broken: Annotated[
        bool, typer.Option("--broken", help="Only cities whose settings have a mistake.")
    ] = False,
    pull: Annotated[
        bool, typer.Option("--pull", help="Copy the list from city_list.source into the CSV of cities.from.")
    ] = False,
    yes: Annotated[
        bool,
        typer.Option("--yes", help="With --pull: also where more cities are gone than most_removed allows."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the cities of the fleet files, and mistakes in them.

    A terminal shows 200 cities at most, the broken ones first; a file or a pipe gets all.

    With --pull the list of each fleet that has a city_list.source is copied from S3, CSV or Parquet, into the CSV that
    counts; review and commit it. A list that has lost many cities is refused.

    \b
    Examples:
      ./fleet cities
      ./fleet cities --fleet texas_housing --json
      ./fleet cities --broken | wc -l
      ./fleet cities --pull --fleet shops
    """
    if yes and not pull:
        raise typer.BadParameter("--yes is for --pull; give both.")
    if pull:
        _pull(fleet, even_so=yes, as_json=as_json)
        return
    rows: list[dict[str, Any]] = []
    for item in fleets_named(fleet):
        for slug in sorted(item.broken if broken else {*item.cities, *item.broken}):
            found, error = item.cities.get(slug), item.broken.get(slug)
            rows.append(
                {
                    "fleet": item.fleet,
                    "city": slug,
                    "name": found.name if found else None,
                    "dag": item.dag_id_of(slug),
                    "broken": error is not None,
                    "error": str(error) if error else None,
                }
            )
    show(rows, _lines(rows), as_json)


def _pull(name: str | None, *, even_so: bool, as_json: bool) -> None:
    from city_fleet.data import city_lists  # noqa: PLC0415 - imports botocore

    fleets = fleets_named(name, as_they_are=True)
    # A fleet that was named has its say why nothing is pulled.
    wanted = fleets if name is not None else [each for each in fleets if each.city_list.source is not None]
    if not wanted:
        raise typer.BadParameter("--pull: no fleet file has a city_list.source.")
    rows, lines = [], []
    for each in wanted:
        with aws_errors():
            pulled = city_lists.pull(each, client(each, "s3"), os.environ, even_so=even_so)
        if not pulled.unchanged:
            pulled.write()
        lines.append(pulled.sentence)
        rows.append({"fleet": each.fleet, **pulled.to_dict()})
    show(rows, lines, as_json)


def _lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    shown = rows
    if is_terminal() and len(rows) > _MOST_ON_A_TERMINAL:
        shown = sorted(rows, key=lambda row: not row["broken"])[:_MOST_ON_A_TERMINAL]
    width = max((len(row["city"]) for row in shown), default=0)
    for row in shown:
        cohort = row["dag"].partition("._")[2]
        state = f"broken: {row['error']}" if row["broken"] else row["name"]
        state += f"  ({cohort})" if cohort else ""
        yield f"{row['fleet']}  {row['city']:<{width}}  {state}"
    if len(shown) < len(rows):
        wrong = sum(row["broken"] for row in rows)
        yield f"… and {len(rows) - len(shown):,} more of {count_cities(len(rows))}, {wrong:,} of them broken."
