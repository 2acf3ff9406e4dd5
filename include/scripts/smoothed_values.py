"""What of a city's values is smoothed for one forecast: those known at its origin, in a row without gaps.

* The newest so many periods: ten seasons, at least 120 and at most 400. An answer has no more of them than
  ``known.json`` keeps, and a row of training must be the same number.
* A missing value between two known ones lies on the line between them. Of a gap of more than twelve periods (or a
  season, where that is longer) only what comes after it counts.
* Where the newest period's value is missing, the forecast begins at the newest one that is there and reaches further.
* Of fewer than four values the last one is the forecast. Zeros and values below are values like others; where the
  target has to be above 0 (a transform with a logarithm) they are missing, and a forecast that is not above 0 is the
  last value. So is one beyond the largest number there is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from smoothing import forecast

LEAST_PERIODS, MOST_PERIODS, SEASONS = 120, 400, 10
#: A gap so long is bridged, where a season is no longer.
LONGEST_GAP = 12


def periods_smoothed(season: int) -> int:
    """Return how many of the newest periods are smoothed at most."""
    return min(MOST_PERIODS, max(LEAST_PERIODS, SEASONS * season))


def smoothed_forecast(
    method: str,
    values: Mapping[int, Mapping[str, float | None]],
    column: str,
    origin: tuple[int, int],
    season: int,
    *,
    positive: bool,
) -> float | None:
    """Forecast a column.

    :param method: one of :data:`smoothing.METHODS`.
    :param values: number of a period → column → value; None where missing.
    :param origin: the numbers of the newest period that counts as known, and of the one that is forecast.
    :param season: periods after which the calendar comes round.
    :param positive: whether values have to be above 0.
    :return: in the column's own unit; None where nothing is known.
    """
    newest, index = origin
    known, last = known_series(values, column, newest, season, positive=positive)
    if not known:
        return None
    value = forecast(method, known, season, index - last)
    usable = math.isfinite(value) and (value > 0 or not positive)
    return value if usable else known[-1]


def known_series(
    values: Mapping[int, Mapping[str, float | None]],
    column: str,
    newest: int,
    season: int,
    *,
    positive: bool,
) -> tuple[list[float], int]:
    """Take the values of consecutive periods, gaps bridged.

    :return: the oldest first, from a known one to a known one, and the number of the last one's period.
    """
    taken: list[float] = []
    last = after = newest + 1
    for at in range(newest, newest - periods_smoothed(season), -1):
        row = values.get(at)
        value = None if row is None else row.get(column)
        if value is None or (positive and value <= 0):
            continue
        if not taken:
            last = at
        else:
            width = after - at
            if width - 1 > max(LONGEST_GAP, season):
                break
            step = (value - taken[-1]) / width
            taken += [taken[-1] + step * each for each in range(1, width)]
        taken.append(value)
        after = at
    return taken[::-1], last
