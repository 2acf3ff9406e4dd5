"""A job operator's phases against the real local SageMaker: what is started, adopted, stopped and waited for.

Airflow's side is the little that a phase asks of it: a task instance, a state store, a deferral. The same rules
with a real scheduler, triggerer and worker are in tests/e2e.
"""

from __future__ import annotations

import json
import threading
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from city_fleet import naming
from city_fleet.errors import JobError, PlatformError
from city_fleet.jobs.sagemaker_jobs import PROCESSING, TRAINING, JobKind
from city_fleet.orchestration.city_tasks.city_job import CityJob
from city_fleet.orchestration.city_tasks.job_operators import PreprocessOperator, TrainOperator
from city_fleet.orchestration.task_clients import TaskClients
from city_fleet.plan import CityPlan
from tests.support.fleets import austin
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.waiting import wait_until

DEADLINE_SECONDS = 60
WAITS = "import time\ntime.sleep(600)\n"
DONE = """
import hashlib, json, pathlib
import sys
argument = lambda name: sys.argv[sys.argv.index(name) + 1]
report = pathlib.Path(argument("--output-dir")) / "report" / "city=austin"
report.mkdir(parents=True, exist_ok=True)
inputs = [
    {
        "uri": json.loads(pathlib.Path(argument("--settings")).read_text())["raw_uri"] + "city=austin/" + path.name,
        "size_bytes": path.stat().st_size,
        "etag": hashlib.md5(path.read_bytes()).hexdigest(),
    }
    for path in (pathlib.Path(argument("--raw-dir")) / "city=austin").iterdir()
]
(report / "manifest.json").write_text(json.dumps({"inputs": inputs}))
(report / "status.json").write_text(json.dumps({"status": "ready", "reason": "", "rows": {"train": 1}}))
"""
FAILS = """
import pathlib, sys
pathlib.Path(sys.argv[sys.argv.index("--message-file") + 1]).write_text("row 30: sales is -5")
sys.exit(1)
"""


@dataclass
class JobTaskInstance:
    """What a phase asks of Airflow about its task instance.

    :param state: what Airflow says when it is asked.
    """

    dag_id: str
    run_id: str
    task_id: str
    max_tries: int = 2
    state: str | None = "running"
    results: dict[str, Any] = field(default_factory=dict)
    pushed: dict[str, Any] = field(default_factory=dict)

    def get_task_states(
        self, *, dag_id: str, run_ids: list[str], task_ids: list[str] | None = None
    ) -> dict[str, Any]:
        return {} if self.state == "gone" else {run_ids[0]: {self.task_id: self.state}}

    def xcom_pull(self, *, task_ids: str, key: str = "return_value") -> Any:
        return self.results.get(task_ids if key == "return_value" else f"{task_ids}/{key}")

    def xcom_push(self, *, key: str, value: Any) -> None:
        self.pushed[key] = value
        self.results[f"{self.task_id}/{key}"] = value


@dataclass
class Run:
    run_id: str
    logical_date: datetime = datetime(2014, 1, 1, tzinfo=UTC)
    conf: None = None


