"""Real nights on this machine, on the whole stack with real jobs: ``make bench-night``. JSON, and a file a night.

    make bench-night ARGS="--out .local/nights"

runs the 46 Texas cities with a DAG each, as many DAGs of tasks that do nothing, and the cities in cohorts; then 92
cities with other parallelism, and the 46 again at each delay of a job's start. ``--only`` takes some of them. What is
counted: wall time by Airflow's own clock, calls of AWS at the local SageMaker, jobs and what AWS would bill of them,
processor time and memory of each component, and rows that the night has left in Airflow's database. The machine should
have nothing else to do.

    make bench-nights ARGS="--night .local/nights/each-46.json --against .local/nights/each-92.json"

then calibrates the simulation on the first and holds the other against it.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import re
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import yaml
from engines import DAGS, cpu_seconds, memory_by_component
from stand_in import StandIn

from city_fleet import naming
from city_fleet.config import Fleet, load_fleet
from city_fleet.night.night_calls import OF_A_CITY
from city_fleet.plan import ENDPOINT_PURPOSE, TRAIN
from local.stack import engine_settings, processes
from local.stack.engine import LOCAL, POSTGRES, SQLITE, Engine
from local.stack.environment import fleet_variables
from local.stack.layout import Layout, free_port
from local.stack.runs import start_run, wait_for_dags, wait_for_run
from local.stack.secrets_file import stack_secrets
from local.stack.seed import seed
from local.stack.stack import Stack

REPOSITORY = Path(__file__).resolve().parents[1]
FLEET = "texas_housing"
AS_OF = "2015-08-01"
RUN_ID = "bench-night"
EACH, TOGETHER, EMPTY = "each", "cohorts", "empty"
TIMEOUT_SECONDS = 7200.0
POLL_SECONDS = 2.0
MEMORY_EVERY_SECONDS = 10.0
#: Tasks of a city's DAG.
TASKS = 9
#: Lists are polls; both belong to no city.
POLLS = ("sagemaker:ListProcessingJobs", "sagemaker:ListTrainingJobs")
_STEP = re.compile(r"-(preprocess|train|evaluate)-[0-9a-f]+-\d+$")


@dataclass(frozen=True)
class Plan:
    """One night.

    :param mode: a DAG per city, cohorts, or DAGs of tasks that do nothing.
    :param parallelism: of Airflow's executor.
    :param cohort: cities of a cohort.
    :param start_up_seconds: what a job waits for its instance.
    """

    name: str
    mode: str
    cities: int = 46
    parallelism: int = 8
    cohort: int | None = None
    start_up_seconds: float = 0.0
    poll_seconds: int = 5
    database: str = POSTGRES


def main() -> int:
    """Measure, print JSON."""
    parser = argparse.ArgumentParser(description="Real nights on this machine.")
    parser.add_argument("--only", default="", help="names of nights, separated by commas")
    parser.add_argument("--list", action="store_true", help="print the nights' names")
    parser.add_argument("--cities", type=int, default=46, help="of the first nights (default: %(default)s)")
    parser.add_argument(
        "--parallelism", type=int, default=8, help="of the first nights (default: %(default)s)"
    )
    parser.add_argument("--cohort", type=int, default=23, help="cities of a cohort (default: %(default)s)")
    parser.add_argument("--database", default=POSTGRES, choices=(POSTGRES, SQLITE))
    parser.add_argument("--out", type=Path, help="a folder for a file of each night")
    chosen = parser.parse_args()
    plans = list(_plans(chosen))
    if chosen.list:
        print("\n".join(plan.name for plan in plans))
        return 0
    wanted = [name for name in chosen.only.split(",") if name]
    unknown = set(wanted) - {plan.name for plan in plans}
    if unknown:
        parser.error(f"--only: got {', '.join(sorted(unknown))}; --list names the nights")
    found = {}
    for plan in plans:
        if wanted and plan.name not in wanted:
            continue
        print(f"{plan.name} …", file=sys.stderr, flush=True)
        found[plan.name] = night = measure(plan)
        print(json.dumps(night), file=sys.stderr, flush=True)
        if chosen.out is not None:
            chosen.out.mkdir(parents=True, exist_ok=True)
            (chosen.out / f"{plan.name}.json").write_text(json.dumps(night, indent=2), encoding="utf-8")
    json.dump({"nights": found, "beside_empty_tasks": _beside(found)}, sys.stdout, indent=2)
    print()
    return 0


def _plans(chosen: argparse.Namespace) -> Iterator[Plan]:
    first = Plan(f"each-{chosen.cities}", EACH, chosen.cities, chosen.parallelism, database=chosen.database)
    yield first
    yield replace(first, name=f"empty-{chosen.cities}", mode=EMPTY)
    together = replace(first, name=f"cohorts-{chosen.cities}", mode=TOGETHER, cohort=chosen.cohort)
    yield together
    twice = replace(first, cities=2 * chosen.cities, parallelism=max(1, chosen.parallelism // 2))
    yield replace(twice, name=f"each-{twice.cities}")
    for seconds in (60, 150, 300):
        yield replace(first, name=f"{first.name}-start-{seconds}", start_up_seconds=seconds)
        yield replace(together, name=f"{together.name}-start-{seconds}", start_up_seconds=seconds)


def measure(plan: Plan) -> dict[str, Any]:
    """Let one night pass on a stack of its own."""
    with tempfile.TemporaryDirectory(prefix="city-fleet-night-") as folder:
        layout = _layout(plan, Path(folder))
        path = None if plan.mode == EMPTY else write_fleet(layout.fleets_dir, plan)
        with Stack(layout) as stack:
            if path is None:
                dags = [f"night_{number}" for number in range(plan.cities)]
                wait_for_dags(stack, set(dags))
                conf: dict[str, str] = {}
            else:
                dags, conf = _prepared(stack, path)
            return asdict(plan) | _night(stack, plan, dags, conf)


def _layout(plan: Plan, folder: Path) -> Layout:
    options: tuple[str, ...] = ()
    if plan.start_up_seconds:
        # A job that waits for its instance takes no processor, and must not keep another one waiting.
        options = (f"--start-delay-seconds={plan.start_up_seconds:g}", f"--max-running-jobs={plan.cities}")
    fleets = folder / "fleets"
    fleets.mkdir()
    layout = Layout(
        state_dir=folder / "state",
        ui_port=free_port(),
        sagemaker_port=free_port(),
        fleets_dir=fleets,
        parse_interval_seconds=600,
        engine=Engine(plan.database, LOCAL),
        airflow_settings={"AIRFLOW__CORE__PARALLELISM": str(plan.parallelism)},
        sagemaker_options=options,
    )
    if plan.mode != EMPTY:
        return layout
    (folder / "dags").mkdir()
    (folder / "dags" / "nights.py").write_text(DAGS.format(dags=plan.cities, tasks=TASKS), encoding="utf-8")
    (folder / "plugins").mkdir()
    return replace(layout, dags_dir=folder / "dags", plugins_dir=folder / "plugins")


def write_fleet(folder: Path, plan: Plan) -> Path:
    """Write the Texas fleet without its schedule, people and parent, with its cities once or several times."""
    document = yaml.safe_load(
        (REPOSITORY / "include" / "fleets" / f"{FLEET}.yaml").read_text(encoding="utf-8")
    )
    document.pop("events", None)
    document["schedule"] = None
    document["defaults"]["waiter_delay_seconds"] = plan.poll_seconds
    if plan.cohort is not None:
        document["defaults"]["cohort"] = plan.cohort
    parents = {settings.get("parent") for settings in document["cities"].values()}
    names = {slug: each["name"] for slug, each in document["cities"].items() if slug not in parents}
    cities, copies = {}, -(-plan.cities // len(names))
    for copy in range(copies):
        for slug, name in names.items():
            if len(cities) < plan.cities:
                cities[f"{slug}_{copy}" if copy else slug] = {"name": f"{name} {copy}" if copy else name}
    document["cities"] = cities
    if copies > 1:
        document["dataset"]["source"] = str(
            _copied(REPOSITORY / document["dataset"]["source"], folder, copies)
        )
    path = folder / f"{FLEET}.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return path


def _copied(source: Path, folder: Path, copies: int) -> Path:
    """Write the data with each city several times, under names of its own."""
    target = folder / "cities.csv"
    with (
        source.open(newline="", encoding="utf-8") as read,
        target.open("w", newline="", encoding="utf-8") as write,
    ):
        rows = csv.DictReader(read)
        writer = csv.DictWriter(write, rows.fieldnames or [])
        writer.writeheader()
        for row in rows:
            writer.writerow(row)
            for copy in range(1, copies):
                writer.writerow(row | {"city": f"{row['city']} {copy}"})
    return target


def _prepared(stack: Stack, path: Path) -> tuple[list[str], dict[str, str]]:
    """Upload the data and create the endpoint.

    :return: the DAGs of the night, and the params of their runs.
    """
    seed(stack, [path])
    fleet = load_fleet(path, fleet_variables(stack.layout))
    endpoint = naming.fleet_dag_id(fleet.fleet, ENDPOINT_PURPOSE)
    dags = _dags(fleet)
    wait_for_dags(stack, {endpoint, *dags})
    start_run(stack, endpoint, RUN_ID, {})
    wait_for_run(stack, endpoint, RUN_ID)
    return dags, {"as_of": AS_OF}


def _dags(fleet: Fleet) -> list[str]:
    """Return the DAGs that run the fleet's cities: their own, or cohorts'."""
    return sorted({fleet.dag_id_of(slug) for slug in fleet.cities})


def _night(stack: Stack, plan: Plan, dags: list[str], conf: dict[str, str]) -> dict[str, Any]:
    stand_in = StandIn(stack.layout.sagemaker_url)
    operations = [*OF_A_CITY, *POLLS]
    watch = Memory(stack)
    for dag in dags:
        stack.airflow.trigger(dag, conf, dag_run_id=RUN_ID)
    before, rows = len(list(_jobs(stack))), rows_by_table(stack.layout)
    stand_in.count(*({"operation": operation} for operation in operations))
    airflow, aws = cpu_seconds(stack), _cpu_of(stack, "sagemaker")
    for dag in dags:
        stack.airflow.set_paused(dag, False)
    runs = _ended(stack, dags)
    counted = dict(zip(operations, stand_in.counted(), strict=True))
    airflow, aws = cpu_seconds(stack) - airflow, _cpu_of(stack, "sagemaker") - aws
    jobs = list(_jobs(stack))[before:] if plan.mode != EMPTY else []
    seconds = _between(runs)
    states = [run["state"] for run in runs]
    return {
        "processors": os.cpu_count(),
        "load_afterwards": os.getloadavg()[0],
        "dag_runs": len(runs),
        "failed": states.count("failed"),
        "seconds": round(seconds, 1),
        "cpu_seconds": {"airflow": round(airflow, 1), "local SageMaker and its jobs": round(aws, 1)},
        "memory_mib": watch.end(),
        "database_rows": {
            name: count - rows.get(name, 0)
            for name, count in rows_by_table(stack.layout).items()
            if count != rows.get(name, 0)
        },
        **(_of_jobs(plan, jobs, counted, aws) if jobs else {}),
    }


def _ended(stack: Stack, dags: list[str]) -> list[dict[str, Any]]:
    """Wait until every run has ended, however."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while True:
        runs = stack.airflow.runs(dict.fromkeys(dags, RUN_ID))
        if len(runs) == len(dags) and all(run["state"] in ("success", "failed") for run in runs):
            return runs
        if time.monotonic() > deadline:
            raise SystemExit(
                f"the night did not end within {TIMEOUT_SECONDS:.0f} s: {stack.log('scheduler')}"
            )
        stack.require_alive()
        time.sleep(POLL_SECONDS)


