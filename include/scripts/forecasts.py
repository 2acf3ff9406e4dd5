"""Forecasts by the city's name: rows of the periods that come next, made as those of training were, and predicted.

What a model has learned lies in its artifact. What is known lies there too, and in what the request hands on: what the
last run has seen (``known``), and newer values of the caller's own (``history``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np

import served_children
from calendar_grid import in_utc, noun, period_index, period_start
from feature_table import Values, row_of
from intervals import Residuals
from job_failure import listed, nearest
from model_artifact import Model
from newest_values import KnownValues, newest_known
from period_entries import read_entries
from planned_values import PlannedValues
from request_rows import BadRequest, shown, shown_json
from series_layout import SeriesLayout
from served_children import BASELINE, Child, baseline_forecast

MEMBER = "forecast"
#: Of a request for forecasts.
MOST_CHARACTERS = 1024 * 1024
MOST_HISTORY = 10_000
LONGEST_CITY = 100
_SHAPE = '{"forecast": {"horizon": 3, "history": [{"period": "2015-08-01", "median": 255000}]}}'
_MEMBERS = ("horizon", "known", "history", "ahead", "at", "child")

Predict = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class ForecastRequest:
    """What is asked, as it came.

    :param horizon: how many periods; None for as many as the model reaches.
    :param known: what the last run has seen; None for what the artifact holds.
    :param history: values of the caller's own, by period.
    :param ahead: what is known of periods to come, in columns that are known ahead, by period.
    :param at: when it is asked; None where nobody wants to hear how late the data are.
    :param child: of a parent's model: the city that is asked about.
    """

    horizon: Any = None
    known: Any = None
    history: Any = None
    ahead: Any = None
    at: Any = None
    child: Any = None


@dataclass(frozen=True)
class Forecasts:
    """The answer, ready for JSON."""

    value: dict[str, Any]

    def json_text(self) -> str:
        """Write it. Numbers read back exactly."""
        return json.dumps(self.value, allow_nan=False)


def read_request(text: str) -> ForecastRequest | None:
    """Read a request for forecasts.

    :return: None for a request for something else: one whose first member is another.
    :raises BadRequest: it is too long, no JSON, or has a member that no such request has.
    """
    if not _is_forecast(text):
        return None
    if len(text) > MOST_CHARACTERS:
        raise BadRequest(f"Forecast: got {len(text)} characters; allowed: {MOST_CHARACTERS}.")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest(
            f"Forecast: the request is not JSON ({shown(str(error))}); allowed: {_SHAPE}."
        ) from None
    if not isinstance(value, dict) or set(value) != {MEMBER}:
        raise BadRequest(f"Forecast: got {listed(sorted(value))}; allowed: {MEMBER} alone, {_SHAPE}.")
    asked = value[MEMBER]
    if not isinstance(asked, dict):
        raise BadRequest(f"Forecast: got {shown_json(asked)}; allowed: an object, {_SHAPE}.")
    foreign = next((name for name in asked if name not in _MEMBERS), None)
    if foreign is not None:
        near = nearest(shown(foreign), _MEMBERS)
        raise BadRequest(f"Forecast: got member '{shown(foreign)}'; allowed: {', '.join(_MEMBERS)}.{near}")
    return ForecastRequest(**asked)


def _is_forecast(text: str) -> bool:
    inside = text.lstrip()
    return inside[:1] == "{" and inside[1 : 1 + 4096].lstrip().startswith(f'"{MEMBER}"')


def forecast(asked: ForecastRequest, model: Model, predict: Predict) -> Forecasts:
    """Answer a request.

    :param predict: rows × features → predictions in the target's own unit, as other requests get them.
    :raises BadRequest: the model can't be asked so, or the request is wrong.
    """
    layout = model.card.schema.layout
    if layout is None or layout.features != model.card.features:
        raise BadRequest(
            f"Forecast: the model of {model.card.city} can't be asked by the city's name alone; "
            "allowed: a model of a series that was trained since it could. Send features."
        )
    city = _city(asked.child, model)
    horizon = _horizon(asked.horizon, layout, model.card.city)
    values, layout = _values(asked, model, layout, city)
    newest = newest_known(values, layout.target)
    if newest is None:
        raise BadRequest(
            f"Forecast: nothing is known of '{layout.target}' of {city}; allowed: a model that knows its "
            "city's newest values, or 'known' or 'history' in the request."
        )
    try:
        ahead = layout.origin.first_ahead(newest)
        days = [period_start(ahead + step, layout.frequency).isoformat() for step in range(horizon)]
    except (ValueError, OverflowError):
        raise BadRequest("Forecast: the periods lie beyond the calendar.") from None
    verdict = _children(model).get(city) if city != model.card.city else None
    indices = [ahead + step for step in range(horizon)]
    planned = PlannedValues.read(asked.ahead, layout)
    if verdict is not None and verdict.serves == BASELINE:
        ways = (baseline_forecast(verdict.method, layout, values, newest, index) for index in indices)
        predicted = [value for value in ways if value is not None]  # the newest is known, so each is
        residuals, served_by = verdict.errors, BASELINE
    else:
        values = planned.above(values)
        planned.check_known(layout, values, newest, range(ahead, ahead + horizon))
        rows = [row_of(layout, values, newest, index, step) for step, index in enumerate(indices, start=1)]
        _check_reference(rows[0], layout, newest, city)
        predicted = predict(np.array(rows, dtype=np.float64)).tolist()
        residuals, served_by = _residuals(model), model.card.city
    return Forecasts(
        {
            "served_by": served_by,
            "forecasts": [
                {"period": day, "step": step, "prediction": value, "intervals": residuals.around(value, step)}
                for step, (day, value) in enumerate(zip(days, predicted, strict=True), start=1)
            ],
            "unit": layout.unit,
            "intervals_withheld": residuals.withheld(horizon),
            "known_until": period_start(newest, layout.frequency).isoformat(),
            "late_periods": _late(asked.at, newest, layout),
        }
    )


def _city(child: Any, model: Model) -> str:
    """Return the city that is asked about: the model's own, or one of a parent's."""
    own, members = model.card.city, model.card.schema.members
    if child is None and members:
        raise BadRequest(
            f"Forecast: {own} is the parent of {listed(members)}, and has no values of its own; allowed: the name of "
            "one of its cities."
        )
    if child is None or (child == own and not members):
        return own
    if not members:
        raise BadRequest(
            f"Forecast: child: got {shown_json(child)}; allowed: none, for {own} is nobody's parent."
        )
    # Not only those that it has learned from: a pooled model answers for a city that has joined it since.
    if not isinstance(child, str) or not 0 < len(child) <= LONGEST_CITY or child == own:
        raise BadRequest(
            f"Forecast: child: got {shown_json(child)}; allowed: a city that {own} is parent of."
        )
    return child


def _children(model: Model) -> dict[str, Child]:
    try:
        return served_children.from_bytes(model.children)
    except (ValueError, OverflowError, AttributeError) as error:
        raise BadRequest(
            f"Forecast: who answers for the cities of {model.card.city} can't be read in its artifact: {error}."
        ) from None


def _check_reference(row: Sequence[float | None], layout: SeriesLayout, newest: int, city: str) -> None:
    """Refuse a forecast that is a ratio to a mean which can't be said.

    :raises BadRequest: too little is known, or the mean is not above 0.
    """
    reference = layout.transform.reference
    if reference is None:
        return
    mean = row[layout.features.index(reference)]
    if mean is None or mean <= 0:
        got = "fewer than half" if mean is None else "a mean that is not above 0"
        raise BadRequest(
            f"Forecast: of the {layout.transform.window} {noun(layout.frequency)}s of '{layout.target}' of "
            f"{city} until {period_start(newest, layout.frequency).isoformat()}: got {got}; allowed: at least "
            "half of them, with a mean above 0. Hand them on as 'history'."
        )


def _residuals(model: Model) -> Residuals:
    """Read what the model's intervals are made of; an artifact of before has no intervals."""
    if not model.residuals:
        return Residuals(ratio=False, by_step={})
    try:
        return Residuals.from_bytes(model.residuals)
    except (ValueError, OverflowError) as error:
        raise BadRequest(
            f"Forecast: the errors that the artifact of {model.card.city} holds can't be read: {error}."
        ) from None


