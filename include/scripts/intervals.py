"""How sure a forecast is: an interval as wide as the errors on the held-out rows were, for each step ahead.

Split conformal prediction (Vovk, Gammerman & Shafer 2005; Lei et al. 2018, "Distribution-free predictive inference for
regression"): of n errors that the model was not fitted to, the ⌈(n + 1) × level⌉-th smallest covers the next one with
at least that probability, as far as the next is of their kind. Where there are too few, there is no interval. Under a
transform with a logarithm errors are ratios, and so the interval grows with the forecast.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

FORMAT_VERSION = 1
FILE = "residuals.json"
#: In percent.
LEVELS = (80, 95)
MOST_BYTES = 256 * 1024
MOST_RESIDUALS = 2000
_MOST_STEPS = 100


@dataclass(frozen=True)
class Residuals:
    """Errors on held-out rows.

    :param ratio: they are absolute logarithms of actual / predicted; else absolute differences, in the target's unit.
    :param by_step: how many periods ahead → the errors, smallest first.
    """

    ratio: bool
    by_step: Mapping[int, Sequence[float]]

    @classmethod
    def of(
        cls,
        actual: np.ndarray,
        predicted: np.ndarray,
        ahead: np.ndarray,
        *,
        ratio: bool,
        most: int = MOST_RESIDUALS,
    ) -> Residuals:
        """Measure them.

        :param actual: rows; in the target's own unit, as ``predicted``.
        :param ahead: rows; how many periods ahead each forecast reaches.
        :param ratio: where a value is not above 0, its row has no ratio and is left out.
        :param most: of more errors of a step so many are kept, evenly from the smallest to the largest.
        """
        if ratio:
            fit = (actual > 0) & (predicted > 0)
            actual, predicted, ahead = actual[fit], predicted[fit], ahead[fit]
            errors = np.abs(np.log(actual / predicted))
        else:
            errors = np.abs(actual - predicted)
        by_step = {
            int(step): _thinned(np.sort(errors[ahead == step]), most).tolist() for step in np.unique(ahead)
        }
        return cls(ratio, by_step)

    def width(self, step: int, level: int) -> float | None:
        """Return how far an interval reaches to either side; None where too few errors are known."""
        errors = self.by_step.get(step, ())
        rank = math.ceil((len(errors) + 1) * level / 100)
        return errors[rank - 1] if 1 <= rank <= len(errors) else None

    def around(self, prediction: float, step: int) -> dict[str, list[float] | None]:
        """Return the intervals of a forecast: level in percent → its ends, in the target's own unit."""
        found: dict[str, list[float] | None] = {}
        for level in LEVELS:
            width = self.width(step, level)
            if width is None:
                ends = None
            elif self.ratio:
                ends = [prediction * math.exp(-width), prediction * math.exp(width)]
            else:
                ends = [prediction - width, prediction + width]
            found[str(level)] = ends if ends is None or all(map(math.isfinite, ends)) else None
        return found

    def withheld(self, horizon: int) -> str | None:
        """Say which intervals are withheld, and why; None where none is."""
        lacking = []
        for level in LEVELS:
            few = [step for step in range(1, horizon + 1) if self.width(step, level) is None]
            if few:
                known = min(len(self.by_step.get(step, ())) for step in few)
                needed = next(n for n in range(1, 1000) if math.ceil((n + 1) * level / 100) <= n)
                lacking.append(
                    f"{level} %: {known} held-out forecasts judge the furthest step, and {needed} are needed"
                )
        return "; ".join(lacking) or None

    def to_bytes(self) -> bytes:
        """Write residuals.json."""
        value = {
            "format_version": FORMAT_VERSION,
            "ratio": self.ratio,
            "by_step": {str(step): list(errors) for step, errors in self.by_step.items()},
        }
        return (json.dumps(value, allow_nan=False) + "\n").encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Residuals:
        """Read residuals.json without trusting it.

        :raises ValueError: it is not as :meth:`to_bytes` writes it.
        """
        try:
            return cls.from_json(json.loads(content))
        except RecursionError:
            raise ValueError("lists in lists without end") from None

    @classmethod
    def from_json(cls, value: Any) -> Residuals:
        """Read what residuals.json holds without trusting it.

        :raises ValueError: it is not as :meth:`to_bytes` writes it.
        """
        by_step = value.get("by_step") if isinstance(value, dict) else None
        if (
            not isinstance(by_step, dict)
            or len(by_step) > _MOST_STEPS
            or not isinstance(value.get("ratio"), bool)
        ):
            raise ValueError(f"allowed: ratio, and by_step with up to {_MOST_STEPS} lists")
        read: dict[int, list[float]] = {}
        for step, errors in by_step.items():
            if (
                not (step.isascii() and step.isdigit() and len(step) <= 3)
                or not isinstance(errors, list)
                or len(errors) > MOST_RESIDUALS
                or not all(isinstance(each, float | int) and 0 <= each < math.inf for each in errors)
            ):
                raise ValueError(f"by_step: allowed: lists of up to {MOST_RESIDUALS} numbers from 0")
            read[int(step)] = sorted(map(float, errors))
        return cls(value["ratio"], read)


def _thinned(errors: np.ndarray, most: int) -> np.ndarray:
    """Take some of many sorted errors, so that each share of them reaches as far as before."""
    if len(errors) <= most:
        return errors
    return errors[np.linspace(0, len(errors) - 1, most).round().astype(int)]
