"""The ``_monitor`` DAG: tables of forecasts and known values in, scores, alarms and runs out; nothing of it unasked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from moto import mock_aws

from city_fleet.config import load_fleet
from city_fleet.config.lint import fleet_warnings
from city_fleet.errors import Busy
from city_fleet.monitoring import going_back
from city_fleet.naming import Keys
from city_fleet.orchestration.fleet_dags import fleet_dags
from city_fleet.state import city_actions, forecast_table, known_values, live_scores, monitored
from city_fleet.state.objects import ObjectStore
from tests.support.fleets import SMALL

KEYS = Keys("small-data", "small", "laptop")
FIRST = datetime(2021, 1, 1, tzinfo=UTC)
DAYS = 24
MONITORED = """
end_date: 2021-03-01
forecasts: {schedule: '0 8 * * *'}
monitor: {schedule: '0 9 * * *'}
digest:
  notifiers: [{notifier: airflow.providers.slack.notifications.slack.SlackNotifier}]
  owners: {team: [{notifier: airflow.providers.slack.notifications.slack.SlackNotifier}]}
cities: {a: {decay: {action: retrain}}, b: {owner: team, decay: {action: rollback}}, c: , d: }
"""


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
    (fleets / "small.yaml").write_text(SMALL + MONITORED, encoding="utf-8")
    (fleets / "other.yaml").write_text(SMALL.replace("small", "other") + "cities: {a: }\n", encoding="utf-8")
    with mock_aws():
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket=KEYS.bucket)
        yield fleets


@pytest.fixture
def store(folder: Path) -> ObjectStore:
    return ObjectStore(boto3.client("s3", region_name="us-east-1"), KEYS.bucket)


def forecast_all(store: ObjectStore, cities: str = "abcd") -> None:
    """Write the table of each day: 100 for every city, off by about 2 usually."""
    for day in range(DAYS):
        writer, period = forecast_table.TableWriter(), FIRST + timedelta(days=day)
        made = {"status": "forecast", "period": period, "step": 1, "prediction": 100.0, "made_at": period}
        made |= {"known_until": period - timedelta(days=1), "lower_80": 97.4, "upper_80": 102.6}
        rows = [{"city": city, "target_model": f"{city}/x.tar.gz", **made} for city in cities]
        writer.add([*rows, {"city": "e", "status": "no_model", "made_at": period}])
        counts = {"cities": 5, "rows": 5, "without": 1}
        forecast_table.write(store, KEYS, period.date().isoformat(), writer.finish(), counts)


def know(store: ObjectStore, city: str, values: list[float | None], stamp: str = "20210125T000000Z") -> None:
    """Keep what is known of a city from the first day on."""
    value = {
        "format_version": 1, "city": city, "as_of": stamp, "frequency": "day",
        "known_until": (FIRST + timedelta(days=len(values) - 1)).date().isoformat(),
        "columns": ["y"], "first": FIRST.date().isoformat(), "rows": [[each] for each in values],
    }  # fmt: skip
    body = json.dumps(value).encode()
    known_values.keep(store, KEYS, known_values.parse(body, "known.json", city, stamp), body)


def usual(days: int = DAYS) -> list[float | None]:
    return [100 + 2.0 * (-1) ** day + day % 3 / 10 for day in range(days)]


class Tasks:
    """The DAG's tasks, run one after another as in one DAG run."""

    try_number, max_tries = 1, 2

    def __init__(self, folder: Path, run_id: str) -> None:
        (self.dag,) = fleet_dags(folder, "small._monitor")
        self.run_id, self.pushed = run_id, dict[str, Any]()

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value

    def xcom_pull(self, task_ids: str, key: str) -> Any:
        return self.pushed.get(key)

    def execute(self, task_id: str) -> Any:
        task: Any = self.dag.get_task(task_id)
        return task.execute({"params": {}, "run_id": self.run_id, "ti": self})


def test_only_a_fleet_that_asks_for_it_has_the_dag(folder: Path) -> None:
    found = {dag.dag_id: dag for dag in fleet_dags(folder)}
    assert "other._monitor" not in found
    assert set(found["small._monitor"].task_ids) == {
        *("look", "alert", "notify_1", "notify_owner_1_team", "retrain"),
        *("rollback", "notify_rollback_1", "notify_rollback_owner_1_team"),
    }
    without = SMALL + MONITORED.replace("forecasts: {schedule: '0 8 * * *'}\n", "")
    (folder / "small.yaml").write_text(without, encoding="utf-8")
    (warning,) = [
        line for line in fleet_warnings(load_fleet(folder / "small.yaml")) if "monitor.schedule" in line
    ]
    assert "forecasts.schedule is null" in warning


