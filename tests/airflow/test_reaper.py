"""The reaper's DAG as Airflow runs it: states from the execution API, jobs of a local SageMaker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from city_fleet import naming
from city_fleet.jobs import fixed_run
from city_fleet.jobs.job_requests import TAG_CITY, TAG_DAG_RUN, TAG_RUN, TAG_STEP
from city_fleet.naming import TAG_ENVIRONMENT, TAG_FLEET, Keys
from city_fleet.state.objects import ObjectStore
from tests.support.airflow_database import lay_down
from tests.support.aws_names import IMAGE_URI, ROLE
from tests.support.local_sagemaker import LocalSageMaker, running_server
from tests.support.paths import ROOT

RUN = "manual__2014-01-01T00:00:00+00:00"
OTHER_RUN = "manual~2014"
#: Job → the run and task that its tags name.
JOBS = {
    "waited-for": (RUN, "train"),
    "failed": (RUN, "preprocess"),
    "cleared": (OTHER_RUN, "train"),
    "retried": (OTHER_RUN, "evaluate"),
    "deleted-run": ("manual__gone", "train"),
    "deleted-city": ("manual__gone", "train"),
    "shared": ("manual__gone", "train"),
}
#: The run that a job is a step of; only the shared one has other DAG runs that work on it.
RUN_KEY, SHARED_KEY = "0123456789", "fedcba9876"


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSageMaker]:
    with running_server(tmp_path_factory.mktemp("aws"), "--stop-grace-seconds", "1") as server:
        yield server


def start(aws: LocalSageMaker, job: str) -> str:
    """Start a job that goes on until it is stopped."""
    run_id, task_id = JOBS[job]
    name = f"texas-housing--laptop--{job}-1"
    tags = {
        TAG_FLEET: "texas_housing",
        TAG_ENVIRONMENT: "laptop",
        TAG_CITY: "atlantis" if job == "deleted-city" else "austin",
        TAG_STEP: task_id,
        TAG_RUN: SHARED_KEY if job == "shared" else RUN_KEY,
        TAG_DAG_RUN: naming.tag_of_run_id(run_id),
    }
    aws.client("sagemaker").create_processing_job(
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
    return name


def in_progress(aws: LocalSageMaker) -> set[str]:
    listed = aws.client("sagemaker").list_processing_jobs(StatusEquals="InProgress", MaxResults=100)
    return {each["ProcessingJobName"] for each in listed["ProcessingJobSummaries"]}


def test_airflow_runs_it_and_only_the_orphans_stop(aws: LocalSageMaker, tmp_path: Path) -> None:
    names = {job: start(aws, job) for job in JOBS}
    s3, keys = aws.client("s3"), Keys("city-fleet", "texas_housing", "laptop")
    s3.create_bucket(Bucket=keys.bucket)
    # A DAG run whose train is deferred works on the same run.
    fixed_run.attach(ObjectStore(s3, keys.bucket), keys, "austin", SHARED_KEY, RUN)
    lay_down(tmp_path)
    (tmp_path / "fleets").mkdir()
    texas = (ROOT / "include" / "fleets" / "texas_housing.yaml").read_text().split("\ncities:\n")[0]
    (tmp_path / "fleets" / "texas_housing.yaml").write_text(f"{texas}\ncities:\n  austin: {{name: Austin}}\n")
    states = {
        RUN: {"preprocess": "failed", "train": "deferred"},
        OTHER_RUN: {"train": None, "evaluate": "up_for_retry"},
    }
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "CITY_FLEET"))
    }
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "airflow" / "reaper_run.py"), json.dumps(states)],
        env={
            **inherited,
            **{name: value for name, value in aws.environment.items() if name.startswith("AWS_")},
            "PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}",
            "CITY_FLEET_FLEETS": str(tmp_path / "fleets"),
            "AIRFLOW_HOME": str(tmp_path),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-5000:]
    report: dict[str, Any] = json.loads(output.split("REPORT ")[1].splitlines()[0])

    # On from the start, unlike the city's DAG.
    assert report["paused"]["texas_housing._reaper"] is False
    assert report["paused"]["texas_housing.austin"] is True

    reasons = {
        names["failed"]: "its task has ended as failed",
        names["deleted-run"]: "its task does not exist any more: the task, its run or its DAG was deleted",
        names["deleted-city"]: "its task does not exist any more: the task, its run or its DAG was deleted",
    }
    # A database that was made anew knows nothing of what was before it: that is no reason to stop a job.
    state, would = report["new"]
    assert (state, {each["job"] for each in would}) == ("success", {names["failed"]})
    state, would = report["dry"]
    assert (state, {each["job"]: each["reason"] for each in would}) == ("success", reasons)
    state, stopped = report["real"]
    assert state == "success"
    cleared = next(each for each in stopped if each["job"] == names["cleared"])
    assert cleared["reason"].startswith("its task was without a state twice")
    assert cleared["task"] == f"texas_housing.austin/{OTHER_RUN}/train"
    assert {each["job"]: each["reason"] for each in stopped if each is not cleared} == reasons
    assert report["again"] == ["success", []]
    assert in_progress(aws) == {names["waited-for"], names["retried"], names["shared"]}

    # The task log says it in sentences.
    assert "Would stop processing job texas-housing--laptop--failed-1 of texas_housing.austin/" in output
    assert "Stopped processing job texas-housing--laptop--failed-1 of texas_housing.austin/" in output
    assert "because its task has ended as failed" in output
    assert "Nothing to stop: a task waits, or may wait, for each of them" in output
