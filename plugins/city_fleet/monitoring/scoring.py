"""Tables of forecasts and known values become scores of a city: what was said, what came true, what is due. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from city_fleet import clock, periods
from city_fleet.periods import Grid, Span
from city_fleet.state import forecast_table
from city_fleet.state.forecast_table import FORECAST, Row
from city_fleet.state.known_values import KnownValues
from city_fleet.state.live_scores import LiveScores, Scored

#: Half the width of an interval is so many standard deviations of normal errors.
_QUANTILES = {80: 1.2816, 95: 1.96}

#: Column → period → value; the target first.
History = dict[str, dict[str, float | None]]


def answers_of(rows: Iterable[Row], grid: Grid, target: Mapping[str, float | None]) -> list[Scored]:
    """Return what a table's rows of one city have forecast; rows without a forecast are none.

    :param grid: the city's periods.
    :param target: period → value; the last one known is what would be forecast without a model.
    """
    return [
        Scored(
            key=grid.text(grid.index(row["period"])),
            step=row["step"],
            target_model=row["target_model"] or row["served_by"] or "",
            at=clock.iso(row["made_at"]),
            predicted=row["prediction"],
            deviation=_deviation(row),
            naive=target.get(grid.text(grid.index(row["known_until"]))) if row["known_until"] else None,
        )
        for row in rows
        if row["status"] == FORECAST and row["prediction"] is not None
    ]


def _deviation(row: Row) -> float | None:
    """Return the standard deviation that a forecast's intervals stand for: the larger one, where tails are heavy."""
    found = []
    for level in forecast_table.LEVELS:
        low, high = row.get(f"lower_{level}"), row.get(f"upper_{level}")
        if low is not None and high is not None:
            found.append((high - low) / 2 / _QUANTILES[level])
    return max(found, default=None)


def history_of(known: KnownValues) -> History:
    """Return the values of each column of what is known, by period."""
    value: Mapping[str, Any] = json.loads(known.text)
    found: History = {name: {} for name in known.columns}
    if known.first is None or known.known_until is None:
        return found
    grid = Grid.parse(known.frequency)
    first, last = (grid.index(periods.read_begin(text)) for text in (known.first, known.known_until))
    for at, row in enumerate(value["rows"]):
        if first + at > last:
            break  # planned, and not yet seen
        for name, cell in zip(known.columns, row, strict=True):
            found[name][grid.text(first + at)] = None if cell is None else float(cell)
    return found


def remembered(before: Any, newer: History, most: int) -> History:
    """Put newer values in the place of those that a look before has noted, and keep the newest periods.

    :param before: of the notes, not trusted: what is no number by period is left out.
    """
    found: History = {}
    noted = before if isinstance(before, dict) else {}
    for name, values in newer.items():
        old = noted.get(name)
        kept = {
            period: value
            for period, value in (old.items() if isinstance(old, dict) else ())
            if value is None
            or (isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value))
        }
        joined = {**kept, **values}
        found[name] = {period: joined[period] for period in sorted(joined)[-most:]}
    return found


def due(scores: LiveScores, grid: Grid, available_after: Span, now: datetime) -> list[str]:
    """Return the periods that were forecast, should be known by now, and are not."""
    waiting = {row.key for row in scores.rows if row.actual is None and row.step >= 1}
    known = {row.key for row in scores.known}
    return sorted(
        key
        for key in waiting - known
        if available_after.after(grid.start(grid.index(periods.read_begin(key)))) <= now
    )


def corrected(before: LiveScores, after: LiveScores) -> list[str]:
    """Return the periods whose truth is another one than it was."""
    old = {row.identity: row.actual for row in before.known}
    return sorted({row.key for row in after.known if old.get(row.identity, row.actual) != row.actual})


def in_words(found: Sequence[str], noun: str) -> str:
    """Return periods as people read them: the first, and how many there are."""
    return f"{found[0]}" if len(found) == 1 else f"{len(found)} {noun}s from {found[0]} on"
