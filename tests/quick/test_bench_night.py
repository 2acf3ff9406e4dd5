"""What bench/night.py prepares and reckons around its nights; the nights themselves need hours."""

from __future__ import annotations

import csv
import importlib
from pathlib import Path
from typing import Any

import pytest

from city_fleet.config import load_fleet
from tests.support.paths import ROOT


@pytest.fixture
def night(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    return importlib.import_module("night")


def test_a_night_of_twice_the_cities_has_data_for_each(night: Any, tmp_path: Path) -> None:
    plan = night.Plan("each-92", night.EACH, cities=92)
    fleet = load_fleet(night.write_fleet(tmp_path, plan), {})
    assert (len(fleet.cities), fleet.broken, fleet.children) == (92, {}, {})
    # Nobody is asked, and nothing runs by itself beside the night.
    assert {(city.approval, city.schedule) for city in fleet.cities.values()} == {("auto", None)}
    assert len(night._dags(fleet)) == 92
    together = night.Plan("cohorts-92", night.TOGETHER, cities=92, cohort=23)
    assert len(night._dags(load_fleet(night.write_fleet(tmp_path, together), {}))) == 4
    assert fleet.dataset.source is not None
    with Path(fleet.dataset.source).open(newline="", encoding="utf-8") as lines:
        names = {row["city"] for row in csv.DictReader(lines)}
    assert {city.name for city in fleet.cities.values()} <= names


def test_wall_time_is_from_the_first_start_to_the_last_end(night: Any) -> None:
    runs = [
        {"start_date": "2026-01-01T00:00:05Z", "end_date": "2026-01-01T00:03:00Z"},
        {"start_date": "2026-01-01T00:00:00Z", "end_date": "2026-01-01T00:01:00Z"},
    ]
    assert night._between(runs) == 180
    nights = {
        "each-46": {"mode": "each", "cities": 46, "seconds": 130.0},
        "empty-46": {"mode": "empty", "cities": 46, "seconds": 100.0},
        "each-92": {"mode": "each", "cities": 92, "seconds": 300.0},
    }
    assert night._beside(nights) == {"each-46": 1.3}


def test_jobs_are_told_apart_by_their_names_and_share_the_processor_by_how_long_they_took(night: Any) -> None:
    assert (
        night._STEP.search("texas-housing--laptop--bryan-evaluate-d-evaluate-0a1b2c3d4e-2")[1] == "evaluate"
    )
    jobs = [("preprocess", 2.0, 2.0), ("train", 6.0, 7.0), ("evaluate", 2.0, 2.0)]
    counted = {"sagemaker:CreateTrainingJob": 1, "sagemaker:ListTrainingJobs": 9, "s3:GetObject": 3}
    counted |= {name: counted.get(name, 0) for name in night.POLLS}
    found = night._of_jobs(night.Plan("x", night.EACH, cities=1), jobs, counted, cpu=20.0)
    assert (found["jobs"], found["billable_seconds"], found["polls"]) == (3, 11.0, 9)
    assert found["job_cpu_seconds"] == {"preprocess": 4.0, "train": 12.0, "evaluate": 4.0}
    assert found["calls_of_sagemaker_a_city"] == 1
