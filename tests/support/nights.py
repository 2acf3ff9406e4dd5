"""A city's nights with the real operators and real jobs, under an Airflow that can be thrown away.

Of Airflow there is only what a task asks of it. What the real one keeps in its database is in :class:`Database`: a
second one knows nothing of the first one's runs, as after a database that was lost.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferred
from airflow.sdk.execution_time.context import OutletEventAccessors

from city_fleet import plan
from city_fleet.config import Fleet, load_fleet
from city_fleet.data.ingest import ingest
from city_fleet.jobs import job_requests
from city_fleet.jobs.sagemaker_jobs import KINDS
from city_fleet.orchestration.city_dags import city_dags
from city_fleet.orchestration.fleet_dags import fleet_dags
from city_fleet.plan import CityPlan
from city_fleet.state import registry
from city_fleet.state.objects import ObjectStore
from tests.support.fleets import TEXAS
from tests.support.local_sagemaker import LocalSageMaker, running_server
from tests.support.paths import ROOT

FLEET = "texas_housing"
NIGHT = datetime(2014, 1, 1, tzinfo=UTC)
#: A job takes a second here; a fleet file can't ask for more than one look in a second.
POLL_SECONDS = 0.1


class Place(NamedTuple):
    """A task instance."""

    dag_id: str
    run_id: str
    task_id: str


@dataclass
class Database:
    """What an Airflow remembers.

    :param values: task instance and key → XCom.
    :param states: task instance → its state.
    :param stores: task instance → its state store.
    :param clears: task instance → by how much clears have raised its ``max_tries``.
    """

    values: dict[tuple[Place, str], Any] = field(default_factory=dict)
    states: dict[Place, str | None] = field(default_factory=dict)
    stores: dict[Place, dict[str, Any]] = field(default_factory=dict)
    clears: Counter[Place] = field(default_factory=Counter)


@dataclass
class NightTask:
    """What a task asks of Airflow about itself, the tasks before it and other runs."""

    database: Database
    place: Place
    map_index: int = -1
    try_number: int = 1

    @property
    def dag_id(self) -> str:
        return self.place.dag_id

    @property
    def run_id(self) -> str:
        return self.place.run_id

    @property
    def task_id(self) -> str:
        return self.place.task_id

    @property
    def max_tries(self) -> int:
        return 2 + self.database.clears[self.place]

    def xcom_pull(self, *, task_ids: str, key: str = "return_value") -> Any:
        return self.database.values.get((self.place._replace(task_id=task_ids), key))

    def xcom_push(self, *, key: str, value: Any) -> None:
        self.database.values[self.place, key] = json.loads(json.dumps(value))

    def get_task_states(
        self,
        *,
        dag_id: str,
        run_ids: list[str],
        task_ids: list[str] | None = None,
        map_index: int | None = None,
    ) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for place, state in self.database.states.items():
            asked = place.dag_id == dag_id and place.run_id in run_ids
            if asked and place.task_id in (task_ids or [place.task_id]):
                found.setdefault(place.run_id, {})[place.task_id] = state
        return found


@dataclass
class NightRun:
    run_id: str
    logical_date: datetime
    start_date: datetime = field(default_factory=lambda: datetime.now(UTC))
    triggering_user_name: str | None = "ann"
    run_type: str = "scheduled"
    conf: dict[str, Any] = field(default_factory=dict)


class Night:
    """One DAG run of a city.

    :param database: of the Airflow that runs it.
    :param params: the run's.
    """

    def __init__(
        self, database: Database, dag: Any, run_id: str, moment: datetime = NIGHT, **params: Any
    ) -> None:
        self.database, self.dag, self.run_id = database, dag, run_id
        self.dag_run = NightRun(run_id, moment)
        self.params = {"as_of": None, "force": False, "repeat": False, **params}
        self.waiting: dict[str, TaskDeferred] = {}
        self.before_create: Callable[[], None] = lambda: None
        for task_id in dag.task_ids:
            database.states.setdefault(self.place(task_id), None)

    def place(self, task_id: str) -> Place:
        return Place(self.dag.dag_id, self.run_id, task_id)

    def context(self, task_id: str) -> dict[str, Any]:
        ti = NightTask(self.database, self.place(task_id))
        return {
            "ti": ti,
            "task_instance": ti,
            "dag_run": self.dag_run,
            "outlet_events": OutletEventAccessors(),
            "params": self.params,
            "task_state_store": _Store(self.database.stores.setdefault(self.place(task_id), {})),
        }

    def operator(self, task_id: str) -> Any:
        """Return an operator as a new worker process has it."""
        operator = self.dag.get_task(task_id)
        if task_id not in plan.JOB_STEPS:
            return operator
        fresh: Any = type(operator)(task_id=task_id, plan=operator.plan, region_name=operator.region_name)
        create = fresh._create

        def late(name: str) -> Any:
            self.before_create()
            return create(name)

        fresh._create = late
        return fresh

    def change(self, **settings: Any) -> None:
        """Change settings of the city for this run, as an edit of the fleet file does; a dict changes a section."""
        for task_id in self.dag.task_ids:
            operator = self.dag.get_task(task_id)
            if hasattr(operator, "plan"):
                city = operator.plan.city
                update = {
                    name: getattr(city, name).model_copy(update=value) if isinstance(value, dict) else value
                    for name, value in settings.items()
                }
                operator.plan = replace(operator.plan, city=city.model_copy(update=update))

    def start(self, task_id: str) -> TaskDeferred | Any:
        """Run a task until it ends or waits."""
        return self._run(task_id, "execute")

    def finish(self, task_id: str) -> Any:
        """Run a task to its end, waits included."""
        result = self.start(task_id) if task_id not in self.waiting else self.waiting[task_id]
        while isinstance(result, TaskDeferred):
            event = asyncio.run(_first_event(result.trigger))
            result = self._run(task_id, result.method_name, event=event, **(result.kwargs or {}))
        return result

    def go(self, until: str | None = None) -> dict[str, Any] | None:
        """Run all tasks that have not ended, to the one that is named or to the end; return the record's result."""
        for operator in self.dag.topological_sort():
            task_id = operator.task_id
            promoted = (self.value(plan.REGISTER) or {}).get("proceed")
            if task_id in (plan.GATE, plan.KEEP_CHAMPION if promoted else plan.PUBLISH):
                continue  # the gate chooses one of the two, and asks no person
            if self.database.states[self.place(task_id)] != "success":
                self.finish(task_id)
            if task_id == until:
                return None
        return dict(self.value(plan.RECORD))

    def clear(self, *task_ids: str) -> None:
        """What a person's clear does to task instances."""
        for task_id in task_ids:
            self.database.clears[self.place(task_id)] += 3
            self._forget(task_id)

    def retry(self, task_id: str) -> None:
        """What an automatic retry begins with."""
        self._forget(task_id)

    def _forget(self, task_id: str) -> None:
        self.database.states[self.place(task_id)] = None
        self.waiting.pop(task_id, None)
        for place, key in list(self.database.values):
            if place == self.place(task_id):
                del self.database.values[place, key]

    def value(self, task_id: str, key: str = "return_value") -> Any:
        return self.database.values.get((self.place(task_id), key))

    def job(self, task_id: str) -> str:
        """Return the job that a task has started or taken up last."""
        return str(self.database.stores[self.place(task_id)]["job"]["name"])

    @property
    def key(self) -> str:
        return str(self.value(plan.PREPROCESS, "run")["key"])

    def _run(self, task_id: str, method: str, **arguments: Any) -> Any:
        place = self.place(task_id)
        self.database.states[place] = "running"
        self.waiting.pop(task_id, None)
        try:
            result = getattr(self.operator(task_id), method)(self.context(task_id), **arguments)
        except TaskDeferred as deferral:
            json.dumps(deferral.kwargs)  # what a deferral carries goes through the database
            self.database.states[place] = "deferred"
            self.waiting[task_id] = deferral
            return deferral
        except AirflowSkipException:
            self.database.states[place] = "skipped"
            raise
        except Exception:
            self.database.states[place] = "failed"
            raise
        self.database.states[place] = "success"
        self.context(task_id)["ti"].xcom_push(key="return_value", value=result)
        return result


