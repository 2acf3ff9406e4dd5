"""One real stack for all end-to-end tests: Airflow, the local SageMaker, six fleets, and a collector of traces.

The fleets are the Texas file, changed where a test needs a city that is held, broken or poisoned, some of its cities in
a cohort, a fleet that exists by its own file and CSV alone, the same with a budget that is too small for a run, and a
city of each of two fleets of tables. All runs are started at once and tests look at how they ended.
"""

from __future__ import annotations

import csv
import json
import math
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from city_fleet.naming import Keys, split_uri
from local import ROOT
from local.stack.layout import Layout, free_port
from local.stack.seed import seed
from local.stack.stack import Stack
from tests.support.airflow_roles import SETTINGS
from tests.support.otlp_collector import Collector, running_collector
from tests.support.stack_state import state_dir  # noqa: F401 - a fixture

BUCKET = "city-fleet"
RUN_DEADLINE_SECONDS = 600.0
AS_OF = "2015-08-01"
BIKES = """
fleet: bike_rides
environment: laptop
bucket: city-fleet
role: arn:aws:iam::123456789012:role/city-fleet
owner: data-engineering
schedule: null
start_date: 2024-01-01
dataset:
  source: {source}
  city_column: station
  time: {{columns: [day], format: "%d.%m.%Y"}}
  frequency: day
  available_after: P1D
  target: {{column: rides, min: 1, transform: log, lags: [1, 7, 14]}}
  features: [{{column: temperature, lags: [1]}}]
  calendar: [day_of_week]
  minimum_periods: 200
  validation_periods: 28
  holdout_periods: 28
  backtest_periods: 28
defaults:
  gate: {{confidence: null, margin: 0, must_beat_all_baselines: false, tolerance: 1}}
  algorithm: {{hyperparameters: {{num_boost_round: 200, early_stopping_rounds: 20, max_depth: 4, eta: 0.1}}}}
  waiter_delay_seconds: 1
events: {{assets: true, queue: bike-rides--laptop--arrivals, quiet_seconds: 3}}
cities:
  harbour: {{name: Harbour}}
"""
# What DAGs of others look like: one that writes raw data by itself, and one that runs when a model has gone live.
OTHERS = """
from airflow.sdk import Asset, dag, task


@dag(schedule=None, tags=["others"])
def others_load():
    @task(outlets=[Asset("s3://city-fleet/bike_rides/raw/city=harbour")])
    def load() -> None: ...

    load()


@dag(schedule=[Asset("s3://city-fleet/bike_rides/laptop/live/harbour.json")], tags=["others"])
def others_score():
    @task
    def score(triggering_asset_events=None) -> list:
        live = Asset("s3://city-fleet/bike_rides/laptop/live/harbour.json")
        return [event.extra for event in triggering_asset_events[live]]

    score()


others_load()
others_score()
"""
# Of the repository's fleets of tables one city each.
TABLES = {
    "flights": "boston: {name: Boston, own_scripts: {features: tests/support/flight_features.py}}",
    "restaurants": "lisbon: {name: Lisbon}",
}


