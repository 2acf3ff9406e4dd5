"""Plans become Airflow DAGs. The only module that wires tasks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerConditionOperator
from airflow.sdk import DAG, BaseOperator, Param
from airflow.sdk.exceptions import AirflowFailException

from city_fleet import digest_operators as digests
from city_fleet import endpoint_operators as endpoint
from city_fleet import failure_notes, naming, plan
from city_fleet import operators as jobs
from city_fleet import publish_operators as publishing
from city_fleet.config import Fleet, load_fleets
from city_fleet.errors import CityFleetError, FleetFileError
from city_fleet.plan import CityPlan
from city_fleet.reaper_operator import REAP, ReapOperator
from city_fleet.retire_dag import retire_dag
from city_fleet.timetables import FleetTimetable

# Tasks that only read and write a few small objects; more than this is a hang.
_SHORT_TASK_TIMEOUT = timedelta(minutes=15)
# Two looks of the reaper, the time between them, and a retry.
_REAPER_RUN_TIMEOUT = timedelta(hours=1)
# The reaper looks at what is there now, whatever days the fleet's schedule is about.
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
# libyaml's dumper takes a fifth of the time, and every parse writes every city's settings.
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_OPERATORS: dict[str, type[BaseOperator]] = {
    plan.PREPROCESS: jobs.PreprocessOperator,
    plan.TRAIN: jobs.TrainOperator,
    plan.EVALUATE: jobs.EvaluateOperator,
    plan.DECIDE: publishing.DecideOperator,
    plan.REGISTER: publishing.RegisterOperator,
    plan.PUBLISH: publishing.PublishOperator,
    plan.KEEP_CHAMPION: publishing.KeepChampionOperator,
    plan.RECORD: publishing.RecordOperator,
}


def fleets_folder() -> Path:
    """Return the folder of the fleet files: ``CITY_FLEET_FLEETS``, or the project's own."""
    return plan.project_path(os.environ.get("CITY_FLEET_FLEETS", "include/fleets"))


def city_dags(folder: Path, only: str | None = None) -> Iterator[DAG]:
    """Yield the DAG of every city of every fleet file in a folder, in a fixed order.

    A city whose settings are wrong, or a whole fleet file, yields a DAG that fails with the mistakes, so that the
    others go on and nobody has to read a log to find out.

    :param only: build just this DAG id (Airflow's parsing context while a task starts).
    """
    for loaded in load_fleets(folder):
        if isinstance(loaded, FleetFileError):
            name = naming.slug(Path(loaded.file).stem)
            yield from _wanted(naming.fleet_dag_id(name, "fleet_file"), only, _broken_dag, name, loaded)
            continue
        for slug in sorted({*loaded.cities, *loaded.broken}):
            dag_id = naming.city_dag_id(loaded.fleet, slug)
            if slug in loaded.broken:
                yield from _wanted(dag_id, only, _broken_dag, loaded.fleet, loaded.broken[slug])
            else:
                yield from _wanted(dag_id, only, _city_dag, plan.plan_city(loaded, slug))


def fleet_dags(folder: Path, only: str | None = None) -> Iterator[DAG]:
    """Yield the fleet-wide DAGs of every fleet file in a folder."""
    for loaded in load_fleets(folder):
        if isinstance(loaded, Fleet):
            for purpose, build in (
                (plan.ENDPOINT_PURPOSE, _endpoint_dag),
                (plan.REAPER_PURPOSE, _reaper_dag),
                (plan.DIGEST_PURPOSE, _digest_dag),
                (plan.RETIRE_PURPOSE, retire_dag),
            ):
                yield from _wanted(naming.fleet_dag_id(loaded.fleet, purpose), only, build, loaded)


def _wanted(dag_id: str, only: str | None, build: Any, *arguments: Any) -> Iterator[DAG]:
    if only is None or only == dag_id:
        yield build(dag_id, *arguments)


