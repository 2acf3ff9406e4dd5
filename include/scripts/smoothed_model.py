"""The model that answers with a forecast that stands in its row: all that it knows is which column that is.

The column is made by ``feature_table.row_of`` of the values known at the row's origin (``smoothed_values``), for
training and for an answer alike, so the model is never older than what is known.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from array_file import load_arrays, save_arrays
from job_failure import JobFailure
from table_parts import joined
from table_schema import Schema, Table


class SmoothedModel:
    """Answers with the forecast of a method.

    :param method: one of :data:`smoothing.METHODS`.
    :param answer: the label of a row without a forecast, as a request by features may hold: one number.
    """

    def __init__(self, method: str, schema: Schema, answer: np.ndarray) -> None:
        self.method = method
        self.answer = answer
        self.judged: np.ndarray | None = None
        self._logarithm = schema.transform.kind != "none"
        self._at = column_of(method, schema)

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Predict labels (rows)."""
        made = values[:, self._at]
        known = np.isfinite(made) & (made > 0) if self._logarithm else np.isfinite(made)
        labels = np.full(len(values), self.answer[0])
        # Under log_ratio_to_mean the column is a ratio to the same mean as the label.
        labels[known] = np.log(made[known]) if self._logarithm else made[known]
        return labels

    def describe(self) -> dict[str, Any]:
        """Say what it answers with."""
        return {"method": self.method}

    def save(self, folder: Path) -> None:
        """Write the one number there is."""
        save_arrays(folder / f"{self.method}.npz", {"answer": self.answer})


def column_of(method: str, schema: Schema) -> int:
    """Return the place of a method's forecast among the features.

    :raises ValueError: there is none.
    """
    layout = schema.layout
    name = None if layout is None else layout.smoothed_name(method)
    if name not in schema.names:
        raise ValueError(
            f"features: allowed: the forecasts of {method}, as preprocess.py makes them of a series"
        )
    return schema.names.index(name)


def fit_smoothed(method: str, train: Table, validation: Table) -> SmoothedModel:
    """Make the model: there is nothing to fit but the answer for a row without a forecast.

    :raises JobFailure: the rows have no such forecast.
    """
    try:
        model = SmoothedModel(method, train.schema, np.array([np.median(joined(train, validation).label)]))
        model.judged = SmoothedModel(method, train.schema, np.array([np.median(train.label)])).predict(
            validation.values
        )
    except ValueError:
        raise JobFailure(
            f"algorithm: got '{method}' for rows without its forecasts; allowed: for a series whose tables "
            "preprocess.py has made with it among the algorithm's candidates."
        ) from None
    return model


def load_smoothed(method: str, folder: Path, schema: Schema) -> SmoothedModel:
    """Read what :meth:`SmoothedModel.save` wrote.

    :raises ArtifactError: it is not.
    :raises ValueError: the schema has no such forecast.
    """
    return SmoothedModel(method, schema, load_arrays(folder, f"{method}.npz", {"answer": (1,)})["answer"])
