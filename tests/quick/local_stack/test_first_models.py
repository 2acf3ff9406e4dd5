"""The first models of a stack: a run for each DAG, and the cities of a cohort have one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from local.stack import first_models
from local.stack.choice import choose
from local.stack.stack import Stack
from tests.support.fleets import TEXAS

CITIES = ("austin", "dallas", "houston", "lubbock")


class Airflow:
    """What the schedule has started, and what it was asked to do."""

    def __init__(self, *scheduled: str) -> None:
        self.scheduled = scheduled
        self.unpaused: list[str] = []
        self.started: list[tuple[str, dict[str, Any]]] = []

    def set_paused(self, dag_id: str, paused: bool) -> None:
        assert not paused
        self.unpaused.append(dag_id)

    def newest_runs(self, dag_id: str, prefix: str, most: int) -> list[Any]:
        return [SimpleNamespace(id=f"{prefix}1")] * (dag_id in self.scheduled)

    def trigger(self, dag_id: str, conf: dict[str, Any], *, dag_run_id: str) -> None:
        self.started.append((dag_id, conf))


def begin(airflow: Airflow, path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(first_models, "SCHEDULER_SECONDS", -1.0)
    return first_models._unpause(
        cast("Stack", SimpleNamespace(airflow=airflow)), choose(path, "", "", {}), CITIES
    )


def test_each_city_of_its_own_has_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    airflow = Airflow("texas_housing.austin")
    runs = begin(airflow, TEXAS, monkeypatch)
    assert {dag_id: run.name for dag_id, run in runs.items()} == {
        f"texas_housing.{city}": city for city in CITIES
    }
    assert runs["texas_housing.austin"].run_id == "scheduled__1"
    assert [dag_id for dag_id, _ in airflow.started] == [f"texas_housing.{city}" for city in CITIES[1:]]
    assert all("cities" not in conf for _, conf in airflow.started)


def test_the_cities_of_a_cohort_have_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "texas_housing.yaml"
    text = TEXAS.read_text(encoding="utf-8").replace("\ndefaults:\n", "\ndefaults:\n  cohort: 1000\n")
    path.write_text(text, encoding="utf-8")
    airflow = Airflow()
    runs = begin(airflow, path, monkeypatch)
    cohort = "texas_housing._cohort_001"
    # One of them waits for a person, so it has a DAG of its own.
    assert {dag_id: run.name for dag_id, run in runs.items()} == {
        cohort: "austin, dallas, houston",
        "texas_housing.lubbock": "lubbock",
    }
    assert sorted(set(airflow.unpaused)) == sorted(runs)
    started = dict(airflow.started)
    assert len(airflow.started) == len(started) == 2
    assert started[cohort] == {"as_of": "20150801T000000Z", "cities": ["austin", "dallas", "houston"]}
    assert started["texas_housing.lubbock"] == {"as_of": "20150801T000000Z"}
