"""Turns a city's periods into examples: features that were known before the period, and the target.

An example of period t is made of what was known when t began, so it could have been made then: lag 1 is the newest
period that was known, which lies further back the later rows are known. Missing values stay missing; nothing is
filled in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise
from statistics import fmean, stdev

from calendar_grid import period_start, season
from series_layout import CALENDAR, NAIVE_WINDOW_PERIODS, SeriesLayout
from smoothed_values import smoothed_forecast

# Features of the period's own date: what they will be is known for ever.
CALENDAR_FEATURES = frozenset({"trend", *(f"{name}_{part}" for name in CALENDAR for part in ("sin", "cos"))})

#: Of a trend: how many changes from season to season tell of it, and how many standard errors it is large.
LEAST_CHANGES, MOST_CHANGES = 4, 100
TREND_ERRORS = 2.0

Values = Mapping[int, Mapping[str, "float | None"]]


@dataclass(frozen=True)
class Example:
    """One row of the table.

    :param step: how many periods ahead of its origin the period lies.
    :param target: the target, in its own unit.
    :param label: the target under the transform.
    :param naive: the last target known when the period began.
    :param seasonal: the target of the same period of the last season that was known then; None where it is missing.
    :param drift: the last value known, gone on by the mean change of a period, where the target trends; else None.
    :param lead: how many periods the newest known one lies back; 1 where data are known as soon as their period ends.
    :param features: values in the order of :attr:`SeriesLayout.features`; None where missing.
    :param member: of a parent's example: the city it is made of.
    """

    index: int
    step: int
    target: float
    label: float
    naive: float
    seasonal: float | None
    drift: float | None
    lead: int
    features: tuple[float | None, ...]
    member: str | None = None

    @property
    def made_at(self) -> int:
        """Index of the period that begins when the forecast is made."""
        return self.index - self.step + 1


def build_examples(layout: SeriesLayout, values: Values) -> list[Example]:
    """Make the examples that can be made: target, naive forecast and reference are known.

    :param layout: which examples to make.
    :param values: period index → column → value; a period may be absent and a value None.
    :return: the examples in the order of their periods, of one period by step.
    """
    examples = []
    trends: dict[int, float | None] = {}
    for index in sorted(values):
        if value_at(values, index, layout.target) is not None:
            made = (_example(layout, values, trends, index, step) for step in range(1, layout.horizon + 1))
            examples += [example for example in made if example is not None]
    return examples


def _example(
    layout: SeriesLayout, values: Values, trends: dict[int, float | None], index: int, step: int
) -> Example | None:
    """Make one example.

    :param trends: number of the newest known period → the mean change of a period; what is found is kept there.
    """
    try:
        newest = layout.origin.newest_known(index, step)
    except ValueError:  # the forecast would have been made before the calendar
        return None
    target = value_at(values, index, layout.target)
    if target is None or newest is None:
        return None
    naive = last_known(values, newest, layout.target)
    reference = mean_until(values, newest, layout.target, layout.transform.window)
    if naive is None or (layout.transform.reference and reference is None):
        return None
    around, lead = season(layout.frequency), index - newest
    if newest not in trends:
        trends[newest] = trend(values, newest, layout.target, around)
    change = trends[newest]
    return Example(
        index=index,
        step=step,
        target=target,
        label=layout.transform.apply(target, reference),
        naive=naive,
        seasonal=value_at(values, index - around * math.ceil(lead / around), layout.target),
        drift=None if change is None else naive + lead * change,
        lead=lead,
        features=row_of(layout, values, newest, index, step),
    )


def trend(values: Values, newest: int, column: str, season: int) -> float | None:
    """Return the mean change of a period, where what is known trends; else None.

    A trend is measured by the changes from season to season, back from the newest known period: they hold no season,
    and do not overlap. It is one where their mean is at least twice its standard error.

    :param newest: index of the newest period that counts as known.
    """
    ends = [value_at(values, newest - season * back, column) for back in range(MOST_CHANGES + 1)]
    changes = [new - old for new, old in pairwise(ends) if new is not None and old is not None]
    if len(changes) < LEAST_CHANGES:
        return None
    mean = fmean(changes)
    if mean == 0 or abs(mean) < TREND_ERRORS * stdev(changes, mean) / math.sqrt(len(changes)):
        return None
    return mean / season


def row_of(
    layout: SeriesLayout, values: Values, newest: int, index: int, step: int
) -> tuple[float | None, ...]:
    """Make the row of a forecast: the past's, when a model is trained, and the next period's, when it is asked.

    :param newest: index of the newest period that counts as known.
    :param index: of the period that is forecast.
    :return: values in the order of :attr:`SeriesLayout.features`; None where missing.
    """
    reference = mean_until(values, newest, layout.target, layout.transform.window)
    features: list[float | None] = [float(step)] if layout.horizon > 1 else []
    features += [reference] if layout.transform.reference else []
    for lag in layout.target_lags:
        value = lagged(values, newest, layout.target, lag)
        if value is not None and layout.transform.reference and reference is not None:
            value /= reference
        features.append(value)
    for item in layout.columns:
        # What is known ahead is counted back from the forecast period, all else from what was known at the origin.
        last = index - 1 if item.known_ahead else newest
        features += [lagged(values, last, item.column, lag) for lag in item.lags]
    day = period_start(index, layout.frequency)
    for name in layout.calendar:
        features += calendar_features(name, day)
    if layout.holidays is not None:
        features += layout.holidays.features(index, layout.frequency)
    for method in layout.smoothed:
        features.append(smoothed_feature(layout, method, values, (newest, index)))
    return tuple(features)


def smoothed_feature(
    layout: SeriesLayout, method: str, values: Values, origin: tuple[int, int]
) -> float | None:
    """Make the feature that is a forecast itself; a ratio where the target's lags are.

    :param origin: the numbers of the newest period that counts as known, and of the one that is forecast.
    :return: None where nothing is known.
    """
    value = smoothed_forecast(
        method,
        values,
        layout.target,
        origin,
        season(layout.frequency),
        positive=layout.transform.needs_positive_target,
    )
    if value is None or not layout.transform.reference:
        return value
    reference = mean_until(values, origin[0], layout.target, layout.transform.window)
    return value / reference if reference else None


def calendar_features(name: str, day: date) -> list[float | None]:
    """Place a period in its cycle: as an angle, so that December is next to January.

    :param day: on which it begins; of an hour the moment, in UTC.
    """
    if name == "trend":
        return [day.year - 2000 + (day.timetuple().tm_yday - 1) / 365.25]
    turn = {
        "month_of_year": (day.month - 1) / 12,
        "quarter_of_year": (day.month - 1) // 3 / 4,
        "week_of_year": (day.isocalendar().week - 1) / 53,
        "day_of_week": day.weekday() / 7,
        "hour_of_day": (day.hour if isinstance(day, datetime) else 0) / 24,
    }[name]
    # Rounded: sin(pi) is 1e-16 off and differs from one C library to the next.
    return [round(math.sin(2 * math.pi * turn), 9), round(math.cos(2 * math.pi * turn), 9)]


def value_at(values: Values, index: int, column: str) -> float | None:
    """Return a value; None where it is missing."""
    row = values.get(index)
    return None if row is None else row.get(column)


def lagged(values: Values, newest: int, column: str, lag: int) -> float | None:
    """Return the value of a lag: 1 is the newest known period."""
    return value_at(values, newest - lag + 1, column)


def last_known(values: Values, newest: int, column: str) -> float | None:
    """Return the newest value that is there; None where it lies further back than NAIVE_WINDOW_PERIODS."""
    for lag in range(1, NAIVE_WINDOW_PERIODS + 1):
        value = lagged(values, newest, column, lag)
        if value is not None:
            return value
    return None


def mean_until(values: Values, newest: int, column: str, window: int | None) -> float | None:
    """Average the values of the newest known periods; None unless half of them are there."""
    if window is None:
        return None
    before = (lagged(values, newest, column, lag) for lag in range(1, window + 1))
    known = [value for value in before if value is not None]
    return math.fsum(known) / len(known) if 2 * len(known) >= window else None