def _between(runs: list[dict[str, Any]]) -> float:
    moments = [
        [datetime.fromisoformat(run[name].replace("Z", "+00:00")) for run in runs]
        for name in ("start_date", "end_date")
    ]
    return (max(moments[1]) - min(moments[0])).total_seconds()


def _jobs(stack: Stack) -> Iterator[tuple[str, float, float]]:
    """Yield step, seconds and billed seconds of each job, the oldest first."""
    client = stack.client("sagemaker")
    found = []
    for kind in ("Processing", "Training"):
        pages = client.get_paginator(f"list_{kind.lower()}_jobs").paginate()
        for each in (each for page in pages for each in page[f"{kind}JobSummaries"]):
            name = each[f"{kind}JobName"]
            described = getattr(client, f"describe_{kind.lower()}_job")(**{f"{kind}JobName": name})
            began, ended = described[f"{kind}StartTime"], described[f"{kind}EndTime"]
            seconds = (ended - began).total_seconds()
            billed = float(described.get("BillableTimeInSeconds") or seconds)
            step = _STEP.search(name)
            found.append((described["CreationTime"], (step[1] if step else TRAIN, seconds, billed)))
    yield from (job for _, job in sorted(found, key=lambda each: each[0]))


def _of_jobs(
    plan: Plan, jobs: list[tuple[str, float, float]], counted: dict[str, int], cpu: float
) -> dict[str, Any]:
    steps: dict[str, list[float]] = defaultdict(list)
    for step, seconds, _ in jobs:
        steps["cohort" if plan.mode == TOGETHER and step == TRAIN else step].append(seconds)
    total = sum(seconds for _, seconds, _ in jobs) or 1.0
    of_sagemaker = sum(count for name, count in counted.items() if name.startswith("sagemaker:"))
    polls = sum(counted[name] for name in POLLS)
    return {
        "jobs": len(jobs),
        "billable_seconds": round(sum(billed for _, _, billed in jobs), 1),
        "job_seconds": {step: round(statistics.fmean(seconds), 2) for step, seconds in steps.items()},
        # The server's own share is in it, by how long each job took.
        "job_cpu_seconds": {
            step: round(cpu * statistics.fmean(seconds) / total, 2) for step, seconds in steps.items()
        },
        "calls": {name: count for name, count in counted.items() if count},
        "calls_of_sagemaker_a_city": round((of_sagemaker - polls) / plan.cities, 2),
        "polls": polls,
    }


