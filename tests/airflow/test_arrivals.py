"""The watcher of a queue and the tasks behind it, at a real queue that S3 tells: nothing is lost, whoever dies."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.execution_time.context import OutletEventAccessors
from airflow.triggers.base import TriggerEvent

from city_fleet.config import Fleet, load_fleet
from city_fleet.orchestration import assets
from city_fleet.orchestration.fleet_tasks import arrivals_operators, arrivals_trigger
from city_fleet.orchestration.fleet_tasks.arrivals_operators import (
    AnnounceArrivalsOperator,
    DeleteMessagesOperator,
)
from city_fleet.orchestration.fleet_tasks.arrivals_trigger import ArrivalsTrigger
from local.stack.seed import create_queue
from tests.support.fleets import SMALL
from tests.support.local_sagemaker import LocalSageMaker, running_server
from tests.support.waiting import until

DEADLINE_SECONDS = 60
RAW = "small/raw/city="


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSageMaker]:
    with running_server(tmp_path_factory.mktemp("aws")) as server:
        yield server


class Queue:
    """A fleet's queue, told of its raw data, and what a test wants to know of it."""

    def __init__(self, aws: LocalSageMaker, fleet: Fleet) -> None:
        self.fleet, self.s3, self.sqs = fleet, aws.client("s3"), aws.client("sqs")
        self.s3.create_bucket(Bucket=fleet.bucket)
        create_queue(self.sqs, self.s3, fleet)
        create_queue(self.sqs, self.s3, fleet)  # as the next `make up` does
        self.url = self.sqs.get_queue_url(QueueName=fleet.events.queue)["QueueUrl"]

    def put(self, *keys: str) -> None:
        for key in keys:
            self.s3.put_object(Bucket=self.fleet.bucket, Key=key, Body=b"rows")

    def count(self, name: str = "") -> int:
        """Messages that anybody would receive; with ``NotVisible`` those that somebody holds."""
        name = f"ApproximateNumberOfMessages{name}"
        found = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=[name])["Attributes"]
        return int(found[name])

    def trigger(self) -> ArrivalsTrigger:
        events = self.fleet.events
        return ArrivalsTrigger(
            queue=events.queue or "",
            bucket=self.fleet.bucket,
            fleet=self.fleet.fleet,
            region_name="us-east-1",
            quiet_seconds=events.quiet_seconds,
            longest_seconds=events.longest_seconds,
        )


@pytest.fixture
def queue(
    aws: LocalSageMaker, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Queue]:
    extra = {"endpoint_url": aws.url, "region_name": "us-east-1"}
    value = {"conn_type": "aws", "login": "local", "password": "local", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(value))
    name = f"q{abs(hash(request.node.name))}"
    path = tmp_path / "small.yaml"
    cities = "cities:\n  austin: {name: Austin}\n  waco: {name: Waco}\n"
    events = f"events: {{assets: true, queue: {name}, quiet_seconds: 2, longest_seconds: 20}}\n"
    path.write_text(SMALL.replace("bucket: small-data", f"bucket: {name}") + events + cities)
    found = Queue(aws, load_fleet(path, {}))
    yield found
    found.s3.put_bucket_notification_configuration(Bucket=name, NotificationConfiguration={})


async def first(trigger: ArrivalsTrigger) -> dict[str, Any]:
    """What the trigger tells first."""
    stream: AsyncIterator[TriggerEvent] = trigger.run()
    async with asyncio.timeout(DEADLINE_SECONDS):
        event = await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]
    payload: dict[str, Any] = event.payload
    return json.loads(json.dumps(payload))  # as it goes into the database


def context(*events: dict[str, Any], **xcoms: Any) -> Any:
    """What Airflow gives to a task of a run that some events have started."""
    started = [SimpleNamespace(extra={"from_trigger": True, "payload": event}) for event in events]
    ti = SimpleNamespace(xcom_pull=lambda task_ids: xcoms[task_ids], try_number=1)
    run = SimpleNamespace(run_after=datetime.now(UTC), run_id="r")
    return {
        "triggering_asset_events": {"queue": started},
        "outlet_events": OutletEventAccessors(),
        "dag_run": run,
        "ti": ti,
    }


def told(fleet: Fleet, given: Any) -> dict[str, dict[str, Any]]:
    """City → what its asset's event says."""
    found = given["outlet_events"][assets.raw_alias(fleet)].asset_alias_events
    return {event.dest_asset_key.uri.rpartition("=")[2]: event.extra for event in found}


