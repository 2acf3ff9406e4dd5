"""One run of one city: which calls its tasks make, ours beside stock operators that do the same work.

The real operators of the city's DAG run their real jobs at a local SageMaker; of Airflow there is only what a task
asks of it. The stock operators of the Amazon provider get the requests of ours under other names. Every request is
counted at the stand-in: those made while a task is deferred as polls, the others as calls of the step.
"""

from __future__ import annotations

import asyncio
import copy
import os
import re
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
from airflow.providers.amazon.aws.operators.sagemaker import (
    SageMakerProcessingOperator,
    SageMakerRegisterModelVersionOperator,
    SageMakerTrainingOperator,
)
from airflow.sdk.exceptions import TaskDeferred
from airflow.sdk.execution_time.context import OutletEventAccessors
from stand_in import REPOSITORY, StandIn, running

from city_fleet import plan
from city_fleet.config import load_fleet
from city_fleet.data.ingest import ingest
from city_fleet.jobs.code_bundle import CodeBundle
from city_fleet.jobs.job_requests import named
from city_fleet.orchestration.city_dags import city_dags
from city_fleet.orchestration.fleet_dags import fleet_dags
from city_fleet.orchestration.run_context import run_of

FLEET, CITY = "texas_housing", "austin"
BEFORE, NOW = datetime(2013, 10, 1, tzinfo=UTC), datetime(2014, 1, 1, tzinfo=UTC)
SERVICES = ("sagemaker", "sagemaker-runtime", "s3", "logs", "iam", "sts")
EASY_GATE = """\
  gate: {must_beat_naive: false, must_beat_all_baselines: false, margin: 0, confidence: null, tolerance: 1}
"""
#: Seconds between two questions of a deferred task; its jobs take some seconds here.
POLL_SECONDS = 2


@dataclass
class Task:
    """What a task asks of Airflow about its task instance."""

    dag_id: str
    run_id: str
    task_id: str
    results: dict[str, Any]
    max_tries: int = 2
    map_index: int = -1
    try_number: int = 1

    def xcom_pull(self, *, task_ids: str, key: str = "return_value") -> Any:
        """What a task has returned or pushed."""
        return self.results.get(task_ids if key == "return_value" else f"{task_ids}/{key}")

    def xcom_push(self, *, key: str, value: Any) -> None:
        """Keep what a task pushes."""
        self.results[f"{self.task_id}/{key}"] = value

    def get_task_states(self, *, dag_id: str, run_ids: list[str], **_: Any) -> dict[str, Any]:
        """All tasks that have a result have succeeded."""
        return {run_ids[0]: dict.fromkeys(self.results, "success")}


@dataclass
class DagRun:
    """A run of a DAG.

    :param logical_date: the run sees what was known then.
    """

    run_id: str
    logical_date: datetime
    conf: dict[str, Any] = field(default_factory=dict)


class Store(dict[str, Any]):
    """A task's state store."""

    def set(self, key: str, value: Any) -> None:
        """Keep a value."""
        self[key] = value


@dataclass
class Counts:
    """Requests by step and operation.

    :param calls: of the tasks themselves.
    :param polls: while they were deferred.
    """

    server: StandIn
    calls: dict[str, Counter[str]] = field(default_factory=dict)
    polls: Counter[str] = field(default_factory=Counter)

    def run(self, operator: Any, context: dict[str, Any]) -> Any:
        """Run a task to its end, deferrals included, and count."""
        counter = self.calls.setdefault(operator.task_id, Counter())
        method, arguments = operator.execute, {}
        while True:
            self.server.count(*operations())
            try:
                result = method(context, **arguments)
                counter += self._counted()
                return result
            except TaskDeferred as deferral:
                counter += self._counted()
                self.server.count(*operations())
                event = asyncio.run(first_event(deferral.trigger))
                self.polls += self._counted()
                method = getattr(operator, deferral.method_name)
                arguments = {"event": event, **(deferral.kwargs or {})}

    def _counted(self) -> Counter[str]:
        names = (match["operation"] for match in operations())
        return +Counter(dict(zip(names, self.server.counted(), strict=True)))

    def to_json(self) -> dict[str, Any]:
        """The calls by step, and their sums by service."""
        every = sum(self.calls.values(), Counter())
        services: Counter[str] = Counter()
        for operation, count in every.items():
            services[operation.partition(":")[0]] += count
        return {
            "calls_of_sagemaker": services["sagemaker"],
            "calls_by_service": dict(services),
            "polls": dict(self.polls),
            "calls_by_step": {step: dict(counter) for step, counter in self.calls.items() if counter},
        }


@cache
def operations() -> list[dict[str, str]]:
    """Every operation of the services that a run may ask."""
    session = botocore.session.get_session()
    return [
        {"operation": f"{service}:{name}"}
        for service in SERVICES
        for name in session.get_service_model(service).operation_names
    ]


