"""Which jobs are orphans, and how they are found and stopped: the rule alone, the calls against real jobs."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from city_fleet import naming
from city_fleet.config import Fleet
from city_fleet.jobs import orphans, pacing, reaper
from city_fleet.jobs.job_requests import TAG_CITY, TAG_DAG_RUN, TAG_STEP
from city_fleet.jobs.reaper import Job, Look, LookNote, Task
from city_fleet.jobs.sagemaker_jobs import KINDS, PROCESSING, TRAINING
from city_fleet.naming import TAG_ENVIRONMENT, TAG_FLEET
from tests.support.aws_names import IMAGE_URI, ROLE
from tests.support.fleets import texas
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.waiting import wait_until

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
TASK = Task("reaped.austin", "manual__2030-01-01", "train")


def job(name: str = "reaped-austin-train-0-1", task: Task = TASK, minutes_old: int = 30) -> Job:
    return Job("Training", name, NOON - timedelta(minutes=minutes_old), task)


# --- the rule


@pytest.mark.parametrize("state", sorted(orphans.WAITING))
def test_a_job_whose_task_may_come_back_is_kept(state: str) -> None:
    (verdict,) = reaper.judge([job()], Look({TASK: state}))
    assert (verdict.orphan, verdict.reason) == (False, f"its task is {state}")


@pytest.mark.parametrize("state", sorted(orphans.ENDED))
def test_a_job_whose_task_has_ended_is_an_orphan(state: str) -> None:
    (verdict,) = reaper.judge([job()], Look({TASK: state}))
    assert (verdict.orphan, verdict.reason) == (True, f"its task has ended as {state}")


@pytest.mark.parametrize(
    "states",
    [
        {},
        {TASK._replace(run_id="manual__2030-01-02"): "deferred"},
        {TASK._replace(task_id="evaluate"): "deferred"},
        {TASK._replace(dag_id="reaped.waco"): "deferred"},
    ],
)
def test_a_job_whose_task_is_gone_is_an_orphan(states: dict[Task, str | None]) -> None:
    (verdict,) = reaper.judge([job()], Look(states))
    assert verdict.orphan is True
    assert "does not exist any more" in verdict.reason


def test_a_job_that_was_replaced_is_an_orphan_and_the_newest_is_not() -> None:
    first, second, third = job("a", minutes_old=90), job("b", minutes_old=30), job("c", minutes_old=60)
    verdicts = {
        each.job.name: each for each in reaper.judge([first, second, third], Look({TASK: "deferred"}))
    }
    assert {name: verdict.orphan for name, verdict in verdicts.items()} == {"a": True, "b": False, "c": True}
    assert verdicts["a"].reason == "its task waits for a newer job, b"


def test_two_jobs_of_one_moment_are_both_kept() -> None:
    assert [each.orphan for each in reaper.judge([job("a"), job("b")], Look({TASK: "deferred"}))] == [
        False,
        False,
    ]


def test_a_task_without_a_state_gets_a_second_look() -> None:
    (first,) = reaper.judge([job()], Look({TASK: None}))
    assert first.orphan is None
    (second,) = reaper.judge([job()], Look({TASK: None}, second=True))
    assert second.orphan is True
    assert second.reason == "its task was without a state twice, 10 minutes apart: cleared, and not scheduled"
    (scheduled,) = reaper.judge([job()], Look({TASK: "scheduled"}, second=True))
    assert scheduled.orphan is False


OTHER = TASK._replace(run_id="manual__other")


@pytest.mark.parametrize(
    ("state", "second", "orphan"),
    [
        ("deferred", False, False),
        ("scheduled", False, False),
        (None, False, None),
        (None, True, True),
        ("success", False, True),
        ("gone", False, True),
    ],
)
def test_a_job_that_another_dag_run_works_with_is_judged_by_that_one_too(
    state: str | None, second: bool, orphan: bool | None
) -> None:
    states = {TASK: "failed"} if state == "gone" else {TASK: "failed", OTHER: state}
    (verdict,) = reaper.judge([job()], Look(states, {job().name: [OTHER]}, second=second))
    assert verdict.orphan is orphan
    if orphan is not True:
        assert "manual__other, which works on the same run" in verdict.reason


def test_a_dag_run_that_has_started_a_newer_job_wants_the_shared_one_no_more() -> None:
    shared, newer = job("shared", minutes_old=60), job("newer", task=OTHER, minutes_old=30)
    look = Look({TASK: "failed", OTHER: "deferred"}, {"shared": [OTHER]})
    verdicts = {each.job.name: each.orphan for each in reaper.judge([shared, newer], look)}
    assert verdicts == {"shared": True, "newer": False}


def test_a_job_that_is_older_than_airflows_memory_is_left_alone() -> None:
    old, young = job("old", minutes_old=60), job("young", minutes_old=30)
    look = Look({}, remembers_since=NOON - timedelta(minutes=45))
    assert {each.job.name: each.orphan for each in reaper.judge([old, young], look)} == {
        "old": False,
        "young": True,
    }
    # What Airflow does remember counts: this one has ended.
    assert reaper.judge([old], Look({TASK: "failed"}, remembers_since=NOON))[0].orphan is True


@pytest.mark.parametrize(
    ("last_look", "schedule", "gap"),
    [
        (None, "*/15 * * * *", True),
        (timedelta(minutes=15), "*/15 * * * *", False),
        (timedelta(minutes=29), "*/15 * * * *", False),
        (timedelta(minutes=31), "*/15 * * * *", True),
        (timedelta(days=1), "@daily", False),
        (timedelta(days=3), "@daily", True),
        (timedelta(days=99), None, False),
    ],
    ids=["new", "in time", "one late", "restored or down", "daily", "daily, restored", "by hand"],
)
def test_airflow_remembers_since_the_first_look_after_a_gap(
    last_look: timedelta | None, schedule: str | None, gap: bool
) -> None:
    long_ago = (NOON - timedelta(days=200)).isoformat()
    before = None if last_look is None else LookNote(long_ago, (NOON - last_look).isoformat())
    note = reaper.note_of_look(before, schedule, NOON)
    assert note == LookNote(NOON.isoformat() if gap else long_ago, NOON.isoformat())


def test_a_state_nobody_has_heard_of_keeps_the_job() -> None:
    assert reaper.judge([job()], Look({TASK: "awaiting_input"}))[0].orphan is False


TASKS = st.builds(Task, st.sampled_from(["f.a", "f.b"]), st.sampled_from("xy"), st.sampled_from(["train"]))
JOBS = st.lists(
    st.builds(
        Job,
        st.sampled_from(sorted(KINDS)),
        st.uuids().map(str),
        st.integers(0, 5).map(lambda minutes: NOON - timedelta(minutes=minutes)),
        TASKS,
    ),
    max_size=8,
)
STATES = st.dictionaries(
    TASKS, st.sampled_from([None, "awaiting_input", *sorted(orphans.WAITING | orphans.ENDED)])
)


@given(JOBS, STATES, st.booleans())
def test_what_is_true_of_all_jobs(jobs: list[Job], states: dict[Task, str | None], second_look: bool) -> None:
    verdicts = reaper.judge(jobs, Look(states, second=second_look))
    assert [each.job for each in verdicts] == jobs
    for each in verdicts:
        of_task = [other for other in jobs if other.task == each.job.task]
        exists = each.job.task in states
        state = states.get(each.job.task)
        newest = all(other.created <= each.job.created for other in of_task)
        if exists and state is not None and state not in orphans.ENDED and newest:
            assert each.orphan is False  # the job a task waits for is never stopped
        if not exists or state in orphans.ENDED or not newest:
            assert each.orphan is True
        if exists and state is None and newest:
            assert each.orphan is (True if second_look else None)
        # Jobs of other tasks have no say.
        assert each in reaper.judge(of_task, Look(states, second=second_look))


@given(JOBS)
def test_a_job_survives_the_time_between_two_looks(jobs: list[Job]) -> None:
    assert [Job.from_dict(json.loads(json.dumps(each.to_dict()))) for each in jobs] == jobs


def test_tags_name_the_task() -> None:
    tags = tags_of(run_id="scheduled__2014-01-01T00:00:00+00:00~2")
    assert tags[TAG_DAG_RUN].endswith("+00:00@2")  # AWS takes no ~
    found = reaper.task_of_tags(tags)
    assert found == Task("reaped.austin", "scheduled__2014-01-01T00:00:00+00:00~2", "train")
    for missing in tags:
        assert reaper.task_of_tags({key: value for key, value in tags.items() if key != missing}) is None


def test_the_pace_is_kept_and_a_pause_earns_no_burst() -> None:
    moments: list[float] = []
    now = [100.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    pace = pacing.RequestPace(2.0, clock=lambda: now[0], sleep=sleep)
    for pause in (0.0, 0.0, 0.1, 5.0, 0.0, 0.0):
        now[0] += pause
        pace.wait()
        moments.append(now[0])
    assert moments == pytest.approx([100, 100.5, 101, 106, 106.5, 107])


# --- the calls


def tags_of(
    fleet: str = "reaped", environment: str = "laptop", run_id: str = "run", task_id: str = "train"
) -> dict[str, str]:
    return {
        TAG_FLEET: fleet,
        TAG_ENVIRONMENT: environment,
        TAG_CITY: "austin",
        TAG_STEP: task_id,
        TAG_DAG_RUN: naming.tag_of_run_id(run_id),
    }


def client_of(aws: LocalSageMaker, attempts: int = 1) -> Any:
    """A client of the test's own, since pace and handlers stay with a client."""
    return boto3.client(
        "sagemaker",
        region_name="us-east-1",
        endpoint_url=aws.url,
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=Config(proxies={})
        .merge(pacing.RETRIES)
        .merge(Config(retries={"total_max_attempts": attempts})),
    )