class TriedTask:
    """One city's task in one run, as it is tried again and again."""

    def __init__(self, aws: LocalSageMaker, folder: Path, operator: type[CityJob], **settings: Any) -> None:
        self.aws, self.folder, self.operator = aws, folder, operator
        plan = austin()
        city = plan.city.model_copy(update={"scripts": str(folder), **settings})
        # The scripts lie beside the fleet file: nothing else on the host is uploaded.
        self.plan = CityPlan(plan.fleet.model_copy(update={"path": folder / "fleet.yaml"}), city)
        self.run_id = f"manual__{uuid.uuid4().hex}"
        self.store: dict[str, Any] = {}
        self.task = JobTaskInstance(self.plan.dag_id, self.run_id, operator.step)
        (folder / "train.py").write_text(WAITS)
        # Raw data of its own: what another test has paid for is about others.
        aws.client("s3").put_object(
            Bucket="city-fleet",
            Key=self.plan.keys.raw("austin") + "a.csv",
            Body=f"a\n{self.run_id}\n".encode(),
        )

    def script(self, text: str) -> None:
        (self.folder / "preprocess.py").write_text(text)

    def begin(self) -> tuple[Any, dict[str, Any]]:
        """Return an operator as a new worker process has it, and its context."""
        operator: Any = self.operator(task_id=self.operator.step, plan=self.plan, region_name="us-east-1")
        context = {
            "ti": self.task,
            "dag_run": Run(self.run_id),
            "params": {},
            "task_state_store": self,
        }
        return operator, context

    def get(self, key: str) -> Any:
        return self.store.get(key)

    def set(self, key: str, value: Any) -> None:
        self.store[key] = json.loads(json.dumps(value))

    def try_(self) -> TaskDeferred | dict[str, Any]:
        operator, context = self.begin()
        return deferred_or_result(operator.execute, context)

    def go_on(self, waiting: TaskDeferred, event: dict[str, Any]) -> TaskDeferred | dict[str, Any]:
        operator, context = self.begin()
        method = getattr(operator, waiting.method_name)
        return deferred_or_result(method, context, event=event, **(waiting.kwargs or {}))

    def after(self, waiting: TaskDeferred, outcome: str = "over") -> TaskDeferred | dict[str, Any]:
        return self.go_on(waiting, {"job_name": job_of(waiting), "outcome": outcome})

    def clear(self) -> None:
        """What a person's clear does to a task instance."""
        self.task.max_tries += 3

    def jobs(self) -> list[str]:
        """Names of this run's jobs, oldest first."""
        kind: JobKind = self.operator.kind
        client = self.aws.client("sagemaker")
        listed = getattr(client, kind.method("list"))(
            NameContains=naming.job_prefix("texas_housing", "laptop"), MaxResults=100, SortOrder="Ascending"
        )[kind.summaries_key]
        mine = []
        for job in listed:
            tags = client.list_tags(ResourceArn=job[kind.arn_key])["Tags"]
            if {"Key": "city-fleet:dag-run", "Value": naming.tag_of_run_id(self.run_id)} in tags:
                mine.append(job[kind.name_key])
        return mine

    def status(self, job: str) -> str:
        kind: JobKind = self.operator.kind
        description = kind.describe(self.aws.client("sagemaker"), job)
        assert description is not None
        return kind.status(description)

    def wait_for(self, job: str, *statuses: str) -> None:
        wait_until(lambda: self.status(job) in statuses, DEADLINE_SECONDS, f"{job} is {statuses}")


def deferred_or_result(method: Any, *arguments: Any, **keywords: Any) -> TaskDeferred | dict[str, Any]:
    try:
        result: dict[str, Any] = method(*arguments, **keywords)
    except TaskDeferred as deferral:
        # What a deferral carries goes through the database.
        json.dumps(deferral.kwargs)
        return deferral
    return result


def job_of(waiting: Any) -> str:
    assert isinstance(waiting, TaskDeferred), waiting
    return str(waiting.trigger.serialize()[1]["job_name"])


def trigger_of(waiting: Any) -> tuple[str, dict[str, Any]]:
    assert isinstance(waiting, TaskDeferred), waiting
    path, arguments = waiting.trigger.serialize()
    return path.rpartition(".")[2], arguments


@pytest.fixture
def city(aws: LocalSageMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TriedTask]:
    connection = {
        "conn_type": "aws",
        "login": "local",
        "password": "local",
        "extra": {"endpoint_url": aws.url, "region_name": "us-east-1"},
    }
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
    city = TriedTask(aws, tmp_path, PreprocessOperator)
    city.script(WAITS)
    yield city
    faults(aws)
    end_all(city)


def end_all(city: TriedTask) -> None:
    client = city.aws.client("sagemaker")
    for job in city.jobs():
        city.operator.kind.stop(client, job)


def faults(aws: LocalSageMaker, *plan: dict[str, Any]) -> None:
    request = urllib.request.Request(
        f"{aws.url}/_local/faults", json.dumps({"faults": plan}).encode(), method="PUT"
    )
    urllib.request.urlopen(request).read()


def test_a_first_try_starts_one_job_and_waits_until_it_can_not_go_on(city: TriedTask) -> None:
    before = datetime.now(UTC)
    waiting = city.try_()
    kind, arguments = trigger_of(waiting)
    assert kind == "JobTrigger"
    assert city.jobs() == [arguments["job_name"]]
    assert arguments["kind"] == "Processing"
    limit = timedelta(seconds=city.plan.city.processing.max_runtime_seconds + 1800)
    deadline = datetime.fromisoformat(arguments["deadline"])
    assert timedelta(0) <= deadline - before - limit < timedelta(seconds=30)


