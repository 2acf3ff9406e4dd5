"""A cohort's night: one job for its cities, a mapped task for each, and one that is cleared is trained alone."""

from __future__ import annotations

from typing import Any

import pytest

from city_fleet import naming
from city_fleet.state import registry
from tests.e2e.conftest import COHORT_CITIES, COHORT_DAG, COHORT_FLEET, Fleet

pytestmark = pytest.mark.e2e
ALONE = "abilene"


def jobs(fleet: Fleet, part: str) -> list[str]:
    listed = fleet.client("sagemaker").list_training_jobs(
        NameContains=f"texas-cohort--laptop--{part}-cohort-"
    )
    return sorted(job["TrainingJobName"] for job in listed["TrainingJobSummaries"])


def mapped(fleet: Fleet) -> list[dict[str, Any]]:
    found = fleet.stack.airflow.task_instances(COHORT_DAG, fleet.runs[COHORT_DAG])
    return sorted((each for each in found if each["task_id"] == "city"), key=lambda each: each["map_index"])


def sha256s(fleet: Fleet, name: str, city: str) -> set[str | None]:
    group = naming.package_group(name, "laptop", city)
    return {version.artifact_sha256 for version in registry.versions(fleet.client("sagemaker"), group)}


def test_one_job_for_all_and_the_same_bytes_as_by_three_of_their_own(fleet: Fleet) -> None:
    assert fleet.ended(COHORT_DAG) == "success", fleet.states(COHORT_DAG)
    assert len(jobs(fleet, "cohort-001")) == 1
    tasks = mapped(fleet)
    assert [task["rendered_map_index"] for task in tasks] == list(COHORT_CITIES.values())
    assert {task["state"] for task in tasks} == {"success"}
    made = {city: sha256s(fleet, COHORT_FLEET, city) for city in COHORT_CITIES}
    assert {city: len(found) for city, found in made.items()} == dict.fromkeys(COHORT_CITIES, 1)
    fleet.ended(f"texas_housing.{ALONE}")
    assert made[ALONE] <= sha256s(fleet, "texas_housing", ALONE)


def test_a_city_that_is_cleared_is_trained_alone(fleet: Fleet) -> None:
    fleet.ended(COHORT_DAG)
    before = {task["map_index"]: task["end_date"] for task in mapped(fleet)}
    run = fleet.runs[COHORT_DAG]
    fleet.stack.airflow.request(
        "POST",
        f"/dags/{COHORT_DAG}/clearTaskInstances",
        json={
            "dry_run": False,
            "dag_run_id": run,
            "task_ids": [["city", list(COHORT_CITIES).index(ALONE)]],
            "include_downstream": True,
            "only_failed": False,
            "reset_dag_runs": True,
        },
    )
    assert fleet.ended(COHORT_DAG) == "success", fleet.states(COHORT_DAG)
    after = {task["map_index"]: task["end_date"] for task in mapped(fleet)}
    assert [index for index in before if after[index] != before[index]] == [list(COHORT_CITIES).index(ALONE)]
    assert len(jobs(fleet, ALONE)) == 1
    assert len(jobs(fleet, "cohort-001")) == 1
    assert len(sha256s(fleet, COHORT_FLEET, ALONE)) == 1  # the same bytes are the same version
