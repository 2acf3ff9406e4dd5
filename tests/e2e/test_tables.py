"""Cities whose data are tables go live as any other, by the same scheduler and jobs, and answer with classes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from city_fleet.naming import split_uri
from tests.e2e.conftest import Fleet

pytestmark = pytest.mark.e2e


def _read(fleet: Fleet, uri: str) -> Any:
    bucket, key = split_uri(uri)
    return json.loads(fleet.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())


def _live(fleet: Fleet, dag_id: str, metric: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Wait for a city's run; return its pointer and its held-out rows."""
    assert fleet.ended(dag_id) == "success", fleet.states(dag_id)
    record = fleet.record(dag_id)
    assert record["outcome"] == "live", record["reasons"]
    assert metric in record["metrics"]["challenger"]
    pointer = fleet.pointer(*dag_id.split("."))
    assert pointer is not None
    assert pointer["target_model"] == record["target_model"]
    return pointer, _read(fleet, record["holdout_uri"])


def _ask(fleet: Fleet, name: str, pointer: dict[str, Any], body: dict[str, Any]) -> Any:
    answer = fleet.client("sagemaker-runtime").invoke_endpoint(
        EndpointName=f"{name}--laptop",
        TargetModel=pointer["target_model"],
        ContentType="application/json",
        Accept="application/json",
        Body=json.dumps(body).encode(),
    )
    return json.loads(answer["Body"].read())["predictions"]


def _rows(holdout: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(zip(holdout["features"], row["values"], strict=True)) for row in holdout["rows"]]


def test_a_flight_is_late_or_on_time_with_a_probability(fleet: Fleet) -> None:
    pointer, holdout = _live(fleet, "flights.boston", "log_loss")
    rows = _rows(holdout)
    # The city's own features.py has added a column; a request gives it as any other.
    assert {row["evening"] for row in rows} == {True, False}
    answers = _ask(fleet, "flights", pointer, {"instances": rows[-20:]})
    for answer, row in zip(answers, holdout["rows"][-20:], strict=True):
        assert answer["probabilities"] == pytest.approx(row["predicted"], rel=1e-5)
        assert answer["label"] == max(row["predicted"], key=row["predicted"].get)
    late = {**rows[-1], "dep_delay": 180, "carrier": "an airline of tomorrow"}
    (answer,) = _ask(fleet, "flights", pointer, {"instances": [late]})
    assert answer["label"] == "late"


def test_the_three_likeliest_restaurants_are_proposed(fleet: Fleet) -> None:
    pointer, holdout = _live(fleet, "restaurants.lisbon", "top_k_accuracy")
    answers = _ask(fleet, "restaurants", pointer, {"instances": _rows(holdout), "top_k": 3})
    hits = 0
    for answer, row in zip(answers, holdout["rows"], strict=True):
        proposed = [each["label"] for each in answer["top_k"]]
        shares = [each["probability"] for each in answer["top_k"]]
        assert len(set(proposed)) == 3
        assert shares == sorted(shares, reverse=True)
        assert shares[0] == pytest.approx(max(row["predicted"].values()), rel=1e-5)
        hits += row["actual"] in proposed
    measured = fleet.record("restaurants.lisbon")["metrics"]["challenger"]["top_k_accuracy"]
    assert hits / len(answers) == pytest.approx(measured)
    assert pointer["task"] == "multiclass"
