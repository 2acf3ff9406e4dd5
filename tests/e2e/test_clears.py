"""A person clears tasks, or marks them failed: what becomes of their jobs, and what of the tasks downstream."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import AS_OF, NOTHING_PASSES, SPOT_CITIES, Fleet

pytestmark = pytest.mark.e2e

# Seconds until something that was asked for has happened on a slow machine. Nothing waits that long when all is well.
SOON = 300.0
DEFERRED, RUNNING, MARKED = "texas_housing.amarillo", "texas_housing.arlington", "texas_housing.bay_area"


def until(what: str, condition: Callable[[], Any]) -> Any:
    """Wait until a condition is true; return it."""
    deadline = time.monotonic() + SOON
    while not (value := condition()):
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.3)
    return value


def jobs(fleet: Fleet, dag_id: str) -> list[dict[str, Any]]:
    """Return the training jobs of a city, oldest first. A List, because the faults below are about Describe."""
    city = dag_id.split(".")[1].replace("_", "-")
    return list(
        fleet.client("sagemaker").list_training_jobs(
            NameContains=f"texas-housing--laptop--{city}-train-", SortBy="CreationTime", SortOrder="Ascending"
        )["TrainingJobSummaries"]
    )


def task(fleet: Fleet, dag_id: str, task_id: str = "train") -> dict[str, Any]:
    found = fleet.stack.airflow.task_instances(dag_id, fleet.runs[dag_id])
    return next(each for each in found if each["task_id"] == task_id)


def until_running(fleet: Fleet, dag_id: str) -> None:
    """Wait until a worker runs train while its first job is in progress."""

    def there() -> bool:
        statuses = [job["TrainingJobStatus"] for job in jobs(fleet, dag_id)]
        return task(fleet, dag_id)["state"] == "running" and statuses == ["InProgress"]

    until(f"{dag_id} runs with its job in progress", there)


def until_deferred(fleet: Fleet, dag_id: str, count: int) -> None:
    """Wait until a triggerer waits for job number ``count``.

    Before that nobody is told that the task was cleared or marked (Airflow 3.3.2: there is no trigger to kill yet), and
    its job is stopped by the next try or by the reaper.
    """

    def there() -> bool:
        if len(jobs(fleet, dag_id)) < count:
            return False
        job, train = jobs(fleet, dag_id)[count - 1], task(fleet, dag_id)
        waits = f"Waiting for job {job['TrainingJobName']}"
        return (
            job["TrainingJobStatus"] == "InProgress"
            and train["state"] == "deferred"
            and waits in fleet.task_log(dag_id, "train", try_number=train["try_number"])
        )

    until(f"{dag_id} waits for job {count}", there)


def assert_new_job_after_the_old_one(fleet: Fleet, dag_id: str, count: int) -> None:
    """Wait for job number ``count``; the one before must have stopped by then."""
    *_, old, new = until(
        f"{dag_id} has {count} jobs",
        lambda: jobs(fleet, dag_id)[:count] if len(jobs(fleet, dag_id)) >= count else [],
    )
    assert old["TrainingJobStatus"] == "Stopped"
    assert new["CreationTime"] >= old["TrainingEndTime"]


@pytest.fixture(scope="module")
def stranded(fleet: Fleet) -> Iterator[Fleet]:
    """Three cities whose training job loses its spot instance and gets no other one.

    In two of them the answer to the first CreateTrainingJob is lost, and the Describe that follows takes its time: so
    train is running while its job is in progress.
    """
    faults: list[dict[str, Any]] = []
    for dag_id, count in {DEFERRED: 2, RUNNING: 2, MARKED: 1}.items():
        name = f"texas-housing--laptop--{dag_id.split('.')[1].replace('_', '-')}-train-*"
        faults.append(
            {"kind": "spot_interruption", "name": name, "count": count, "capacity_after_seconds": None}
        )
        if dag_id != DEFERRED:
            lost = {"kind": "dropped_connection", "operation": "CreateTrainingJob", "when": "after"}
            slow = {"kind": "latency", "operation": "DescribeTrainingJob", "seconds": 50}
            faults += [{**fault, "name": name, "count": 1} for fault in (lost, slow)]
    url = f"{fleet.stack.layout.sagemaker_url}/_local/faults"
    httpx.post(url, json={"faults": faults}, trust_env=False).raise_for_status()
    for city in SPOT_CITIES:
        dag_id = f"texas_housing.{city}"
        fleet.runs[dag_id] = fleet.start(dag_id, as_of=AS_OF)
    yield fleet
    httpx.delete(url, trust_env=False).raise_for_status()


def test_marked_failed_while_running_stops_the_job(stranded: Fleet) -> None:
    until_running(stranded, MARKED)
    stranded.mark_failed(MARKED, "train")
    until("the job has stopped", lambda: jobs(stranded, MARKED)[0]["TrainingJobStatus"] == "Stopped")
    assert stranded.ended(MARKED) == "failed"
    assert stranded.states(MARKED)["publish"] == "upstream_failed"
    assert len(jobs(stranded, MARKED)) == 1


def test_cleared_while_running_gets_a_new_job_and_a_run_marked_failed_stops_it(stranded: Fleet) -> None:
    until_running(stranded, RUNNING)
    stranded.clear(RUNNING, "train", downstream=True)
    assert_new_job_after_the_old_one(stranded, RUNNING, 2)
    until_deferred(stranded, RUNNING, 2)
    stranded.mark_failed(RUNNING)
    until("the job has stopped", lambda: jobs(stranded, RUNNING)[1]["TrainingJobStatus"] == "Stopped")
    assert len(jobs(stranded, RUNNING)) == 2


def test_cleared_while_deferred_then_marked_failed_while_deferred_then_cleared(stranded: Fleet) -> None:
    until_deferred(stranded, DEFERRED, 1)
    stranded.clear(DEFERRED, "train", downstream=True)
    assert_new_job_after_the_old_one(stranded, DEFERRED, 2)
    until_deferred(stranded, DEFERRED, 2)
    stranded.mark_failed(DEFERRED, "train")
    until("the job has stopped", lambda: jobs(stranded, DEFERRED)[1]["TrainingJobStatus"] == "Stopped")
    assert stranded.ended(DEFERRED) == "failed"
    assert stranded.states(DEFERRED)["publish"] == "upstream_failed"
    stranded.clear(DEFERRED, "train", downstream=True)
    assert stranded.ended(DEFERRED) == "success"
    assert [job["TrainingJobStatus"] for job in jobs(stranded, DEFERRED)] == [
        "Stopped",
        "Stopped",
        "Completed",
    ]
    assert stranded.result(DEFERRED, "train")["job"] == jobs(stranded, DEFERRED)[2]["TrainingJobName"]
    # The gate has judged what the new job has left.
    states = stranded.states(DEFERRED)
    assert (states["publish"], states["keep_champion"]) == ("skipped", "success")


def test_of_a_held_city_only_the_gate_with_everything_downstream_publishes(stranded: Fleet) -> None:
    """The gate remembers which branch it has skipped, and a task that it has skipped is not taken up again."""
    assert stranded.ended(DEFERRED) == "success"
    path = stranded.stack.layout.fleets_dir / "texas_housing.yaml"
    everything_passes = "gate: {must_beat_naive: false, limits: {mape: 0.9}}"
    path.write_text(
        path.read_text().replace(f"amarillo: {{{NOTHING_PASSES}", f"amarillo: {{{everything_passes}")
    )
    stranded.clear(DEFERRED, "decide", "register")
    assert stranded.ended(DEFERRED) == "success"
    assert stranded.result(DEFERRED, "decide")["promote"] is True

    stranded.clear(DEFERRED, "publish")
    assert stranded.ended(DEFERRED) == "success"
    assert stranded.states(DEFERRED)["publish"] == "skipped", (
        "only what is downstream of the gate: skipped again"
    )

    stranded.clear(DEFERRED, "gate")
    assert stranded.ended(DEFERRED) == "success"
    states = stranded.states(DEFERRED)
    assert (states["gate"], states["publish"]) == ("success", "skipped"), (
        "the gate alone: nothing is published"
    )
    assert stranded.pointer("texas_housing", "amarillo") is None

    stranded.clear(DEFERRED, "gate", downstream=True)
    assert stranded.ended(DEFERRED) == "success"
    states = stranded.states(DEFERRED)
    assert (states["publish"], states["keep_champion"]) == ("success", "skipped")
    pointer = stranded.pointer("texas_housing", "amarillo")
    assert pointer is not None
    assert pointer["target_model"] == stranded.result(DEFERRED, "publish")["target_model"]