@dataclass
class Fleet:
    """The running stack and the runs that were started on it.

    :param runs: DAG id → run id.
    :param collector: what its traces go to.
    """

    stack: Stack
    collector: Collector
    runs: dict[str, str] = field(default_factory=dict)

    def client(self, service: str) -> Any:
        return self.stack.client(service)

    def start(self, dag_id: str, **conf: Any) -> str:
        self.stack.airflow.set_paused(dag_id, False)
        return self.stack.airflow.trigger(dag_id, conf)

    def ended(self, dag_id: str, run_id: str | None = None) -> str:
        """Wait until a run has ended; return its state."""
        run_id = run_id or self.runs[dag_id]
        deadline = time.monotonic() + RUN_DEADLINE_SECONDS
        while True:
            state = str(self.stack.airflow.run(dag_id, run_id)["state"])
            if state in ("success", "failed"):
                return state
            assert time.monotonic() < deadline, (
                f"{dag_id} {run_id} is still {state}: {self.states(dag_id, run_id)}"
            )
            time.sleep(0.5)

    def states(self, dag_id: str, run_id: str | None = None) -> dict[str, str]:
        tasks = self.stack.airflow.task_instances(dag_id, run_id or self.runs[dag_id])
        return {task["task_id"]: task["state"] for task in tasks}

    def result(self, dag_id: str, task_id: str, run_id: str | None = None) -> Any:
        value = self.stack.airflow.xcom(dag_id, run_id or self.runs[dag_id], task_id)
        return json.loads(value) if isinstance(value, str) else value

    def task_log(self, dag_id: str, task_id: str, run_id: str | None = None, try_number: int = 1) -> str:
        run = (run_id or self.runs[dag_id]).replace("+", "%2B").replace(":", "%3A")
        answer = self.stack.airflow.request(
            "GET", f"/dags/{dag_id}/dagRuns/{run}/taskInstances/{task_id}/logs/{try_number}"
        )
        return json.dumps(answer)

    def record(self, dag_id: str, run_id: str | None = None) -> dict[str, Any]:
        """Return the record of a run; of a run that was cleared, the newest one."""
        bucket, key = split_uri(self.result(dag_id, "record", run_id)["record_uri"])
        return dict(json.loads(self.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()))

    def pointer(self, fleet: str, city: str) -> dict[str, Any] | None:
        s3 = self.client("s3")
        try:
            body = s3.get_object(Bucket=BUCKET, Key=Keys(BUCKET, fleet, "laptop").live(city))["Body"].read()
        except s3.exceptions.NoSuchKey:
            return None
        return dict(json.loads(body))

    def clear(self, dag_id: str, *task_ids: str, downstream: bool = False, run_id: str | None = None) -> None:
        """Clear tasks of a run as a person does in the UI."""
        self.stack.airflow.request(
            "POST",
            f"/dags/{dag_id}/clearTaskInstances",
            json={
                "dry_run": False,
                "dag_run_id": run_id or self.runs[dag_id],
                "task_ids": list(task_ids),
                "include_downstream": downstream,
                "only_failed": False,
                "reset_dag_runs": True,
            },
        )

    def command(self, *arguments: str, code: int = 0) -> Any:
        """Run ``./fleet … --json`` as a person does while this stack is up.

        :param code: how it is to end.
        :return: what it printed.
        """
        done = subprocess.run(
            [ROOT / "fleet", *arguments, "--json"],
            env={**self.stack.environment, "CITY_FLEET_STATE_DIR": str(self.stack.layout.state_dir)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == code, (
            f"{arguments} ended with {done.returncode}: {done.stdout} {done.stderr}"
        )
        return json.loads(done.stdout)

    def mark_failed(self, dag_id: str, task_id: str | None = None) -> None:
        """Mark a task of a run, or the whole run, as failed, as a person does in the UI."""
        run = f"/dags/{dag_id}/dagRuns/{quote(self.runs[dag_id], safe='')}"
        if task_id is None:
            self.stack.airflow.request("PATCH", run, json={"state": "failed"})
        else:
            body = {"new_state": "failed"}
            self.stack.airflow.request("PATCH", f"{run}/taskInstances/{task_id}", json=body)

    def airflow_cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "airflow", *arguments],
            env=self.stack.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )


NOTHING_PASSES = "gate: {limits: {mape: 0.000001}}"
# A person is asked whether their models may go live.
MANUAL_CITIES = {"fort_worth": "Fort Worth", "killeen_fort_hood": "Killeen-Fort Hood"}
# Another one, for the tests of roles: they start its run themselves.
ROLE_CITY = "laredo"
# And one for the pages, whose first model waits for a person.
PAGE_CITY = "collin_county"
# Their training is on spot instances: with no spare capacity a job stays in progress for as long as a test needs it.
SPOT_CITIES = {"amarillo": "Amarillo", "arlington": "Arlington", "bay_area": "Bay Area"}

