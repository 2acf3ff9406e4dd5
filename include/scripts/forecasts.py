"""Forecasts by the city's name: rows of the periods that come next, made as those of training were, and predicted.

What a model has learned lies in its artifact. What is known lies there too, and in what the request hands on: what the
last run has seen (``known``), and newer values of the caller's own (``history``).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from calendar_grid import period_index, period_start, read_day
from feature_table import Values, row_of
from intervals import Residuals
from job_failure import listed, nearest
from model_artifact import Model
from newest_values import KnownValues, newest_known, number
from request_rows import BadRequest, shown, shown_json
from series_layout import SeriesLayout

MEMBER = "forecast"
#: Of a request for forecasts.
MOST_CHARACTERS = 1024 * 1024
MOST_HISTORY = 10_000
_SHAPE = '{"forecast": {"horizon": 3, "history": [{"period": "2015-08-01", "median": 255000}]}}'
_MEMBERS = ("horizon", "known", "history", "at")

Predict = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class ForecastRequest:
    """What is asked, as it came.

    :param horizon: how many periods; None for as many as the model reaches.
    :param known: what the last run has seen; None for what the artifact holds.
    :param history: values of the caller's own, by period.
    :param at: when it is asked; None where nobody wants to hear how late the data are.
    """

    horizon: Any = None
    known: Any = None
    history: Any = None
    at: Any = None


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
    horizon = _horizon(asked.horizon, layout, model.card.city)
    values = _values(asked, model, layout)
    newest = newest_known(values, layout.target)
    if newest is None:
        raise BadRequest(
            f"Forecast: nothing is known of '{layout.target}' of {model.card.city}; allowed: a model that knows its "
            "city's newest values, or 'known' or 'history' in the request."
        )
    try:
        ahead = layout.origin.first_ahead(newest)
        days = [period_start(ahead + step, layout.frequency).isoformat() for step in range(horizon)]
    except (ValueError, OverflowError):
        raise BadRequest("Forecast: the periods lie beyond the calendar.") from None
    rows = [row_of(layout, values, newest, ahead + step - 1, step) for step in range(1, horizon + 1)]
    reference = layout.transform.reference
    if reference is not None:
        mean = rows[0][layout.features.index(reference)]
        if mean is None or mean <= 0:
            got = "fewer than half" if mean is None else "a mean that is not above 0"
            raise BadRequest(
                f"Forecast: of the {layout.transform.window} {layout.frequency}s of '{layout.target}' of "
                f"{model.card.city} until {period_start(newest, layout.frequency)}: got {got}; allowed: at least half "
                "of them, with a mean above 0. Hand them on as 'history'."
            )
    predicted = predict(np.array(rows, dtype=np.float64)).tolist()
    residuals = _residuals(model)
    return Forecasts(
        {
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


def _values(asked: ForecastRequest, model: Model, layout: SeriesLayout) -> Values:
    """Join what is known: the newer of the artifact's and the request's, and the caller's history above it.

    Before the newer one begins the older one goes on: that is as long as the settings of its day asked for, and the
    model's lags may be longer.
    """
    own = _known(model.known, model.card.city, layout) if model.known else None
    given = None
    if asked.known is not None:
        try:
            given = KnownValues.from_json(asked.known)
        except (ValueError, OverflowError) as error:
            raise BadRequest(f"Forecast: known: {error}.") from None
        if (given.city, given.frequency) != (model.card.city, layout.frequency):
            raise BadRequest(
                f"Forecast: known: got {given.frequency}s of '{shown(given.city)}'; allowed: {layout.frequency}s of "
                f"'{model.card.city}'."
            )
    values: dict[int, dict[str, float | None]] = {}
    there = (each for each in (own, given) if each is not None and each.values)
    for each in sorted(there, key=lambda each: each.as_of, reverse=True):
        begins = min(values, default=max(each.values) + 1)
        values |= {index: dict(row) for index, row in each.values.items() if index < begins}
    for index, row in _history(asked.history, layout).items():
        values[index] = values.get(index, {}) | row
    return values


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
    if not isinstance(history, list) or len(history) > MOST_HISTORY:
        got = f"{len(history)} entries" if isinstance(history, list) else shown_json(history)
        raise BadRequest(
            f"Forecast: history: got {got}; allowed: a list of up to {MOST_HISTORY} objects, each with 'period' and "
            f"'{layout.target}'."
        )
    columns = layout.value_columns
    rows: dict[int, dict[str, float | None]] = {}
    for place, item in enumerate(history, start=1):
        where = f"Forecast: history, entry {place}"
        if not isinstance(item, dict) or "period" not in item or layout.target not in item:
            raise BadRequest(
                f"{where}: got {shown_json(item)}; allowed: an object with 'period', '{layout.target}', and what else "
                f"is known of {listed(columns)}."
            )
        foreign = next((name for name in item if name not in ("period", *columns)), None)
        if foreign is not None:
            near = nearest(shown(foreign), columns)
            raise BadRequest(f"{where}: got column '{shown(foreign)}'; allowed: {listed(columns)}.{near}")
        try:
            index = period_index(read_day(item["period"]), layout.frequency)
            row = {name: number(value, name) for name, value in item.items() if name != "period"}
        except ValueError as error:
            raise BadRequest(f"{where}: {error}.") from None
        if index in rows:
            raise BadRequest(
                f"{where}: the {layout.frequency} of {item['period']} is there already; allowed: once."
            )
        target = row[layout.target]
        if layout.transform.needs_positive_target and target is not None and target <= 0:
            raise BadRequest(f"{where}: '{layout.target}': got {target:g}; allowed: a number above 0.")
        rows[index] = row
    return rows


def _late(at: Any, newest: int, layout: SeriesLayout) -> int | None:
    """Count the periods that are newer than what is known, and should be known at a moment."""
    if at is None:
        return None
    try:
        moment = datetime.fromisoformat(at)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        expected = layout.origin.newest_at(moment, period_index(moment.date(), layout.frequency) + 1)
    except (TypeError, ValueError, OverflowError):
        raise BadRequest(
            f"Forecast: at: got {shown_json(at)}; allowed: a moment such as 2015-08-01T00:00:00Z."
        ) from None
    return None if expected is None else max(0, expected - newest)
