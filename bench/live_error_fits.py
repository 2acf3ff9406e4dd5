"""The models of bench/live_errors.py: ``python live_error_fits.py <scripts> <folder> <scenario>…``.

In the image's Python it prints JSON: scenario → city → the forecasts of its live months, each with the deviation that
the product would give it. The newest 24 months are live. Their first twelve are forecast by a model of all before, the
others by one of all before them, as a city would be retrained once a year; ``once`` is the first model over both years.
What was forecast in a year before the live ones, by the model of that year, are the held-out errors.

A scenario changes what arrives in the live months. The model of the first year has not seen it; that of the second is
the one of the undisturbed series, so a scenario must be looked at before it has been trained on.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, sys.argv[1])

from model_fits import PARTS, fitted

from intervals import Residuals
from table_file import read_table
from table_parts import joined, rows_of
from table_schema import Table
from validation_loss import untransformed

#: Months between two fits, months that are held out, and years that are live.
YEAR, HELD_OUT, LIVE_YEARS = 12, 60, 2
#: Months before those that a first model must have.
FEWEST = 24
_QUANTILES = {"80": 1.2816, "95": 1.96}
Periods = list[str]


def main() -> None:
    """Fit each city's models once, and let them forecast every scenario."""
    folder, scenarios = Path(sys.argv[2]), sys.argv[3:]
    found: dict[str, dict[str, Any]] = {name: {} for name in (*scenarios, "once")}
    for place in sorted((folder / "plain" / "test").glob("city=*/test.csv")):
        city = place.parent.name.removeprefix("city=")
        whole = joined(*(read_table(folder / "plain" / part, part, city) for part in PARTS))
        when = joined_periods(folder / "plain", city)
        months = sorted(set(when))[-(HELD_OUT + LIVE_YEARS * YEAR) :]
        if len(set(when)) < len(months) + FEWEST or len(months) < HELD_OUT + LIVE_YEARS * YEAR:
            print(f"{city}: left out, {len(set(when))} months are too few", file=sys.stderr)
            continue
        years = [months[at : at + YEAR] for at in range(0, len(months), YEAR)]
        with contextlib.redirect_stdout(sys.stderr):  # XGBoost says how it is going
            models = [fit(whole, when, year[0]) for year in years]
        errors = [(model, chosen(whole, when, year)) for model, year in zip(models, years, strict=True)]
        first = len(years) - LIVE_YEARS
        held_out = [residuals(errors[at - HELD_OUT // YEAR : at]) for at in range(first, len(years))]
        for name in scenarios:
            # Only the first scenario is the undisturbed one, of which all is read already.
            table, own = live(folder / name, city)
            found[name][city] = [
                row
                for at in range(LIVE_YEARS)
                for row in forecasts(models[first + at], held_out[at], table, own, years[first + at])
            ]
        table, own = live(folder / "plain", city)
        found["once"][city] = forecasts(models[first], held_out[0], table, own, months[-LIVE_YEARS * YEAR :])
    print(json.dumps(found))


def periods_of(folder: Path, part: str, city: str) -> Periods:
    """Return the period of each row of a part."""
    lines = (folder / part / f"city={city}" / f"{part}.csv").read_text(encoding="utf-8").splitlines()
    return [line.split(",", 1)[0] for line in lines[1:]]


def joined_periods(folder: Path, city: str) -> Periods:
    return [period for part in PARTS for period in periods_of(folder, part, city)]


def live(folder: Path, city: str) -> tuple[Table, Periods]:
    return read_table(folder / "test", "test", city), periods_of(folder, "test", city)


def chosen(table: Table, when: Periods, months: Periods) -> Table:
    return rows_of(table, np.flatnonzero(np.isin(when, months)))


def fit(table: Table, when: Periods, until: str) -> Any:
    """Fit a model to what was known before a month; the year before that says when to stop."""
    before = sorted({period for period in when if period < until})
    model, _ = fitted("xgboost", chosen(table, when, before[:-YEAR]), chosen(table, when, before[-YEAR:]))
    return model


def predicted(model: Any, table: Table) -> np.ndarray:
    return untransformed(table.schema, model.predict(table.values), table.values)


def residuals(years: list[tuple[Any, Table]]) -> Residuals:
    """Measure what the models of some years were worth in their year."""
    return Residuals.of(
        np.concatenate([table.target for _, table in years]),
        np.concatenate([predicted(model, table) for model, table in years]),
        np.concatenate([table.baselines["ahead"] for _, table in years]),
        ratio=True,
    )


def forecasts(
    model: Any, held_out: Residuals, table: Table, when: Periods, months: Periods
) -> list[dict[str, Any]]:
    """Return a model's forecasts of some months, with what came and the deviation of the intervals around them."""
    there = np.flatnonzero(np.isin(when, months))
    rows = rows_of(table, there)
    found = []
    for period, value, actual, ahead in zip(
        np.array(when)[there], predicted(model, rows), rows.target, rows.baselines["ahead"], strict=True
    ):
        ends = held_out.around(float(value), int(ahead))
        # As monitoring/scoring.py has it of a table of forecasts.
        deviation = max((ends[level][1] - ends[level][0]) / 2 / _QUANTILES[level] for level in _QUANTILES)
        found.append(
            {
                "period": str(period),
                "step": int(ahead),
                "predicted": float(value),
                "actual": float(actual),
                "deviation": deviation,
            }
        )
    return found


if __name__ == "__main__":
    main()
