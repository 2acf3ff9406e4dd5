"""A forecast's question and answer: whatever an endpoint says, it is a forecast or the model's fault."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_fleet.errors import BadRequest, ServingError
from city_fleet.prediction import forecast_question
from city_fleet.prediction.endpoint_answer import read_forecast
from city_fleet.prediction.known_cache import Newest
from city_fleet.prediction.model_question import Asked, put, slug_of
from city_fleet.state import known_values
from tests.support.states import pointer

STAMP = "20150801T000000Z"
KNOWN = known_values.parse(
    json.dumps(
        {
            "format_version": 1,
            "city": "austin",
            "as_of": STAMP,
            "frequency": "month",
            "known_until": "2015-07-01",
            "columns": ["median"],
            "first": "2015-07-01",
            "rows": [[251_000.5]],
        }
    ).encode(),
    "known.json",
    "austin",
    STAMP,
)
ANSWER: dict[str, Any] = {
    "forecasts": [
        {
            "period": "2015-08-01",
            "step": 1,
            "prediction": 252_310.4,
            "intervals": {"80": [1.0, 2.0], "95": None},
        }
    ],
    "unit": "US$",
    "intervals_withheld": None,
    "known_until": "2015-07-01",
    "late_periods": 0,
}


def read(value: Any) -> Any:
    return read_forecast(json.dumps(value).encode(), "the model", "austin")


def test_a_question_hands_on_what_is_known_and_what_the_caller_knows_besides() -> None:
    history = [{"period": "2015-08-01", "median": 255_000, "sales": None}]
    question = forecast_question.read("austin", 3, history)
    body = json.loads(forecast_question.json_request(question, KNOWN, datetime(2015, 9, 2, tzinfo=UTC)))
    assert body == {
        "forecast": {
            "at": "2015-09-02T00:00:00Z",
            "horizon": 3,
            "history": history,
            "known": json.loads(KNOWN.text),
        }
    }
    bare = forecast_question.json_request(
        forecast_question.read("austin", None, None), None, datetime.now(UTC)
    )
    assert bare.startswith(b'{"forecast"')  # inference.py tells a forecast by its first member
    assert list(json.loads(bare)["forecast"]) == ["at"]


@pytest.mark.parametrize(
    ("change", "late", "warning"),
    [
        ({}, 0, None),
        ({"late_periods": None}, None, None),
        ({"late_periods": 1}, 1, "the newest data are of 2015-07-01, 1 month older than expected"),
        ({"late_periods": 3}, 3, "the newest data are of 2015-07-01, 3 months older than expected"),
    ],
)
def test_an_answer_says_how_late_the_data_are(
    change: dict[str, Any], late: int | None, warning: str | None
) -> None:
    question = put(pointer("austin", 1), Asked("austin"), lambda: Newest(KNOWN))
    found = question.read(json.dumps(ANSWER | change).encode(), "the model", "austin")
    assert found["prediction"] == 252_310.4
    assert (found["forecast"].late_periods, found["forecast"].warning) == (late, warning)


def test_problems_with_what_is_known_come_first_in_the_warning() -> None:
    question = put(
        pointer("austin", 1), Asked("austin"), lambda: Newest(None, "the newest could not be read")
    )
    found = question.read(json.dumps(ANSWER | {"late_periods": 2}).encode(), "the model", "austin")
    assert found["forecast"].warning == (
        "the newest could not be read; the newest data are of 2015-07-01, 2 periods older than expected"
    )


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({**ANSWER, "forecasts": []}, "not a forecast"),
        ({**ANSWER, "forecasts": ANSWER["forecasts"] * 2}, "not a forecast"),  # step 1 twice
        ({**ANSWER, "forecasts": [{**ANSWER["forecasts"][0], "prediction": float("nan")}]}, "not a forecast"),
        ({**ANSWER, "forecasts": [{**ANSWER["forecasts"][0], "period": "August"}]}, "not a forecast"),
        ({**ANSWER, "forecasts": [{**ANSWER["forecasts"][0], "intervals": {"80": [1.0]}}]}, "not a forecast"),
        ({**ANSWER, "unit": "x" * 201}, "not a forecast"),
        ({**ANSWER, "late_periods": -1}, "not a forecast"),
        ({**ANSWER, "late_periods": True}, "not a forecast"),
        ({name: each for name, each in ANSWER.items() if name != "known_until"}, "not a forecast"),
        ({"predictions": [1.0]}, "not a forecast"),
    ],
)
def test_an_answer_that_is_no_forecast_is_the_models_fault(value: Any, words: str) -> None:
    with pytest.raises(ServingError, match=words):
        read(value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(sorted(ANSWER)), json_values)
def test_whatever_a_member_holds_the_answer_can_be_written_or_is_refused(name: str, value: Any) -> None:
    try:
        found = read({**ANSWER, name: value})
    except ServingError:
        return
    json.dumps([found.forecasts, found.unit, found.known_until, found.late_periods], allow_nan=False)


@given(horizon=json_values, history=json_values)
def test_whatever_is_asked_it_can_be_sent_or_is_the_callers_mistake(horizon: Any, history: Any) -> None:
    try:
        question = forecast_question.read("austin", horizon, history)
    except BadRequest:
        return
    json.loads(forecast_question.json_request(question, KNOWN, datetime.now(UTC)), parse_constant=pytest.fail)


def test_a_city_is_named_as_people_write_it() -> None:
    for name in ("fort_worth", "Fort Worth", "FORT-WORTH", " fort  worth "):
        assert slug_of(name) == "fort_worth"
    for odd in ("?", "\ud800", "x" * 101):
        assert slug_of(odd) == odd
