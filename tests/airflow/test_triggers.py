"""The triggers in Airflow's own trigger runner, whose supervisor is at the other end of a socket."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from airflow.executors.workloads import RunTrigger
from airflow.executors.workloads.task import TaskInstanceDTO
from airflow.jobs.triggerer_job_runner import TriggerCommsDecoder, TriggerRunner
from airflow.models.trigger import Trigger
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import _RequestFrame, _ResponseFrame
from airflow.sdk.module_loading import import_string
from airflow.utils.net import get_hostname

from city_fleet.jobs import job_poller
from city_fleet.jobs.orphans import ENDED, WAITING
from city_fleet.orchestration.budget_trigger import BudgetTrigger
from city_fleet.orchestration.city_tasks import job_triggers
from city_fleet.orchestration.city_tasks.job_triggers import JobTrigger
from city_fleet.orchestration.turn_trigger import TurnTrigger
from tests.support.idle_jobs import IdleJobs, idle_jobs
from tests.support.stats_recorder import recorded
from tests.support.waiting import until

DAG_ID, RUN_ID, TASK_ID = "texas_housing.austin", "scheduled__2014-01-01", "train"
PAST, FUTURE = "2014-01-01T00:00:00+00:00", "2099-01-01T00:00:00+00:00"
NOTHING = object()


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdleJobs]:
    with idle_jobs(tmp_path_factory.mktemp("idle")) as server:
        yield server


class Supervisor:
    """The other end of a trigger runner's socket: knows a connection and the states of tasks.

    :param url: endpoint of the connection ``aws_default``.
    """

    def __init__(self, url: str) -> None:
        self.extra = {"endpoint_url": url, "region_name": "us-east-1"}
        self.states: dict[str, Any] = {}
        self.errors = 0
        self.asked: list[dict[str, Any]] = []

    def serve(self, end: socket.socket) -> None:
        """Answer until the runner closes its end."""
        decoder = msgspec.msgpack.Decoder(_RequestFrame)
        with end, end.makefile("rb") as stream:
            while length := stream.read(4):
                frame = decoder.decode(stream.read(int.from_bytes(length, "big")))
                end.sendall(self.answer(frame).as_bytes())

    def answer(self, frame: _RequestFrame) -> _ResponseFrame:
        body = frame.body or {}
        self.asked.append(body)
        if body["type"] == "GetConnection":
            return _ResponseFrame(
                frame.id,
                {
                    "type": "ConnectionResult",
                    "conn_id": body["conn_id"],
                    "conn_type": "aws",
                    "host": None,
                    "schema": None,
                    "port": None,
                    "login": "local",
                    "password": "local",
                    "extra": json.dumps(self.extra),
                },
            )
        if body["type"] != "GetTaskStates":
            return _ResponseFrame(frame.id)
        if self.errors:
            self.errors -= 1
            return _ResponseFrame(frame.id, error={"type": "ErrorResponse", "error": "API_SERVER_ERROR"})
        found = {RUN_ID: self.states} if self.states else {}
        return _ResponseFrame(frame.id, {"type": "TaskStatesResult", "task_states": found})

    def questions(self) -> list[dict[str, Any]]:
        """What was asked about tasks."""
        return [body for body in self.asked if body["type"] == "GetTaskStates"]


@pytest.fixture
def supervisor(jobs: IdleJobs) -> Supervisor:
    return Supervisor(jobs.server.url)


class Triggerer:
    """A real trigger runner without its database."""

    def __init__(self, runner: TriggerRunner) -> None:
        self.runner = runner

    async def start(self, number: int, trigger: Any, map_index: int = -1) -> None:
        classpath, kwargs = trigger.serialize()
        ti = TaskInstanceDTO(
            id=uuid.uuid4(),
            task_id=TASK_ID,
            dag_id=DAG_ID,
            run_id=RUN_ID,
            try_number=1,
            map_index=map_index,
            dag_version_id=uuid.uuid4(),
            pool_slots=1,
            priority_weight=1,
        )
        encrypted = Trigger.encrypt_kwargs(kwargs)
        self.runner.to_create.append(
            RunTrigger(id=number, classpath=classpath, encrypted_kwargs=encrypted, ti=ti)
        )
        await self.runner.create_triggers()
        assert not self.runner.failed_triggers

    async def waiting(self, count: int) -> None:
        """Return when so many triggers wait for their jobs."""
        pollers = job_poller._POLLERS.setdefault(asyncio.get_running_loop(), {})
        await until(lambda: sum(len(poller._waiting) for poller in pollers.values()) >= count)

    async def events(self, count: int) -> dict[int, Any]:
        await until(lambda: len(self.runner.events) >= count)
        return {entry.trigger_id: entry.event.payload for entry in self.runner.events}

    async def kill(self, number: int) -> None:
        """Cancel as Airflow does: again on every sync, until the trigger has gone."""
        task = self.runner.triggers[number]["task"]
        while not task.done():
            self.runner.to_cancel.append(number)
            await self.runner.cancel_triggers()
            await asyncio.sleep(0.02)
        await until(lambda: not job_triggers._stops)


@asynccontextmanager
async def triggerer(supervisor: Supervisor) -> AsyncIterator[Triggerer]:
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=supervisor.serve, args=(theirs,), daemon=True)
    thread.start()
    reader, writer = await asyncio.open_connection(sock=ours)
    comms = TriggerCommsDecoder(async_reader=reader, async_writer=writer, socket=ours)
    await comms.start_reader()
    before = getattr(task_runner, "SUPERVISOR_COMMS", NOTHING)
    task_runner.SUPERVISOR_COMMS = comms
    runner = TriggerRunner()
    runner.comms_decoder = comms
    try:
        yield Triggerer(runner)
    finally:
        for details in runner.triggers.values():
            details["task"].cancel()
        await asyncio.gather(*(each["task"] for each in runner.triggers.values()), return_exceptions=True)
        if before is NOTHING:
            del task_runner.SUPERVISOR_COMMS
        else:
            task_runner.SUPERVISOR_COMMS = before
        assert comms._reader_task is not None
        comms._reader_task.cancel()
        with suppress(asyncio.CancelledError):
            await comms._reader_task
        writer.close()
        await writer.wait_closed()
        await asyncio.to_thread(thread.join, 10)


def play(scenario: Coroutine[Any, Any, Any]) -> Any:
    async def whole() -> Any:
        async with asyncio.timeout(60):
            return await scenario

    return asyncio.run(whole())


def job_trigger(job: str, **members: Any) -> JobTrigger:
    now = datetime.now(UTC)
    defaults = {"kind": "Processing", "since": now.isoformat(), "deadline": FUTURE, "poll_seconds": 0.2}
    return JobTrigger(job_name=job, **{**defaults, **members})


@pytest.mark.parametrize(
    "trigger",
    [
        JobTrigger(job_name="a-job", kind="Training", since=PAST, deadline=FUTURE),
        JobTrigger(
            job_name="a-job",
            kind="Processing",
            since=PAST,
            deadline=FUTURE,
            poll_seconds=0.5,
            aws_conn_id=None,
            region_name="eu-west-1",
            verify="/etc/ca.pem",
            botocore_config={"read_timeout": 5, "retries": {"mode": "adaptive"}},
        ),
        TurnTrigger(lane="aws_default/us-east-1/CreateTrainingJob", per_second=0.5, not_before=PAST),
        BudgetTrigger(
            night="20260102T060000Z",
            asked_at=PAST,
            until=FUTURE,
            place=["b", "f", "e"],
            aws_conn_id=None,
            region_name="eu-west-1",
            poll_seconds=1,
        ),
    ],
    ids=["job", "job with all", "turn", "budget"],
)
def test_a_trigger_survives_the_database(trigger: Any) -> None:
    classpath, kwargs = trigger.serialize()
    stored = Trigger._decrypt_kwargs(Trigger.encrypt_kwargs(kwargs))
    again = import_string(classpath)(**stored)
    assert type(again) is type(trigger)
    assert again.serialize() == trigger.serialize()


def test_triggers_in_airflows_runner_share_one_poller(jobs: IdleJobs, supervisor: Supervisor) -> None:
    names = [f"runner-{number}" for number in range(20)]
    jobs.create(*names)
    jobs.count("List*", "Describe*")

    async def scenario() -> dict[int, Any]:
        async with triggerer(supervisor) as airflow:
            for number, name in enumerate(names):
                await airflow.start(number, job_trigger(name))
            late = job_trigger(names[0], deadline=(datetime.now(UTC) + timedelta(seconds=1)).isoformat())
            await airflow.start(98, late)
            await airflow.start(99, job_trigger("no_job"))
            await until(lambda: len(airflow.runner.events) >= 2)
            await asyncio.to_thread(jobs.end, *names)
            return await airflow.events(22)

    with recorded() as recorder:
        events = play(scenario())
    for number, name in enumerate(names):
        assert events[number] == {"job_name": name, "outcome": "over"}
    assert events[98] == {"job_name": names[0], "outcome": "deadline"}
    assert events[99] == {
        "job_name": "no_job",
        "outcome": "error",
        "message": "No job can have the name 'no_job'",
    }
    counted = jobs.counted()
    assert counted["Describe*"] == 0
    assert counted["List*"] <= 20
    waited = recorder.told("cityfleet.jobs_waited_for", kind="Processing", hostname=get_hostname())
    assert max(waited) >= 20
    assert waited[-1] == 0
    asked = {"kind": "Processing", "operation": "ListProcessingJobs", "result": "answered"}
    assert recorder.counts == [("cityfleet.polls", 1, asked)] * counted["List*"]
    assert len([body for body in supervisor.asked if body["type"] == "GetConnection"]) == 1


def test_turns_of_one_lane_are_paced(supervisor: Supervisor) -> None:
    async def scenario() -> tuple[float, dict[int, Any]]:
        clock = asyncio.get_running_loop().time
        async with triggerer(supervisor) as airflow:
            begin = clock()
            for number in range(5):
                soon = (datetime.now(UTC) + timedelta(seconds=0.3)).isoformat()
                await airflow.start(number, TurnTrigger(lane="lane", per_second=10, not_before=soon))
            events = await airflow.events(5)
            return clock() - begin, events

    with recorded() as recorder:
        seconds, events = play(scenario())
    assert recorder.told("cityfleet.tasks_waiting_for_a_turn", lane="lane") == [1, 2, 3, 4, 5, 4, 3, 2, 1, 0]
    assert events == {key: {"turn": True} for key in range(5)}
    assert seconds >= 0.69  # not before 0.3 s, and four gaps of 0.1 s


@pytest.mark.parametrize("state", [*sorted(ENDED), "gone"])
def test_killed_for_good_the_job_is_stopped(jobs: IdleJobs, supervisor: Supervisor, state: str) -> None:
    job = f"killed-{state.replace('_', '-')}"
    jobs.create(job)
    supervisor.states = {} if state == "gone" else {TASK_ID: state}

    async def scenario() -> None:
        async with triggerer(supervisor) as airflow:
            await airflow.start(1, job_trigger(job))
            await airflow.waiting(1)
            await airflow.kill(1)
            assert not airflow.runner.events

    play(scenario())
    assert jobs.client.describe_processing_job(ProcessingJobName=job)["ProcessingJobStatus"] == "Stopped"
    assert (
        supervisor.questions()[0] | {"dag_id": DAG_ID, "task_ids": [TASK_ID], "run_ids": [RUN_ID]}
        == (supervisor.questions()[0])
    )


@pytest.mark.parametrize("state", [*sorted(WAITING), None])
def test_a_task_that_comes_back_keeps_its_job(
    jobs: IdleJobs, supervisor: Supervisor, state: str | None
) -> None:
    """Cleared, taken over by another triggerer, tried again: the next try decides, not this hint."""
    job = f"kept-{str(state).replace('_', '-')}"
    jobs.create(job)
    jobs.count("Stop*")
    supervisor.states = {TASK_ID: state}

    async def scenario() -> None:
        async with triggerer(supervisor) as airflow:
            await airflow.start(1, job_trigger(job))
            await airflow.waiting(1)
            await airflow.kill(1)

    play(scenario())
    assert len(supervisor.questions()) == 1
    assert jobs.counted() == {"Stop*": 0}


def test_a_mapped_task_is_told_from_its_siblings(jobs: IdleJobs, supervisor: Supervisor) -> None:
    jobs.create("mapped-0", "mapped-1")
    supervisor.states = {f"{TASK_ID}_0": "deferred", f"{TASK_ID}_1": "failed"}

    async def scenario() -> None:
        async with triggerer(supervisor) as airflow:
            for index in (0, 1):
                await airflow.start(index, job_trigger(f"mapped-{index}"), map_index=index)
            await airflow.waiting(2)
            for index in (0, 1):
                await airflow.kill(index)

    play(scenario())
    statuses = [
        jobs.client.describe_processing_job(ProcessingJobName=f"mapped-{index}")["ProcessingJobStatus"]
        for index in (0, 1)
    ]
    assert statuses == ["InProgress", "Stopped"]


def test_stopping_tries_again_and_forgives_a_job_that_is_over(jobs: IdleJobs, supervisor: Supervisor) -> None:
    jobs.create("stubborn", "finished")
    jobs.end("finished")
    supervisor.states = {TASK_ID: "failed"}
    supervisor.errors = 1
    jobs.faults({"kind": "throttling", "operation": "Stop*", "count": 1})

    async def scenario() -> None:
        async with triggerer(supervisor) as airflow:
            await airflow.start(1, job_trigger("stubborn"))
            await airflow.start(2, job_trigger("finished", since=FUTURE))
            await airflow.waiting(2)
            await asyncio.gather(airflow.kill(1), airflow.kill(2))

    play(scenario())
    assert (
        jobs.client.describe_processing_job(ProcessingJobName="stubborn")["ProcessingJobStatus"] == "Stopped"
    )
    assert (
        len(supervisor.questions()) == 4
    )  # a failed question, a throttled stop, and one that went well each


def test_shutting_down_stops_nothing(jobs: IdleJobs, supervisor: Supervisor) -> None:
    jobs.create("restarted")
    jobs.count("Stop*")
    supervisor.states = {TASK_ID: "failed"}

    async def scenario() -> None:
        async with triggerer(supervisor) as airflow:
            await airflow.start(1, job_trigger("restarted"))
            await airflow.waiting(1)

    play(scenario())
    assert supervisor.questions() == []
    assert jobs.counted() == {"Stop*": 0}


def test_without_aiobotocore_jobs_are_waited_for_and_stopped_all_the_same(
    jobs: IdleJobs, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_triggers, "AIOBOTOCORE_IS_INSTALLED", False)
    monkeypatch.setitem(sys.modules, "aiobotocore.session", None)  # the provider can't import it either
    jobs.create("threads-end", "threads-killed")
    supervisor.states = {TASK_ID: "failed"}
    jobs.faults({"kind": "throttling", "operation": "List*", "count": 1})

    async def scenario() -> dict[int, Any]:
        async with triggerer(supervisor) as airflow:
            await airflow.start(1, job_trigger("threads-end"))
            await airflow.start(2, job_trigger("threads-killed"))
            await airflow.waiting(2)
            await airflow.kill(2)
            await asyncio.to_thread(jobs.end, "threads-end")
            return await airflow.events(1)

    assert play(scenario()) == {1: {"job_name": "threads-end", "outcome": "over"}}
    killed = jobs.client.describe_processing_job(ProcessingJobName="threads-killed")
    assert killed["ProcessingJobStatus"] == "Stopped"
