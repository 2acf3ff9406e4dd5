"""What choices are made by: losses of predicted rows.

Of a regression it is the absolute error in the target's own unit: it means the same for every algorithm and transform,
a few wild rows do not decide alone as in a squared error, and it is there where shares of the target are not (a target
of 0). Candidates are compared by what the gate compares, where that is another mean over rows: shares of the target for
``mape``, squares for ``rmse`` and ``r2``. Of a classification it is the log loss, whatever the gate's metric: it judges
the probabilities that are answered, where accuracy is equal for many models on a few rows, and ``macro_f1`` and
``roc_auc`` are no means over rows. Rows count the same, as in the gate; weights are for training.
"""

from __future__ import annotations

import math

import numpy as np

from model_artifact import untransformed
from table_schema import REGRESSION, Table

SMALLEST_PROBABILITY = 1e-15


def loss_name(task: str, metric: str | None = None) -> str:
    """The name of the loss that stands for a metric of a task; None for the task's own."""
    if task != REGRESSION:
        return "log_loss"
    return {"mape": "mape", "rmse": "rmse", "r2": "rmse"}.get(metric or "", "mae")


def row_losses(table: Table, predicted: np.ndarray, name: str | None = None) -> np.ndarray:
    """Measure predictions row by row; the smaller the better.

    :param table: the rows that were predicted.
    :param predicted: labels (rows) of a regression, probabilities (rows × classes) otherwise.
    :param name: as :func:`loss_name` says; ``rmse`` gives squares, and ``mape`` is NaN where the target is 0.
    """
    if table.schema.task != REGRESSION:
        own = predicted[np.arange(len(table)), table.label.astype(np.int64)]
        return np.asarray(-np.log(np.maximum(own, SMALLEST_PROBABILITY)))
    off = np.abs(untransformed(table.schema, predicted, table.values) - table.target)
    if name == "rmse":
        return np.asarray(off**2)
    return np.asarray(
        off / np.where(table.target == 0, np.nan, np.abs(table.target)) if name == "mape" else off
    )


def loss(table: Table, predicted: np.ndarray) -> float:
    """Measure predictions by their task's own loss.

    :return: the mean over rows; infinity where a prediction is no number.
    """
    value = float(np.mean(row_losses(table, predicted)))
    return value if math.isfinite(value) else math.inf
