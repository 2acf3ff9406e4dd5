"""Command ``cities``: which cities the fleet files have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from city_fleet.cli.output import AsJson, show
from city_fleet.cli.selection import FleetName, fleets_named


def cities(fleet: FleetName = None, as_json: AsJson = False) -> None:
    """List the cities of the fleet files, and mistakes in them.

    \b
    Examples:
      ./fleet cities
      ./fleet cities --fleet texas_housing --json
    """
    rows: list[dict[str, Any]] = []
    for item in fleets_named(fleet):
        for slug in sorted({*item.cities, *item.broken}):
            found, error = item.cities.get(slug), item.broken.get(slug)
            rows.append(
                {
                    "fleet": item.fleet,
                    "city": slug,
                    "name": found.name if found else None,
                    "broken": error is not None,
                    "error": str(error) if error else None,
                }
            )
    show(rows, _lines(rows), as_json)


def _lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    width = max((len(row["city"]) for row in rows), default=0)
    for row in rows:
        state = f"broken: {row['error']}" if row["broken"] else row["name"]
        yield f"{row['fleet']}  {row['city']:<{width}}  {state}"
