"""Predictions of tables and of classes through pointer and endpoint: raw features by name, labels, probabilities."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from city_fleet.champions.answers import check_answers
from city_fleet.champions.artifact import parse
from city_fleet.champions.moves import check_serves
from city_fleet.errors import BadRequest, PublishError
from city_fleet.prediction.live_cache import LivePointers
from city_fleet.prediction.predict import Asked, Prediction, Predictor
from city_fleet.state.context import CityContext
from tests.support import table_artifacts
from tests.support.aws_calls import client
from tests.support.factors import Aws
from tests.support.local_sagemaker import running_server
from tests.support.serving import KEYS, Serving, archive_of, serve
from tests.support.table_artifacts import publish

CLOSE = 1e-6


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return table_artifacts.make(tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with running_server(tmp_path_factory.mktemp("predict-tables")) as server:
        server.client("s3").create_bucket(Bucket=KEYS.bucket)
        yield serve(server, tmp_path_factory.mktemp("models"))


@pytest.fixture
def predictor(serving: Serving) -> Predictor:
    s3, runtime = (client(serving.server, name, read_timeout=20.0) for name in ("s3", "sagemaker-runtime"))
    # The pointer says where its model answers; what the Lambda is told is for those that say nothing.
    return Predictor(LivePointers(s3, KEYS), runtime, "an-endpoint-that-there-is-not")


def rows(tables: Path, name: str) -> Iterator[tuple[dict[str, Any], Any]]:
    case = table_artifacts.expected(tables, name)
    for row, answer in list(zip(case["rows"], case["json"], strict=True))[:5]:
        yield dict(zip(case["features"], row, strict=True)), answer


@pytest.mark.parametrize("name", ["mixed", "categories", "log"])
def test_raw_features_get_the_number_that_training_would_give(
    serving: Serving, tables: Path, predictor: Predictor, name: str
) -> None:
    pointer = publish(serving, tables, name)
    for row, answer in rows(tables, name):
        found = predictor.predict(pointer.city, row)
        assert found.prediction == pytest.approx(answer, rel=CLOSE)
        assert {"label", "probabilities", "top_k"}.isdisjoint(found.to_dict())


@pytest.mark.parametrize("name", ["two", "mixed_two", "many", "categories_many"])
def test_a_class_comes_with_its_probabilities_or_the_most_probable_ones(
    serving: Serving, tables: Path, predictor: Predictor, name: str
) -> None:
    city = publish(serving, tables, name).city
    for row, answer in rows(tables, name):
        whole, cut = predictor.predict_many([Asked(city, row), Asked(city, row, 2)])
        assert isinstance(whole, Prediction)
        assert isinstance(cut, Prediction)
        assert whole.label == cut.label == answer["label"]
        assert whole.probabilities == pytest.approx(answer["probabilities"], abs=CLOSE)
        assert "prediction" not in whole.to_dict()
        best = sorted(answer["probabilities"].values(), reverse=True)[:2]
        assert [each["probability"] for each in cut.to_dict()["top_k"]] == pytest.approx(best, abs=CLOSE)
        assert "probabilities" not in cut.to_dict()


def test_what_does_not_fit_is_refused_by_the_pointer_alone(
    serving: Serving, tables: Path, predictor: Predictor
) -> None:
    city = publish(serving, tables, "mixed").city
    row = {"x0": 1.5, "pool": True, "listed": "2015-07-31"}
    for change, problem, allowed in [
        ({"pool": 1}, "not_a_boolean", "true or false, or null where the value is missing"),
        (
            {"listed": "31.7.2015"},
            "not_a_date",
            "a date such as 2015-07-31, or null where the value is missing",
        ),
        ({"x0": "1.5"}, "not_a_number", "a number, or null where the value is missing"),
    ]:
        with pytest.raises(BadRequest) as refused:
            predictor.predict(city, {**row, **change})
        (mistake,) = refused.value.mistakes
        assert (mistake["problem"], mistake["allowed"]) == (problem, allowed)
    with pytest.raises(
        BadRequest, match="features missing: pool, listed; allowed for each: a value of its kind"
    ):
        predictor.predict(city, {"x0": 1})
    with pytest.raises(BadRequest) as refused:
        predictor.predict(city, {**row, "pol": True})
    assert refused.value.mistakes[0]["nearest"] == "pool"
    with pytest.raises(BadRequest, match="allowed: nothing, for its model predicts a number"):
        predictor.predict(city, row, top_k=3)


@pytest.mark.parametrize("top_k", [0, True, "3", 1.0, [1], 10**9])
def test_a_top_k_that_is_no_count_is_refused(
    serving: Serving, tables: Path, predictor: Predictor, top_k: object
) -> None:
    city = publish(serving, tables, "two").city
    ((row, _), *_) = rows(tables, "two")
    with pytest.raises(BadRequest, match=r"top_k: got .*; allowed: a whole number from 1 to 100000"):
        predictor.predict(city, row, top_k=top_k)


@pytest.mark.parametrize("name", ["mixed", "categories", "two", "many", "categories_many"])
def test_an_artifacts_own_samples_are_answered_as_when_it_was_trained(
    serving: Serving, tables: Path, name: str
) -> None:
    body = archive_of(tables / name)
    pointer, loaded = publish(serving, tables, name), parse(body, name)
    aws = Aws(serving.s3, serving.server.client("sagemaker"), serving.server.client("sagemaker-runtime"))
    city = CityContext(aws, KEYS, "an-endpoint-that-there-is-not", "", pointer.city)
    check_serves(city, pointer.target_model, loaded, pointer.endpoint)
    first = loaded.predictions[0]
    wrong = {each: 1 / len(first) for each in first} if isinstance(first, dict) else float(first) * 1.001  # type: ignore[arg-type]
    with pytest.raises(PublishError, match=r"for the first row .* but when the model was evaluated it was"):
        check_answers(
            city,
            pointer.target_model,
            [("first row", loaded.rows[0], wrong)],
            endpoint=pointer.endpoint,
            as_json=True,
        )
