"""Whether a converted model answers as its own library does, on a thousand rows of a city or like a city's.

The newest rows come first. Where a city has fewer, rows are drawn: each value from its column, one in ten moved by as
much as values of the column differ, so that thresholds are met from both sides, and values beyond all rows as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from job_failure import listed
from refusal import Refused
from table_schema import REGRESSION, Schema

ROWS = 1000
#: Of a prediction, relative to it or to a usual one, whichever is larger; of a probability as it is.
LARGEST_DIFFERENCE = 1e-5
_MOVED, _MISSING = 0.1, 0.03


@dataclass(frozen=True)
class Comparison:
    """What was compared.

    :param rows: how many rows, :param own: how many of them are the city's own.
    :param largest: the largest difference, relative or of a probability.
    """

    rows: int
    own: int
    largest: float

    def to_json(self) -> dict[str, float]:
        """Write it for the report."""
        return {"rows": self.rows, "own_rows": self.own, "largest_difference": self.largest}


def rows_to_compare(values: np.ndarray, schema: Schema, *, missing: bool) -> tuple[np.ndarray, int]:
    """Choose rows.

    :param values: the city's, the newest last: rows × features.
    :param missing: whether the library answers for rows with missing values.
    :return: the rows, and how many are the city's own.
    :raises Refused: the city's rows have missing values, and the library does not answer for such ones.
    """
    if not missing:
        lacking = np.flatnonzero(np.isnan(values).any(axis=0))
        if len(lacking):
            raise Refused(
                f"it does not take missing values, and the city's rows have some, of "
                f"{listed([schema.names[at] for at in lacking], 8)}. Put a SimpleImputer in front (a "
                "Pipeline), or train "
                "a model that takes them"
            )
    own = values[-ROWS:]
    random = np.random.default_rng(20140101)
    drawn = np.empty((ROWS - len(own), values.shape[1]))
    for at, feature in enumerate(schema.features):
        column = values[:, at]
        drawn[:, at] = random.choice(column, len(drawn))
        known = column[~np.isnan(column)]
        if feature.kind == "number" and len(known):
            moved = random.random(len(drawn)) < _MOVED
            drawn[moved, at] += random.normal(size=int(moved.sum())) * (known.std() or 1.0)
        if missing:
            drawn[random.random(len(drawn)) < _MISSING, at] = np.nan
    return np.concatenate([drawn, own]), len(own)


def compare(
    schema: Schema,
    rows: np.ndarray,
    own: int,
    ours: Callable[[np.ndarray], np.ndarray],
    theirs: Callable[[np.ndarray], np.ndarray],
) -> Comparison:
    """Compare answers.

    :raises Refused: they differ, or the library answers what is no number.
    """
    got = np.asarray(ours(rows), np.float64)
    wanted = np.asarray(theirs(rows), np.float64)
    if got.shape != wanted.shape:
        raise Refused(
            f"its library answers an array of {wanted.shape} for {len(rows)} rows; allowed: "
            f"{got.shape}, a number for each "
            "row (and class)"
        )
    if not np.isfinite(wanted).all():
        raise Refused("its own library answers some of the city's rows with what is no number")
    differences = np.abs(got - wanted)
    if schema.task == REGRESSION:
        differences /= np.maximum(np.abs(wanted), max(float(np.median(np.abs(wanted))), 1e-12))
    else:
        differences = differences.max(axis=1)
    differences = np.where(np.isfinite(differences), differences, np.inf)
    largest = float(differences.max())
    if largest > LARGEST_DIFFERENCE:
        worst, count = int(differences.argmax()), int((differences > LARGEST_DIFFERENCE).sum())
        shown = listed([f"{value:.9g}" for value in np.atleast_1d(wanted[worst]).tolist()], 4)
        mine = listed([f"{value:.9g}" for value in np.atleast_1d(got[worst]).tolist()], 4)
        raise Refused(
            f"as plain arrays it answers otherwise than by its own library: {count} of {len(rows)} "
            "rows differ by more than "
            f"{LARGEST_DIFFERENCE:g}, one of them {mine} instead of {shown}. Nothing was imported"
        )
    return Comparison(len(rows), own, largest)


def values_of(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Put the rows of a city's parts behind each other, the oldest first."""
    return np.concatenate(list(parts))