class LongJobs:
    """Real jobs that go on until they are stopped."""

    def __init__(self, aws: LocalSageMaker) -> None:
        self.aws = aws
        self.client = client_of(aws)
        self.started: list[str] = []

    def start(self, name: str, tags: dict[str, str]) -> str:
        self.client.create_processing_job(
            ProcessingJobName=name,
            AppSpecification={
                "ImageUri": IMAGE_URI,
                "ContainerEntrypoint": ["python3", "-c", "import time; time.sleep(600)"],
            },
            RoleArn=ROLE,
            ProcessingResources={
                "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 5}
            },
            Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
        )
        self.started.append(name)
        return name

    def train(self, name: str, tags: dict[str, str]) -> str:
        """Start a training job without code: it is created, which is all that is needed here."""
        self.client.create_training_job(
            TrainingJobName=name,
            AlgorithmSpecification={
                "TrainingImage": IMAGE_URI,
                "TrainingInputMode": "File",
                "ContainerEntrypoint": ["python3", "-c", "import time; time.sleep(600)"],
            },
            RoleArn=ROLE,
            OutputDataConfig={"S3OutputPath": "s3://city-fleet/reaped/out"},
            ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5},
            StoppingCondition={"MaxRuntimeInSeconds": 600},
            Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
        )
        return name

    def end(self, name: str) -> None:
        PROCESSING.stop(self.client, name)
        wait_until(
            lambda: PROCESSING.is_over(PROCESSING.describe(self.client, name) or {}), 60, f"{name} ends"
        )

    def fail(self, *faults: dict[str, Any]) -> None:
        answer = httpx.put(f"{self.aws.url}/_local/faults", json={"faults": list(faults)}, trust_env=False)
        assert answer.status_code == 200, answer.text


