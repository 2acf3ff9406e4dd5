"""Small pictures of characters for a terminal: bars to both sides of a middle, and a line of levels."""

from __future__ import annotations

import math
from collections.abc import Sequence

_LEVELS = "▁▂▃▄▅▆▇█"


def bar(share: float, width: int) -> str:
    """Return a bar.

    :param share: of the width, from 0 to 1; what is above 0 gets at least one character.
    """
    return "█" * (max(1, round(width * share)) if share > 0 else 0)


def signed_bar(value: float, most: float, half: int) -> str:
    """Return a bar to the left of a middle for what is below 0, and to the right of it for what is above.

    :param most: the size that fills a half.
    :param half: characters of a half.
    """
    blocks = bar(abs(value) / most if most > 0 else 0.0, half)
    return f"{blocks:>{half}}│" if value < 0 else f"{'':>{half}}│{blocks}"


def levels(values: Sequence[float | None], width: int, *, low: float | None = None) -> str:
    """Return a line of characters that are as high as the values.

    :param values: thinned evenly to the width; None leaves a gap.
    :param low: what has no height; the smallest value by default.
    """
    count = min(width, len(values))
    if not count:
        return ""
    kept = [values[round(at * (len(values) - 1) / max(1, count - 1))] for at in range(count)]
    known = [each for each in kept if each is not None and math.isfinite(each)]
    if not known:
        return " " * count
    floor, top = min(known) if low is None else low, max(known)
    room = (top - floor) or 1.0
    return "".join(
        " "
        if each is None or not math.isfinite(each)
        else _LEVELS[min(7, max(0, round(7 * (each - floor) / room)))]
        for each in kept
    )
