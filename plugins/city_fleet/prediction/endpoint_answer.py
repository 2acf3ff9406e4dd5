"""What an endpoint has answered, read without trusting it: a prediction, or whose fault it is that there is none.

Standard library and botocore only.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from city_fleet import aws_errors
from city_fleet.errors import BadRequest, PredictError, ServingError, show_value
from city_fleet.periods import begin_text
from city_fleet.state.observed import CHAMPION

# inference.py speaks of rows of a request; here a request is one row, whose features are what the caller knows.
_OUR_ROW = re.compile(r"Row 1[,:] *|Forecast: *")
_ANY_ROW = re.compile(r"Row (?P<number>[1-9]\d{0,8})[,:] *")
# What serving code answers to a forecast that it does not know yet.
_OLD_CODE = "The request has no list of instances"
# What a model answers that is nobody's parent, and serving code that knows no parents.
_NO_PARENT = ("child:", "got member 'child'")
_MOST_STEPS = 100
_LONGEST_UNIT, _LONGEST_SENTENCE = 200, 500
_FEATURE = re.compile(r"feature '([^']+)'")


@dataclass(frozen=True)
class Forecast:
    """What a model predicts for the periods that begin next.

    :param forecasts: ``period`` (its first day, an ISO date), ``step`` (1 is the one that begins next),
        ``prediction`` (in the target's own unit) and ``intervals`` (per cent → from and to, None where too little is
        known to say), step by step.
    :param unit: what a prediction is in; None where nobody has said it.
    :param intervals_withheld: why there is an interval less; None where none is.
    :param known_until: first day of the newest period whose target was known, an ISO date.
    :param late_periods: how many newer periods should be known by now; None where that can't be told.
    :param warning: what a reader of the forecasts should know, as a sentence without its full stop.
    :param served_by: slug of the city whose model has answered: its own, or its parent's; or ``baseline``.
    """

    forecasts: Sequence[Mapping[str, Any]]
    unit: str | None
    intervals_withheld: str | None
    known_until: str | None
    late_periods: int | None
    warning: str | None = None
    served_by: str = ""


@dataclass(frozen=True)
class Prediction:
    """What the model that is live now predicts for one row, or for the next periods.

    :param prediction: in the target's own unit; None of a classification. Of a forecast: the first period's.
    :param target_model: the artifact that answered, as the live pointer and the endpoint name it.
    :param package_arn: its version in the model registry.
    :param package_version: the number at the end of that ARN, None when it has none.
    :param as_of: the moment up to which the model may have seen data, ISO 8601 in UTC.
    :param latency_ms: from the start of the request to the answer, waiting for a free thread and attempts included.
    :param prediction_id: what to call it by who says later what really happened.
    :param role: of the model that answered: the champion, or a challenger that is tried beside it.
    :param cold: whether its model had to be loaded first; None where nothing says it. Callers are not told.
    :param label: of a classification: the most probable class.
    :param probabilities: of a classification: class → probability; None where ``top_k`` is answered.
    :param top_k: of a classification that was asked so: ``label`` and ``probability`` of the most probable classes.
    :param forecast: of a forecast by the city's name; None where features were given.
    """

    city: str
    prediction: float | None
    target_model: str
    package_arn: str
    package_version: int | None
    as_of: str
    latency_ms: float
    prediction_id: str = ""
    role: str = CHAMPION
    cold: bool | None = None
    label: str | None = None
    probabilities: Mapping[str, float] | None = None
    top_k: Sequence[Mapping[str, Any]] | None = None
    forecast: Forecast | None = None

    def to_dict(self) -> dict[str, Any]:
        return dict(self._said)

    @functools.cached_property
    def _said(self) -> dict[str, Any]:
        # Once, for the caller and for observers, and member by member, not by dataclasses.asdict: every answer is.
        said: dict[str, Any] = {"status": 200, "city": self.city}
        if self.forecast is not None:
            said |= vars(self.forecast)
            if self.forecast.warning is None:
                del said["warning"]
        if self.label is None:
            said["prediction"] = self.prediction
        said |= {
            "target_model": self.target_model,
            "package_arn": self.package_arn,
            "package_version": self.package_version,
            "as_of": self.as_of,
            "latency_ms": self.latency_ms,
            "prediction_id": self.prediction_id,
        }
        if self.role != CHAMPION:
            said["role"] = self.role
        if self.label is not None:
            classes = {"label": self.label, "probabilities": self.probabilities, "top_k": self.top_k}
            said |= {name: value for name, value in classes.items() if value is not None}
        return said


def refused_row(error: ClientError) -> tuple[int, str] | None:
    """Return which row of a request inference.py has refused, from 1, and what it says of it; None where none."""
    sentence, mine = _said(error)
    found = _ANY_ROW.match(sentence)
    return (int(found["number"]), sentence[found.end() :]) if found and mine else None


def _said(error: ClientError) -> tuple[str, bool]:
    """Return what the model has said, and whether it was about the request."""
    response: dict[str, Any] = dict(error.response)
    said = str(response.get("OriginalMessage") or aws_errors.message_of(error)).strip()
    about_request = 400 <= int(response.get("OriginalStatusCode") or 0) < 500
    return said.splitlines()[0] if said else "no reason", about_request


def model_error(city: str, whose: str, error: ClientError) -> PredictError:
    """Tell a mistake of the caller, in inference.py's words, from a fault of the model."""
    response: dict[str, Any] = dict(error.response)
    sentence, about_request = _said(error)
    mine = _OUR_ROW.match(sentence)
    if about_request and mine:
        sentence = sentence[mine.end() :]
        if sentence.startswith(_NO_PARENT):
            cure = "run the fleet's _endpoint DAG, and train the parent"
            return ServingError(f"{whose}: it can't answer for another city: {cure} ({sentence})", city=city)
        feature = _FEATURE.search(sentence)
        mistake = {"feature": feature[1] if feature else None, "problem": "refused_by_model", "got": sentence}
        return BadRequest(f"city {city!r}: {sentence}", mistakes=[mistake])
    if sentence.startswith(_OLD_CODE):
        cure = "run the fleet's _endpoint DAG, or give features"
        return ServingError(f"{whose}: its serving code knows no forecasts by name: {cure}", city=city)
    stream = response.get("LogStreamArn")
    return ServingError(f"{whose}: the model failed: {sentence}", city=city, log_stream_arn=stream)