@pytest.fixture
def jobs(aws: LocalSageMaker) -> Iterator[LongJobs]:
    jobs = LongJobs(aws)
    yield jobs
    jobs.fail()
    for name in jobs.started:
        jobs.end(name)


@pytest.fixture
def fleet(request: pytest.FixtureRequest) -> Fleet:
    """A fleet whose jobs no other test has: names are used up for ever."""
    name = f"reaped_{naming.digest(request.node.nodeid, 6)}"
    return texas().model_copy(update={"fleet": name})


def later(minutes: int = 20) -> datetime:
    """The grace period is 15 minutes, and tests don't wait."""
    return datetime.now(UTC) + timedelta(minutes=minutes)


def requests_of(client: Any) -> list[str]:
    """The operations that a client sends from now on, each attempt."""
    sent: list[str] = []

    def note(event_name: str, **_: Any) -> None:
        sent.append(event_name.rpartition(".")[2])

    client.meta.events.register("before-send.sagemaker", note)
    return sent


def test_a_look_finds_our_jobs_and_no_others(jobs: LongJobs, fleet: Fleet) -> None:
    prefix = naming.job_prefix(fleet.fleet, fleet.environment)
    ours = jobs.start(f"{prefix}-austin-evaluate-0-1", tags_of(fleet.fleet, run_id="a~b", task_id="evaluate"))
    training = jobs.train(f"{prefix}-austin-train-0-1", tags_of(fleet.fleet))
    staging = jobs.start(f"{prefix}-austin-train-1-1", tags_of(fleet.fleet, environment="staging"))
    namesake = jobs.start(f"{prefix}-2-austin-train-1-1", tags_of(f"{fleet.fleet}_2"))
    untagged = jobs.start(f"{prefix}-by-hand", {})
    jobs.start(f"not-{prefix}-austin", tags_of(fleet.fleet))
    ended = jobs.start(f"{prefix}-austin-train-2-1", tags_of(fleet.fleet))
    jobs.end(ended)

    sent = requests_of(jobs.client)
    found = reaper.jobs_in_progress(jobs.client, fleet, later())
    dag_id = f"{fleet.fleet}.austin"
    assert {(each.kind, each.name, each.task) for each in found.jobs} == {
        ("Processing", ours, Task(dag_id, "a~b", "evaluate")),
        ("Training", training, Task(dag_id, "run", "train")),
    }
    assert all(timedelta(0) < later(0) - each.created < timedelta(minutes=5) for each in found.jobs)
    assert sorted(found.elsewhere) == sorted([staging, namesake])
    assert found.unmarked == [untagged]
    assert (found.unread, found.problems) == ([], [])
    assert sorted(sent) == ["ListProcessingJobs", *["ListTags"] * 5, "ListTrainingJobs"]
    TRAINING.stop(jobs.client, training)


