"""The paired test of the gate: is a model's mean loss below another's, beyond chance? Pure, and without any package.

The evaluation reports the means of both models' losses by origin, and the covariance of these means
(``include/scripts/paired_losses.py``). So any margin can be tested later, without the rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from city_fleet.champions.data_checks import finite

#: The loss by which a metric is compared: squares for those that are made of squares, and WAPE is MAE by a constant.
LOSS_OF: Mapping[str, str] = {"mape": "mape", "wape": "mae", "mae": "mae", "rmse": "rmse", "r2": "rmse"}
LEAST_ORIGINS = 3
_SQUARED = "rmse"


@dataclass(frozen=True)
class Paired:
    """Two models' losses on the same rows.

    :param loss: ``mape``, ``mae`` or ``rmse``, whose losses are squares.
    :param origins: how many forecasts' origins the means are of.
    :param means: the model's mean loss, and the other's.
    :param covariance: variance of the first mean, covariance, variance of the second.
    """

    loss: str
    origins: int
    means: tuple[float, float]
    covariance: tuple[float, float, float]

    @classmethod
    def of(cls, value: Any, metric: str) -> Paired | None:
        """Read what an entry of ``paired`` in evaluation.json says by a metric's loss; None where it says nothing."""
        more = value.get("others") if isinstance(value, Mapping) else None
        entries = [value, *more] if isinstance(more, list) else [value]
        read = (cls.read(each) for each in entries[: len(LOSS_OF)])
        return next((each for each in read if each is not None and each.loss == LOSS_OF.get(metric)), None)

    @classmethod
    def read(cls, value: Any) -> Paired | None:
        """Read the losses by one loss; None for anything else."""
        if not isinstance(value, Mapping):
            return None
        origins, loss = value.get("origins"), value.get("loss")
        try:
            (model, other), ((first, joint), (_, second)) = value["means"], value["covariance"]
        except (KeyError, TypeError, ValueError):
            return None
        read = [finite(each) for each in (model, other, first, joint, second)]
        numbers = [each for each in read if each is not None]
        if len(numbers) < len(read) or loss not in LOSS_OF.values():
            return None
        model, other, first, joint, second = numbers
        if not isinstance(origins, int) or isinstance(origins, bool) or origins < LEAST_ORIGINS:
            return None
        if min(model, other, first, second) < 0:
            return None
        return cls(str(loss), origins, (model, other), (first, joint, second))

    def is_better(self, margin: float) -> bool:
        """Tell whether the model's mean loss is smaller than the other's by a margin, chance left aside."""
        share = (1 - margin) ** (2 if self.loss == _SQUARED else 1)
        return self.means[0] < share * self.means[1]

    def confidence(self, margin: float = 0.0) -> float:
        """Return how sure it is that the model's error is smaller than the other's by more than a margin.

        :param margin: a share of the other's error.
        :return: 1 less the one-sided p-value.
        """
        share = 1 - margin
        if self.loss == _SQUARED:
            share *= share
        gain = share * self.means[1] - self.means[0]
        first, joint, second = self.covariance
        variance = max(first - 2 * share * joint + share * share * second, 0.0)
        if variance == 0:
            return 1.0 if gain > 0 else 0.0
        return student_t(gain / math.sqrt(variance), self.origins - 1)


def student_t(value: float, freedom: int) -> float:
    """Return the probability that Student's t is smaller than a value.

    By the finite sums for whole degrees of freedom (Abramowitz & Stegun 26.7.3 and 26.7.4), which are exact.

    :param freedom: degrees of freedom, from 1.
    """
    angle = math.atan(value / math.sqrt(freedom))
    cosine, sine = math.cos(angle), math.sin(angle)
    term, total = (cosine, cosine) if freedom % 2 else (1.0, 1.0)
    for number in range(2 + freedom % 2, freedom - 1, 2):
        term *= (number - 1) / number * cosine * cosine
        total += term
    if freedom == 1:
        total = 0.0
    inside = 2 / math.pi * (angle + sine * total) if freedom % 2 else sine * total
    return 0.5 + 0.5 * inside
