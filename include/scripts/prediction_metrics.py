"""Measures predictions: the metrics of each task, as evaluate.py reports them.

City Fleet computes the same in plain Python when a champion changes while a run waits (``city_fleet/metrics.py``); a
test holds the two together. A metric that is not defined on the rows is None. Every row counts once: the weights of a
table are for training.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from table_schema import BINARY

#: How many of its most probable classes a model may name for ``top_k_accuracy``; all, where it knows fewer.
TOP_K = 3
#: No probability counts as smaller in ``log_loss``, else one row of an unseen class would make it infinite.
LEAST_PROBABILITY = 1e-15


def regression_metrics(actual: np.ndarray, predicted: np.ndarray) -> dict[str, float | None]:
    """Measure predicted numbers.

    :param actual: rows; in the target's own unit.
    :param predicted: rows.
    :return: ``mape`` as a fraction, over the rows whose target is not 0, or None without such a row; ``wape``, the sum
        of all errors as a fraction of the sum of all targets, or None where all are 0; ``rmse`` and ``mae`` in the
        target's unit; ``r2``, or None for one row or a target that never changes.
    """
    # Here and not above: it takes longer to import than all the rest of the job, and a job that fails early
    # needs none.
    from sklearn.metrics import (  # noqa: PLC0415
        mean_absolute_error,
        mean_absolute_percentage_error,
        r2_score,
        root_mean_squared_error,
    )

    shares = actual != 0
    varies = len(actual) > 1 and float(np.ptp(actual)) > 0
    size = float(np.abs(actual).mean())
    mae = float(mean_absolute_error(actual, predicted))
    return {
        "mape": float(mean_absolute_percentage_error(actual[shares], predicted[shares]))
        if shares.any()
        else None,
        "wape": mae / size if size > 0 else None,
        "rmse": float(root_mean_squared_error(actual, predicted)),
        "mae": mae,
        "r2": float(r2_score(actual, predicted)) if varies else None,
    }


def class_metrics(
    task: str, actual: Sequence[str | None], classes: Sequence[str], probabilities: np.ndarray, positive: str
) -> dict[str, float | None]:
    """Measure predicted probabilities.

    A class that the model does not know has the probability 0 in every row: a row of it counts as wrong. Where classes
    are equally probable, the first of them counts as the predicted one.

    :param task: ``binary`` or ``multiclass``.
    :param actual: rows; names of classes, also of those the model does not know.
    :param classes: the model's.
    :param probabilities: rows × classes.
    :param positive: the class whose ranking ``roc_auc`` measures in a binary task.
    :return: ``accuracy``, ``log_loss``, ``macro_f1`` (over the classes that occur or are predicted), ``roc_auc`` (of
        the positive class; otherwise the mean over the classes that occur, each against the rest; None where there is
        nothing to rank), and of a multiclass task ``top_k_accuracy``.
    """
    from sklearn.metrics import accuracy_score, f1_score  # noqa: PLC0415 - as above

    # Names get numbers, the model's classes first, so that a column of probabilities is a number too.
    numbers = {name: number for number, name in enumerate(dict.fromkeys([*classes, *actual]))}
    true = np.array([numbers[name] for name in actual])
    chosen = probabilities.argmax(axis=1)
    known = true < len(classes)
    given = np.where(
        known, probabilities[np.arange(len(true)), np.minimum(true, len(classes) - 1)], LEAST_PROBABILITY
    )
    found: dict[str, float | None] = {
        "accuracy": float(accuracy_score(true, chosen)),
        "log_loss": float(-np.log(np.clip(given, LEAST_PROBABILITY, 1.0)).mean()),
        "macro_f1": float(f1_score(true, chosen, average="macro", zero_division=0.0)),
        "roc_auc": _roc_auc(true, probabilities, [numbers[positive]] if task == BINARY else None),
    }
    if task != BINARY:
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :TOP_K]
        found["top_k_accuracy"] = float((best == true[:, None]).any(axis=1).mean())
    return found


def _roc_auc(true: np.ndarray, probabilities: np.ndarray, wanted: list[int] | None) -> float | None:
    """Return how well probabilities rank the rows of each class before all others, on average over classes.

    :param wanted: numbers of the classes; None for all that occur.
    """
    from sklearn.metrics import roc_auc_score  # noqa: PLC0415 - as above

    areas = []
    for number in np.unique(true).tolist() if wanted is None else wanted:
        mine = true == number
        if not mine.any() or mine.all():
            continue
        unknown = number >= probabilities.shape[1]
        # The same probability in every row ranks nothing: half of the pairs are in order.
        areas.append(0.5 if unknown else float(roc_auc_score(mine, probabilities[:, number])))
    return float(np.mean(areas)) if areas else None