class _Store:
    def __init__(self, kept: dict[str, Any]) -> None:
        self._kept = kept

    def get(self, key: str) -> Any:
        return self._kept.get(key)

    def set(self, key: str, value: Any) -> None:
        self._kept[key] = json.loads(json.dumps(value))


async def _first_event(trigger: Any) -> Any:
    if hasattr(trigger, "poll_seconds"):
        trigger.poll_seconds = POLL_SECONDS
    async for event in trigger.run():
        return event.payload
    raise AssertionError(f"{trigger!r} sent no event")


@dataclass
class Town:
    """A fleet file and a server that its cities' nights run on, an endpoint in service."""

    aws: LocalSageMaker
    fleets: Path
    fleet: Fleet

    def dag(self, city: str) -> Any:
        (dag,) = city_dags(self.fleets, only=f"{FLEET}.{city}")
        return dag

    def plan(self, city: str) -> CityPlan:
        return plan.plan_city(self.fleet, city)

    def night(
        self, database: Database, city: str, run_id: str, moment: datetime = NIGHT, **params: Any
    ) -> Night:
        return Night(database, self.dag(city), run_id, moment, **params)

    def jobs(self, city: str) -> dict[str, str]:
        """Return name → status of a city's jobs, by the tags of each."""
        client, found = self.aws.client("sagemaker"), {}
        for kind in KINDS.values():
            for page in client.get_paginator(kind.method("list")).paginate():
                for job in page[kind.summaries_key]:
                    listed = client.list_tags(ResourceArn=job[kind.arn_key])["Tags"]
                    tags = {tag["Key"]: tag["Value"] for tag in listed}
                    if city in (tags.get(job_requests.TAG_CITY), tags.get(job_requests.TAG_COHORT)):
                        found[job[kind.name_key]] = job[kind.status_key]
        return found

    def stop_all(self) -> None:
        """Stop the jobs that are in progress: they would keep others from starting."""
        client = self.aws.client("sagemaker")
        for kind in KINDS.values():
            for job in getattr(client, kind.method("list"))(StatusEquals="InProgress")[kind.summaries_key]:
                kind.stop(client, job[kind.name_key])

    def slow_scripts(self) -> str:
        """Return a folder of job scripts that take ten minutes."""
        folder = self.fleets / "slow"
        if not folder.exists():
            shutil.copytree(ROOT / "include" / "scripts", folder)
            for name in ("preprocess.py", "train.py"):
                (folder / name).write_text("import time\ntime.sleep(600)\n")
        return str(folder)

    def put_raw(self, city: str, name: str, body: bytes) -> None:
        key = self.fleet.keys.raw(city) + name
        self.aws.client("s3").put_object(Bucket=self.fleet.bucket, Key=key, Body=body)

    def raw(self, city: str) -> dict[str, bytes]:
        """Return name → content of a city's raw data."""
        s3, prefix = self.aws.client("s3"), self.fleet.keys.raw(city)
        listed = s3.list_objects_v2(Bucket=self.fleet.bucket, Prefix=prefix)["Contents"]
        return {
            item["Key"].removeprefix(prefix): s3.get_object(Bucket=self.fleet.bucket, Key=item["Key"])[
                "Body"
            ].read()
            for item in listed
        }

    def remove_raw(self, city: str, name: str) -> None:
        self.aws.client("s3").delete_object(Bucket=self.fleet.bucket, Key=self.fleet.keys.raw(city) + name)

    def pointer(self, city: str) -> bytes | None:
        """Return a city's live pointer as it stands in S3."""
        found = ObjectStore(self.aws.client("s3"), self.fleet.bucket).get(self.fleet.keys.live(city))
        return found.body if found else None

    def versions(self, city: str) -> list[registry.ModelPackageSummary]:
        return registry.versions(self.aws.client("sagemaker"), self.plan(city).package_group)

    def records(self, city: str) -> list[dict[str, Any]]:
        s3, keys = self.aws.client("s3"), self.fleet.keys
        listed = s3.list_objects_v2(Bucket=keys.bucket, Prefix=keys.city_records(city)).get("Contents", [])
        bodies = (s3.get_object(Bucket=keys.bucket, Key=item["Key"])["Body"].read() for item in listed)
        return [json.loads(body) for body in bodies]