@pytest.fixture(autouse=True)
def later(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Events that Airflow's database holds beside those that have started a run."""
    events: list[dict[str, Any]] = []

    class Events:
        def __init__(self, **_: str) -> None: ...

        def after(self, _: str) -> list[Any]:
            return [SimpleNamespace(extra={"from_trigger": True, "payload": event}) for event in events]

    monkeypatch.setattr(arrivals_operators, "InletEventsAccessor", Events)
    return events


def test_a_burst_is_one_event_and_its_messages_go_when_the_runs_are_certain(queue: Queue) -> None:
    queue.put(f"{RAW}austin/1.csv", "small/laptop/live/x.json", f"{RAW}austin/2.csv", f"{RAW}waco/1.csv")
    queue.put(f"{RAW}paris/1.csv")
    queue.sqs.send_message(QueueUrl=queue.url, MessageBody="no JSON at all")
    event = asyncio.run(first(queue.trigger()))
    cities = [message["cities"] for message in event["messages"]]
    assert sorted(cities) == [["austin"], ["austin"], ["paris"], ["waco"]]
    # S3's test event is gone. All that was told is there, out of sight; so is what can't be read, for the dead letters.
    assert (queue.count(), queue.count("NotVisible")) == (0, 5)

    announce = AnnounceArrivalsOperator(task_id="announce", fleet=queue.fleet)
    given = context(event)
    receipts = announce.execute(given)
    assert len(receipts) == 4
    said = told(queue.fleet, given)
    assert {city: each["messages"] for city, each in said.items()} == {"austin": 2, "waco": 1}
    assert len({each["as_of"] for each in said.values()}) == 1  # a night of its own
    assert queue.count("NotVisible") == 5

    delete = DeleteMessagesOperator(task_id="delete", fleet=queue.fleet)
    delete.execute(context(announce=receipts))
    assert queue.count("NotVisible") == 1
    # Once more, as a retry or a later event would have it: they are gone, and start nothing.
    again = context(event)
    assert announce.execute(again) == []
    assert told(queue.fleet, again) == {}
    delete.execute(context(announce=receipts))


def test_an_event_that_came_while_the_run_was_waiting_is_told_with_it(
    queue: Queue, later: list[dict[str, Any]]
) -> None:
    queue.put(f"{RAW}austin/1.csv")
    before = asyncio.run(first(queue.trigger()))
    request = {"cities": ["waco"], "as_of": "2014-01-01"}
    queue.sqs.send_message(QueueUrl=queue.url, MessageBody=json.dumps(request))
    later.append(asyncio.run(first(queue.trigger())))
    given = context(before)
    assert len(AnnounceArrivalsOperator(task_id="announce", fleet=queue.fleet).execute(given)) == 2
    said = told(queue.fleet, given)
    assert said["waco"]["as_of"] == "20140101T000000Z"
    assert said["austin"]["as_of"] > "2026"


def test_a_request_for_all_cities_is_one_for_each(queue: Queue) -> None:
    queue.sqs.send_message(QueueUrl=queue.url, MessageBody='{"cities": "all"}')
    given = context(asyncio.run(first(queue.trigger())))
    AnnounceArrivalsOperator(task_id="announce", fleet=queue.fleet).execute(given)
    assert sorted(told(queue.fleet, given)) == ["austin", "waco"]


def test_who_stops_while_it_gathers_leaves_it_to_the_next(queue: Queue) -> None:
    async def stopped() -> None:
        trigger = queue.trigger()
        trigger._burst.quiet_seconds = 1000
        stream = trigger.run()
        gathering = asyncio.ensure_future(anext(stream))
        await until(lambda: len(trigger._burst) == 1)
        gathering.cancel()
        with suppress(asyncio.CancelledError):
            await gathering
        await trigger.cleanup()

    queue.put(f"{RAW}austin/1.csv")
    asyncio.run(stopped())
    assert queue.count() == 1
    assert asyncio.run(first(queue.trigger()))["messages"][0]["cities"] == ["austin"]


def test_who_is_killed_while_it_gathers_leaves_it_to_the_next_after_a_while(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals_trigger, "_GATHERING_SECONDS", 3)

    async def killed() -> None:
        trigger = queue.trigger()
        trigger._burst.quiet_seconds = 1000
        gathering = asyncio.ensure_future(anext(trigger.run()))
        await until(lambda: len(trigger._burst) == 1)
        assert queue.count() == 0
        gathering.cancel()

    queue.put(f"{RAW}austin/1.csv")
    asyncio.run(killed())
    assert asyncio.run(first(queue.trigger()))["messages"][0]["cities"] == ["austin"]


def test_a_queue_that_is_not_there_yet_is_waited_for(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrivals_trigger, "_FIRST_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(arrivals_trigger, "_LONGEST_PAUSE_SECONDS", 0.2)
    name = f"{queue.fleet.events.queue}-later"

    async def waits() -> dict[str, Any]:
        trigger = queue.trigger()
        trigger.queue = name
        connect, asked = trigger._client, list[int]()
        monkeypatch.setattr(trigger, "_client", lambda: (asked.append(1), connect())[1])
        telling = asyncio.ensure_future(first(trigger))
        await until(lambda: len(asked) > 2)
        url = queue.sqs.create_queue(QueueName=name)["QueueUrl"]
        queue.sqs.send_message(QueueUrl=url, MessageBody='{"city": "waco"}')
        return await telling

    assert asyncio.run(waits())["messages"][0]["cities"] == ["waco"]
