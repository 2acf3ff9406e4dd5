"""What every model must beat, as a model: a series' last known value; the median or the classes' shares of a table.

The last known value is the feature of the target's smallest lag; where that is missing, or a series has none, it is the
median of what was to be learned.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from array_file import load_arrays, save_arrays
from probabilities import class_frequencies
from table_parts import joined
from table_schema import REGRESSION, SERIES, Schema, Table

SPEC = {"tasks": ["regression", "binary", "multiclass"], "hyperparameters": {}}
FILE = "baseline.npz"


class Baseline:
    """The prediction without a model.

    :param answer: one label, or the classes' probabilities.
    """

    def __init__(self, schema: Schema, answer: np.ndarray) -> None:
        self._schema = schema
        self.answer = answer
        self.judged: np.ndarray | None = None
        self._lag = _smallest_lag(schema)

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Predict labels (rows) or probabilities (rows × classes)."""
        if self._schema.task != REGRESSION:
            return np.tile(self.answer, (len(values), 1))
        labels = np.full(len(values), self.answer[0])
        if self._lag is not None:
            last = values[:, self._lag]
            known = ~np.isnan(last)
            if self._schema.transform.kind != "none":
                known &= np.nan_to_num(last) > 0
            # Under log_ratio_to_mean the lag is a ratio to the same mean as the label.
            labels[known] = last[known] if self._schema.transform.kind == "none" else np.log(last[known])
        return labels

    def describe(self) -> dict[str, Any]:
        """What it answers."""
        lag = None if self._lag is None else self._schema.names[self._lag]
        return {"answer": self.answer.tolist(), "lag": lag}

    def save(self, folder: Path) -> None:
        """Write what it answers."""
        save_arrays(folder / FILE, {"answer": self.answer})


def fit(
    train: Table, validation: Table, hyperparameters: dict[str, Any], *, seed: int, threads: int
) -> Baseline:
    """Take the median, or the classes' shares, of both parts."""
    del hyperparameters, seed, threads
    model = Baseline(train.schema, _answer(joined(train, validation)))
    model.judged = Baseline(train.schema, _answer(train)).predict(validation.values)
    return model


def load(folder: Path, schema: Schema) -> Baseline:
    """Read a baseline.

    :raises ArtifactError: it is not as :meth:`Baseline.save` writes it.
    """
    return Baseline(schema, load_arrays(folder, FILE, {"answer": (len(schema.classes) or 1,)})["answer"])


def _answer(part: Table) -> np.ndarray:
    if part.schema.task == REGRESSION:
        return np.array([np.median(part.label)])
    return class_frequencies(part.label, part.weight, len(part.schema.classes))


def _smallest_lag(schema: Schema) -> int | None:
    """The place of the feature that holds the last known target; None where there is none."""
    if schema.kind != SERIES:
        return None
    ratio = "_ratio" if schema.transform.reference else ""
    pattern = re.compile(rf"{re.escape(schema.target)}_lag_(\d+){ratio}")
    found = [
        (int(match[1]), at) for at, name in enumerate(schema.names) if (match := pattern.fullmatch(name))
    ]
    return min(found)[1] if found else None