def test_young_jobs_cost_no_request_and_have_time_to_be_waited_for(jobs: LongJobs, fleet: Fleet) -> None:
    jobs.start(f"{naming.job_prefix(fleet.fleet, fleet.environment)}--austin-train-0-1", tags_of(fleet.fleet))
    sent = requests_of(jobs.client)
    assert reaper.jobs_in_progress(jobs.client, fleet, later(14)).jobs == []
    assert sent == ["ListProcessingJobs", "ListTrainingJobs"]
    assert len(reaper.jobs_in_progress(jobs.client, fleet, later(16)).jobs) == 1


def test_orphans_stop_and_a_job_that_has_ended_is_no_error(jobs: LongJobs, fleet: Fleet) -> None:
    prefix = naming.job_prefix(fleet.fleet, fleet.environment)
    names = [
        jobs.start(f"{prefix}-austin-train-{n}-1", tags_of(fleet.fleet, run_id=str(n))) for n in range(3)
    ]
    now = later()
    found = reaper.jobs_in_progress(jobs.client, fleet, now)
    waited_for = Task(f"{fleet.fleet}.austin", "0", "train")
    doomed = [each for each in reaper.judge(found.jobs, Look({waited_for: "deferred"})) if each.orphan]
    jobs.end(names[1])
    done = reaper.stop(jobs.client, doomed)
    assert [each.job.name for each in done.stopped] == [names[2]]
    assert [each.job.name for each in done.over] == [names[1]]
    assert (done.left, done.problems) == ([], [])
    status = {name: PROCESSING.status(PROCESSING.describe(jobs.client, name) or {}) for name in names}
    assert status[names[0]] == "InProgress"
    assert status[names[2]] in ("Stopping", "Stopped")
    assert reaper.result_of(done.stopped[0], now) == {
        "job": names[2],
        "kind": "Processing",
        "task": f"{fleet.fleet}.austin/2/train",
        "reason": "its task does not exist any more: the task, its run or its DAG was deleted",
        "age_minutes": pytest.approx(19, abs=1),
    }


