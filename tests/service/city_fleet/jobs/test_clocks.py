"""Clocks that differ: AWS five minutes behind, or ahead. A job's end is noticed as if they agreed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from city_fleet.jobs import reaper
from city_fleet.jobs.sagemaker_jobs import PROCESSING, time_at
from city_fleet.orchestration.city_tasks.job_operators import PreprocessOperator
from city_fleet.orchestration.city_tasks.job_triggers import JobTrigger
from tests.service.city_fleet.orchestration.city_tasks.test_city_job import (
    DONE,
    WAITS,
    TriedTask,
    job_of,
    trigger_of,
)
from tests.support.local_sagemaker import LocalSageMaker, running_server

OFFSETS = (-300, 300)


@pytest.fixture(scope="module", params=OFFSETS)
def offset(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="module")
def skewed(tmp_path_factory: pytest.TempPathFactory, offset: int) -> Iterator[LocalSageMaker]:
    folder = tmp_path_factory.mktemp("skewed")
    option = f"--clock-offset-seconds={offset}"
    with running_server(folder, option, module="tests.support.skewed_sagemaker") as server:
        server.client("s3").create_bucket(Bucket="city-fleet")
        yield server


@pytest.fixture
def city(skewed: LocalSageMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TriedTask:
    extra = {"endpoint_url": skewed.url, "region_name": "us-east-1"}
    value = {"conn_type": "aws", "login": "local", "password": "local", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(value))
    return TriedTask(skewed, tmp_path, PreprocessOperator, waiter_delay_seconds=1)


async def event_of(arguments: dict[str, Any]) -> Any:
    async for event in JobTrigger(**arguments).run():
        return event.payload
    raise AssertionError("the trigger ended without an event")


def test_the_server_really_has_another_clock(skewed: LocalSageMaker, offset: int) -> None:
    told = time_at(skewed.client("sagemaker"))
    assert abs(told - datetime.now(UTC) - timedelta(seconds=offset)) < timedelta(seconds=20)


def test_the_end_of_a_job_is_noticed_at_once(city: TriedTask) -> None:
    city.script(DONE)
    waiting = city.try_()
    began = time.monotonic()
    event = asyncio.run(asyncio.wait_for(event_of(trigger_of(waiting)[1]), 120))
    assert event == {"job_name": job_of(waiting), "outcome": "over"}
    assert time.monotonic() - began < 60


def test_a_jobs_deadline_is_as_far_away_as_it_may_take(city: TriedTask) -> None:
    city.script(WAITS)
    limit = city.plan.city.processing.max_runtime_seconds + 1800
    for _ in range(2):  # started, and adopted
        waiting = city.try_()
        left = datetime.fromisoformat(trigger_of(waiting)[1]["deadline"]) - datetime.now(UTC)
        assert limit - 60 < left.total_seconds() <= limit + 2
    PROCESSING.stop(city.aws.client("sagemaker"), job_of(waiting))


def test_the_reaper_reckons_a_jobs_age_by_the_clock_that_it_was_created_by(city: TriedTask) -> None:
    city.script(WAITS)
    job = job_of(city.try_())
    client = city.aws.client("sagemaker")
    fleet = city.plan.fleet.model_copy(
        update={"reaper": city.plan.fleet.reaper.model_copy(update={"grace_minutes": 4})}
    )
    found = reaper.jobs_in_progress(client, fleet, time_at(client))
    assert found.jobs == [], "it is younger than the grace"
    later = time_at(client) + timedelta(minutes=5)
    assert [each.name for each in reaper.jobs_in_progress(client, fleet, later).jobs] == [job]
    PROCESSING.stop(client, job)
