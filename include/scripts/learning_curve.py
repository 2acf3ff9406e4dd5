"""How a model learned: its losses after each round, as training.json and an explanation show them.

The artifact has nothing of it: equal models have equal bytes, and a server needs it not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MOST_POINTS = 200


@dataclass(frozen=True)
class Curve:
    """Losses by round.

    :param metric: what was measured.
    :param unit: what a round is called: ``round``, ``pass``.
    :param parts: ``train`` and ``validation``, as far as they were measured → the loss after each
        round; as many in all.
    :param best: number of the round that was kept, from 0.
    """

    metric: str
    unit: str
    parts: Mapping[str, Sequence[float]]
    best: int

    def to_json(self) -> dict[str, Any]:
        """Write it, thinned to :data:`MOST_POINTS` rounds; the first, the best and the last are among them.

        :return: ``rounds`` counts from 1, as ``best`` and ``of_rounds`` do; a loss that is no number is null.
        """
        count = len(next(iter(self.parts.values())))
        spread = MOST_POINTS - 1  # one place is the best round's
        kept = range(count) if count <= MOST_POINTS else {
            round(at * (count - 1) / (spread - 1)) for at in range(spread)
        }  # fmt: skip
        rounds = sorted({*kept, min(self.best, count - 1)})
        return {
            "metric": self.metric,
            "unit": self.unit,
            "best": self.best + 1,
            "of_rounds": count,
            "rounds": [at + 1 for at in rounds],
            **{name: [_finite(losses[at]) for at in rounds] for name, losses in self.parts.items()},
        }


def history_of(fitted: Any) -> dict[str, Any] | None:
    """Return the curve of what an algorithm's ``fit`` has answered; None where it does not say how it learned."""
    curve = getattr(fitted, "curve", None)
    return curve.to_json() if isinstance(curve, Curve) else None


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