def _city_dag(dag_id: str, city_plan: CityPlan) -> DAG:
    fleet, city = city_plan.fleet, city_plan.city
    with DAG(
        dag_id=dag_id,
        description=f"Retrain {city.name}",
        doc_md=_city_doc(city_plan),
        schedule=None
        if city.schedule is None
        else FleetTimetable(city.schedule, city.end_date, city_plan.delay_seconds),
        start_date=_instant(city.start_date),
        catchup=False,
        max_active_runs=1,
        tags=[f"fleet:{fleet.fleet}", f"city:{city.slug}", *city.tags],
        params={
            "as_of": Param(
                None,
                type=["null", "string"],
                title="As of",
                description="The run sees only data known by this moment (2014-01-01). Empty: the logical date.",
            ),
            "force": Param(
                False,
                type="boolean",
                title="Force",
                description="Publish despite gate, order of as_of and pin.",
            ),
        },
        default_args={
            "owner": city.owner,
            "retries": city.retries,
            "retry_delay": timedelta(seconds=city.retry_delay_seconds),
            "on_failure_callback": failure_notes.keep,
        },
    ) as dag:
        tasks = {step.task_id: _task(step.task_id, city_plan) for step in plan.STEPS}
        for step in plan.STEPS:
            for before in step.upstream:
                tasks[before] >> tasks[step.task_id]
        # A teardown runs whatever happened before, and leaves the run's state to publish and keep_champion.
        tasks[plan.RECORD].as_teardown()
    return dag


def _task(task_id: str, city_plan: CityPlan) -> BaseOperator:
    if task_id == plan.GATE:
        return SageMakerConditionOperator(
            task_id=task_id,
            conditions=[
                {
                    "type": "Equals",
                    "left_value": f"{{{{ ti.xcom_pull(task_ids='{plan.DECIDE}')['promote'] }}}}",
                    "right_value": True,
                }
            ],
            if_task_ids=plan.PUBLISH,
            else_task_ids=plan.KEEP_CHAMPION,
            execution_timeout=_SHORT_TASK_TIMEOUT,
        )
    if task_id in plan.JOB_STEPS:
        extra: dict[str, Any] = {"pool": city_plan.fleet.pools.jobs, "region_name": city_plan.fleet.region}
    else:
        extra = {"execution_timeout": _SHORT_TASK_TIMEOUT}
        if task_id == plan.REGISTER:
            extra["region_name"] = city_plan.fleet.region
    return _OPERATORS[task_id](task_id=task_id, plan=city_plan, **extra)


def _endpoint_dag(dag_id: str, fleet: Fleet) -> DAG:
    with DAG(
        dag_id=dag_id,
        description=f"Create or update the shared endpoint of {fleet.fleet}",
        doc_md=(
            f"Brings the multi-model endpoint `{plan.endpoint_name(fleet)}` to the state the fleet file describes.\n\n"
            "Run it once when a fleet starts and after a change of the endpoint's settings, image or `inference.py`. "
            "Publishing a model never needs it. Running it twice changes nothing."
        ),
        schedule=None,
        start_date=_instant(fleet.start_date),
        catchup=False,
        max_active_runs=1,
        tags=[f"fleet:{fleet.fleet}", "endpoint", *fleet.tags],
        default_args={
            "owner": fleet.owner,
            "retries": 2,
            "retry_delay": timedelta(seconds=30),
            "region_name": fleet.region,
        },
    ) as dag:
        model = endpoint.SharedModelOperator(
            task_id=endpoint.MODEL, fleet=fleet, execution_timeout=_SHORT_TASK_TIMEOUT
        )
        config = endpoint.SharedEndpointConfigOperator(
            task_id=endpoint.ENDPOINT_CONFIG, fleet=fleet, execution_timeout=_SHORT_TASK_TIMEOUT
        )
        model >> config >> endpoint.SharedEndpointOperator(task_id=endpoint.ENDPOINT, fleet=fleet)
    return dag


