"""The ``_forecasts`` DAG: there where a schedule is set; its task asks, writes and says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from moto import mock_aws

from city_fleet.errors import BadRequest, UnknownCity
from city_fleet.naming import Keys
from city_fleet.orchestration.fleet_dags import fleet_dags
from city_fleet.prediction.endpoint_answer import Forecast, Prediction
from city_fleet.prediction.predict import Predictor
from city_fleet.state import forecast_table
from city_fleet.state.objects import ObjectStore
from tests.support.fleets import SMALL

KEYS = Keys("small-data", "small", "laptop")
STEP = {"period": "2021-01-01", "step": 1, "prediction": 2.5, "intervals": {}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", "aws://")
    monkeypatch.setenv("CITY_FLEET_COMPILED", str(tmp_path / "compiled"))
    fleets = tmp_path / "fleets"
    fleets.mkdir()
    ended = "end_date: 2021-01-01\nforecasts: {schedule: '0 8 * * *'}\ncities: {a: , b: }\n"
    (fleets / "small.yaml").write_text(SMALL + ended, encoding="utf-8")
    (fleets / "other.yaml").write_text(SMALL.replace("small", "other") + "cities: {a: }\n", encoding="utf-8")
    with mock_aws():
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket=KEYS.bucket)
        yield fleets


def execute(folder: Path) -> Any:
    (dag,) = fleet_dags(folder, "small._forecasts")
    task: Any = dag.get_task("write")
    return task.execute({"params": {}})


def answering(monkeypatch: pytest.MonkeyPatch, **answers: Any) -> None:
    """Let the endpoint, which moto does not have, answer by city."""

    def forecast(self: Predictor, city: str, **_: Any) -> Prediction:
        answer = answers[city]
        if isinstance(answer, Exception):
            raise answer
        told = Forecast([STEP], "kWh", None, None, None, served_by=city)
        return Prediction(
            city, answer, f"{city}/x.tar.gz", "arn:x/3", 3, "2021-01-01T00:00:00Z", 1.0, forecast=told
        )

    monkeypatch.setattr(Predictor, "forecast", forecast)


def test_only_a_fleet_with_a_schedule_has_the_dag(folder: Path) -> None:
    found = {dag.dag_id: dag for dag in fleet_dags(folder)}
    assert "small._forecasts" in found
    assert "other._forecasts" not in found
    assert "s3://small-data/small/laptop/forecasts/" in str(found["small._forecasts"].doc_md)


def test_the_task_writes_the_nights_table(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, a=2.5, b=UnknownCity("no model", city="b", nearest=None))
    store = ObjectStore(boto3.client("s3", region_name="us-east-1"), KEYS.bucket)
    for _ in range(2):  # a run that is cleared
        assert execute(folder) == {
            "night": "2021-01-01",
            "uri": "s3://small-data/small/laptop/forecasts/night=2021-01-01/forecasts.parquet",
            "rows": 2,
            "cities": 2,
            "without": 1,
        }
        rows = list(forecast_table.read(store, KEYS, "2021-01-01"))
        assert [(row["city"], row["status"], row["unit"]) for row in rows] == [
            ("a", "forecast", "kWh"),
            ("b", "no_model", None),
        ]


def test_without_a_forecast_it_fails_and_without_a_model_it_skips(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_model = UnknownCity("no model", city="b", nearest=None)
    answering(monkeypatch, a=BadRequest("needs rain", mistakes=[]), b=no_model)
    with pytest.raises(BadRequest, match="needs rain"):
        execute(folder)
    answering(monkeypatch, a=no_model, b=no_model)
    with pytest.raises(AirflowSkipException, match="none of its 2 cities has a model"):
        execute(folder)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(AirflowFailException, match=r"\[parquet\]"):
        execute(folder)
