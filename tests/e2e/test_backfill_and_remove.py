"""Cities backfilled together, cleaned up after and taken out of service, against a real Airflow."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from local import ROOT
from tests.e2e.conftest import Fleet

pytestmark = pytest.mark.e2e
CITIES = ("lufkin", "mcallen")
WINDOW = ("--fleet", "texas_housing", "--from", "2014-01-01", "--to", "2014-01-01")


def command(fleet: Fleet, *arguments: str, code: int = 0) -> Any:
    """What ./fleet prints as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "city_fleet.cli.app", *arguments, "--json"],
        env=fleet.stack.environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_cities_are_backfilled_together_and_only_once(fleet: Fleet) -> None:
    planned = command(fleet, "backfill", *WINDOW, *CITIES, "--dry-run")
    assert [(each["state"], each["runs"], each["jobs"]) for each in planned] == [("planned", 1, 3)] * 2
    paused = command(fleet, "backfill", *WINDOW, "lufkin", code=1)
    assert "is paused" in paused[0]["note"]
    done = command(fleet, "backfill", *WINDOW, *CITIES, "--unpause", "--max-active-runs", "2")
    assert sorted(each["dag_id"] for each in done) == [f"texas_housing.{city}" for city in CITIES]
    assert [(each["state"], each["runs"], each["failed_runs"]) for each in done] == [("done", 1, 0)] * 2
    for city in CITIES:
        runs = fleet.stack.airflow.request("GET", f"/dags/texas_housing.{city}/dagRuns")["dag_runs"]
        dates = sorted(run["logical_date"][:10] for run in runs if run["run_type"] == "backfill")
        assert dates == ["2014-01-01"]
    again = command(fleet, "backfill", *WINDOW, *CITIES)
    assert {each["state"] for each in again} == {"nothing to do"}
    resumed = command(fleet, "backfill", *WINDOW, *CITIES, "--resume")
    assert [(each["state"], "has done this before" in each["note"]) for each in resumed] == [
        ("done", True)
    ] * 2


def test_the_retire_dag_looks_at_every_city_that_has_something(fleet: Fleet) -> None:
    fleet.ended("texas_housing.abilene")
    dag_id = "texas_housing._retire"
    run_id = fleet.start(dag_id, dry_run=True)
    assert fleet.ended(dag_id, run_id) == "success"
    totals = fleet.result(dag_id, "retire", run_id)
    assert totals["cities"] >= 1
    assert (totals["problems"], totals["objects"], totals["versions"]) == (0, 0, 0)
    fleet.stack.airflow.set_paused(dag_id, True)


def test_a_city_is_removed_when_its_run_has_ended_and_comes_back(fleet: Fleet) -> None:
    dag_id = "texas_housing.lufkin"
    run_id = fleet.start(dag_id, as_of="2015-06-01")
    refused = command(fleet, "remove", "lufkin", code=1)
    assert run_id in refused[0]["message"]
    assert fleet.stack.airflow.dag(dag_id).paused is False
    (removed,) = command(fleet, "remove", "lufkin", "--wait", "300", "--by", "ann", "--reason", "closed")
    assert fleet.ended(dag_id, run_id) == "success"
    assert removed["before"]["as_of"] == "20150601T000000Z"
    assert fleet.stack.airflow.dag(dag_id).paused is True
    assert fleet.pointer("texas_housing", "lufkin") is None
    assert command(fleet, "history", "lufkin")["states"][-1]["state"]["move"] == "remove"
    command(fleet, "rebuild", "lufkin", "--by", "ann")
    pointer = fleet.pointer("texas_housing", "lufkin")
    assert pointer is not None
    assert pointer["target_model"] == removed["before"]["target_model"]
