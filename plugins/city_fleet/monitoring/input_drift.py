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
from itertools import groupby, pairwise
from typing import NamedTuple

from city_fleet.errors import show_value

#: Periods before that are needed to say anything.
FEW = 12
#: Of each column so many periods are remembered.
REMEMBERED = 60
#: So much farther than the farthest move before, and so many robust deviations, is far.
_BEYOND = 2.0
_DEVIATIONS = 10.0
_MAD = 1.4826
#: So many periods may come at once.
_AT_ONCE = 3
#: What has been so for so many periods is usual now.
_NEW_USUAL = 12
#: As rarely as that would a column repeat its newest values by chance: each look asks of each column.
_STILL = 0.0001
#: As rarely as that would it be empty by chance.
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
                since = since or periods[why.first]
                found.append(Broken(name, why.why, since, f"column {name!r} {why.words} since {since}"))
                break
    return found


class _Unlike(NamedTuple):
    """What is wrong with the newest of some values.

    :param first: place of the first of them.
    """

    why: str
    words: str
    first: int


def _unlike(values: Values, before: int, newest: int) -> _Unlike | None:
    """Return what is wrong with the newest of some values; None where nothing is.

    :param before: how many are held against; those between are neither.
    """
    past, recent, split = values[:before], values[before:], len(values) - newest
    if sum(value is not None for value in past) < FEW:
        return None
    if split - before > _AT_ONCE:
        recent = values[split:]
    return (
        _missing(values, newest)
        or _constant(values, newest)
        or _far(past, recent, before, len(values) - len(recent) - before)
    )


def _missing(values: Values, newest: int) -> _Unlike | None:
    run = next((at for at, value in enumerate(reversed(values)) if value is not None), len(values))
    past = values[: len(values) - run]
    share = sum(value is None for value in past) / len(past)
    gaps = sorted(len(list(same)) for empty, same in groupby(past, lambda value: value is None) if empty)
    # What has happened once, as a feed that broke for a year, is not usual.
    usual = gaps[-2] if len(gaps) > 1 else 0
    if run >= newest and run > usual and share**run < _RARE:
        return _Unlike("missing", f"is empty ({share:.0%} of it was before)", len(past))
    return None


def _constant(values: Values, newest: int) -> _Unlike | None:
    value = values[-1]
    run = next((at for at, each in enumerate(reversed(values)) if each != value), len(values))
    past = values[: len(values) - run]
    pairs = [(one, other) for one, other in pairwise(past) if None not in (one, other)]
    # One more than in a row must be unlike before: two repeats of a rounded number are soon chance.
    if value is None or run - 1 <= newest or not pairs:
        return None
    longest = max((len(list(same)) for each, same in groupby(past) if each is not None), default=0)
    share = (sum(one == other for one, other in pairs) + 0.5) / (len(pairs) + 1)
    if run > longest and share ** (run - 1) < _STILL:
        return _Unlike("constant", f"stands still at {show_value(value)}", len(past) + 1)
    return None


def _far(past: Values, recent: Values, first: int, gap: int) -> _Unlike | None:
    """:param first: place that is said; :param gap: how many periods lie between the two."""
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
    words = f"is {fresh[-1]:g}, and was between {low:g} and {high:g} in {len(known)} periods before"
    return _Unlike("far", words, first)
