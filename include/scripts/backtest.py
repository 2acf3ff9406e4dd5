"""What an artifact says of how its model was judged: backtest.json, beside known.json and residuals.json.

The model that serves has learned the very periods that judged it. So an artifact holds two halves: the serving model,
and here the answers of the models that judged in its stead, each of them fitted before what it answers. Whoever
compares models compares these: the other half has seen what the next model is judged by.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from calendar_grid import read_day
from model_card import SIDE_FOLDER, ArtifactError, read_member
from table_schema import Table

FORMAT_VERSION = 1
BACKTEST_FILE = f"{SIDE_FOLDER}/backtest.json"
MOST_ROWS = 200_000
MOST_BYTES = 16 << 20
_LONGEST_MEMBER = 100
_MOST_STEPS = 10_000
_FURTHEST = 1e9

#: Of a judged row: the member it is of (None but in a parent's table), its period (an ISO date), how many ahead.
RowKey: TypeAlias = tuple[str | None, str, int]


@dataclass(frozen=True)
class Backtest:
    """How a model was judged.

    :param refit: whether the model that serves has learned the judged periods, with the judged settings.
    :param known_until: first day of the newest period that the serving model has learned.
    :param distance: how far the serving model's answers lie from the judged ones on the judged rows, as a share of how
        far those lie from the truth; see :func:`distance`.
    :param rows: judged row → what the model answered that judged it.
    """

    refit: bool
    known_until: str
    distance: float
    rows: Mapping[RowKey, float]

    def to_bytes(self) -> bytes:
        """Write backtest.json."""
        value = {
            "format_version": FORMAT_VERSION,
            "refit": self.refit,
            "known_until": self.known_until,
            "distance": self.distance,
            "rows": [[*key, predicted] for key, predicted in self.rows.items()],
        }
        return (json.dumps(value, allow_nan=False) + "\n").encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Backtest:
        """Read backtest.json without trusting it.

        :raises ValueError: it is not as :meth:`to_bytes` writes it.
        """
        try:
            value: Any = json.loads(content)
        except RecursionError:
            raise ValueError("lists in lists without end") from None
        if not isinstance(value, dict) or value.get("format_version") != FORMAT_VERSION:
            raise ValueError(f"format_version: allowed: {FORMAT_VERSION}")
        refit, rows = value.get("refit"), value.get("rows")
        far: Any = value.get("distance")
        if not isinstance(refit, bool):
            raise ValueError("refit: allowed: true or false")
        if not _is_number(far) or far < 0:
            raise ValueError("distance: allowed: a number from 0")
        if not isinstance(rows, list) or len(rows) > MOST_ROWS:
            raise ValueError(f"rows: allowed: a list of up to {MOST_ROWS}")
        return cls(refit, _day(value.get("known_until")), float(far), dict(_row(each) for each in rows))

    def answers(self, table: Table) -> np.ndarray:
        """Return what was answered for the rows of a table; NaN for those that it has not judged."""
        return np.array([self.rows.get(key, math.nan) for key in keys_of(table)], dtype=np.float64)


def keys_of(table: Table) -> list[RowKey]:
    """Name the rows of a table."""
    steps = table.baselines["ahead"].astype(int).tolist()
    members = table.members or [None] * len(table)
    return list(zip(members, table.rows, steps, strict=True))


def distance(served: np.ndarray, judged: np.ndarray, actual: np.ndarray) -> float:
    """Say how far the serving model's answers lie from the judged ones.

    :param served: rows, as the other two.
    :return: mean absolute difference of the answers, by the mean absolute error of the judged ones. 0 of the same
        model; about 1 of one that knows each judged row by heart.
    """
    # Of a model without errors what is left is rounding.
    error = max(float(np.abs(judged - actual).mean()), 1e-9 * float(np.abs(actual).mean()))
    apart = float(np.abs(served - judged).mean())
    return round(min(apart / error, _FURTHEST), 6) if apart > 0 else 0.0


def read_backtest(folder: Path) -> Backtest | None:
    """Read how the model of an unpacked artifact was judged.

    :return: None where the artifact does not say so: of a table, or of an earlier version.
    :raises ArtifactError: it is broken or too large.
    """
    if not (folder / BACKTEST_FILE).exists():
        return None
    content = read_member(folder, BACKTEST_FILE, MOST_BYTES, "it holds the answers that judged the model")
    try:
        return Backtest.from_bytes(content)
    except (ValueError, TypeError, OverflowError) as error:
        raise ArtifactError(f"{BACKTEST_FILE}: {str(error)[:200]}.") from None


def _row(value: Any) -> tuple[RowKey, float]:
    if not isinstance(value, list) or len(value) != 4:
        raise ValueError("rows: allowed: lists of member, period, step and prediction")
    member, day, step, predicted = value
    if member is not None and (not isinstance(member, str) or not 1 <= len(member) <= _LONGEST_MEMBER):
        raise ValueError("rows: member: allowed: a slug, or null")
    if isinstance(step, bool) or not isinstance(step, int) or not 1 <= step <= _MOST_STEPS:
        raise ValueError(f"rows: step: allowed: a whole number from 1 to {_MOST_STEPS}")
    if not _is_number(predicted):
        raise ValueError("rows: prediction: allowed: a finite number")
    return (member, _day(day), step), float(predicted)


def _day(value: Any) -> str:
    try:
        return read_day(value).isoformat()
    except ValueError:
        raise ValueError(f"got {str(value)[:50]!r}; allowed: a day such as 2015-07-01") from None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
