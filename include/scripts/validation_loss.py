"""What choices are made by: the loss on validation, one per task, whatever the gate's metric is.

Of a regression it is the mean absolute error in the target's own unit: it means the same for every algorithm and
transform, a few wild rows do not decide alone as in a squared error, and it is there where shares of the target are
not (a target of 0). Of a classification it is the log loss: it judges the probabilities that are answered, where
accuracy is equal for many models on a few rows. Rows count the same, as in the gate; weights are for training.
"""

from __future__ import annotations

import math

import numpy as np

from model_artifact import untransformed
from table_schema import REGRESSION, Table

SMALLEST_PROBABILITY = 1e-15


def loss_name(task: str) -> str:
    """The name of a task's loss."""
    return "mae" if task == REGRESSION else "log_loss"


def loss(table: Table, predicted: np.ndarray) -> float:
    """Measure predictions; the smaller the better.

    :param table: the rows that were predicted.
    :param predicted: labels (rows) of a regression, probabilities (rows × classes) otherwise.
    :return: infinity where a prediction is no number.
    """
    if table.schema.task == REGRESSION:
        value = float(np.mean(np.abs(untransformed(table.schema, predicted, table.values) - table.target)))
    else:
        own = predicted[np.arange(len(table)), table.label.astype(np.int64)]
        value = float(-np.mean(np.log(np.maximum(own, SMALLEST_PROBABILITY))))
    return value if math.isfinite(value) else math.inf