async def first_event(trigger: Any) -> Any:
    """What a trigger sends first."""
    async for event in trigger.run():
        return event.payload
    raise AssertionError(f"{trigger!r} sent no event")


def prepare(server: StandIn) -> Any:
    """Lay down role and raw data, and create the endpoint.

    :return: the city's DAG.
    """
    os.environ["CITY_FLEET_WAITER_DELAY_SECONDS"] = str(POLL_SECONDS)
    # What is counted is a run that goes all the way, whatever its model is worth.
    folder = Path(tempfile.mkdtemp(prefix="city-run-"))
    text = (REPOSITORY / "include" / "fleets" / f"{FLEET}.yaml").read_text(encoding="utf-8")
    (folder / f"{FLEET}.yaml").write_text(re.sub(r"  gate:\n(?:    .*\n)+", EASY_GATE, text))
    fleet = load_fleet(folder / f"{FLEET}.yaml")
    server.connect_airflow()
    server.create_role("city-fleet")
    ingest(fleet, server.client("s3"), cities=[CITY], create_bucket=True)
    (endpoint,) = (dag for dag in fleet_dags(folder) if dag.dag_id == f"{FLEET}._endpoint")
    run_dag(endpoint, Counts(server), BEFORE)
    (dag,) = (each for each in city_dags(folder, only=f"{FLEET}.{CITY}"))
    return dag


def run_city(server: StandIn) -> tuple[Any, Counts, dict[str, Any]]:
    """Run a city's DAG a second time, with a champion to compare with.

    :return: the DAG, the calls of that run, and the results of its tasks.
    """
    dag = prepare(server)
    # The first run uploads the scripts, once per version for all cities, and has no champion to compare with.
    run_dag(dag, Counts(server), BEFORE)
    counts = Counts(server)
    return dag, counts, run_dag(dag, counts, NOW)


def measure() -> dict[str, Any]:
    """Run the city, then the same with stock operators."""
    with running() as server:
        dag, ours, results = run_city(server)
        stock = _stock(dag, results, server)
    compared = {"preprocess", "train", "evaluate", "register"}
    same = sum(
        count
        for step in compared
        for operation, count in ours.calls[step].items()
        if operation.startswith("sagemaker:")
    )
    peer = stock.to_json()
    return {
        "ours": {**ours.to_json(), "calls_of_sagemaker_in_the_peer's_steps": same},
        "peer: stock operators": peer,
        "peer / ours, the peer's steps": round(peer["calls_of_sagemaker"] / same, 2),
    }


def run_dag(dag: Any, counts: Counts, moment: datetime) -> dict[str, Any]:
    """Run a DAG's tasks one after the other; return their results."""
    results: dict[str, Any] = {}
    for operator in dag.topological_sort():
        promoted = (results.get(plan.DECIDE) or {}).get("promote")
        if operator.task_id in (plan.GATE, plan.KEEP_CHAMPION if promoted else plan.PUBLISH):
            continue  # the gate chooses one of the two, and asks no person
        context = _context(dag.dag_id, moment, operator.task_id, results)
        results[operator.task_id] = counts.run(operator, context)
    return results


def _context(dag_id: str, moment: datetime, task_id: str, results: dict[str, Any]) -> dict[str, Any]:
    run_id = f"scheduled__{moment:%Y-%m-%d}"
    return {
        "ti": Task(dag_id, run_id, task_id, results),
        "dag_run": DagRun(run_id, moment),
        "outlet_events": OutletEventAccessors(),
        "params": {},
        "task_state_store": Store(),
    }


def _stock(dag: Any, results: dict[str, Any], server: StandIn) -> Counts:
    """Preprocess, train, evaluate and register with the provider's operators, as its documentation has them."""
    counts = Counts(server)
    options: dict[str, Any] = {"deferrable": True, "check_interval": POLL_SECONDS, "region_name": "us-east-1"}
    for step in plan.JOB_STEPS:
        ours = dag.get_task(step)
        context = _context(dag.dag_id, NOW, step, results)
        run = run_of(ours.plan, context)
        request = ours.build_request(run, CodeBundle.load(ours.plan.scripts), context, on_demand=False)
        _, config = named(request, ours.plan, run, step, attempt=99)
        kind = SageMakerTrainingOperator if step == plan.TRAIN else SageMakerProcessingOperator
        counts.run(kind(task_id=step, config=copy.deepcopy(config), **options), context)
    register = dag.get_task(plan.REGISTER)
    operator = SageMakerRegisterModelVersionOperator(
        task_id=plan.REGISTER,
        image_uri=register.image_uri,
        model_url=register.model_url,
        package_group_name=f"{register.plan.package_group}-stock",
        extras={key: value for key, value in register.extras.items() if key != "ClientToken"},
        region_name="us-east-1",
    )
    counts.run(operator, _context(dag.dag_id, NOW, plan.REGISTER, results))
    return counts
