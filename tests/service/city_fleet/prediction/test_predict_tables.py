"""Predictions of tables and of classes through pointer and endpoint: raw features by name, labels, probabilities."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from city_fleet import naming
from city_fleet.champions import publish as publish_steps
from city_fleet.champions.answers import check_answers
from city_fleet.champions.artifact import parse
from city_fleet.champions.gate import Decision
from city_fleet.champions.moves import check_serves
from city_fleet.config import Gate
from city_fleet.errors import BadRequest, PublishError
from city_fleet.prediction.endpoint_cache import Endpoints
from city_fleet.prediction.live_cache import LivePointers
from city_fleet.prediction.predict import Asked, Prediction, Predictor
from city_fleet.state import serving_code
from city_fleet.state.author import Author
from city_fleet.state.challengers import CANARY
from city_fleet.state.context import CityContext
from city_fleet.state.live_pointer import LivePointer, ServedModel
from tests.support import table_artifacts
from tests.support.aws_calls import client
from tests.support.factors import Aws
from tests.support.local_sagemaker import running_server
from tests.support.on_trial import OnTrial
from tests.support.paths import SCRIPTS
from tests.support.serving import KEYS, Serving, archive_of, city_name, serve
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
    return Predictor(LivePointers(s3, KEYS), runtime, Endpoints(s3, KEYS, "an-endpoint-that-there-is-not"))


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


def test_a_canary_of_a_classifier_answers_as_its_champion_would(serving: Serving, tables: Path) -> None:
    slug = city_name()
    models = (publish(serving, tables, "mixed_two", slug), publish(serving, tables, "mixed_two", slug))
    city = OnTrial(serving, CANARY, 0.5, models=models)
    callers = city.callers(2)
    row, answer = next(rows(tables, "mixed_two"))
    found = city.predictor.predict_many([Asked(slug, row, 2, caller=caller) for caller in callers], 20.0)
    for caller, each in zip(callers, found, strict=True):
        assert isinstance(each, Prediction), each
        taken = city.trial.takes(caller)
        assert (each.role, each.target_model) == (
            ("challenger", models[0].target_model) if taken else ("champion", models[1].target_model)
        )
        assert (each.label, len(each.to_dict()["top_k"])) == (answer["label"], 2)
    assert {each.role for each in city.seen} == {"champion", "challenger"}
    # What the model does not understand is the caller's mistake, whoever was asked, and not the challenger's failure.
    for caller in callers:
        (wrong,) = city.predictor.predict_many([Asked(slug, {"nothing": 1}, caller=caller)], 20.0)
        assert isinstance(wrong, BadRequest)
    assert city.tally[1:] == (0, False)
    assert city.is_as_before()


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
    check_serves(city, pointer, loaded)
    first = loaded.predictions[0]
    wrong = {each: 1 / len(first) for each in first} if isinstance(first, dict) else float(first) * 1.001  # type: ignore[arg-type]
    with pytest.raises(PublishError, match=r"for the first row .* but when the model was evaluated it was"):
        check_answers(
            city.aws.runtime, city.address_of(pointer), [("first row", loaded.rows[0], wrong)], as_json=True
        )


def candidate(
    serving: Serving, tables: Path, name: str, city: str, **card: object
) -> tuple[CityContext, publish_steps.Candidate]:
    """A table's model with its evaluation, as the gate has let it pass.

    :param card: members of model.json to change.
    """
    folder = Path(shutil.copytree(tables / name, tables / f"{name}-{city}"))
    path = folder / "city_fleet" / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "city": city, **card}))
    body, case = archive_of(folder), table_artifacts.expected(tables, name)
    uri = f"s3://{KEYS.bucket}/runs/{city}.tar.gz"
    serving.s3.put_object(Bucket=KEYS.bucket, Key=f"runs/{city}.tar.gz", Body=body)
    sha256, as_of = hashlib.sha256(body).hexdigest(), datetime(2015, 8, 1, tzinfo=UTC)
    group = naming.package_group(KEYS.fleet, "laptop", city)
    model = ServedModel(
        city=city,
        target_model=naming.target_model(city, as_of, sha256),
        package_arn=f"arn:aws:sagemaker:us-east-1:123456789012:model-package/{group}/1",
        as_of=naming.as_of_stamp(as_of),
        metrics={},
        features=tuple(case["features"]),
        artifact_sha256=sha256,
    )
    predicted = [each["probabilities"] if isinstance(each, dict) else each for each in case["json"]]
    rows = [
        {"example": str(number), "values": row, "predicted": answer}
        for number, (row, answer) in enumerate(zip(case["rows"], predicted, strict=True))
    ]
    decision = Decision(promote=True, reasons=(), rows=len(rows))
    holdout = {"features": case["features"], "rows": rows}
    aws = Aws(serving.s3, serving.server.client("sagemaker"), serving.server.client("sagemaker-runtime"))
    return (
        CityContext(aws, KEYS, serving.endpoint, group, city),
        publish_steps.Candidate(model, uri, decision, Gate(), holdout, Author("test")),
    )


@pytest.mark.parametrize("name", ["mixed", "categories_many"])
def test_a_published_tables_pointer_says_what_its_artifact_says(
    serving: Serving, tables: Path, name: str
) -> None:
    place, chosen = candidate(serving, tables, name, city := city_name())
    ready = publish_steps.prepare(place, chosen)
    assert isinstance(ready, publish_steps.Ready)
    pointer = publish_steps.commit(place, ready).pointer
    artifact = parse(archive_of(tables / name), name)
    assert (pointer.kind, pointer.task, pointer.inputs) == ("table", artifact.task, artifact.inputs)
    assert (pointer.endpoint, pointer.route) == ("", {"target_model": pointer.target_model})
    assert LivePointer.from_json(pointer.to_json(), KEYS.uri(KEYS.live(city))) == pointer
    wrong = {**chosen.holdout, "rows": [{**row, "predicted": 5.0} for row in chosen.holdout["rows"]]}
    with pytest.raises(PublishError, match="for the held-out row 0 with"):
        check_answers(
            place.aws.runtime,
            place.address_of(pointer),
            [(f"held-out row {row['example']}", row["values"], row["predicted"]) for row in wrong["rows"]],
            as_json=True,
        )


def test_an_artifact_of_an_algorithm_that_the_endpoint_lacks_is_refused_with_what_to_do(
    serving: Serving, tables: Path
) -> None:
    city = city_name()
    place, chosen = candidate(serving, tables, "categories", city, algorithm="forest")
    with pytest.raises(PublishError) as refused:
        publish_steps.prepare(place, chosen)
    text = str(refused.value)
    assert (
        "The code of endpoint 'houses' lacks the algorithm forest; it has: baseline, ets, knn, linear" in text
    )
    assert f"Run the DAG {KEYS.fleet}._endpoint" in text
    assert place.aws.s3.list_objects_v2(Bucket=KEYS.bucket, Prefix=KEYS.live(city))["KeyCount"] == 0


def test_what_an_endpoint_says_of_its_algorithms_is_what_its_code_has(serving: Serving) -> None:
    sagemaker = serving.server.client("sagemaker")
    found = serving_code.served(sagemaker, serving.endpoint)
    modules = {path.stem: path for path in (SCRIPTS / "algorithms").glob("*.py") if path.stem != "__init__"}
    assert found == {
        name: hashlib.sha256(path.read_bytes()).hexdigest()[:8] for name, path in modules.items()
    }
    assert serving_code.served(sagemaker, "there-is-none") is None
    assert serving_code.lacking(["forest"], None, "x", "dag") is None, "what says nothing is not refused"
    assert serving_code.lacking(["linear", "xgboost"], found, "x", "dag") is None
