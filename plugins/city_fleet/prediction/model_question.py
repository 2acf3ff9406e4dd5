"""What is put to a city's model, and how its answer is read: a row of features, or a forecast by the city's name. Pure.

Standard library only, as the Lambda function carries this module.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Any

from city_fleet import clock, naming, periods
from city_fleet.errors import BadRequest, ServingError, list_names, show_value
from city_fleet.prediction import forecast_question, substitute
from city_fleet.prediction.endpoint_answer import Forecast, read_classes, read_forecast, read_number
from city_fleet.prediction.feature_row import csv_line, json_request, read_row
from city_fleet.prediction.known_cache import Newest
from city_fleet.prediction.live_cache import MAX_CITY_LENGTH
from city_fleet.state import pointer_checks
from city_fleet.state.live_pointer import ServedModel
from city_fleet.ticks import REPLAY_VARIABLE

# Of the answer for one row: more than this is cut off, and so no JSON. SageMaker hands on 6 MB.
_ANSWER_BYTES = 1 << 20
_ANSWER_OF_CLASSES_BYTES = 6 << 20
_MOST_CLASSES = 100_000


class NoFeatures(Enum):
    """Nothing was given: what is asked for is a forecast by the city's name."""

    NO_FEATURES = "no features"


NO_FEATURES = NoFeatures.NO_FEATURES


@dataclass(frozen=True)
class Asked:
    """A row of a city, or its name alone, and what is to be answered.

    :param features: feature name → value, or None where it is missing; exactly the model's features.
        :data:`NO_FEATURES` asks for a forecast.
    :param top_k: of a classification: how many of the most probable classes; None: the probabilities of all.
    :param horizon: of a forecast: how many periods ahead; None: as many as the model can.
    :param history: of a forecast: the caller's own newer rows: ``period`` and values by column.
    :param ahead: of a forecast: what is known of periods to come: ``period`` and values by column.
    :param caller: a text that stands for whoever asks: while a challenger is tried, one caller gets the answers of one
        model. Kept nowhere.
    """

    city: object
    features: object = NO_FEATURES
    top_k: object = None
    horizon: object = None
    history: object = None
    ahead: object = None
    caller: object = None


@dataclass(frozen=True)
class ModelQuestion:
    """What a model is asked.

    :param body: of the request.
    :param as_json: whether the body is application/json; else text/csv.
    :param answer_bytes: of the answer: more is cut off, and so no JSON.
    :param read: (answer, whose it is, city) → fields of :class:`~city_fleet.prediction.endpoint_answer.Prediction`.
    """

    body: bytes
    as_json: bool
    answer_bytes: int
    read: Callable[[bytes, str, str], dict[str, Any]]


def put(
    pointer: ServedModel,
    asked: Asked,
    newest: Callable[[], Newest],
    *,
    child: str | None = None,
    problem: str | None = None,
) -> ModelQuestion:
    """Put what is asked to the model of a pointer.

    :param newest: says what is known of the city; called for a forecast alone.
    :param child: the city that is asked about, where the pointer is that of its parent.
    :param problem: what a reader of a forecast should know besides.
    :raises BadRequest: it is not what this model can be asked.
    :raises ServingError: what is known of a child does not fit its parent's model.
    """
    top_k = _top_k(pointer, asked.top_k)
    if asked.features is NO_FEATURES:
        return _by_name(pointer, asked, newest, child, problem)
    row = read_row(pointer.city, pointer.features, asked.features, pointer.inputs)
    as_json = pointer.is_table or top_k is not None
    body = json_request(row, top_k) if as_json else csv_line(row)
    if pointer.task == pointer_checks.REGRESSION:
        return ModelQuestion(
            body, as_json, _ANSWER_BYTES, lambda *answer: {"prediction": read_number(*answer)}
        )
    return ModelQuestion(body, as_json, _ANSWER_OF_CLASSES_BYTES, read_classes)


def slug_of(city: str) -> str:
    """Return a city's slug: ``"Fort Worth"`` is ``"fort_worth"``. What has none stays, and is no city."""
    if len(city) > MAX_CITY_LENGTH:
        return city
    try:
        return naming.slug(city)
    except ValueError:
        return city


def iso(as_of: str) -> str:
    """Return an as_of in ISO 8601; one that a person wrote into a pointer stays as it is."""
    try:
        return naming.parse_as_of(as_of).strftime("%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        return as_of


def _by_name(
    pointer: ServedModel,
    asked: Asked,
    newest: Callable[[], Newest],
    child: str | None,
    problem: str | None,
) -> ModelQuestion:
    if pointer.is_table:
        raise BadRequest(
            f"city {pointer.city!r}: its model is that of a table, which has no next period; allowed: features, "
            f"with a value for each of {list_names(pointer.features)}.",
            mistakes=[],
            features=list(pointer.features),
        )
    question = forecast_question.read(child or pointer.city, asked.horizon, asked.history, asked.ahead)
    known = _fitting(pointer, newest())
    if child is not None and known.values is None:
        why = known.problem or "nothing is known of it"
        raise ServingError(
            f"city {child!r}: its parent {pointer.city!r} can't answer for it: {why}", city=child
        )

    def read(content: bytes, whose: str, city: str) -> dict[str, Any]:
        found = read_forecast(content, whose, city)
        said = [each for each in (problem, _warning(found, known)) if each]
        served_by = substitute.BASELINE if found.served_by == substitute.BASELINE else pointer.city
        found = replace(found, warning="; ".join(said) or None, served_by=served_by)
        return {"prediction": found.forecasts[0]["prediction"], "forecast": found}

    body = forecast_question.json_request(question, known.values, _moment_of_asking(), child)
    return ModelQuestion(body, True, _ANSWER_BYTES, read)


def _fitting(pointer: ServedModel, newest: Newest) -> Newest:
    """Leave out what is known in other periods, or without a column, than the model was trained for: settings change
    while it serves, and it goes on from what it was trained with."""
    needs, values = pointer.forecast, newest.values
    if not needs or values is None:
        return newest
    if values.frequency == needs["frequency"] and set(needs["columns"]) <= set(values.columns):
        return newest
    return Newest(
        None, "the fleet's data have changed since the model was trained, which goes on from its own"
    )


def _warning(found: Forecast, newest: Newest) -> str | None:
    """Return what a reader of a forecast should know: that the data are old, or not the newest."""
    said = [newest.problem] if newest.problem else []
    if found.late_periods:
        period = periods.noun(newest.values.frequency) if newest.values is not None else "period"
        late = f"{found.late_periods} {period}{'s' if found.late_periods > 1 else ''}"
        said.append(f"the newest data are of {found.known_until}, {late} older than expected")
    return "; ".join(said) or None


def _top_k(pointer: ServedModel, value: object) -> int | None:
    """Return how many classes are asked for.

    :raises BadRequest: it is no number of classes, or the model predicts a number.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST_CLASSES:
        allowed = f"a whole number from 1 to {_MOST_CLASSES}"
    elif pointer.task == pointer_checks.REGRESSION:
        allowed = "nothing, for its model predicts a number and no class"
    else:
        return value
    raise BadRequest(
        f"city {pointer.city!r}, top_k: got {show_value(value)}; allowed: {allowed}.", mistakes=[]
    )


def _moment_of_asking() -> datetime | None:
    """Return what the age of the data is told by; None where an old sample is replayed."""
    return None if os.environ.get(REPLAY_VARIABLE) else clock.utc_now()
