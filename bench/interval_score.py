"""What intervals are worth, ours and the peers' alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

#: What came, how many periods ahead it was forecast, and level in percent → the interval's ends; None: withheld.
Row = tuple[float, int, "dict[int, list[float] | None]"]


def score(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the coverage of each level, in all and by step, and how far and how good the interval of 80 % is."""
    found: dict[str, Any] = {"forecasts": len(rows)}
    for level in (80, 95):
        there = [(actual, ahead, ends[level]) for actual, ahead, ends in rows if ends[level] is not None]
        within = np.array([low <= actual <= high for actual, _, (low, high) in there])  # type: ignore[misc]
        steps = np.array([ahead for _, ahead, _ in there])
        found[str(level)] = {
            "withheld": len(rows) - len(there),
            "coverage": round(float(within.mean()), 4) if there else None,
            "by_step": {
                str(step): round(float(within[steps == step].mean()), 4) for step in np.unique(steps).tolist()
            },
        }
    known = [(actual, *ends[80]) for actual, _, ends in rows if ends[80] is not None]
    actual, low, high = (np.array(each) for each in zip(*known, strict=True))
    mean = np.abs(actual).mean()
    loss = [
        np.maximum(share * (actual - end), (share - 1) * (actual - end)).mean()
        for share, end in ((0.1, low), (0.9, high))
    ]
    found["80"] |= {
        "width": round(float((high - low).mean() / mean), 5),
        "pinball": round(float(np.mean(loss) / mean), 6),
    }
    return found
