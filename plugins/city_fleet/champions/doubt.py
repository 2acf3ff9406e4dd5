"""How sure a model is of the next period, as one number that two runs can be compared by. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

#: In percent: the interval that 12 held-out forecasts are enough for.
LEVEL = 80


def doubt_of(report: Mapping[str, Any]) -> float | None:
    """Return how far the interval of the next period reaches to the wider side, as a share of the forecast.

    Of a target that is learned as a ratio it is exp(width) - 1, for then the interval grows with the forecast; else
    the width is held against the forecast itself.

    :param report: evaluation.json, of whatever version; it comes from a bucket.
    :return: 0.05 for 5 %; None where the report has no interval, or the forecast is 0.
    """
    try:
        found = report["intervals"]
        width = float(found["widths"]["1"][str(LEVEL)])
        if found["ratio"]:
            share = math.expm1(width)
        else:
            share = width / abs(float(report["forecast"]["forecasts"][0]["prediction"]))
    except (KeyError, IndexError, TypeError, ValueError, ArithmeticError):
        return None
    return share if math.isfinite(share) and share >= 0 else None
