"""Hands a table's known rows to the user's ``features.py``, and takes them back as text that a file could have held."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from column_values import coded, numbers
from feature_hook import NAME, Context, Hook, call_hook, check_no_look_ahead
from job_failure import JobFailure, listed
from table_rows import TableRows
from table_schema import TABLE
from table_settings import TableSettings


def with_own_features(
    rows: TableRows, held_out: np.ndarray, settings: TableSettings, city: str, hook: Hook
) -> TableRows:
    """Return the rows with the columns that the user's function makes of them.

    :param held_out: places of the rows that no feature of another row may come from.
    :raises JobFailure: the function fails, returns something else, or looks ahead.
    """
    frame = pd.DataFrame({name: _series(column) for name, column in rows.texts.items()})
    moments = None
    if rows.moment is not None:
        moments = pd.Series(rows.moment.astype("datetime64[us]"), index=frame.index).dt.tz_localize("UTC")
    context = Context(city, settings.as_of, TABLE, settings.task, settings.target, moments)
    fixed = list(settings.reserved)
    made = call_hook(hook, frame, context, fixed)
    before = np.setdiff1d(np.arange(len(rows)), held_out)
    check_no_look_ahead(hook, frame, context, made, before, fixed)
    lacking = [name for name in settings.needed if name not in made.columns]
    if lacking:
        raise JobFailure(
            f"dataset.columns: column {listed(lacking)} is neither in the raw data nor among those that {NAME} makes "
            f"({listed(list(made.columns))})."
        )
    texts = {}
    for name in made.columns:
        same = (
            name in frame.columns and made[name].dtype == frame[name].dtype and made[name].equals(frame[name])
        )
        texts[name] = rows.texts[name] if same else _texts(made[name])
    return replace(rows, texts=texts)


def _series(column: pa.Array) -> pd.Series:
    """Return a column of numbers where every known cell is one, else of texts; None or NaN where missing."""
    values, bad = numbers(column)
    if not bad.any():
        return pd.Series(values)
    found = coded(column)
    texts = np.array([*found.texts, None], dtype=object)
    return pd.Series(texts[found.code], dtype=object)


def _texts(column: pd.Series) -> pa.Array:
    return pa.array([_text(value) for value in column.astype(object).tolist()], pa.large_string())


def _text(value: Any) -> str:
    """Spell a value as a cell of a file."""
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating):
        return repr(float(value))
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value)
