"""Plans become Airflow DAGs, one per city. The only module, beside that of the fleet-wide DAGs, that wires tasks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from airflow.providers.amazon.aws.operators.sagemaker import SageMakerConditionOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, BaseOperator, Param, TriggerRule
from airflow.sdk.definitions.param import ParamsDict

from city_fleet import naming, plan
from city_fleet.config import Fleet, load_fleets
from city_fleet.errors import FleetFileError, display_path
from city_fleet.orchestration.broken_dags import broken_dag, broken_file, built_or_broken
from city_fleet.orchestration.city_tasks import job_operators as jobs
from city_fleet.orchestration.city_tasks.approve_operator import ApproveOperator
from city_fleet.orchestration.city_tasks.decide_operator import DecideOperator
from city_fleet.orchestration.city_tasks.publish_operator import KeepChampionOperator, PublishOperator
from city_fleet.orchestration.city_tasks.record_operator import RecordOperator, keep_failure
from city_fleet.orchestration.city_tasks.register_operator import RegisterOperator
from city_fleet.orchestration.fleet_dags import SHORT_TASK_TIMEOUT, backing_off, instant
from city_fleet.orchestration.timetables import FleetTimetable
from city_fleet.plan import CityPlan

# With its pauses about three hours, beside what the task waits out by itself.
_RECORD_RETRIES = 8

_OPERATORS: dict[str, type[BaseOperator]] = {
    plan.PREPROCESS: jobs.PreprocessOperator,
    plan.TRAIN: jobs.TrainOperator,
    plan.EVALUATE: jobs.EvaluateOperator,
    plan.DECIDE: DecideOperator,
    plan.REGISTER: RegisterOperator,
    plan.PUBLISH: PublishOperator,
    plan.KEEP_CHAMPION: KeepChampionOperator,
    plan.RECORD: RecordOperator,
}


def city_dags(folder: Path, only: str | None = None) -> Iterator[DAG]:
    """Yield the DAG of every city of every fleet file in a folder, in a fixed order.

    A city whose settings are wrong, or a whole fleet file, yields a DAG that fails with the mistakes, so that the
    others go on, and the UI says what is wrong. So does a city of which no DAG can be built, whatever the reason.

    :param only: build just this DAG id (Airflow's parsing context while a task starts).
    """
    for loaded in load_fleets(folder):
        if isinstance(loaded, FleetFileError):
            dag = broken_file(loaded)
            if only in (None, dag.dag_id):
                yield dag
            continue
        for slug in sorted({*loaded.cities, *loaded.broken}):
            dag_id = naming.city_dag_id(loaded.fleet, slug)
            if only not in (None, dag_id):
                continue
            if slug in loaded.broken:
                yield broken_dag(dag_id, loaded.fleet, str(loaded.broken[slug]))
            else:
                yield built_or_broken(partial(_city_dag, dag_id, loaded, slug), dag_id, loaded.fleet)


def _city_dag(dag_id: str, of_fleet: Fleet, slug: str) -> DAG:
    city_plan = plan.plan_city(of_fleet, slug)
    fleet, city = city_plan.fleet, city_plan.city
    with DAG(
        dag_id=dag_id,
        description=f"Retrain {city.name}",
        doc_md=_city_doc(city_plan),
        schedule=None
        if city.schedule is None
        else FleetTimetable(city.schedule, city.end_date, city_plan.delay_seconds),
        start_date=instant(city.start_date),
        catchup=False,
        # Where a person is asked, tonight's run must not wait behind last night's question: it supersedes it.
        max_active_runs=2 if city.approval == "manual" else 1,
        tags=[f"fleet:{fleet.fleet}", f"city:{city.slug}", *city.tags],
        default_args={
            "owner": city.owner,
            "retries": city.retries,
            **backing_off(timedelta(seconds=city.retry_delay_seconds)),
            "on_failure_callback": keep_failure,
        },
        auto_register=False,  # else one whose tasks can't be built would be registered too
    ) as dag:
        steps = plan.steps(city.approval)
        tasks = {step.task_id: _task(step.task_id, city_plan) for step in steps}
        for step in steps:
            for before in step.upstream:
                tasks[before] >> tasks[step.task_id]
        # A teardown runs whatever happened before, and leaves the run's state to publish and keep_champion; and to
        # recorded, which no worker runs and which fails with it: a run without its record is no success.
        tasks[plan.RECORD].as_teardown()
    # Not before its tasks are there: each would inherit a copy, and serialising those took longer than all the rest. A
    # run's tasks are given the DAG's params whether they have inherited them or not.
    dag.params = _params()
    return dag


def _params() -> ParamsDict:
    return ParamsDict({
        "as_of": Param(
            None,
            type=["null", "string"],
            title="As of",
            description="The run sees only data known by this moment (2014-01-01). Empty: the logical date.",
            source="dag",
        ),
        "force": Param(
            False,
            type="boolean",
            title="Force",
            description="Publish despite gate, order of as_of and pin.",
            source="dag",
        ),
    })  # fmt: skip


def _task(task_id: str, city_plan: CityPlan) -> BaseOperator:
    asks = city_plan.city.approval == "manual"
    if task_id == plan.GATE:
        return SageMakerConditionOperator(
            task_id=task_id,
            conditions=[
                {
                    "type": "Equals",
                    "left_value": f"{{{{ ti.xcom_pull(task_ids='{plan.REGISTER}')['proceed'] }}}}",
                    "right_value": True,
                }
            ],
            if_task_ids=plan.APPROVE if asks else plan.PUBLISH,
            else_task_ids=plan.KEEP_CHAMPION,
            execution_timeout=SHORT_TASK_TIMEOUT,
        )
    if task_id == plan.APPROVE:
        # No execution_timeout: Airflow would take it for the time that the person has.
        return ApproveOperator(task_id=task_id, plan=city_plan)
    if task_id == plan.RECORDED:
        return EmptyOperator(task_id=task_id)
    if task_id in plan.JOB_STEPS:
        extra: dict[str, Any] = {"pool": city_plan.fleet.pools.jobs, "region_name": city_plan.fleet.region}
    else:
        extra = {"execution_timeout": SHORT_TASK_TIMEOUT}
        if task_id == plan.REGISTER:
            extra["region_name"] = city_plan.fleet.region
        if task_id == plan.RECORD:
            # It costs nothing, and nothing else tells what came of the run.
            extra["retries"] = max(city_plan.city.retries, _RECORD_RETRIES)
        if task_id == plan.KEEP_CHAMPION and asks:
            # Behind both the gate and the person, of whom only one sends a run here.
            extra["trigger_rule"] = TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS
    return _OPERATORS[task_id](task_id=task_id, plan=city_plan, **extra)


def _city_doc(city_plan: CityPlan) -> str:
    """Return what the city's DAG is about, as Markdown. No settings: every DAG's text is stored anew at every look."""
    slug, fleet = city_plan.city.slug, city_plan.fleet
    return (
        f"**{city_plan.city.name}**: retrains its model from the data known by the run's `as_of` and, if the gate "
        f"promotes it, publishes it to the shared endpoint `{city_plan.endpoint}`.\n\n"
        f"Live pointer: `{city_plan.keys.uri(city_plan.keys.live(slug))}`  \n"
        f"Model package group: `{city_plan.package_group}`  \n"
        f"Settings: `{display_path(fleet.path)}`; `./fleet plan {slug} --fleet {fleet.fleet} --requests` shows what "
        "becomes of them.\n"
    )
