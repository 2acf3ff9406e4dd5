"""Measures a night of tasks that do nothing on each engine of the laptop stack: `make bench-engines`. JSON on stdout.

What is measured is Airflow itself: how many tasks it starts in a second, what a task costs in processor time, what each
component holds in memory, and how many connections PostgreSQL sees. The engines take turns on one machine, so compare
them by their ratios.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import psycopg

from local.stack import engine_settings, processes
from local.stack.engine import CELERY, LOCAL, POSTGRES, SQLITE, Engine
from local.stack.layout import Layout, free_port
from local.stack.runs import start_run, wait_for_dags
from local.stack.secrets_file import stack_secrets
from local.stack.stack import Stack

ENGINES = {
    "sqlite-local": Engine(SQLITE, LOCAL),
    "postgres-local": Engine(POSTGRES, LOCAL),
    "postgres-celery": Engine(POSTGRES, CELERY, workers=2),
}
TIMEOUT_SECONDS = 3600.0
IDLE_SECONDS = 20.0
DAGS = """
import datetime
from airflow.sdk import DAG, task

for number in range({dags}):
    with DAG(f"night_{{number}}", schedule=None, start_date=datetime.datetime(2020, 1, 1), catchup=False,
             default_args={{"retries": 3, "retry_delay": datetime.timedelta(seconds=1)}}):
        before = None
        for step in range({tasks}):
            @task(task_id=f"step_{{step}}")
            def nothing():
                return None
            now = nothing()
            if before is not None:
                before >> now
            before = now
"""


def main() -> int:
    """Measure, print the JSON."""
    parser = argparse.ArgumentParser(prog="python bench/engines.py", description=__doc__)
    parser.add_argument("--dags", type=int, default=46, help="(default: %(default)s)")
    parser.add_argument(
        "--tasks", type=int, default=8, help="of each DAG, one after the other (default: %(default)s)"
    )
    parser.add_argument(
        "--only", default=",".join(ENGINES), help="engines, separated by commas (default: all)"
    )
    parser.add_argument(
        "--rounds", type=int, default=1, help="the best of so many counts (default: %(default)s)"
    )
    parsed = parser.parse_args()
    names = parsed.only.split(",")
    measured: dict[str, dict[str, Any]] = {}
    for _ in range(parsed.rounds):
        for name in names:
            print(f"{name} …", file=sys.stderr, flush=True)
            found = measure(ENGINES[name], parsed.dags, parsed.tasks)
            print(json.dumps(found), file=sys.stderr, flush=True)
            if name not in measured or found["cpu_ms_per_task"] < measured[name]["cpu_ms_per_task"]:
                measured[name] = found
    first = measured[names[0]]
    ratios = {
        name: {
            key: round(found[key] / first[key], 2)
            for key in ("tasks_per_second", "cpu_ms_per_task", "memory_mib")
        }
        for name, found in measured.items()
    }
    print(json.dumps({"engines": measured, f"ratios_to_{names[0]}": ratios}, indent=2))
    return 0


def measure(engine: Engine, dags: int, tasks: int) -> dict[str, Any]:
    """Run one night on one engine.

    :return: start_seconds, tasks_per_second, cpu_ms_per_task (beyond what an idle Airflow takes), cpu_percent_idle
        (of one processor), memory in MiB by component, connections
    """
    with tempfile.TemporaryDirectory(prefix="city-fleet-engines-") as folder:
        dags_dir = Path(folder) / "dags"
        dags_dir.mkdir()
        (dags_dir / "nights.py").write_text(DAGS.format(dags=dags, tasks=tasks))
        plugins_dir = Path(folder) / "plugins"
        plugins_dir.mkdir()
        layout = Layout(
            state_dir=Path(folder) / "state",
            ui_port=free_port(),
            sagemaker_port=free_port(),
            dags_dir=dags_dir,
            plugins_dir=plugins_dir,
            parse_interval_seconds=600,
            engine=engine,
        )
        began = time.monotonic()
        with Stack(layout) as stack:
            start_seconds = time.monotonic() - began
            ids = [f"night_{number}" for number in range(dags)]
            wait_for_dags(stack, set(ids))
            memory = memory_by_component(stack)
            watcher = Connections(layout) if engine.postgres else None
            before = cpu_seconds(stack)
            time.sleep(IDLE_SECONDS)
            cpu, started = cpu_seconds(stack), time.monotonic()
            idle = (cpu - before) / IDLE_SECONDS
            for dag_id in ids:
                start_run(stack, dag_id, "bench", {})
            wait(stack, ids)
            seconds = time.monotonic() - started
            # Airflow's loops take their share whether there are tasks or not.
            spent = cpu_seconds(stack) - cpu - idle * seconds
            peak = memory_by_component(stack)
    count = dags * tasks
    return {
        "tasks": count,
        "start_seconds": round(start_seconds, 1),
        "seconds": round(seconds, 1),
        "tasks_per_second": round(count / seconds, 2),
        "cpu_ms_per_task": round(1000 * spent / count),
        "cpu_percent_idle": round(100 * idle),
        "memory_mib": round(sum(peak.values())),
        "memory_mib_idle": {name: round(mib) for name, mib in memory.items()},
        "memory_mib_after": {name: round(mib) for name, mib in peak.items()},
        **({"connections_at_most": watcher.end()} if watcher else {}),
    }


def wait(stack: Stack, ids: list[str]) -> None:
    """Wait until all runs have ended well."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while True:
        states = [run["state"] for run in stack.airflow.runs(dict.fromkeys(ids, "bench"))]
        if states.count("success") == len(ids):
            return
        if "failed" in states or time.monotonic() > deadline:
            raise SystemExit(f"runs ended as {states}; the log: {stack.log('scheduler')}")
        time.sleep(1)


def cpu_seconds(stack: Stack) -> float:
    """Return the processor time of Airflow's processes and its servers, with that of children that have ended."""
    total = 0.0
    roots = [process for record in stack.records if record.name != "sagemaker" and (process := record.find())]
    for process in processes.family(roots).values():
        times = process.cpu_times()
        total += times.user + times.system + times.children_user + times.children_system
    return total


def memory_by_component(stack: Stack) -> dict[str, float]:
    """Return MiB by component, with its children; shared pages count once among their sharers."""
    found: dict[str, float] = defaultdict(float)
    for record in stack.records:
        process = record.find()
        if record.name != "sagemaker" and process is not None:
            found[record.name] = processes.memory_of(processes.family([process]).values())
    return dict(found)


class Connections:
    """Counts PostgreSQL's connections until it is ended."""

    def __init__(self, layout: Layout) -> None:
        self._url = engine_settings.database_url(layout, stack_secrets(layout))
        self._most = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._count, daemon=True)
        self._thread.start()

    def _count(self) -> None:
        with contextlib.suppress(psycopg.Error), psycopg.connect(self._url, autocommit=True) as connection:
            while not self._end.wait(1):
                query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                (count,) = connection.execute(query).fetchone() or (0,)
                self._most = max(self._most, count - 1)

    def end(self) -> int:
        """Return how many there were at most, without the one that counts."""
        self._end.set()
        self._thread.join(10)
        return self._most


if __name__ == "__main__":
    sys.exit(main())