def _horizon(value: Any, layout: SeriesLayout, city: str) -> int:
    if value is None:
        return layout.horizon
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= layout.horizon:
        raise BadRequest(
            f"Forecast: horizon: got {shown_json(value)}; allowed: a whole number from 1 to {layout.horizon}, as far "
            f"as the model of {city} has learned to look (dataset.horizon)."
        )
    return value


def _values(
    asked: ForecastRequest, model: Model, layout: SeriesLayout, city: str
) -> tuple[Values, SeriesLayout]:
    """Join what is known: the newer of the artifact's and the request's, and the caller's history above it.

    Before the newer one begins the older one goes on: that is as long as the settings of its day asked for, and the
    model's lags may be longer.

    :return: the values, and the layout with the newest calendar of holidays.
    """
    # A parent's artifact knows none of its cities: what is known of them comes with the request.
    own = _known(model.known, city, layout) if model.known and city == model.card.city else None
    given = None
    if asked.known is not None:
        try:
            given = KnownValues.from_json(asked.known)
        except (ValueError, OverflowError) as error:
            raise BadRequest(f"Forecast: known: {error}.") from None
        if (given.city, given.frequency) != (city, layout.frequency):
            raise BadRequest(
                f"Forecast: known: got {noun(given.frequency)}s of '{shown(given.city)}'; allowed: "
                f"{noun(layout.frequency)}s of '{city}'."
            )
    values: dict[int, dict[str, float | None]] = {}
    there = (each for each in (own, given) if each is not None and each.values)
    for each in sorted(there, key=lambda each: each.as_of, reverse=True):
        begins = min(values, default=max(each.values) + 1)
        values |= {index: dict(row) for index, row in each.values.items() if index < begins}
    for index, row in _history(asked.history, layout).items():
        values[index] = values.get(index, {}) | row
    if layout.holidays is not None and given is not None:
        layout = replace(layout, holidays=layout.holidays.continued(given.holidays))
    return values, layout


