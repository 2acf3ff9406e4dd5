"""What observers are told of a prediction, and that none of them stands in its way."""

from __future__ import annotations

from city_fleet.errors import NotReady
from city_fleet.prediction import observation, prediction_id
from city_fleet.prediction.endpoint_answer import Prediction
from city_fleet.prediction.model_question import Asked
from tests.quick.city_fleet.prediction.test_prediction_id import MOMENT

ID = prediction_id.EXAMPLE


def test_an_answer_is_told_with_who_gave_it() -> None:
    answer = Prediction("austin", 2.5, "austin/a.tar.gz", "arn:…/7", 7, "2015-08-01T00:00:00Z", 3.5, ID)
    seen = observation.of(Asked("Austin", {"x": 1}), answer, 99.0)
    assert (seen.prediction_id, seen.city, seen.at, seen.status) == (ID, "austin", MOMENT, 200)
    assert (seen.asked, seen.answer["prediction"], seen.latency_ms) == ({"features": {"x": 1}}, 2.5, 3.5)
    assert (seen.target_model, seen.package_version, seen.role) == ("austin/a.tar.gz", 7, "champion")
    assert "role" not in seen.answer, "callers are told of a challenger alone"


def test_a_failure_is_told_with_its_sentence() -> None:
    late = NotReady("no answer in time", retry_after_seconds=1, attempts=1)
    seen = observation.of(Asked("Fort Worth", horizon=3), late, 250.04)
    assert (seen.city, seen.asked, seen.status) == ("fort_worth", {"horizon": 3}, 503)
    assert (seen.error, seen.answer, seen.latency_ms) == ("NotReady: no answer in time", {}, 250.0)
    assert len(observation.of(Asked(["x"] * 1000), late, 1).city) <= 100
