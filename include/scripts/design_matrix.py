"""Rows as linear models, neighbours and networks need them: nothing missing, columns of one size, no categories.

What it does is learned from rows of training and saved with the model. A missing number becomes the median, and a
column says that it was missing where that happened in training; columns are brought to mean 0 and deviation 1, and
bounded, so that a wild value does not lead a prediction off for ever; a category becomes a column of 0 and 1 for each
of its values and one for all others, all 0 where missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from job_failure import JobFailure
from table_schema import Schema

#: Deviations from the mean beyond which a value counts as this far. Trends of a series stay far within.
BOUND = 10.0
MOST_COLUMNS = 20_000
MOST_CELLS = 400_000_000


@dataclass(frozen=True)
class Design:
    """The way from rows to a design matrix.

    :param sizes: of each feature: columns of its category, 0 for a number.
    :param fill: of each number: what stands for a missing value.
    :param mean: of each number, after filling.
    :param scale: of each number: its standard deviation, 1 for a constant.
    :param flags: of each number: 1 where a column says that it was missing.
    """

    sizes: tuple[int, ...]
    fill: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    flags: np.ndarray

    @property
    def columns(self) -> int:
        """How many columns the matrix has."""
        return len(self.fill) + int(self.flags.sum()) + sum(self.sizes)

    def matrix(self, values: np.ndarray) -> np.ndarray:
        """Make the design matrix.

        :param values: rows × features, NaN where missing.
        :return: rows × columns, without NaN.
        """
        numeric = [at for at, size in enumerate(self.sizes) if not size]
        numbers = np.asarray(values, np.float64)[:, numeric]
        missing = np.isnan(numbers)
        filled = np.where(missing, self.fill, numbers)
        out = np.zeros((len(values), self.columns))
        first = len(numeric)
        out[:, :first] = np.clip((filled - self.mean) / self.scale, -BOUND, BOUND)
        flagged = np.flatnonzero(self.flags)
        out[:, first : first + len(flagged)] = missing[:, flagged]
        first += len(flagged)
        for at, size in enumerate(self.sizes):
            if size:
                known = np.flatnonzero(~np.isnan(values[:, at]))
                places = np.clip(values[known, at], 0, size - 1).astype(np.int64)
                out[known, first + places] = 1
                first += size
        return out

    def owners(self) -> np.ndarray:
        """Say of each column of the matrix of which feature it is: its number."""
        numeric = np.array([at for at, size in enumerate(self.sizes) if not size], dtype=np.int64)
        categories = np.repeat(np.arange(len(self.sizes)), self.sizes)
        return np.concatenate([numeric, numeric[np.flatnonzero(self.flags)], categories])

    def arrays(self) -> dict[str, np.ndarray]:
        """What :func:`saved_design` takes, as arrays of a file."""
        return {f"design_{name}": getattr(self, name) for name in _ARRAYS}


_ARRAYS = ("fill", "mean", "scale", "flags")


def learn_design(schema: Schema, values: np.ndarray) -> Design:
    """Learn a design from rows.

    :param values: rows × features; those of training.
    :raises JobFailure: the matrix would be too large.
    """
    sizes = _sizes(schema)
    numbers = values[:, [at for at, size in enumerate(sizes) if not size]]
    missing = np.isnan(numbers)
    known = ~missing.all(axis=0)
    fill = np.zeros(numbers.shape[1])
    if known.any():
        fill[known] = np.nanmedian(numbers[:, known], axis=0)
    filled = np.where(missing, fill, numbers)
    mean, scale = filled.mean(axis=0), filled.std(axis=0)
    # A constant's deviation is seldom 0 to the last bit.
    scale = np.where(scale > 1e-12 * np.maximum(np.abs(mean), 1e-300), scale, 1.0)
    design = Design(sizes, fill, mean, scale, missing.any(axis=0).astype(np.float64))
    if design.columns > MOST_COLUMNS or design.columns * len(values) > MOST_CELLS:
        raise JobFailure(
            f"{len(values)} rows with {design.columns} columns, one per category, are too many for this algorithm; "
            f"allowed: {MOST_COLUMNS} columns and {MOST_CELLS} cells. Give fewer categories or rows, or take xgboost."
        )
    return design


def design_shapes(schema: Schema) -> dict[str, tuple[int | None, ...]]:
    """The shapes of the arrays that a design of a schema saves."""
    return {f"design_{name}": (_sizes(schema).count(0),) for name in _ARRAYS}


def saved_design(schema: Schema, arrays: Mapping[str, np.ndarray]) -> Design:
    """Make a design of arrays that were loaded by :func:`design_shapes`.

    :raises ValueError: a scale is not above 0, or a flag neither 0 nor 1.
    """
    design = Design(_sizes(schema), *(arrays[f"design_{name}"] for name in _ARRAYS))
    if not (design.scale > 0).all() or not np.isin(design.flags, (0, 1)).all():
        raise ValueError("a scale is not above 0, or a flag neither 0 nor 1")
    return design


def _sizes(schema: Schema) -> tuple[int, ...]:
    return tuple(
        len(feature.categories) + 1 if feature.kind == "category" else 0 for feature in schema.features
    )
