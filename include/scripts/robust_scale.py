"""Robust statistics: the median, and a standard deviation that a few wild values cannot move.

The scale is 1.4826 times the median absolute deviation, which equals the standard deviation for normal data
(Rousseeuw & Croux 1993, "Alternatives to the Median Absolute Deviation", JASA 88). Distances in units of it are the
modified z-scores of Iglewicz & Hoaglin 1993, "How to Detect and Handle Outliers".
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

_MAD_TO_STANDARD_DEVIATION = 1.4826
_NORMAL_QUANTILE_99 = 2.3263


@dataclass(frozen=True)
class Centre:
    """Where most values of a column lie.

    :param median: their median, in the column's unit.
    :param scale: their robust standard deviation; 0 when more than half of them are equal.
    """

    median: float
    scale: float

    def deviations(self, value: float) -> float | None:
        """Return how many robust standard deviations a value is away, at most 1e300; None when the scale is 0."""
        return min(abs(value - self.median) / self.scale, 1e300) if self.scale > 0 else None

    def to_json(self) -> dict[str, float]:
        """Return what :meth:`from_json` reads."""
        return {"median": self.median, "scale": self.scale}

    @classmethod
    def from_json(cls, value: Any) -> Centre:
        """Read a centre.

        :raises ValueError: it is none.
        """
        if not isinstance(value, dict):
            raise ValueError(f"got {value!r}; allowed: median and scale")
        return cls(_number(value, "median"), _number(value, "scale"))


def _number(value: dict[str, Any], name: str) -> float:
    number = value.get(name)
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise ValueError(f"{name}: got {number!r}; allowed: a number")
    return float(number)


def centre(values: Iterable[float | None]) -> Centre | None:
    """Return the centre of the known values; None when none is known.

    :param values: None and NaN are missing.
    """
    known = [float(value) for value in values if value is not None and not math.isnan(value)]
    if not known:
        return None
    median = statistics.median(known)
    scale = _MAD_TO_STANDARD_DEVIATION * statistics.median(abs(value - median) for value in known)
    return Centre(median, scale)


def tail_centre(values: np.ndarray) -> Centre | None:
    """Return the median, and as scale the width of all but the outermost hundredths; NaN is missing.

    Columns of tables have long tails (delays, amounts), of which the median absolute deviation knows nothing: half a
    percent of flights is a hundred times as late as most, and no mistake. For normal data it is the standard deviation.
    """
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    # The outermost value itself counts on neither side, however few there are.
    low = float(np.quantile(known, 0.01, method="higher"))
    high = float(np.quantile(known, 0.99, method="lower"))
    return Centre(float(np.median(known)), max(0.0, high - low) / (2 * _NORMAL_QUANTILE_99))