def _reaper_dag(dag_id: str, fleet: Fleet) -> DAG:
    with DAG(
        dag_id=dag_id,
        description=f"Stop jobs of {fleet.fleet} that no task waits for any more",
        doc_md=(
            f"Looks for SageMaker jobs of fleet `{fleet.fleet}` and environment `{fleet.environment}` that have been "
            f"in progress for {fleet.reaper.grace_minutes} minutes or more, and stops those whose task instance "
            "waits for them no longer: it has ended, was deleted, waits for a newer job, or was cleared and is not "
            "scheduled. The task log says which and why.\n\n"
            "A job is ours by its tags. Two installations of Airflow that share an AWS account and region therefore "
            "need different values of `environment`: each would take the other's jobs for its own orphans.\n\n"
            "Run it with `dry_run` to see what it would stop. It is the one DAG that starts unpaused."
        ),
        schedule=None if fleet.reaper.schedule is None else FleetTimetable(fleet.reaper.schedule),
        start_date=_LONG_AGO,
        catchup=False,
        max_active_runs=1,
        dagrun_timeout=_REAPER_RUN_TIMEOUT,
        # A safety net that somebody has to switch on is none.
        is_paused_upon_creation=False,
        tags=[f"fleet:{fleet.fleet}", "reaper", *fleet.tags],
        params={
            "dry_run": Param(
                False,
                type="boolean",
                title="Dry run",
                description="Say what would be stopped, and stop nothing.",
            )
        },
        default_args={"owner": fleet.owner, "retries": 1, "retry_delay": timedelta(minutes=1)},
    ) as dag:
        ReapOperator(task_id=REAP, fleet=fleet, execution_timeout=_SHORT_TASK_TIMEOUT)
    return dag


def _digest_dag(dag_id: str, fleet: Fleet) -> DAG:
    with DAG(
        dag_id=dag_id,
        description=f"One message per night about {fleet.fleet}",
        doc_md=(
            "Says what the night's runs came to: live, held and failed by cause, what waits for approval, and who is "
            "served by an old model. The message stands in the log of `compose` and goes out by the notifiers of the "
            f"fleet file. `./fleet digest --fleet {fleet.fleet}` shows the same.\n\n"
            "Run it with `night` for an earlier night. A night without any run or tick sends nothing."
        ),
        schedule=None if fleet.digest.schedule is None else FleetTimetable(fleet.digest.schedule),
        start_date=_LONG_AGO,
        catchup=False,
        max_active_runs=1,
        tags=[f"fleet:{fleet.fleet}", "digest", *fleet.tags],
        params={
            "night": Param(
                None,
                type=["null", "string"],
                title="Night",
                description="A moment of the night (2014-01-01), as the as_of of its runs. Empty: the last one.",
            )
        },
        default_args={"owner": fleet.owner, "retries": 2, "retry_delay": timedelta(minutes=2)},
    ) as dag:
        compose = digests.ComposeOperator(
            task_id=digests.COMPOSE, fleet=fleet, execution_timeout=_SHORT_TASK_TIMEOUT
        )
        for number, each in enumerate(fleet.digest.notifiers, start=1):
            compose >> digests.NotifyOperator(
                task_id=f"{digests.NOTIFY}_{number}",
                notifier=each.notifier,
                arguments=each.arguments,
                execution_timeout=_SHORT_TASK_TIMEOUT,
            )
    return dag


class FleetFileMistake(BaseOperator):
    """Fail with what is wrong in a fleet file."""

    def __init__(self, *, message: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.message = message

    def execute(self, context: Any) -> None:
        raise AirflowFailException(self.message)


def _broken_dag(dag_id: str, fleet: str, error: CityFleetError) -> DAG:
    with DAG(
        dag_id=dag_id,
        description="The fleet file has a mistake",
        doc_md=f"The fleet file has a mistake. `./fleet lint` shows it too.\n\n```\n{error}\n```",
        schedule=None,
        tags=[f"fleet:{fleet}", "broken"],
        default_args={"owner": "data-engineering", "retries": 0},
    ) as dag:
        FleetFileMistake(
            task_id="fleet_file_mistake", message=str(error), execution_timeout=_SHORT_TASK_TIMEOUT
        )
    return dag


def _instant(day: Any) -> datetime | None:
    return None if day is None else naming.parse_as_of(day.isoformat())


def _city_doc(city_plan: CityPlan) -> str:
    """Return the city's settings as they are after merging defaults and overrides, as Markdown."""
    settings = city_plan.city.model_dump(mode="json", exclude={"slug", "name"})
    text = yaml.dump(settings, Dumper=_DUMPER, sort_keys=False, allow_unicode=True, width=100)
    return (
        f"**{city_plan.city.name}**: retrains its model from the data known by the run's `as_of` and, if the gate "
        f"promotes it, publishes it to the shared endpoint `{city_plan.endpoint}`.\n\n"
        f"Live pointer: `{city_plan.keys.uri(city_plan.keys.live(city_plan.city.slug))}`  \n"
        f"Model package group: `{city_plan.package_group}`\n\nSettings:\n\n```yaml\n{text}```\n"
    )
