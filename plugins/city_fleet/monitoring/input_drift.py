"""Are the values that forecasts are made of like those before? Per column of a series, by its newest periods. Pure.

A column that a feed has broken is empty, does not move, or lies elsewhere: another unit, another city's. Each is held
against the column's own past, so zeros of closed days, gaps that were always there and trends are no news. How far it
lies is measured by its moves from the last good value (of logarithms, where all are above 0), as no move of so many
periods ever was; so a season is no news from its second round on.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from city_fleet.errors import show_value

#: Periods before that are needed to say anything.
FEW = 12
#: Of each column so many periods are remembered.
REMEMBERED = 60
#: So much farther than the farthest move before, and so many robust deviations, is far.
_BEYOND = 1.5
_DEVIATIONS = 6.0
_MAD = 1.4826
#: So many periods may come at once.
_AT_ONCE = 3
#: What has been so for so many periods is usual now.
_NEW_USUAL = 12
#: As rarely as that would a column repeat its values by chance.
_RARE = 0.002

Values = Sequence[float | None]


@dataclass(frozen=True)
class Broken:
    """A column that is not like before.

    :param column: its name.
    :param why: ``missing``, ``constant`` or ``far``.
    :param since: the first of the periods, as it is written.
    :param sentence: for people.
    """

    column: str
    why: str
    since: str
    sentence: str


def look(
    columns: Mapping[str, Mapping[str, float | None]],
    patience: int,
    standing: Mapping[str, str] | None = None,
) -> list[Broken]:
    """Return the columns whose newest periods are not like those before.

    :param columns: name → period → value; periods as they are written, which sort by time.
    :param patience: newest periods that must all be unlike those before.
    :param standing: columns that were broken at the last look → since when: they are held against what was before that.
    """
    found = []
    for name, values in columns.items():
        periods = sorted(values)
        began = (standing or {}).get(name)
        newest = min(patience, len(periods))
        split = len(periods) - newest
        # Values may come several at once: then the first of them is no part of what was before.
        befores = range(split, max(split - _AT_ONCE, 0) - 1, -1)
        since = None
        if began is not None:
            at = sum(period < began for period in periods)
            if len(periods) - at <= _NEW_USUAL:
                befores, since = range(at, at - 1, -1), began
        for before in befores:
            why = _unlike([values[each] for each in periods], before, newest)
            if why is not None:
                since = since or periods[before]
                found.append(Broken(name, why[0], since, f"column {name!r} {why[1]} since {since}"))
                break
    return found


def _unlike(values: Values, before: int, newest: int) -> tuple[str, str] | None:
    """Return what is wrong with the newest of some values, and in words; None where nothing is.

    :param before: how many are held against; those between are neither.
    """
    past, recent, split = values[:before], values[before:], len(values) - newest
    if sum(value is not None for value in past) < FEW:
        return None
    if split - before > _AT_ONCE:
        recent = values[split:]
    # Of so many values one fewer repeats the one before.
    still = values[-newest - 1 :]
    return (
        _missing(past, recent)
        or _constant(past, still)
        or _far(past, recent, len(values) - len(recent) - before)
    )


def _missing(past: Values, recent: Values) -> tuple[str, str] | None:
    share = sum(value is None for value in past) / len(past)
    if all(value is None for value in recent) and share ** len(recent) < _RARE:
        return "missing", f"is empty ({share:.0%} of it was before)"
    return None


def _constant(past: Values, recent: Values) -> tuple[str, str] | None:
    pairs = [(one, other) for one, other in pairwise(past) if None not in (one, other)]
    if len(recent) < 3 or None in recent or len(set(recent)) > 1 or not pairs:
        return None
    share = (sum(one == other for one, other in pairs) + 0.5) / (len(pairs) + 1)
    if share ** (len(recent) - 1) < _RARE:
        return "constant", f"stands still at {show_value(recent[-1])}"
    return None


def _far(past: Values, recent: Values, gap: int) -> tuple[str, str] | None:
    """:param gap: how many periods lie between the two."""
    known = [value for value in past if value is not None]
    fresh = [value for value in recent if value is not None]
    if len(fresh) < len(recent):
        return None
    logarithmic = all(value > 0 for value in [*known, *fresh])
    scaled = [math.log(value) if logarithmic else value for value in known]
    for ahead, value in enumerate(fresh, start=gap + 1):
        moves = [later - earlier for earlier, later in zip(scaled, scaled[ahead:], strict=False)]
        own = (math.log(value) if logarithmic else value) - scaled[-1]
        if len(moves) < FEW // 2:  # too long ago to say how far it may have come: within reach of all before
            spread = max(scaled) - min(scaled)
            if min(scaled) - spread <= own + scaled[-1] <= max(scaled) + spread:
                return None
            continue
        middle = statistics.median(moves)
        distances = [abs(move - middle) for move in moves]
        allowed = max(_BEYOND * max(distances), _DEVIATIONS * _MAD * statistics.median(distances))
        if abs(own - middle) <= allowed or allowed == 0:
            return None
    low, high = min(known), max(known)
    return "far", f"is {fresh[-1]:g}, and was between {low:g} and {high:g} in {len(known)} periods before"
