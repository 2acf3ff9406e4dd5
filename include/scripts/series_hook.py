"""Hands a series' known periods to the user's ``features.py``, and takes its columns as if the raw data had them."""

from __future__ import annotations

import math
from array import array
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from calendar_grid import begins_at, noun, period_start
from feature_hook import NAME, Context, Hook, call_hook, check_no_look_ahead
from job_failure import JobFailure, listed
from preprocess_settings import Settings
from raw_data import RawCity
from row_reader import LARGEST
from table_schema import REGRESSION, SERIES


def with_own_columns(raw: RawCity, settings: Settings, city: str, hook: Hook) -> RawCity:
    """Return the periods with the columns that the user's function makes of them.

    :raises JobFailure: the function fails, returns something else, looks ahead, or lacks a column that is asked for.
    """
    frequency, target = settings.layout.frequency, settings.layout.target
    frame = _frame(raw, settings)
    context = Context(city, settings.as_of, SERIES, REGRESSION, target)
    made = call_hook(hook, frame, context, [target])
    last = max((row.index for row in raw.rows), default=0)
    before = [at for at, row in enumerate(raw.rows) if row.index <= last - settings.holdout_periods]
    check_no_look_ahead(hook, frame, context, made, np.array(before, dtype=int), [target])
    lacking = [name for name in settings.limits if name not in made.columns]
    if lacking:
        raise JobFailure(
            f"dataset.features: column {listed(lacking)} is neither in the raw data nor among those that {NAME} makes "
            f"({listed(list(made.columns))})."
        )
    columns = {name: _numbers(made[name], name) for name in made.columns}
    _check_known_ahead(columns, frame, settings)
    others = tuple(name for name in columns if name not in settings.limits)
    rows = []
    for at, row in enumerate(raw.rows):
        values = {name: _value(columns[name][at]) for name in settings.limits}
        for name, value in values.items():
            if value is not None and not settings.limits[name].allow(value):
                day = period_start(row.index, frequency).isoformat()
                raise JobFailure(
                    f"{NAME}: column '{name}', {noun(frequency)} of {day}: got {value:g}; "
                    f"allowed: {settings.limits[name]}."
                )
        more = array("d", [columns[name][at] for name in others])
        rows.append(replace(row, values=values, other_names=others, other_values=more))
    return replace(raw, rows=rows)


def _check_known_ahead(columns: dict[str, list[float]], frame: pd.DataFrame, settings: Settings) -> None:
    """Refuse to learn from other values than those that requests and rows of periods to come bring.

    :raises JobFailure: the function changes a column that is known ahead.
    """
    for name in settings.layout.known_ahead:
        if name in frame.columns and not np.array_equal(
            np.array(columns[name]), frame[name].to_numpy(), equal_nan=True
        ):
            raise JobFailure(
                f"{NAME}: column '{name}': got other values than the raw data's; allowed: those, because it is "
                "known_ahead and nobody calls this function for periods to come. Make a column of another name of it."
            )


def _frame(raw: RawCity, settings: Settings) -> pd.DataFrame:
    """Return periods × columns of float64, NaN where missing; the index is each period's beginning."""
    others = dict.fromkeys(row.other_names for row in raw.rows)
    names = list(dict.fromkeys([*settings.limits, *(name for each in others for name in each)]))
    begin = [begins_at(row.index, settings.layout.frequency).replace(tzinfo=None) for row in raw.rows]
    days = [np.datetime64(moment, "s") for moment in begin]
    known = ({**dict(row.others), **row.values} for row in raw.rows)
    numbers = [[values.get(name) for name in names] for values in known]
    frame = pd.DataFrame(
        np.array(numbers, dtype=np.float64).reshape(len(raw.rows), len(names)),
        columns=names,
        index=pd.DatetimeIndex(np.array(days, dtype="datetime64[s]"), name="period"),
    )
    # A column that no file has is the hook's to make.
    return frame.drop(columns=[name for name in raw.lacking if name in frame.columns])


def _numbers(column: Any, name: str) -> list[float]:
    try:
        values = column.astype("float64").tolist()
    except (TypeError, ValueError) as error:
        raise JobFailure(
            f"{NAME}: column '{name}' of a series: {' '.join(str(error).split())[:100]}; allowed: numbers."
        ) from None
    wild = [value for value in values if abs(value) > LARGEST]
    if wild:
        raise JobFailure(f"{NAME}: column '{name}': got {wild[0]:g}; allowed: numbers up to {LARGEST:g}.")
    return [float(value) for value in values]


def _value(number: float) -> float | None:
    return None if math.isnan(number) else number