def _cpu_of(stack: Stack, name: str) -> float:
    """Return the processor time of one component, with that of its children that have ended."""
    roots = [process for record in stack.records if record.name == name and (process := record.find())]
    total = 0.0
    for process in processes.family(roots).values():
        times = process.cpu_times()
        total += times.user + times.system + times.children_user + times.children_system
    return total


def rows_by_table(layout: Layout) -> dict[str, int]:
    """Return how many rows each table of Airflow's database has."""
    count, names = 'SELECT count(*) FROM "{}"', "SELECT {} FROM {} WHERE {}"
    if layout.engine.postgres:
        with psycopg.connect(engine_settings.database_url(layout, stack_secrets(layout))) as connection:
            listed = names.format("tablename", "pg_tables", "schemaname = 'public'")
            tables = [name for (name,) in connection.execute(listed)]
            return {name: connection.execute(count.format(name)).fetchone()[0] for name in tables}
    with contextlib.closing(sqlite3.connect(f"file:{layout.database}?mode=ro", uri=True)) as connection:
        tables = [
            name for (name,) in connection.execute(names.format("name", "sqlite_master", "type = 'table'"))
        ]
        return {name: connection.execute(count.format(name)).fetchone()[0] for name in tables}


class Memory:
    """Looks at each component's memory until it is ended."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._most: dict[str, float] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._end.wait(MEMORY_EVERY_SECONDS):
            for name, mib in memory_by_component(self._stack).items():
                self._most[name] = max(self._most.get(name, 0.0), mib)

    def end(self) -> dict[str, int]:
        """Return the most MiB of each component."""
        self._end.set()
        self._thread.join(30)
        return {name: round(mib) for name, mib in self._most.items()}


def _beside(found: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Wall time of each night beside as many tasks that do nothing."""
    empty = {night["cities"]: night["seconds"] for night in found.values() if night["mode"] == EMPTY}
    return {
        name: round(night["seconds"] / empty[night["cities"]], 2)
        for name, night in found.items()
        if night["mode"] != EMPTY and night["cities"] in empty
    }


if __name__ == "__main__":
    sys.exit(main())