def test_throttling_delays_a_look_and_keeps_the_pace(jobs: LongJobs, fleet: Fleet) -> None:
    jobs.start(f"{naming.job_prefix(fleet.fleet, fleet.environment)}--austin-train-0-1", tags_of(fleet.fleet))
    jobs.fail(
        {"kind": "throttling", "operation": "ListTags", "count": 1},
        {"kind": "throttling", "operation": "ListTrainingJobs", "count": 1},
    )
    client = client_of(jobs.aws, attempts=6)
    turns: list[float] = []
    seconds = itertools.count()
    pace = pacing.RequestPace(2.0, clock=lambda: float(next(seconds)), sleep=turns.append)
    sent = requests_of(pacing.keep_pace(client, pace))
    assert len(reaper.jobs_in_progress(client, fleet, later()).jobs) == 1
    assert sorted(sent) == [
        "ListProcessingJobs",
        "ListTags",
        "ListTags",
        "ListTrainingJobs",
        "ListTrainingJobs",
    ]
    assert next(seconds) == len(sent)  # each attempt waited its turn


def test_what_cannot_be_read_or_stopped_is_left_and_the_others_go_on(jobs: LongJobs, fleet: Fleet) -> None:
    prefix = naming.job_prefix(fleet.fleet, fleet.environment)
    names = {
        jobs.start(f"{prefix}-austin-train-{n}-1", tags_of(fleet.fleet, run_id=str(n))) for n in range(3)
    }
    jobs.fail({"kind": "internal_error", "operation": "ListTags", "count": 1})
    with denied_once(jobs.client, "ListTags"):
        found = reaper.jobs_in_progress(jobs.client, fleet, later())
    assert len(found.unread) == 2
    assert {each.name for each in found.jobs} | set(found.unread) == names
    (problem,) = found.problems  # what passes is none
    assert problem.startswith(f"The tags of {found.unread[0]} cannot be read: ")

    doomed = reaper.judge(reaper.jobs_in_progress(jobs.client, fleet, later()).jobs, Look({}))
    jobs.fail({"kind": "throttling", "operation": "StopProcessingJob", "count": 1})
    with denied_once(jobs.client, "StopProcessingJob"):
        done = reaper.stop(jobs.client, doomed)
    assert (len(done.left), len(done.stopped)) == (2, 1)
    (problem,) = done.problems
    assert problem.startswith(f"{done.left[0].job.name} cannot be stopped: ")


@contextlib.contextmanager
def denied_once(client: Any, operation: str) -> Iterator[None]:
    """Answer the next call of an operation as AWS does without the permission."""
    answers = [{"Error": {"Code": "AccessDeniedException", "Message": "no"}}]

    def answer(**_: Any) -> Any:
        return (SimpleNamespace(status_code=400), answers.pop()) if answers else None

    name = f"before-call.sagemaker.{operation}"
    client.meta.events.register(name, answer)
    yield
    client.meta.events.unregister(name, answer)


def test_a_list_that_does_not_come_is_an_error(jobs: LongJobs, fleet: Fleet) -> None:
    jobs.fail({"kind": "throttling", "operation": "ListTrainingJobs"})
    with pytest.raises(ClientError, match="Rate exceeded"):
        reaper.jobs_in_progress(jobs.client, fleet, later())


def test_when_time_runs_out_the_rest_is_left_and_the_order_changes(jobs: LongJobs, fleet: Fleet) -> None:
    prefix = naming.job_prefix(fleet.fleet, fleet.environment)
    names = {
        jobs.start(f"{prefix}-austin-train-{n}-1", tags_of(fleet.fleet, run_id=str(n))) for n in range(2)
    }
    first: set[str] = set()
    for minute in range(20, 60):
        once = iter([True])
        found = reaper.jobs_in_progress(
            jobs.client, fleet, later(minute), lambda turns=once: next(turns, False)
        )  # type: ignore[misc]
        assert (len(found.jobs), len(found.unread)) == (1, 1)
        first.add(found.jobs[0].name)
        if first == names:
            break
    assert first == names
    done = reaper.stop(jobs.client, reaper.judge(found.jobs, Look({})), lambda: False)
    assert (len(done.left), done.stopped) == (1, [])