def test_a_try_makes_one_client_for_s3(city: TriedTask, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    make = TaskClients._client
    monkeypatch.setattr(
        TaskClients, "_client", lambda self, service: made.append(service) or make(self, service)
    )
    assert isinstance(city.try_(), TaskDeferred)
    # The client that looks for the run's inputs and champion before the step begins is another one.
    assert made.count("s3") <= 2, made


def test_a_retry_adopts_the_job_in_progress_and_its_deadline_counts_from_the_jobs_creation(
    city: TriedTask,
) -> None:
    first = job_of(city.try_())
    arguments = trigger_of(city.try_())[1]
    assert arguments["job_name"] == first
    assert city.jobs() == [first]
    description = city.aws.client("sagemaker").describe_processing_job(ProcessingJobName=first)
    limit = timedelta(seconds=city.plan.city.processing.max_runtime_seconds + 1800)
    deadline = datetime.fromisoformat(arguments["deadline"])
    # SageMaker says the time to the second.
    assert abs(deadline - description["CreationTime"] - limit) < timedelta(seconds=2)


def test_a_task_that_forgot_everything_adopts_by_the_name_alone(city: TriedTask) -> None:
    first = city.try_()
    city.store.clear()
    assert job_of(city.try_()) == job_of(first)
    assert len(city.jobs()) == 1


def test_a_retry_takes_the_result_of_a_completed_job_without_waiting(city: TriedTask) -> None:
    city.script(DONE)
    waiting = city.try_()
    city.wait_for(job_of(waiting), "Completed")
    result = city.try_()
    assert isinstance(result, dict)
    assert (result["job"], result["data_status"]) == (job_of(waiting), "ready")
    assert city.after(waiting) == result
    assert len(city.jobs()) == 1


def test_a_completed_job_whose_output_is_gone_does_not_count(city: TriedTask) -> None:
    city.script(DONE)
    first = job_of(city.try_())
    city.wait_for(first, "Completed")
    s3 = city.aws.client("s3")
    prefix = f"{city.plan.keys.runs_prefix()}austin/"
    for item in s3.list_objects_v2(Bucket="city-fleet", Prefix=prefix)["Contents"]:
        if first in item["Key"]:
            s3.delete_object(Bucket="city-fleet", Key=item["Key"])
    second = job_of(city.try_())
    assert second.removesuffix("-2") == first.removesuffix("-1")


def test_a_clear_stops_the_job_waits_for_its_end_and_starts_another(city: TriedTask) -> None:
    first = job_of(city.try_())
    city.clear()
    waiting = city.try_()
    assert job_of(waiting) == first
    assert waiting.method_name == "resume"  # type: ignore[union-attr]
    assert city.status(first) in ("Stopping", "Stopped")
    assert city.jobs() == [first]
    city.wait_for(first, "Stopped")
    again = city.after(waiting)  # type: ignore[arg-type]
    assert trigger_of(again)[0] == "JobTrigger"
    assert city.jobs() == [first, job_of(again)]
    assert job_of(city.try_()) == job_of(again), "a retry after the clear adopts the new job"
    assert [(bill["job"], bill["waste"]) for bill in city.store["job"]["before"]] == [(first, "stopped")]


def test_a_clear_of_a_completed_job_starts_another(city: TriedTask) -> None:
    city.script(DONE)
    first = job_of(city.try_())
    city.wait_for(first, "Completed")
    city.clear()
    second = job_of(city.try_())
    assert second != first
    assert city.jobs() == [first, second]


def test_a_stopping_job_is_waited_for_and_never_adopted(city: TriedTask) -> None:
    first = job_of(city.try_())
    PROCESSING.stop(city.aws.client("sagemaker"), first)
    waiting = city.try_()
    city.wait_for(first, "Stopped")
    if job_of(waiting) == first:  # it was still stopping
        waiting = city.after(waiting)  # type: ignore[arg-type]
    assert job_of(waiting) != first


def test_a_failed_job_fails_the_task_with_the_scripts_words(city: TriedTask) -> None:
    city.script(FAILS)
    waiting = city.try_()
    city.wait_for(job_of(waiting), "Failed")
    with pytest.raises(AirflowFailException, match="row 30: sales is -5"):
        city.after(waiting)  # type: ignore[arg-type]
    assert city.task.pushed["failed_job"]["status"] == "Failed"


def test_a_script_that_leaves_no_message_fails_the_task_with_the_last_line_of_its_log(
    city: TriedTask,
) -> None:
    city.script("print('3 rows')\n{}['sales']")
    waiting = city.try_()
    city.wait_for(job_of(waiting), "Failed")
    said = r"KeyError: 'sales' \(the last line of its log; AlgorithmError, exit code: 1\)"
    with pytest.raises(AirflowFailException, match=said):
        city.after(waiting)  # type: ignore[arg-type]


def test_a_stopped_job_gets_another_attempt(city: TriedTask) -> None:
    waiting = city.try_()
    first = job_of(waiting)
    PROCESSING.stop(city.aws.client("sagemaker"), first)
    city.wait_for(first, "Stopped")
    with pytest.raises(JobError, match="was stopped before it was done"):
        city.after(waiting)  # type: ignore[arg-type]
    assert job_of(city.try_()) != first


def test_changed_scripts_stop_the_old_job_and_never_take_its_result(city: TriedTask) -> None:
    first = job_of(city.try_())
    city.script(DONE)
    waiting = city.try_()
    assert job_of(waiting) == first
    city.wait_for(first, "Stopped")
    second = job_of(city.after(waiting))  # type: ignore[arg-type]
    assert second.rsplit("-", 2)[1] != first.rsplit("-", 2)[1]
    assert second.endswith("-1")


def test_throttling_waits_for_a_turn_and_uses_no_retry(city: TriedTask) -> None:
    faults(city.aws, {"kind": "throttling", "operation": "CreateProcessingJob"})
    waiting = city.try_()
    kind, arguments = trigger_of(waiting)
    assert kind == "TurnTrigger"
    assert arguments["lane"].endswith("/us-east-1/CreateProcessingJob")
    later = city.go_on(waiting, {"turn": True})  # type: ignore[arg-type]
    first, second = (datetime.fromisoformat(trigger_of(each)[1]["not_before"]) for each in (waiting, later))
    assert second > first
    assert city.jobs() == []
    faults(city.aws)
    assert trigger_of(city.go_on(later, {"turn": True}))[0] == "JobTrigger"  # type: ignore[arg-type]
    assert len(city.jobs()) == 1


def test_waiting_for_a_turn_ends_with_a_sentence(city: TriedTask) -> None:
    faults(city.aws, {"kind": "throttling", "operation": "CreateProcessingJob"})
    waiting: Any = city.try_()
    longest = city.plan.city.capacity_wait_seconds
    waiting.kwargs["refused_since"] = (datetime.now(UTC) - timedelta(seconds=longest)).isoformat()
    with pytest.raises(PlatformError, match=r"'austin'.*capacity_wait_seconds"):
        city.go_on(waiting, {"turn": True})


def test_throttling_while_a_result_is_collected_keeps_the_event(city: TriedTask) -> None:
    city.script(DONE)
    waiting = city.try_()
    city.wait_for(job_of(waiting), "Completed")
    faults(city.aws, {"kind": "throttling", "operation": "DescribeProcessingJob"})
    later = city.after(waiting)  # type: ignore[arg-type]
    assert trigger_of(later)[0] == "TurnTrigger"
    faults(city.aws)
    result = city.go_on(later, {"turn": True})  # type: ignore[arg-type]
    assert isinstance(result, dict)
    assert result["job"] == job_of(waiting)


def test_a_job_created_although_the_answer_was_lost_is_adopted(city: TriedTask) -> None:
    faults(
        city.aws,
        {"kind": "dropped_connection", "operation": "CreateProcessingJob", "when": "after", "count": 1},
    )
    waiting = city.try_()
    assert city.jobs() == [job_of(waiting)]


def test_a_request_that_aws_refuses_fails_at_once(city: TriedTask) -> None:
    city.plan = CityPlan(
        city.plan.fleet.model_copy(update={"role": "arn:aws:iam::123456789012:role/nobody"}), city.plan.city
    )
    with pytest.raises(AirflowFailException, match=r"'austin', step preprocess: AWS refuses"):
        city.try_()


def test_a_job_that_outlives_its_deadline_is_stopped_and_named(city: TriedTask) -> None:
    waiting = city.try_()
    with pytest.raises(JobError, match="longer than it may run and wait"):
        city.after(waiting, "deadline")  # type: ignore[arg-type]
    city.wait_for(job_of(waiting), "Stopping", "Stopped")


def test_a_trigger_that_fired_too_early_waits_again(city: TriedTask) -> None:
    waiting = city.try_()
    assert trigger_of(city.after(waiting))[1]["job_name"] == job_of(waiting)  # type: ignore[arg-type]


@pytest.mark.parametrize("outcome", ["over", "deadline", "error"])
def test_an_event_about_another_job_is_not_taken_for_ones_own(city: TriedTask, outcome: str) -> None:
    city.script(DONE)
    other = city.try_()
    city.wait_for(job_of(other), "Completed")
    city.script(WAITS)
    city.run_id = city.task.run_id = f"manual__{uuid.uuid4().hex}"
    city.store.clear()
    waiting = city.try_()
    event = {"job_name": job_of(other), "outcome": outcome, "message": "said of the other job"}
    again = city.go_on(waiting, event)
    assert job_of(again) == job_of(waiting) != job_of(other)
    assert city.status(job_of(waiting)) == "InProgress"


def test_a_trigger_that_failed_leaves_the_job_to_the_retry(city: TriedTask) -> None:
    waiting = city.try_()
    event = {"job_name": job_of(waiting), "outcome": "error", "message": "ListProcessingJobs is forbidden"}
    with pytest.raises(PlatformError, match="ListProcessingJobs is forbidden"):
        city.go_on(waiting, event)  # type: ignore[arg-type]
    assert city.status(job_of(waiting)) == "InProgress"


@pytest.mark.parametrize(
    ("state", "stopped"),
    [
        ("failed", True),
        ("restarting", True),
        ("success", True),
        ("gone", True),
        ("running", False),
        ("up_for_retry", False),
        (None, False),
    ],
)
def test_a_kill_stops_the_job_only_when_a_person_has_ended_the_task(
    city: TriedTask, state: str | None, stopped: bool
) -> None:
    operator, context = city.begin()
    waiting = deferred_or_result(operator.execute, context)
    city.task.state = state
    operator.on_kill()
    if stopped:
        city.wait_for(job_of(waiting), "Stopping", "Stopped")
    else:
        wait_until(lambda: not kill_threads(), DEADLINE_SECONDS, "the kill has been looked into")
        assert city.status(job_of(waiting)) == "InProgress"


def kill_threads() -> list[Any]:
    return [thread for thread in threading.enumerate() if thread.name == "on-kill"]


def test_a_kill_before_the_job_exists_keeps_it_from_being_paid_for(city: TriedTask) -> None:
    operator, context = city.begin()
    city.task.state = "failed"
    build = operator.build_request

    def killed_while_building(*arguments: Any, **keywords: Any) -> dict[str, Any]:
        operator.on_kill()
        wait_until(lambda: not kill_threads(), DEADLINE_SECONDS, "the kill has been looked into")
        request: dict[str, Any] = build(*arguments, **keywords)
        return request

    operator.build_request = killed_while_building
    with pytest.raises(JobError, match="not wanted any more"):
        operator.execute(context)
    assert city.jobs() == []


@pytest.fixture
def spot_city(city: TriedTask, tmp_path: Path) -> TriedTask:
    training = city.plan.city.training.model_copy(
        update={"spot": True, "max_runtime_seconds": 10, "max_wait_seconds": 10, "on_demand_fallback": True}
    )
    spot = TriedTask(city.aws, tmp_path, TrainOperator, training=training)
    s3 = city.aws.client("s3")
    channels = {}
    for channel in ("train", "validation", "test"):
        key = f"texas_housing/channels/{spot.run_id}/{channel}/"
        s3.put_object(Bucket="city-fleet", Key=f"{key}a.csv", Body=b"a\n1\n")
        channels[channel] = f"s3://city-fleet/{key}"
    spot.task.results["preprocess"] = {"outputs": channels}
    spot.task.results["preprocess/run"] = {"key": naming.digest(spot.run_id), "champion": None}
    return spot


def test_too_little_spare_capacity_falls_back_to_on_demand_in_the_same_try(spot_city: TriedTask) -> None:
    client = spot_city.aws.client("sagemaker")
    faults(spot_city.aws, {"kind": "spot_interruption", "capacity_after_seconds": None})
    waiting = spot_city.try_()
    first = job_of(waiting)
    assert client.describe_training_job(TrainingJobName=first)["EnableManagedSpotTraining"] is True
    spot_city.wait_for(first, "Stopped")
    assert client.describe_training_job(TrainingJobName=first)["SecondaryStatus"] == "MaxWaitTimeExceeded"
    again = spot_city.after(waiting)  # type: ignore[arg-type]
    second = job_of(again)
    assert second != first
    assert client.describe_training_job(TrainingJobName=second)["EnableManagedSpotTraining"] is False
    assert job_of(spot_city.try_()) == second, "a retry stays with it"
    spot_city.store.clear()
    assert job_of(spot_city.try_()) == second, "so does who has lost Airflow's memory"
    TRAINING.stop(client, second)
