"""The packed retrain function, as Lambda runs it, with a real Airflow: files that arrive become runs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from city_fleet.airflow_rest.login_channel import LoginChannel
from city_fleet.arrivals.bursts import window_end
from city_fleet.config import load_fleet
from local.stack.seed import create_queue
from tests.e2e.conftest import BUCKET, Fleet
from tests.support.account import account_client, running_account
from tests.support.airflow_roles import PEOPLE
from tests.support.arrival_airflow import running_mwaa
from tests.support.lambda_runtime import LambdaRuntime, pack

pytestmark = pytest.mark.e2e
CITY, ASLEEP = "paris", "odessa"
AWAKE_ID, ASLEEP_ID = f"texas_housing.{CITY}", f"texas_housing.{ASLEEP}"
#: Of the people with Airflow's roles: the least that may start and take back runs, and one that may only look.
USER, VIEWER = (name for role in ("user", "viewer") for name, has in PEOPLE.items() if has == role)
BURST_SECONDS = 5
QUEUE = "texas-retrain"


class Function:
    """The function, and what brings it events.

    :param account: address of the account with the secrets, which the local SageMaker has no part of.
    """

    def __init__(self, fleet: Fleet, account: str, folder: Path) -> None:
        self.fleet, self.account = fleet, account
        pack(folder, "retrain")
        self.package = folder / "retrain.zip"
        (folder / "runtime").mkdir()
        self.runtime = LambdaRuntime(folder / "runtime")
        passwords = json.loads(fleet.stack.layout.passwords_file.read_text())
        secrets = account_client(account, "secretsmanager")
        self.secrets = {
            name: secrets.create_secret(
                Name=name, SecretString=json.dumps({"username": name, "password": passwords[name]})
            )["ARN"]
            for name in (USER, VIEWER)
        }

    def environment(self, **changes: str) -> dict[str, str]:
        """What Lambda sets; an empty value stands for none."""
        mine = {
            "AWS_ENDPOINT_URL": self.account,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_DEFAULT_REGION": "us-east-1",
            "CITY_FLEET_BUCKET": BUCKET,
            "CITY_FLEET_FLEET": "texas_housing",
            "CITY_FLEET_ENVIRONMENT": "laptop",
            "CITY_FLEET_AIRFLOW_URL": self.fleet.stack.layout.ui_url,
            "CITY_FLEET_AIRFLOW_SECRET_ARN": self.secrets[USER],
            "CITY_FLEET_BURST_SECONDS": str(BURST_SECONDS),
            **changes,
        }
        return {name: value for name, value in mine.items() if value}

    def __call__(self, *events: object, **changes: str) -> list[Any]:
        return self.runtime.answers(self.package, self.environment(**changes), events, seconds=120)

    def runs(self, dag_id: str) -> dict[str, dict[str, Any]]:
        found = self.fleet.stack.airflow.pages(f"/dags/{dag_id}/dagRuns", "dag_runs")
        return {
            run["dag_run_id"]: run for run in found if run["dag_run_id"].startswith(("arrival__", "as_of__"))
        }


@pytest.fixture(scope="module")
def function(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Function]:
    # The function's queue; the fleet's own file has none here, and so no DAG that would read it.
    stack = fleet.stack
    texas = load_fleet(stack.layout.fleets_dir / "texas_housing.yaml", stack.environment)
    events = texas.events.model_copy(update={"queue": QUEUE})
    create_queue(fleet.client("sqs"), fleet.client("s3"), texas.model_copy(update={"events": events}))
    with running_account() as url:
        yield Function(fleet, url, tmp_path_factory.mktemp("function"))


def notified(city: str, at: datetime, number: int = 0) -> dict[str, Any]:
    """A message of a queue with S3's notification of a file."""
    place = {
        "bucket": {"name": BUCKET},
        "object": {"key": f"texas_housing/raw/city%3D{city}/txhousing.csv"},
    }
    record = {
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "eventTime": at.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "s3": place,
    }
    return {"messageId": str(number), "eventSource": "aws:sqs", "body": json.dumps({"Records": [record]})}


