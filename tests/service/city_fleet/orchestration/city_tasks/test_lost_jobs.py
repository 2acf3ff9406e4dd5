"""A job that AWS has ended starts its next attempt in the same try; what is gone is named with the task to clear."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from city_fleet.errors import PlatformError
from city_fleet.orchestration.city_tasks.job_operators import PreprocessOperator, TrainOperator
from tests.service.city_fleet.orchestration.city_tasks.test_city_job import (
    DONE,
    WAITS,
    TriedTask,
    job_of,
    trigger_of,
)
from tests.support.local_sagemaker import LocalSageMaker, running_server


class _Killed(Exception):
    """The server is gone."""


def connect(aws: LocalSageMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"endpoint_url": aws.url, "region_name": "us-east-1"}
    value = {"conn_type": "aws", "login": "local", "password": "local", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(value))


def resumed(city: TriedTask, waits: Any) -> Any:
    assert trigger_of(waits)[0] == "TurnTrigger"
    return city.go_on(waits, {"turn": True})


@contextlib.contextmanager
def doomed_server(folder: Path) -> Iterator[LocalSageMaker]:
    """A server that is killed in the end; the next one finds what it has left."""
    with contextlib.suppress(_Killed), running_server(folder) as aws:
        yield aws
        aws.process.kill()
        raise _Killed


def test_two_outages_in_a_row_cost_no_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time the server is killed with the job running, and comes up again."""
    folder = tmp_path / "server"
    folder.mkdir()
    with doomed_server(folder) as aws:
        connect(aws, monkeypatch)
        aws.client("s3").create_bucket(Bucket="city-fleet")
        city = TriedTask(aws, tmp_path, PreprocessOperator)
        city.script(WAITS)
        waits: Any = city.try_()
    names = [job_of(waits)]
    for _ in range(2):
        with doomed_server(folder) as city.aws:
            connect(city.aws, monkeypatch)
            city.wait_for(names[-1], "Failed")
            waits = resumed(city, city.after(waits))
            names.append(job_of(waits))
    assert [name.rsplit("-", 1)[1] for name in names] == ["1", "2", "3"]
    assert "failed_job" not in city.task.pushed
    assert city.store["lost_jobs"]["jobs"] == names[:2]


def test_a_platform_that_goes_on_losing_jobs_fails_the_try_in_the_end(
    aws: LocalSageMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(aws, monkeypatch)
    city = TriedTask(aws, tmp_path, PreprocessOperator)
    city.script(DONE)
    waits: Any = city.try_()
    lost = {
        "ProcessingJobStatus": "Failed",
        "FailureReason": "InternalServerError: We encountered an internal error.",
    }
    for count in range(1, 7):
        operator, context = city.begin()
        name = f"job-{count}"
        description = {
            **aws.client("sagemaker").describe_processing_job(ProcessingJobName=job_of(waits)),
            **lost,
        }
        description["ProcessingJobName"] = name
        expected: type[BaseException] = TaskDeferred if count <= 5 else PlatformError
        with pytest.raises(expected) as raised:
            operator._finish(None, description, context)
        if count <= 5:
            assert raised.value.kwargs == {"phase": "execute"}  # type: ignore[attr-defined]
    city.clear()
    operator, context = city.begin()
    with pytest.raises(TaskDeferred):
        operator._finish(None, description, context)


def test_an_input_that_is_gone_names_the_task_that_makes_it(
    aws: LocalSageMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(aws, monkeypatch)
    city = TriedTask(aws, tmp_path, TrainOperator)
    folder = f"texas_housing/laptop/runs/austin/{city.run_id}/preprocess/job/"
    channels = {channel: f"s3://city-fleet/{folder}{channel}/" for channel in ("train", "validation", "test")}
    city.task.results["preprocess"] = {"outputs": channels}
    city.task.results["preprocess/run"] = {"key": "0123456789", "champion": None}
    with pytest.raises(AirflowFailException, match="is gone; clear the task 'preprocess' with everything"):
        city.try_()