# A fleet whose budget is too small for a run; its city has too little data for more than the first job.
DEAR_FLEET, DEAR_DAG = "dear_rides", "dear_rides.harbour"
DEAR = {
    "fleet: bike_rides\n": f"fleet: {DEAR_FLEET}\n",
    "events:": "budget: {night: 0.01}\n#",
    "  waiter_delay_seconds: 1\n": "  waiter_delay_seconds: 1\n  training: {instance_type: ml.m5.4xlarge}\n",
}


# Some of the same cities, by the same settings, in a fleet that trains them by one job.
COHORT_FLEET, COHORT_DAG = "texas_cohort", "texas_cohort._cohort_001"
COHORT_CITIES = {"abilene": "Abilene", "temple": "Temple-Belton", "waco": "Waco"}


def write_fleets(folder: Path) -> None:
    folder.mkdir()
    text = (ROOT / "include" / "fleets" / "texas_housing.yaml").read_text()
    spot = "training: {spot: true, max_wait_seconds: 3600}"
    for old, new in {
        **{
            f"  {city}: {{name: {name}": f"  {city}: {{{spot}, name: {name}"
            for city, name in SPOT_CITIES.items()
        },
        "  amarillo: {": f"  amarillo: {{{NOTHING_PASSES}, ",
        "  waco: {name: Waco": f"  waco: {{{NOTHING_PASSES}, name: Waco",
        # The story of champions knows which of their models are better than which: of such as have not learned the
        # months that judge them.
        "  corpus_christi: {": "  corpus_christi: {algorithm: {refit: false}, ",
        "  houston: {": "  houston: {algorithm: {refit: false}, ",
        "  tyler: {name: Tyler": "  tyler: {gate: {tolerence: 0.1}, name: Tyler",
        **{
            f"  {city}: {{name: {name}": f"  {city}: {{approval: manual, name: {name}"
            for city, name in {**MANUAL_CITIES, ROLE_CITY: "Laredo", PAGE_CITY: "Collin County"}.items()
        },
        "retry_delay_seconds: 60": "retry_delay_seconds: 1",
        # What passes the gate, and what does not, the tests know of forecasts one month ahead, judged by a year.
        "  horizon: 3 # this month, the next and the one after\n": "",
        "  backtest_periods: 60 ": "  backtest_periods: 12 ",
        "    must_beat_all_baselines: true\n": "    must_beat_all_baselines: false\n",
        "    margin: 0.05 ": "    margin: 0 ",
        "    confidence: 0.9 ": "    confidence: null ",
        # Tests change its raw data, and start the runs themselves.
        "  assets: true\n": "",
        "  queue: texas-housing--${CITY_FLEET_ENVIRONMENT:-laptop}--arrivals\n": "",
    }.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (folder / "texas_housing.yaml").write_text(text)
    head = text.partition("\ncities:\n")[0].replace("fleet: texas_housing", f"fleet: {COHORT_FLEET}")
    head = head.replace("\ndefaults:\n", "\ndefaults:\n  cohort: 10\n")
    cities = "".join(f"  {slug}: {{name: {name}}}\n" for slug, name in COHORT_CITIES.items())
    (folder / f"{COHORT_FLEET}.yaml").write_text(f"{head}\ncities:\n{cities}")
    source = folder / "bike_rides.csv"
    write_bike_rides(source)
    bikes = BIKES.format(source=source)
    (folder / "bike_rides.yaml").write_text(bikes)
    for old, new in DEAR.items():
        assert bikes.count(old) == 1, old
        bikes = bikes.replace(old, new)
    (folder / f"{DEAR_FLEET}.yaml").write_text(bikes)
    for name, city in TABLES.items():
        head = (ROOT / "include" / "fleets" / f"{name}.yaml").read_text().partition("\ncities:\n")[0]
        (folder / f"{name}.yaml").write_text(f"{head}\ncities:\n  {city}\n")


def write_dags(folder: Path) -> None:
    """The repository's DAG files, and one of others beside them."""
    folder.mkdir()
    for path in (ROOT / "dags").glob("*.py"):
        (folder / path.name).symlink_to(path)
    (folder / "others.py").write_text(OTHERS)