def batch(*records: dict[str, Any]) -> dict[str, Any]:
    return {"Records": list(records)}


def failures(answer: dict[str, Any]) -> list[str]:
    return [item["itemIdentifier"] for item in answer["batchItemFailures"]]


def drop(function: Function, city: str) -> dict[str, Any]:
    """Write a city's file anew; return the message that S3 has sent to the function's queue, as Lambda hands it on."""
    key = f"texas_housing/raw/city={city}/txhousing.csv"
    s3, sqs = function.fleet.client("s3"), function.fleet.client("sqs")
    body = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    s3.put_object(Bucket=BUCKET, Key=key, Body=body)
    queue = sqs.get_queue_url(QueueName=QUEUE)["QueueUrl"]
    while True:  # other tests write other cities' files
        (message,) = sqs.receive_message(QueueUrl=queue, AttributeNames=["All"], WaitTimeSeconds=10)[
            "Messages"
        ]
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        if f"city%3D{city}/" in message["Body"]:
            return {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message["Attributes"],
                "eventSource": "aws:sqs",
                "eventSourceARN": f"arn:aws:sqs:us-east-1:123456789012:{QUEUE}",
            }


def test_a_file_and_two_hundred_of_them_are_one_run_that_trains(function: Function) -> None:
    fleet = function.fleet
    fleet.stack.airflow.set_paused(AWAKE_ID, False)
    before = datetime.now(UTC)
    message = drop(function, CITY)
    (said,) = json.loads(message["body"])["Records"]
    at = datetime.fromisoformat(said["eventTime"])
    burst = [batch(*(notified(CITY, at, number) for number in range(10))) for _ in range(20)]
    assert [failures(answer) for answer in function(batch(message), *burst)] == [[]] * 21
    (run_id,) = function.runs(AWAKE_ID)
    end = window_end(at, BURST_SECONDS)
    assert run_id == f"arrival__{end:%Y%m%dT%H%M%SZ}"
    run = function.runs(AWAKE_ID)[run_id]
    assert run["triggering_user_name"] == USER
    assert datetime.fromisoformat(run["run_after"]) >= end > before
    assert fleet.ended(AWAKE_ID, run_id) == "success"
    record = fleet.record(AWAKE_ID, run_id)
    assert datetime.fromisoformat(record["as_of"]) == datetime.fromisoformat(run["run_after"]).replace(
        microsecond=0
    )
    # It is over, and covers what has arrived before it; a message that comes a second time starts nothing.
    assert [failures(answer) for answer in function(batch(message))] == [[]]
    assert list(function.runs(AWAKE_ID)) == [run_id]


def test_a_dag_that_sleeps_has_one_run_waiting_and_a_cleared_one_stays(function: Function) -> None:
    fleet = function.fleet
    hour = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    events = [batch(notified(ASLEEP, hour + timedelta(minutes=number))) for number in range(3)]
    waiting = []
    for event in events:
        assert [failures(answer) for answer in function(event)] == [[]]
        waiting.append(set(function.runs(ASLEEP_ID)))
    # Each starts when the city is woken, and so covers what comes after its message: the first one covers all.
    assert [len(each) for each in waiting] == [1, 1, 1]
    time_of_first = datetime.fromisoformat(function.runs(ASLEEP_ID)[min(waiting[0])]["run_after"])
    later = time_of_first + timedelta(seconds=2 * BURST_SECONDS)
    wait_until_past(later)
    assert [failures(answer) for answer in function(batch(notified(ASLEEP, later)))] == [[]]
    (newest,) = function.runs(ASLEEP_ID)
    assert {newest} != waiting[0]
    assert function.runs(ASLEEP_ID)[newest]["state"] == "queued"
    fleet.stack.airflow.request("DELETE", f"/dags/{ASLEEP_ID}/dagRuns/{quote(newest)}")
    # The run that has trained is cleared by a person while its DAG sleeps.
    (trained,) = function.runs(AWAKE_ID)
    fleet.stack.airflow.set_paused(AWAKE_ID, True)
    fleet.clear(AWAKE_ID, "recorded", run_id=trained)
    assert function.runs(AWAKE_ID)[trained]["state"] == "queued"
    assert [failures(answer) for answer in function(batch(notified(CITY, datetime.now(UTC))))] == [[]]
    runs = function.runs(AWAKE_ID)
    assert len(runs) == 2
    assert trained in runs
    fleet.stack.airflow.request("DELETE", f"/dags/{AWAKE_ID}/dagRuns/{quote(max(runs))}")
    fleet.stack.airflow.set_paused(AWAKE_ID, False)
    assert fleet.ended(AWAKE_ID, trained) == "success"


