"""Airflow's database is lost in mid-night, and the same nights run again under other ids: nothing is paid for twice."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from pathlib import Path

import pytest

from city_fleet.plan import JOB_STEPS, plan_city
from local.stack.runs import start_run, wait_for_dags, wait_for_run
from local.stack.stack import Stack
from tests.e2e.chaos import evidence, settings
from tests.e2e.chaos.lost_database import lose_database
from tests.e2e.chaos.runner import chaos_stack, fleet_of

CITIES = settings.CITIES[:3]
AS_OF = "20120101T000000Z"
# Starting an instance takes so long: the loss comes while jobs are under way.
START_DELAY_SECONDS = 6.0
MIDNIGHT_WITHIN_SECONDS = 240.0


# tests/service/city_fleet/orchestration/test_paid_once.py proves the same on real operators and jobs, without Airflow.
@pytest.mark.e2e
@pytest.mark.skipif(
    not os.environ.get("CITY_FLEET_TEST_LOST_DATABASE"),
    reason="starts an Airflow of its own for minutes: make test-lost-database",
)
def test_a_lost_database_costs_nothing_twice(tmp_path: Path) -> None:
    said: list[str] = []
    with chaos_stack(tmp_path, CITIES, said.append, start_delay_seconds=START_DELAY_SECONDS) as stack:
        fleet = fleet_of(stack)
        plans = [plan_city(fleet, city) for city in CITIES]
        for plan in plans:
            start_run(stack, plan.dag_id, "before", {"as_of": AS_OF})
        before = until_midnight(stack)

        lose_database(stack)
        wait_for_dags(stack, {plan.dag_id for plan in plans})
        for plan in plans:
            start_run(stack, plan.dag_id, "after", {"as_of": AS_OF})
        for plan in plans:
            wait_for_run(stack, plan.dag_id, "after")

        found = evidence.collect(stack, plans, {(city, "after"): AS_OF for city in CITIES})
        jobs: dict[tuple[str, str], list[str]] = defaultdict(list)
        for job in found.jobs:
            jobs[job.city, job.step].append(job.status)
        assert jobs == {(city, step): ["Completed"] for city in CITIES for step in JOB_STEPS}, said
        names = {job.name for job in found.jobs}
        assert before <= names
        assert {run.state for run in found.runs} == {"success"}
        for plan in plans:
            made = {
                job.artifact_sha256
                for job in found.jobs
                if job.city == plan.city.slug and job.step == "evaluate"
            }
            assert list(found.versions[plan.city.slug]) == list(made)
            s3, keys = stack.client("s3"), plan.keys
            records = s3.list_objects_v2(Bucket=keys.bucket, Prefix=keys.city_records(plan.city.slug))
            assert records["KeyCount"] == 1


def until_midnight(stack: Stack) -> set[str]:
    """Wait until a training job is in progress; return the names of all jobs by then."""
    client, end = stack.client("sagemaker"), time.monotonic() + MIDNIGHT_WITHIN_SECONDS
    while not client.list_training_jobs(StatusEquals="InProgress")["TrainingJobSummaries"]:
        assert time.monotonic() < end, "no training job in progress"
        time.sleep(0.2)
    names = {job["TrainingJobName"] for job in client.list_training_jobs()["TrainingJobSummaries"]}
    return names | {
        job["ProcessingJobName"] for job in client.list_processing_jobs()["ProcessingJobSummaries"]
    }
