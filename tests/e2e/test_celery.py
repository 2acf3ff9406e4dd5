"""Airflow on PostgreSQL with two Celery workers that share no disk: one is killed in mid-night, and a triggerer."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from city_fleet import naming
from city_fleet.plan import ENDPOINT_PURPOSE, CityPlan, plan_city
from local import ROOT
from local.stack import postgres, processes, redis_server
from local.stack.engine import CELERY, POSTGRES, Engine
from local.stack.errors import StackError
from local.stack.layout import Layout, free_port
from local.stack.processes import Recorded
from local.stack.runs import start_run, wait_for_dags, wait_for_run
from local.stack.seed import run_fleet, seed
from local.stack.stack import Stack
from tests.e2e.chaos import evidence, settings
from tests.e2e.chaos.judgement import jobs_needed, judge
from tests.e2e.chaos.runner import fleet_of

CITIES = (*settings.CITIES, "austin")
AS_OF = "20120101T000000Z"
START_DELAY_SECONDS = 6.0
WITHIN_SECONDS = 1500.0
# Beside what chaos sets: a message of a killed worker comes again within the test, to a worker that has to refuse it
# where its task has gone on meanwhile. A task that takes longer gets a second message, and goes on alone.
SETTINGS = settings.AIRFLOW | {
    "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "60",
    # One worker does what two did: on a busy machine a heartbeat comes late, which must not look like a loss.
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
}


def what_is_missing() -> str:
    """Say which server is not installed here; empty where both are."""
    missing = []
    if not postgres.folders():
        missing.append(f"PostgreSQL is not installed. {postgres.HOW_TO_INSTALL}")
    try:
        redis_server.program()
    except StackError as error:
        missing.append(str(error))
    return " ".join(missing)


@pytest.mark.e2e
@pytest.mark.skipif(
    not os.environ.get("CITY_FLEET_TEST_CELERY"),
    reason="starts an Airflow of its own for minutes: make test-celery",
)
def test_six_cities_end_as_they_should_whichever_worker_dies(tmp_path: Path) -> None:
    missing = what_is_missing()
    assert not missing, missing
    path = settings.write_fleet(tmp_path / "fleets", CITIES)
    workers = {f"worker-{number}": Checkout(tmp_path / f"disk-{number}", path) for number in (1, 2)}
    # On its disk there never is a good one: the last good form is in S3.
    workers["worker-2"].break_file()
    layout = Layout(
        state_dir=tmp_path / "state",
        ui_port=free_port(),
        sagemaker_port=free_port(),
        fleets_dir=path.parent,
        parse_interval_seconds=600,
        engine=Engine(POSTGRES, CELERY, workers=len(workers)),
        triggerers=2,
        airflow_settings=SETTINGS,
        component_settings={name: checkout.variables for name, checkout in workers.items()},
        sagemaker_options=settings.sagemaker_options(START_DELAY_SECONDS),
        sagemaker_module=settings.SAGEMAKER_MODULE,
    )
    began = time.monotonic()
    said: list[str] = []

    def say(text: str) -> None:
        said.append(f"{time.monotonic() - began:6.1f} s  {text}")

    with Stack(layout, say=say) as stack:
        plans = prepare(stack, path)
        for plan in plans:
            start_run(stack, plan.dag_id, "night", {"as_of": AS_OF})
        say("six cities have begun")
        kill_while_it_works(stack, "worker-1", runs_a_task, say)
        kill_while_it_works(stack, "triggerer", waits_for_jobs, say)
        wait_for_ends(stack, plans, say)

        found = evidence.collect(stack, plans, {(city, "night"): AS_OF for city in CITIES})
        wrong = [sentence for sentences in judge(found).values() for sentence in sentences]
        assert not wrong, json.dumps(wrong, indent=2) + "\n" + "\n".join(said)
        assert len(found.jobs) == jobs_needed(found) == 3 * len(CITIES), said
        assert any(run.tries for run in found.runs), "nothing was lost with the worker"
        # Each has worked, from its own disk; the second from the last good form alone.
        for name, checkout in workers.items():
            assert "Executing workload" in stack.log(name).read_text(), name
            assert list(checkout.compiled.rglob("current.json")), name
        logs = "\n".join(file.read_text() for file in (layout.logs_dir / "tasks").rglob("*.log"))
        assert "last good form" in logs
        say(f"{stack.memory_mib():.0f} MiB")
        print("\n".join(said))
    assert processes.marked(layout.state_dir) == []


class Checkout:
    """What a worker on a machine of its own has: the code, and the fleet's file.

    :param folder: stands for its disk.
    :param fleet_file: is copied.
    """

    def __init__(self, folder: Path, fleet_file: Path) -> None:
        for name in ("dags", "plugins", "include/scripts"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        self.file = folder / "include" / "fleets" / fleet_file.name
        self.file.parent.mkdir(parents=True)
        shutil.copyfile(fleet_file, self.file)
        self.compiled = folder / "compiled"
        self.variables = {
            "PYTHONPATH": os.pathsep.join([str(folder / "plugins"), str(ROOT)]),
            "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(folder / "plugins"),
            "CITY_FLEET_PROJECT": str(folder),
            "CITY_FLEET_FLEETS": str(self.file.parent),
            "CITY_FLEET_COMPILED": str(self.compiled),
            "AIRFLOW_HOME": str(folder / "airflow"),
        }

    def break_file(self) -> None:
        """Put a tab where YAML has none."""
        text = self.file.read_text()
        broken = text.replace("  city_column", "\tcity_column")
        assert broken != text
        self.file.write_text(broken)


def prepare(stack: Stack, path: Path) -> list[CityPlan]:
    """Upload data and form, and create the endpoint."""
    fleet = fleet_of(stack)
    seed(stack, [path])
    run_fleet(stack, "compile", str(path))
    plans = [plan_city(fleet, city) for city in CITIES]
    endpoint = naming.fleet_dag_id(settings.FLEET, ENDPOINT_PURPOSE)
    wait_for_dags(stack, {endpoint, *(plan.dag_id for plan in plans)})
    start_run(stack, endpoint, "endpoint", {})
    wait_for_run(stack, endpoint, "endpoint")
    return plans


def runs_a_task(worker: psutil.Process) -> bool:
    """Tell whether a worker's own child has a child: the task."""
    return any(child.children() for child in worker.children())