def read_number(content: bytes, whose: str, city: str) -> float:
    """Read the answer of a regression to one row."""
    (number,) = read_numbers(content, whose, city, 1)
    return number


def read_numbers(content: bytes, whose: str, city: str, count: int) -> list[float]:
    """Read the answer of a regression to so many rows."""
    try:
        numbers = [float(value) for value in json.loads(content)["predictions"]]
        if len(numbers) != count:
            raise ValueError(f"{len(numbers)} predictions of {count} rows")
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        got = f"{content[:80]!r} ({type(error).__name__})"
        raise ServingError(f"{whose}: the answer is not a prediction: {got}", city=city) from error
    for number in numbers:
        if not math.isfinite(number):
            raise ServingError(f"{whose}: predicts {number}, which is not a finite number", city=city)
    return numbers


def read_forecast(content: bytes, whose: str, city: str) -> Forecast:
    """Read the answer to a question by the city's name."""
    try:
        said = json.loads(content)
        forecasts = [_step(each, number) for number, each in enumerate(said["forecasts"], start=1)]
        unit, until, late = said["unit"], said["known_until"], said["late_periods"]
        withheld = said.get("intervals_withheld")
        if not 1 <= len(forecasts) <= _MOST_STEPS:
            raise ValueError(f"{len(forecasts)} forecasts")
        if unit is not None and (not isinstance(unit, str) or len(unit) > _LONGEST_UNIT):
            raise ValueError(f"unit {show_value(unit)}")
        if withheld is not None and not isinstance(withheld, str):
            raise ValueError(f"intervals_withheld {show_value(withheld)}")
        if late is not None and (isinstance(late, bool) or not isinstance(late, int) or late < 0):
            raise ValueError(f"late_periods {show_value(late)}")
        until = None if until is None else begin_text(until)
        shown = withheld[:_LONGEST_SENTENCE] if withheld else None
        served_by = str(said.get("served_by") or "")  # serving code of before says nothing
        return Forecast(forecasts, unit, shown, until, late, served_by=served_by)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        got = f"{content[:80]!r} ({type(error).__name__})"
        raise ServingError(f"{whose}: the answer is not a forecast: {got}", city=city) from error


def _step(value: Any, number: int) -> dict[str, Any]:
    prediction = float(value["prediction"])
    if value["step"] != number or not math.isfinite(prediction):
        raise ValueError(f"step {show_value(value['step'])}: {prediction}")
    return {
        "period": begin_text(value["period"]),
        "step": number,
        "prediction": prediction,
        "intervals": {str(name): _interval(each) for name, each in value.get("intervals", {}).items()},
    }


def _interval(value: Any) -> list[float] | None:
    if value is None:
        return None
    low, high = map(float, value)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("an interval without an end")
    return [low, high]


def read_classes(content: bytes, whose: str, city: str) -> dict[str, Any]:
    """Read the answer of a classification to one row."""
    (answer,) = read_many_classes(content, whose, city, 1)
    return answer


def read_many_classes(content: bytes, whose: str, city: str, count: int) -> list[dict[str, Any]]:
    """Read the answer of a classification to so many rows.

    :return: ``label``, ``top_k`` and ``probabilities`` of each, as :class:`Prediction` has them.
    """
    try:
        answers = [_class_answer(value) for value in json.loads(content)["predictions"]]
        if len(answers) != count:
            raise ValueError(f"{len(answers)} predictions of {count} rows")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        got = f"{content[:80]!r} ({type(error).__name__})"
        raise ServingError(f"{whose}: the answer is not a prediction of classes: {got}", city=city) from error
    return answers


def _class_answer(value: Any) -> dict[str, Any]:
    label, ranked = value["label"], value.get("top_k")
    if ranked is not None:
        found = [{"label": each["label"], "probability": float(each["probability"])} for each in ranked]
        named = {str(each["label"]): each["probability"] for each in found}
    else:
        found, named = None, {name: float(each) for name, each in value["probabilities"].items()}
    if label not in named or not all(map(math.isfinite, named.values())):
        raise ValueError("its label has no probability")
    return {"label": label, "top_k": found, "probabilities": None if found is not None else named}