def _known(content: bytes, city: str, layout: SeriesLayout) -> KnownValues:
    try:
        known = KnownValues.from_bytes(content)
    except (ValueError, OverflowError) as error:
        raise BadRequest(f"Forecast: what the artifact of {city} knows can't be read: {error}.") from None
    if known.frequency != layout.frequency:
        raise BadRequest(
            f"Forecast: what the artifact of {city} knows is of another frequency than its model."
        )
    return known


def _history(history: Any, layout: SeriesLayout) -> dict[int, dict[str, float | None]]:
    if history is None:
        return {}
    target = layout.target
    rows = read_entries(
        history,
        "history",
        columns=layout.value_columns,
        needed=(target,),
        frequency=layout.frequency,
        most=MOST_HISTORY,
    )
    for place, row in enumerate(rows.values(), start=1):  # as many as entries, in their order
        value = row[target]
        if layout.transform.needs_positive_target and value is not None and value <= 0:
            where = f"Forecast: history, entry {place}"
            raise BadRequest(f"{where}: '{target}': got {value:g}; allowed: a number above 0.")
    return rows


def _late(at: Any, newest: int, layout: SeriesLayout) -> int | None:
    """Count the periods that are newer than what is known, and should be known at a moment."""
    if at is None:
        return None
    try:
        moment = datetime.fromisoformat(at)
        moment = in_utc(moment)
        expected = layout.origin.newest_at(moment, period_index(moment, layout.frequency) + 1)
    except (TypeError, ValueError, OverflowError):
        raise BadRequest(
            f"Forecast: at: got {shown_json(at)}; allowed: a moment such as 2015-08-01T00:00:00Z."
        ) from None
    return None if expected is None else max(0, expected - newest)