def waits_for_jobs(triggerer: psutil.Process) -> bool:
    """Tell whether a triggerer holds a trigger: it keeps the log of each open."""
    return any(".log.trigger." in file.path for file in triggerer.open_files())


def kill_while_it_works(
    stack: Stack, name: str, works: Callable[[psutil.Process], bool], say: Callable[[str], None]
) -> None:
    """Kill a component, and all that descends from it, as the loss of its machine would.

    :param name: what the component's name begins with.
    """
    deadline = time.monotonic() + WITHIN_SECONDS
    victims = [record for record in stack.records if record.name.startswith(name)]
    while True:
        for record in victims:
            with contextlib.suppress(psutil.Error):
                process = record.find()
                if process is not None and jobs_in_progress(stack) and works(process):
                    lost = processes.family([process]).values()
                    for each in lost:
                        each.kill()
                    say(f"killed {record.name}: {len(lost)} processes")
                    return
        assert time.monotonic() < deadline, f"no {name} that works"
        time.sleep(0.1)


def jobs_in_progress(stack: Stack) -> int:
    client = stack.client("sagemaker")
    training = client.list_training_jobs(StatusEquals="InProgress")["TrainingJobSummaries"]
    return len(training) + len(
        client.list_processing_jobs(StatusEquals="InProgress")["ProcessingJobSummaries"]
    )


def wait_for_ends(stack: Stack, plans: list[CityPlan], say: Callable[[str], None]) -> None:
    """Wait until all runs have ended, well or not; nothing is started again meanwhile."""
    deadline = time.monotonic() + WITHIN_SECONDS
    left = list(plans)
    while left:
        for plan in list(left):
            state = stack.airflow.run(plan.dag_id, "night")["state"]
            if state in ("success", "failed"):
                say(f"{plan.city.slug}: {state}")
                left.remove(plan)
        # Both that were killed stay dead; what dies besides is a finding.
        dead: list[Recorded] = stack.dead()
        assert len(dead) <= 2, [Stack.why_dead(each) for each in dead]
        assert time.monotonic() < deadline, [
            stack.airflow.task_instances(plan.dag_id, "night") for plan in left
        ]
        time.sleep(0.5)
