"""Runs in an experiment tracker, by MLflow's REST API.

The server here does what MLflow 3 has been seen to do with these calls: it refuses an experiment that is there already,
params that change, and lacks what was never made. With ``CITY_FLEET_TEST_MLFLOW`` a real one is asked in its place.
"""

from __future__ import annotations

import base64
import json
import os
import re
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from city_fleet.config import load_fleet
from city_fleet.errors import PlatformError
from city_fleet.orchestration import run_tracker
from city_fleet.orchestration.mlflow_runs import Mlflow, TrackedRun
from city_fleet.orchestration.run_tracker import mlflow_of, track
from city_fleet.plan import CityPlan, plan_city
from tests.support.fleets import TEXAS
from tests.support.http_server import running_http_server

LATER = "2015-08-01T02:00:00+00:00"
REAL = os.environ.get("CITY_FLEET_TEST_MLFLOW")


class Server:
    """Keeps experiments and runs as MLflow does."""

    def __init__(self) -> None:
        self.experiments: dict[str, str] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.seen: list[tuple[str, str]] = []
        self.status = 0

    def answer(self, path: str, said: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if self.status:
            return self.status, {"error_code": "PERMISSION_DENIED", "message": "not\nyours"}
        found = getattr(self, re.sub(r"\W", "_", path))(said)
        return (
            (200, found) if isinstance(found, dict) else (400, {"error_code": found, "message": "so it is"})
        )

    def experiments_get_by_name(self, said: dict[str, Any]) -> Any:
        name = said["experiment_name"]
        if name not in self.experiments:
            return "RESOURCE_DOES_NOT_EXIST"
        return {"experiment": {"experiment_id": self.experiments[name], "name": name}}

    def experiments_create(self, said: dict[str, Any]) -> Any:
        if said["name"] in self.experiments:
            return "RESOURCE_ALREADY_EXISTS"
        self.experiments[said["name"]] = str(len(self.experiments) + 1)
        return {"experiment_id": self.experiments[said["name"]]}

    def runs_search(self, said: dict[str, Any]) -> Any:
        key = said["filter"].partition("= '")[2].rstrip("'")
        assert said["filter"] == f"tags.`city_fleet.run_key` = '{key}'"
        found = [
            run
            for run in self.runs.values()
            if run["tags"]["city_fleet.run_key"] == key and run["experiment"] in said["experiment_ids"]
        ]
        return {"runs": [self._shown(run) for run in found]} if found else {}

    def runs_create(self, said: dict[str, Any]) -> Any:
        run = {"id": uuid.uuid4().hex, "experiment": said["experiment_id"], "name": said["run_name"]}
        run |= {"tags": _values(said["tags"]), "params": {}, "metrics": {}, "ranks": {}, "status": "RUNNING"}
        self.runs[run["id"]] = run
        return {"run": self._shown(run)}

    def runs_log_batch(self, said: dict[str, Any]) -> Any:
        run, params = self.runs[said["run_id"]], _values(said["params"])
        if any(run["params"].get(name, value) != value for name, value in params.items()):
            return "INVALID_PARAMETER_VALUE"
        run["params"] |= params
        run["tags"] |= _values(said["tags"])
        for each in said["metrics"]:  # of one moment the largest value is the newest
            rank = (each["step"], each["timestamp"], each["value"])
            if rank >= run["ranks"].get(each["key"], (0, 0, 0.0)):
                run["ranks"][each["key"]], run["metrics"][each["key"]] = rank, each["value"]
        return {}

    def runs_update(self, said: dict[str, Any]) -> Any:
        self.runs[said["run_id"]]["status"] = said["status"]
        return {}

    @staticmethod
    def _shown(run: dict[str, Any]) -> dict[str, Any]:
        return {"info": {"run_id": run["id"], "run_name": run["name"], "status": run["status"]}}


def _values(pairs: list[dict[str, Any]]) -> dict[str, Any]:
    return {each["key"]: each["value"] for each in pairs}


@pytest.fixture
def tracker() -> Iterator[tuple[Server, str]]:
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self, said: dict[str, Any]) -> None:
            path = urlsplit(self.path).path.partition("/api/2.0/mlflow/")[2]
            server.seen.append((path, self.headers.get("Authorization", "")))
            status, value = server.answer(path, said)
            body = json.dumps(value).encode()
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "http://127.0.0.1:9/")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self._serve({name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()})

        def do_POST(self) -> None:
            self._serve(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with running_http_server(Handler) as url:
        yield server, url


@pytest.fixture
def plan(tmp_path: Path) -> CityPlan:
    path = tmp_path / "texas.yaml"
    path.write_text(f"{TEXAS.read_text(encoding='utf-8')}\ntracker: mlflow\n", encoding="utf-8")
    return plan_city(load_fleet(path, environ={}), "austin")


def record(key: str = "0123456789", **changed: Any) -> dict[str, Any]:
    return {
        "fleet": "texas_housing",
        "environment": "laptop",
        "city": "austin",
        "as_of": "20150801T000000Z",
        "dag_id": "texas_housing.austin",
        "run_id": "scheduled__2015-08-01",
        "run_key": key,
        "outcome": "live",
        "reasons": ["MAPE 2.9% beats 3.8%"],
        "metrics": {"mape": 0.029, "r2": None, "mae": 5992.1},
        "data_until": "2015-07-01",
        "evaluation_uri": "s3://city-fleet/e/evaluation.json",
        "target_model": "austin/20150801T000000Z-0123456789ab.tar.gz",
        "package_arn": None,
        "jobs": [{"billable_seconds": 60}, {"billable_seconds": None}],
        "code_digest": "c0de" * 4,
        "settings_digest": "5e77" * 4,
        "finished_at": "2015-08-01T01:00:00+00:00",
        **changed,
    }


def test_a_run_is_told_once_with_what_made_it(tracker: tuple[Server, str], plan: CityPlan) -> None:
    server, url = tracker
    first = Mlflow(url).write(TrackedRun.of(plan, record()))
    again = Mlflow(url).write(TrackedRun.of(plan, record(metrics={"mape": 0.028}, finished_at=LATER)))
    other = Mlflow(url).write(TrackedRun.of(plan, record("9876543210", outcome="failed", metrics=None)))
    assert first == again != other
    assert list(server.experiments) == ["texas_housing/laptop"]
    told = server.runs[first]
    assert told["name"] == "austin 20150801T000000Z"
    assert told["metrics"] == {"mape": 0.028, "mae": 5992.1, "billable_seconds": 60.0}
    assert told["params"]["candidate.xgboost.max_depth"] == "4"
    assert told["params"]["dataset.kind"] == "series"
    assert told["tags"]["city_fleet.outcome"] == "live"
    assert told["tags"]["mlflow.note.content"] == "MAPE 2.9% beats 3.8%"
    assert told["tags"]["city_fleet.model_uri"].endswith(
        "/models/austin/20150801T000000Z-0123456789ab.tar.gz"
    )
    assert [each["status"] for each in server.runs.values()] == ["FINISHED", "FAILED"]


@pytest.mark.skipif(REAL is None, reason="CITY_FLEET_TEST_MLFLOW names no MLflow server")
def test_a_real_server_takes_it(plan: CityPlan) -> None:
    key = uuid.uuid4().hex[:10]
    client = Mlflow(str(REAL))
    first = client.write(TrackedRun.of(plan, record(key)))
    again = record(key, metrics={"mape": 0.028}, finished_at=LATER)
    assert client.write(TrackedRun.of(plan, again)) == first
    found = client._ask("GET", "runs/get", {"run_id": first})
    assert found is not None
    data = found["run"]["data"]
    assert {each["key"]: each["value"] for each in data["metrics"]}["mape"] == 0.028
    assert {each["key"]: each["value"] for each in data["params"]}["candidate.xgboost.max_depth"] == "4"
    assert found["run"]["info"]["status"] == "FINISHED"


def test_a_tracker_that_refuses_or_is_not_there_is_a_warning(
    tracker: tuple[Server, str],
    plan: CityPlan,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from airflow.sdk import BaseHook

    server, url = tracker
    there = urlsplit(url)
    named: list[str] = []

    def connection(name: str) -> Any:
        named.append(name)
        return SimpleNamespace(
            conn_id=name,
            host=there.hostname,
            port=there.port,
            schema="http",
            login="ann",
            password="secret-of-ann",
        )

    monkeypatch.setattr(BaseHook, "get_connection", connection)
    assert track(plan, record()) in server.runs
    basic = "Basic " + base64.b64encode(b"ann:secret-of-ann").decode()
    assert {sent for _, sent in server.seen} == {basic}
    for status in (403, 500, 302):
        server.status = status
        assert track(plan, record()) is None
    monkeypatch.setattr(BaseHook, "get_connection", lambda name: 1 / 0)
    assert track(plan, record()) is None
    said = caplog.text + capsys.readouterr().out  # where Airflow has set up its log, that goes to the console
    assert "refuses experiments/get-by-name with HTTP status 403: PERMISSION_DENIED not\\nyours" in said
    assert "ZeroDivisionError" in said
    assert "secret-of-ann" not in said
    assert set(named) == {run_tracker.CONNECTION}
    bare = plan_city(load_fleet(TEXAS, environ={}), "austin")
    named.clear()
    assert track(bare, record()) is None
    assert not named


def test_nobody_answers() -> None:
    with pytest.raises(PlatformError, match="does not answer"):
        Mlflow("http://127.0.0.1:9").write(
            TrackedRun("a/b", "c", "0" * 10, {}, {}, {"city_fleet.run_key": "0" * 10}, True, 0)
        )


@pytest.mark.parametrize(
    ("given", "url", "sent"),
    [
        ({"host": "mlflow.example.com"}, "https://mlflow.example.com", {}),
        ({"host": "http://mlflow/tracking", "port": 5000}, "http://mlflow:5000/tracking", {}),
        ({"host": "mlflow", "password": "t"}, "https://mlflow", {"Authorization": "Bearer t"}),
    ],
)
def test_a_connection_names_the_server(given: dict[str, Any], url: str, sent: dict[str, str]) -> None:
    bare = {"conn_id": "c", "host": None, "port": None, "schema": None, "login": None, "password": None}
    found = mlflow_of(SimpleNamespace(**{**bare, **given}))  # type: ignore[arg-type]
    assert (found._url, found._headers) == (url, sent)
    with pytest.raises(ValueError, match="allowed: a host"):
        mlflow_of(SimpleNamespace(**bare))  # type: ignore[arg-type]
