"""Nights of a cohort with the real operators and real jobs: paid once, one city alone, and each city's own end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from city_fleet.jobs.cohort_plan import BEGIN, RECORD_COHORT, TRAIN_COHORT
from city_fleet.orchestration.city_dags import city_dags
from city_fleet.orchestration.run_notes import NOTE
from tests.support.cohort_nights import CohortNight
from tests.support.nights import Database, Town, town

CITIES = ("austin", "dallas", "waco")
NO_DATA = "tyler"
NIGHT = datetime(2014, 6, 1, tzinfo=UTC)


def edit(text: str) -> str:
    head = text[: text.index("\ncities:")].replace("\ndefaults:\n", "\ndefaults:\n  cohort: 1000\n")
    names = "".join(f"  {slug}: {{name: {slug.title()}}}\n" for slug in (*CITIES, NO_DATA))
    return f"{head.replace('num_boost_round: 400', 'num_boost_round: 20')}\ncities:\n{names}"


@pytest.fixture(scope="module")
def texas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with town(tmp_path_factory.mktemp("town"), *CITIES, edit=edit) as found:
        yield found


def night_of(texas: Town, database: Database, run_id: str, **params: Any) -> CohortNight:
    (dag,) = city_dags(texas.fleets, only="texas_housing._cohort_001")
    return CohortNight(database, dag, run_id, NIGHT, cities=None, **params)


def test_a_night_is_paid_once_and_one_cleared_city_is_trained_alone(texas: Town) -> None:
    database = Database()
    night = night_of(texas, database, "scheduled__1")
    errors = night.all()
    assert set(errors) == {NO_DATA}
    assert "there are no raw data below s3://" in errors[NO_DATA]
    jobs = texas.jobs("cohort_001")
    assert list(jobs.values()) == ["Completed"]
    outcomes = {slug: texas.records(slug)[0]["outcome"] for slug in (*CITIES, NO_DATA)}
    assert outcomes[NO_DATA] == "failed"
    assert set(outcomes.values()) <= {"live", "held", "failed"}
    note = night.value(RECORD_COHORT, NOTE)
    assert "1 failed; failed: tyler" in note
    assert sum(night.value(RECORD_COHORT).values()) == 4
    assert {slug: len(texas.versions(slug)) for slug in CITIES} == dict.fromkeys(CITIES, 1)
    # Airflow's database is lost: the same night under another id takes up the same job.
    again = night_of(texas, Database(), "manual__after")
    assert set(again.all()) == {NO_DATA}
    assert texas.jobs("cohort_001") == jobs
    assert {slug: len(texas.versions(slug)) for slug in CITIES} == dict.fromkeys(CITIES, 1)
    # One city is cleared, and it alone: another job, of this city.
    task, before = night.city("waco"), night.value(night.city("austin"))
    night.clear(task)
    night.finish(task)
    after = texas.jobs("cohort_001")
    (job,) = set(after) - set(jobs)
    assert "--waco-cohort-" in job
    assert night.value(task)["job"] == job
    assert night.value(night.city("austin")) == before
    first, second = (each for each in texas.records("waco"))
    assert {first["run_key"], second["run_key"]} != {first["run_key"]}
    assert len(texas.versions("waco")) == 1  # the same bytes are the same version


def test_cities_by_name_and_what_is_none_of_them(texas: Town) -> None:
    night = night_of(texas, Database(), "manual__some")
    night.params["cities"] = ["Dallas"]
    assert night.finish(BEGIN) == ["dallas"]
    night.params["cities"] = ["Dalas"]
    night.clear(BEGIN)
    with pytest.raises(AirflowFailException, match="got Dalas; allowed: its cities, austin"):
        night.finish(BEGIN)
    night.params["cities"] = [NO_DATA]
    night.clear(BEGIN)
    assert night.finish(BEGIN) == [NO_DATA]
    assert night.finish(TRAIN_COHORT) == {"job": None}
    assert set(night.end()) == {NO_DATA}
    assert json.loads(json.dumps(night.value(RECORD_COHORT))) == {"failed": 1}
