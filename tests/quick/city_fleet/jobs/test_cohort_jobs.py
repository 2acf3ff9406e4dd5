"""What a cohort's job is about, and whose it is by its tags."""

from __future__ import annotations

import json
from dataclasses import replace

from city_fleet.config.settings import TRAINING_MAX_SECONDS
from city_fleet.jobs import cohort_files, job_requests, orphans, reaper
from city_fleet.jobs.cohort_files import CohortItem
from city_fleet.jobs.cohort_plan import CohortPlan, plan_cohort
from city_fleet.jobs.job_requests import TAG_CITY, TAG_COHORT, TAG_DAG_RUN, TAG_STEP
from city_fleet.naming import TAG_ENVIRONMENT, TAG_FLEET
from city_fleet.plan import COHORT, FixedChampion, FixedParent, plan_city
from tests.support.fleets import january_run, texas

TAGS = {TAG_FLEET: "f", TAG_ENVIRONMENT: "e", TAG_DAG_RUN: "scheduled__1"}


def cohort() -> CohortPlan:
    alone = texas()
    assert alone.cohort_of("austin") is None, "what was asked before must not be what the copy answers"
    fleet = alone.model_copy(update={"members": {"cohort_007": ("austin", "dallas")}})
    return plan_cohort(fleet, "cohort_007")


def test_the_key_is_that_of_the_cities_runs_in_any_order() -> None:
    key = cohort_files.key_of({"austin": "1" * 10, "dallas": "2" * 10})
    assert key == cohort_files.key_of({"dallas": "2" * 10, "austin": "1" * 10})
    assert key != cohort_files.key_of({"austin": "1" * 10})
    assert key != cohort_files.key_of({"austin": "1" * 10, "dallas": "3" * 10})


def test_a_channel_without_an_object_has_no_file_and_each_model_is_named_once() -> None:
    plan, run = cohort(), january_run()
    items = [CohortItem(plan.plan_of(slug), run, ["a.csv", "b.csv"]) for slug in plan.slugs]
    files = cohort_files.cohort_files(plan, run, items)
    assert set(files) == {"settings", "raw"}
    assert json.loads(files["raw"].body) == [
        {"prefix": "s3://city-fleet/texas_housing/raw/"},
        *(f"city={slug}/{name}" for slug in ("austin", "dallas") for name in ("a.csv", "b.csv")),
    ]
    champion = FixedChampion("austin/20131201T000000Z-0123456789ab.tar.gz", '"e"', "20131201T000000Z")
    parent = FixedParent("texas", "texas/20131201T000000Z-0123456789ab.tar.gz", "20131201T000000Z")
    items = [replace(each, run=replace(run, parent=parent)) for each in items]
    items[0] = replace(items[0], run=replace(items[0].run, champion=champion))
    files = cohort_files.cohort_files(plan, run, items)
    assert json.loads(files["champions"].body) == [
        {"prefix": "s3://city-fleet/texas_housing/laptop/models/"},
        champion.target_model,
    ]
    assert json.loads(files["parents"].body)[1:] == [parent.target_model]
    assert all(file.key.startswith("texas_housing/laptop/runs/_cohort_007/") for file in files.values())


def test_a_member_runs_when_its_cohort_does() -> None:
    fleet = cohort().fleet
    cities = {slug: city.model_copy(update={"spread_minutes": 600}) for slug, city in fleet.cities.items()}
    fleet = fleet.model_copy(update={"cities": cities})
    together = plan_cohort(fleet, "cohort_007").delay_seconds
    assert {plan_city(fleet, slug).delay_seconds for slug in ("austin", "dallas")} == {together}
    assert plan_city(fleet, "waco").delay_seconds != together


def test_a_job_says_which_task_waits_for_it() -> None:
    def task(**tags: str) -> reaper.Task | None:
        names = {"city": TAG_CITY, "cohort": TAG_COHORT, "step": TAG_STEP}
        return reaper.task_of_tags(TAGS | {names[name]: value for name, value in tags.items()})

    assert task(cohort="cohort_007", step="train") == ("f._cohort_007", "scheduled__1", "train")
    alone = task(cohort="cohort_007", city="austin", step="city_12")
    assert alone == ("f._cohort_007", "scheduled__1", "city_12")
    assert task(city="austin", step="train") == ("f.austin", "scheduled__1", "train")
    assert task(step="train") is None
    assert (orphans.name_of("city", 12), orphans.name_of("train", -1)) == ("city_12", "train")
    assert (orphans.asked_by("city_12"), orphans.asked_by("keep_champion")) == ("city", "keep_champion")


def test_a_job_may_take_longer_the_more_cities_it_has() -> None:
    fleet = cohort().fleet
    spot = {"max_runtime_seconds": 900, "max_wait_seconds": TRAINING_MAX_SECONDS - 3}
    cities = {
        slug: city.model_copy(update={"training": city.training.model_copy(update=spot)})
        for slug, city in fleet.cities.items()
    }
    fleet = fleet.model_copy(update={"cities": cities, "members": {"cohort_007": tuple(sorted(cities))}})
    plan, few = plan_cohort(fleet, "cohort_007"), plan_cohort(cohort().fleet, "cohort_007")
    count = len(plan.slugs)
    assert count > 40
    assert plan.training.max_runtime_seconds == 900 + 6 * (count - 1)
    assert plan.training.max_wait_seconds == TRAINING_MAX_SECONDS, "SageMaker takes no more"
    assert (few.training.max_runtime_seconds, few.training.max_wait_seconds) == (906, None)
    # What stops the job, what it is told to leave time for, and what its task waits for are one number.
    run = january_run()
    items = [CohortItem(plan.plan_of(slug), run, ["a.csv"]) for slug in plan.slugs]
    told = json.loads(cohort_files.cohort_files(plan, run, items)["settings"].body)
    names = {"image_uri": "image", "code_archive_uri": "s3://b/code.tar.gz", "channels": {}, "tags": {}}
    request = job_requests.cohort_request(plan, run, **names)
    assert told["max_runtime_seconds"] == request["StoppingCondition"]["MaxRuntimeInSeconds"]
    assert told["max_runtime_seconds"] == plan.settings(COHORT).max_runtime_seconds
    # One that is trained again alone has the time of one.
    alone = job_requests.cohort_request(plan.plan_of("austin"), run, **names)
    assert alone["StoppingCondition"]["MaxRuntimeInSeconds"] == 900