@contextmanager
def town(folder: Path, *cities: str, edit: Callable[[str], str] = lambda text: text) -> Iterator[Town]:
    """Start a server with the Texas data of some cities, and create the shared endpoint.

    :param edit: changes the fleet file.
    """
    (folder / "aws").mkdir()
    with (
        running_server(folder / "aws", "--stop-grace-seconds", "1") as aws,
        pytest.MonkeyPatch.context() as patch,
    ):
        connection = {
            "conn_type": "aws",
            "login": "local",
            "password": "local",
            "extra": {"endpoint_url": aws.url, "region_name": "us-east-1"},
        }
        patch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
        patch.setenv("CITY_FLEET_WAITER_DELAY_SECONDS", "1")
        fleets = folder / "fleets"
        fleets.mkdir()
        (fleets / TEXAS.name).write_text(edit(TEXAS.read_text()))
        fleet = load_fleet(fleets / TEXAS.name)
        ingest(fleet, aws.client("s3"), cities=list(cities), create_bucket=True)
        (endpoint,) = (dag for dag in fleet_dags(fleets) if dag.dag_id == f"{FLEET}._endpoint")
        first = Night(Database(), endpoint, "manual__endpoint")
        for operator in endpoint.topological_sort():
            first.finish(operator.task_id)
        yield Town(aws, fleets, fleet)