def test_a_city_that_is_no_longer_right_is_told_of_and_retrained_once(
    folder: Path, store: ObjectStore
) -> None:
    forecast_all(store)
    know(store, "a", [*usual(DAYS - 4), 120.0, 121.0, 122.0, 120.0])
    for city in "bc":
        know(store, city, usual())
    tasks = Tasks(folder, "run_1")
    (run,) = tasks.execute("look")
    assert (run["trigger_dag_id"], run["trigger_run_id"], run["conf"]) == (
        "small.a",
        "monitor__a__20210121",
        {},
    )
    assert "too low" in run["note"]
    message = tasks.execute("alert")
    assert message["subject"] == "small (laptop): 1 city is no longer right"
    assert message["owners"] == {}
    kinds = [each.kind for each in city_actions.of(live_scores.read(store, KEYS, "a"))]
    assert kinds == ["alarm", "retrain"]
    with pytest.raises(AirflowSkipException, match="No city is to be rolled back"):
        tasks.execute("rollback")
    assert (
        "a: no longer right since 2021-01-21: forecasts of the last 4 days are too low (live error"
        in message["text"]
    )
    health = monitored.read(store, KEYS).cities
    assert (health["a"].periods, health["b"].alarm, health["d"].periods) == (12, None, 0)
    assert "no truth came for 24 days from 2021-01-01 on" in health["d"].notes[0]
    assert health["b"].error == pytest.approx(0.02, abs=0.005)
    assert health["b"].naive == pytest.approx(0.04, abs=0.005)
    # A look that is repeated says and starts the same, one of the next night nothing.
    assert Tasks(folder, "run_1").execute("look") == [run]
    later = Tasks(folder, "run_2")
    assert later.execute("look") == []
    with pytest.raises(AirflowSkipException, match="nothing is sent"):
        later.execute("alert")
    assert monitored.read(store, KEYS).cities["a"].alarm == "2021-01-21"


def test_a_truth_that_was_corrected_is_scored_anew_and_ends_the_alarm(
    folder: Path, store: ObjectStore
) -> None:
    forecast_all(store)
    know(store, "a", [*usual(DAYS - 3), 120.0, 121.0, 122.0])
    assert len(Tasks(folder, "run_1").execute("look")) == 1
    know(store, "a", usual(), "20210126T000000Z")
    assert Tasks(folder, "run_2").execute("look") == []
    health = monitored.read(store, KEYS).cities["a"]
    assert health.alarm is None
    assert "3 days from 2021-01-22 on was corrected" in " ".join(health.notes)
    scores = live_scores.read(store, KEYS, "a")
    assert len(scores.known) == DAYS
    assert sum(row.corrected for row in scores.known) == 3


def test_a_city_that_is_to_be_rolled_back_and_cant_be_is_told_of_once_also_to_its_owner(
    folder: Path, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    forecast_all(store)
    know(store, "b", [*usual(DAYS - 4), 120.0, 121.0, 122.0, 120.0])
    tasks = Tasks(folder, "run_1")
    assert tasks.execute("look") == []
    assert set(tasks.execute("alert")["owners"]) == {"team"}
    message = tasks.execute("rollback")
    assert message["outcomes"] == {"b": "no_rollback"}
    assert "b: NOT rolled back: city 'b': no model of it is live" in message["text"]
    assert (
        message["owners"]["team"]["subject"]
        == "small (laptop, team): 1 city is no longer right: what was done"
    )
    assert "./fleet status --fleet small --owner team shows all" in message["owners"]["team"]["text"]
    later = Tasks(folder, "run_2")
    assert later.execute("look") == []
    with pytest.raises(AirflowSkipException):
        later.execute("rollback")
    kinds = [each.kind for each in city_actions.of(live_scores.read(store, KEYS, "b"))]
    assert kinds == ["alarm", "no_rollback"]

    def unwell(*_: Any, **__: Any) -> None:
        raise Busy("S3 is unwell")

    # What passes is tried again, and in the end it is said.
    monkeypatch.setattr(going_back, "roll_back", unwell)
    with pytest.raises(AirflowException, match="1 are left: b: S3 is unwell"):
        tasks.execute("rollback")
    tasks.try_number = 3
    assert "b: NOT rolled back: S3 is unwell" in tasks.execute("rollback")["text"]


def test_where_all_alarm_it_is_the_feed_and_nothing_is_retrained(folder: Path, store: ObjectStore) -> None:
    forecast_all(store)
    for city in "abc":
        know(store, city, [*usual(DAYS - 3), 1200.0, 1210.0, 1220.0])
    tasks = Tasks(folder, "run_1")
    assert tasks.execute("look") == []
    text = tasks.execute("alert")["text"]
    assert text.startswith("3 of 4 cities alarm in one look: has the feed changed for all of them?")
    assert "column 'y' is 1220, and was between" in text
    assert Tasks(folder, "run_2").execute("look") == []


def test_one_city_that_cant_be_read_is_said_and_keeps_no_other(folder: Path, store: ObjectStore) -> None:
    forecast_all(store)
    know(store, "b", usual())
    store.put(KEYS.live_scores("a"), b"{}")
    tasks = Tasks(folder, "run_1")
    assert tasks.execute("look") == []
    with pytest.raises(AirflowException, match="are not the live scores of city 'a'"):
        tasks.execute("alert")
    assert monitored.read(store, KEYS).cities["b"].periods == 12
    store.put(KEYS.monitor(), b"[]")
    with pytest.raises(AirflowFailException, match="Delete the object"):
        Tasks(folder, "run_2").execute("look")