def write_bike_rides(path: Path) -> None:
    """Two years of daily rides at one station with a strong week in it, and one day missing."""
    rng = random.Random(7)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["station", "day", "rides", "temperature"])
        for number in range(730):
            if number == 400:
                continue
            day = date(2024, 1, 1) + timedelta(days=number)
            warmth = 12 - 10 * math.cos(2 * math.pi * number / 365)
            rides = (400 + 20 * warmth) * (0.5 if day.weekday() >= 5 else 1.0) * rng.uniform(0.95, 1.05)
            writer.writerow(["Harbour", day.strftime("%d.%m.%Y"), round(rides), round(warmth, 1)])


def change_sales(s3: Any, city: str, line: int, change: Callable[[float], float]) -> None:
    """Change the number of homes sold in one line of a city's raw data."""
    key = f"texas_housing/raw/city={city}/txhousing.csv"
    lines = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read().decode().splitlines()
    column = lines[0].split(",").index("sales")
    cells = lines[line].split(",")
    cells[column] = str(change(float(cells[column])))
    lines[line] = ",".join(cells)
    s3.put_object(Bucket=BUCKET, Key=key, Body="\n".join(lines).encode())


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    with running_collector() as collector:
        yield collector


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("stack")
    write_fleets(folder / "fleets")
    write_dags(folder / "dags")
    layout = Layout(
        state_dir=folder / "state",
        ui_port=free_port(),
        sagemaker_port=free_port(),
        fleets_dir=folder / "fleets",
        dags_dir=folder / "dags",
        parse_interval_seconds=600,  # a task reads the fleet file anew; parsing 48 DAGs takes a second each time
        sagemaker_options=("--max-running-jobs=6",),
        airflow_settings={**SETTINGS, **collector.settings},
    )
    with Stack(layout) as stack:
        fleet = Fleet(stack, collector)
        seed(stack, sorted(layout.fleets_dir.glob("*.yaml")))
        change_sales(stack.client("s3"), "galveston", 30, lambda sales: -5)
        change_sales(stack.client("s3"), "longview_marshall", 60, lambda sales: 1000 * sales)
        names = ("texas_housing", "bike_rides", COHORT_FLEET, *TABLES)
        wait_for_dags(
            stack,
            {
                "texas_housing.austin",
                "bike_rides.harbour",
                COHORT_DAG,
                DEAR_DAG,
                *(f"{name}._endpoint" for name in names),
            },
        )
        fleet.runs[DEAR_DAG] = fleet.start(DEAR_DAG, as_of="2024-03-01")
        for name in names:
            fleet.runs[f"{name}._endpoint"] = fleet.start(f"{name}._endpoint")
        for name in names:
            assert fleet.ended(f"{name}._endpoint") == "success"
        for city in ("abilene", "waco", "galveston", "longview_marshall", *MANUAL_CITIES):
            fleet.runs[f"texas_housing.{city}"] = fleet.start(f"texas_housing.{city}", as_of=AS_OF)
        fleet.runs[f"texas_housing.{PAGE_CITY}"] = fleet.start(
            f"texas_housing.{PAGE_CITY}", as_of="2014-08-01"
        )
        fleet.runs["texas_housing.el_paso"] = fleet.start("texas_housing.el_paso", as_of="2003-01-01")
        fleet.runs["texas_housing.tyler"] = fleet.start("texas_housing.tyler")
        fleet.runs[COHORT_DAG] = fleet.start(COHORT_DAG, as_of=AS_OF)
        fleet.runs["bike_rides.harbour"] = fleet.start("bike_rides.harbour", as_of="2026-01-01")
        fleet.runs["flights.boston"] = fleet.start("flights.boston", as_of="2014-01-01")
        fleet.runs["restaurants.lisbon"] = fleet.start("restaurants.lisbon", as_of="2025-07-01")
        yield fleet


def wait_for_dags(stack: Stack, wanted: set[str]) -> None:
    deadline = time.monotonic() + 180
    while not wanted <= stack.airflow.dag_ids():
        assert time.monotonic() < deadline, (
            f"no {wanted - stack.airflow.dag_ids()}; {stack.airflow.import_errors()}"
        )
        time.sleep(0.5)