def wait_until_past(moment: datetime) -> None:
    while datetime.now(UTC) <= moment:
        time.sleep(0.1)


def test_what_cannot_be_done_keeps_its_message_and_what_is_unknown_does_not(function: Function) -> None:
    now = datetime.now(UTC)
    unknown, known = notified("nowhere", now, 0), notified(ASLEEP, now, 1)
    assert [failures(answer) for answer in function(batch(unknown), {"cities": ["nowhere"]})[:1]] == [[]]
    away = "http://127.0.0.1:9"
    assert failures(function(batch(unknown, known), CITY_FLEET_AIRFLOW_URL=away)[0]) == ["0", "1"]
    for changes, said in (
        (
            {"CITY_FLEET_AIRFLOW_SECRET_ARN": function.secrets[VIEWER]},
            f"answered 403 to POST /dags/{ASLEEP_ID}/dagRuns",
        ),
        ({"CITY_FLEET_ENVIRONMENT": "production"}, "runs environment 'laptop' of the fleet"),
        ({"CITY_FLEET_FLEET": "no_such_fleet"}, "knows no DAG of fleet 'no_such_fleet'"),
    ):
        mine = notified(ASLEEP, now, 2)
        mine["body"] = mine["body"].replace("texas_housing", changes.get("CITY_FLEET_FLEET", "texas_housing"))
        answers = function(batch(mine), {"city": ASLEEP}, **changes)
        assert failures(answers[0]) == ["2"]
        assert answers[1]["raised"] == "RetrainFailed"
        assert said in answers[1]["said"]
    assert function.runs(ASLEEP_ID) == {}


def test_over_mwaa_all_cities_are_started_once(function: Function) -> None:
    """They wait for the end of a long window, and are taken away before it."""
    fleet = function.fleet
    now = datetime.now(UTC)
    burst = next(
        seconds for seconds in (3600, 3000, 2000) if window_end(now, seconds) - now > timedelta(minutes=5)
    )
    layout = fleet.stack.layout
    login = json.loads(layout.passwords_file.read_text())[USER]
    channel = LoginChannel(layout.ui_url, login=lambda: (USER, login), use_proxies=False)
    dag_ids = {
        dag_id
        for dag_id in fleet.stack.airflow.dag_ids()
        if dag_id.startswith("texas_housing.") and "._" not in dag_id and dag_id != "texas_housing.tyler"
    }
    assert len(dag_ids) == 46  # a parent is a city, too
    with running_mwaa(channel) as mwaa:
        changes = {
            "CITY_FLEET_AIRFLOW_URL": "",
            "CITY_FLEET_AIRFLOW_SECRET_ARN": "",
            "CITY_FLEET_MWAA_ENVIRONMENT": "fleets",
            "AWS_ENDPOINT_URL_MWAA": mwaa.url,
            "AWS_DISABLE_HOST_PREFIX_INJECTION": "true",
            "CITY_FLEET_BURST_SECONDS": str(burst),
        }
        event = {"cities": "all"}
        try:
            first, second = function(event, event, **changes)
            started = {dag_id: set(function.runs(dag_id)) for dag_id in dag_ids}
        finally:
            prefix = f"arrival__{window_end(now, burst):%Y%m%dT%H%M%SZ}"
            for dag_id in dag_ids:
                fleet.stack.airflow.delete_runs(dag_id, [prefix])
    assert (first["started"], second["started"]) == (46, 0), first
    assert second["covered"] == 46
    assert all(prefix in runs for runs in started.values())
    assert not any(prefix in function.runs(dag_id) for dag_id in dag_ids)
