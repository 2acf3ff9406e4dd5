"""What a paired test needs of two models: their mean losses by origin, and how sure these are.

All forecasts of an origin (of all steps, of all members) are one observation: they share what was known then. The
losses of neighbouring origins hang together, for forecasts of several periods overlap, so the covariance of the means
is the long-run one (Newey & West 1987, "A simple, positive semi-definite, heteroskedasticity and autocorrelation
consistent covariance matrix"), with the correction for few origins of Harvey, Leybourne & Newbold (1997, "Testing the
equality of prediction mean squared errors"). The gate makes its decision of these numbers alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from judged_blocks import made_at
from table_schema import Table

#: Shares of the target, which a target of 0 has none of; absolute errors; squared errors.
LOSSES = ("mape", "mae", "rmse")
#: Origins without which no covariance is told.
LEAST_ORIGINS = 3
#: Beside the overlap of forecasts: how far losses hang together where a model errs one way for a while.
LEAST_LAGS = 3


def paired(test: Table, predicted: np.ndarray, others: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """Compare a model with others on the same rows.

    :param test: rows of a series.
    :param predicted: the model's answers.
    :param others: name → another's answers; NaN where it has none, and the row is left out of its comparison.
    :return: name → ``loss``, ``origins``, ``means`` (the model's, the other's) and their ``covariance``; and by the
        other losses the same in ``others``. One with too few origins is left out.
    """
    origins, reach = made_at(test), int(test.baselines["lead"].max())
    found = {}
    for name, answers in others.items():
        entries = []
        for loss in LOSSES:
            both = np.column_stack([_losses(test.target, each, loss) for each in (predicted, answers)])
            known = np.isfinite(both).all(axis=1)
            numbers = np.unique(origins[known])
            if len(numbers) < LEAST_ORIGINS:
                continue
            by_origin = [both[known & (origins == number)].mean(axis=0) for number in numbers.tolist()]
            entries.append(
                {
                    "loss": loss,
                    "origins": len(numbers),
                    "means": np.mean(by_origin, axis=0).tolist(),
                    "covariance": covariance(np.array(by_origin), reach).tolist(),
                }
            )
        if entries:
            found[name] = {**entries[0], "others": entries[1:]}
    return found


def covariance(losses: np.ndarray, reach: int) -> np.ndarray:
    """Estimate the covariance of the means of losses that hang together.

    :param losses: origins × models, in the order of time.
    :param reach: how many periods a forecast reaches over: so many origins less one share a part of the future.
    """
    count = len(losses)
    lags = min(max(reach - 1, LEAST_LAGS), count - 2)
    apart = losses - losses.mean(axis=0)
    total = apart.T @ apart
    for lag in range(1, lags + 1):
        product = apart[lag:].T @ apart[:-lag]
        total += (1 - lag / (lags + 1)) * (product + product.T)
    # Of the h of their formula, which is the reach; beyond half of the origins it says nothing any more.
    h = min(reach, max(1, count // 2))
    correction = (count + 1 - 2 * h + h * (h - 1) / count) / count
    return np.asarray(total / count**2 / correction)


def _losses(actual: np.ndarray, predicted: np.ndarray, loss: str) -> np.ndarray:
    off = np.abs(predicted - actual)
    if loss == "mape":
        return np.asarray(off / np.where(actual == 0, np.nan, np.abs(actual)))
    return np.asarray(off**2 if loss == "rmse" else off)
