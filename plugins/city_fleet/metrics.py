"""The metrics of each task: their names, which way is better, how people read them, and what they are of predictions.

In plain Python: the evaluation job computes the same with scikit-learn (``include/scripts/prediction_metrics.py``), and
a test holds the two together. Here they are needed where a champion changes while a run waits, and the run is judged
again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean
from typing import Any

REGRESSION, BINARY, MULTICLASS = TASKS = ("regression", "binary", "multiclass")
#: How many of its most probable classes a model may name for ``top_k_accuracy``; all, where it knows fewer.
TOP_K = 3
#: No probability counts as smaller in ``log_loss``, else one row of an unseen class would make it infinite.
LEAST_PROBABILITY = 1e-15


@dataclass(frozen=True)
class Metric:
    """How a metric is read.

    :param title: as people write it.
    :param higher: whether more is better.
    :param most: the largest value that is possible, if there is one. The smallest is 0, but for R².
    :param form: ``share`` (in percent), ``number`` (three decimals) or ``unit`` (the target's own).
    """

    title: str
    higher: bool = False
    most: float | None = None
    form: str = "number"


METRICS: Mapping[str, Metric] = {
    "mape": Metric("MAPE", form="share"),
    "wape": Metric("WAPE", form="share"),
    "rmse": Metric("RMSE", form="unit"),
    "mae": Metric("MAE", form="unit"),
    "r2": Metric("R²", higher=True, most=1),
    "accuracy": Metric("accuracy", higher=True, most=1, form="share"),
    "log_loss": Metric("log loss"),
    "macro_f1": Metric("macro F1", higher=True, most=1),
    "roc_auc": Metric("ROC AUC", higher=True, most=1),
    "top_k_accuracy": Metric(f"top-{TOP_K} accuracy", higher=True, most=1, form="share"),
}
_REGRESSION = ("mape", "wape", "rmse", "mae", "r2")
_BINARY = ("accuracy", "log_loss", "macro_f1", "roc_auc")
METRICS_OF: Mapping[str, tuple[str, ...]] = {
    REGRESSION: _REGRESSION,
    BINARY: _BINARY,
    MULTICLASS: (*_BINARY, "top_k_accuracy"),
}


def default_metric(task: str) -> str:
    """Return the metric that is compared where the gate names none."""
    return "mape" if task == REGRESSION else "log_loss"


def possible(name: str, value: float) -> bool:
    """Say whether a finite number can be a metric's value: no error is below 0, no share above 1."""
    metric = METRICS[name]
    return (name == "r2" or value >= 0) and (metric.most is None or value <= metric.most)


def better(name: str, value: float, other: float) -> bool:
    """Say whether a value is better than another of the same metric."""
    return value > other if METRICS[name].higher else value < other


def show(name: str, value: float) -> str:
    """Write a value as people do: ``4.6%``, ``0.512``, ``23,457``."""
    form = METRICS[name].form
    if form == "share":
        return f"{value:.1%}"
    if form == "number":
        return f"{value:.3f}"
    return f"{value:,.0f}" if abs(value) >= 100 or value == 0 else f"{value:.3g}"


def show_apart(name: str, value: float, others: Iterable[float]) -> list[str]:
    """Write a value and what it is compared with by as many digits as they need to look as different as they are.

    :return: the value's text, then those of the others.
    """
    values = [value, *others]
    texts = [show(name, each) for each in values]
    form = METRICS[name].form
    for more in range(1, 7):
        if all(text != texts[0] or each == value for text, each in zip(texts[1:], values[1:], strict=True)):
            break
        if form == "share":
            texts = [f"{each:.{1 + more}%}" for each in values]
        elif form == "number":
            texts = [f"{each:.{3 + more}f}" for each in values]
        else:
            texts = [f"{each:,.{more}f}" if abs(each) >= 100 else f"{each:.{3 + more}g}" for each in values]
    return texts


def holdout_metrics(holdout: Mapping[str, Any], predicted: Sequence[Any]) -> dict[str, float | None]:
    """Return the metrics of predictions of held-out rows.

    :param holdout: ``holdout.json`` of an evaluation.
    :param predicted: for each of its rows a number, or of a classification the probability of each class.
    """
    actual = [row["actual"] for row in holdout["rows"]]
    task = holdout.get("task", REGRESSION)
    if task == REGRESSION:
        return regression_metrics(actual, predicted)
    return class_metrics(task, actual, predicted, holdout["classes"][-1])


def regression_metrics(actual: Sequence[float], predicted: Sequence[float]) -> dict[str, float | None]:
    """Return MAPE and WAPE (fractions), RMSE and MAE (the target's unit) and R² of predictions.

    MAPE is that of the rows whose target is not 0, and None when there is none; WAPE is None where all are 0; R² is
    None when it is not defined (fewer than two rows, or a constant target).

    :param actual: the target, one number per held-out row.
    :param predicted: predictions of the same length.
    """
    rows = len(actual)
    errors = [p - a for a, p in zip(actual, predicted, strict=True)]
    mean = sum(actual) / rows
    total = sum((a - mean) ** 2 for a in actual)
    shares = [abs(e / a) for a, e in zip(actual, errors, strict=True) if a != 0]
    squared = sum(e * e for e in errors)
    absolute, size = sum(abs(e) for e in errors), sum(abs(a) for a in actual)
    return {
        "mape": sum(shares) / len(shares) if shares else None,
        "wape": absolute / size if size > 0 else None,
        "rmse": math.sqrt(squared / rows),
        "mae": absolute / rows,
        "r2": 1 - squared / total if rows > 1 and total > 0 else None,
    }


def class_metrics(
    task: str, actual: Sequence[str | None], predicted: Sequence[Mapping[str, float]], positive: str
) -> dict[str, float | None]:
    """Return the metrics of a classification.

    A class that the model does not know has the probability 0 in every row. Where classes are equally probable, the
    first of them counts as the predicted one.

    :param task: ``binary`` or ``multiclass``.
    :param actual: name of each held-out row's class.
    :param predicted: class → probability, for each row; the same classes in the same order.
    :param positive: the class whose ranking ``roc_auc`` measures in a binary task.
    :return: ``accuracy``, ``log_loss``, ``macro_f1`` (over the classes that occur or are predicted), ``roc_auc`` (None
        where there is nothing to rank), and of a multiclass task ``top_k_accuracy``.
    """
    ranked = [sorted(row, key=lambda name, of=row: -of[name]) for row in predicted]  # type: ignore[misc]
    chosen = [names[0] for names in ranked]
    given = [row.get(name, 0.0) for name, row in zip(actual, predicted, strict=True)]  # type: ignore[arg-type]
    occurring = sorted({name for name in actual if name is not None})
    found = {
        "accuracy": fmean(float(a == c) for a, c in zip(actual, chosen, strict=True)),
        "log_loss": fmean(-math.log(min(max(value, LEAST_PROBABILITY), 1.0)) for value in given),
        "macro_f1": fmean(_f1(name, actual, chosen) for name in {*actual, *chosen}),
        "roc_auc": _roc_auc(
            [positive] if task == BINARY else [*occurring, *_unnamed(actual)], actual, predicted
        ),
    }
    if task != BINARY:
        found["top_k_accuracy"] = fmean(
            float(a in names[:TOP_K]) for a, names in zip(actual, ranked, strict=True)
        )
    return found


def _unnamed(actual: Iterable[str | None]) -> list[str | None]:
    return [None] if any(name is None for name in actual) else []


def _f1(name: str | None, actual: Sequence[str | None], chosen: Sequence[str]) -> float:
    pairs = list(zip(actual, chosen, strict=True))
    right = sum(a == c == name for a, c in pairs)
    return 2 * right / (sum(a == name for a, _ in pairs) + sum(c == name for _, c in pairs))


def _roc_auc(
    names: Sequence[str | None], actual: Sequence[str | None], predicted: Sequence[Mapping[str, float]]
) -> float | None:
    areas = []
    for name in names:
        mine = [each == name for each in actual]
        if any(mine) and not all(mine):
            areas.append(_area(mine, [row.get(name, 0.0) for row in predicted]))  # type: ignore[arg-type]
    return fmean(areas) if areas else None


def _area(mine: Sequence[bool], values: Sequence[float]) -> float:
    """Return the share of pairs, a row of the class and one of another, that the values put in order; ties are half."""
    wins, below = 0.0, 0
    ordered = sorted(zip(values, mine, strict=True))
    for _, tied in groupby(ordered, key=lambda pair: pair[0]):
        of_class = [is_mine for _, is_mine in tied]
        ours, others = sum(of_class), len(of_class) - sum(of_class)
        wins += ours * (below + others / 2)
        below += others
    ours = sum(mine)
    return wins / (ours * (len(mine) - ours))
