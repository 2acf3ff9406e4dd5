"""Plans become Airflow DAGs, one per city. The only module, beside that of the fleet-wide DAGs, that wires tasks."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from airflow.providers.amazon.aws.operators.sagemaker import SageMakerConditionOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, AssetOrTimeSchedule, BaseOperator, Param, TriggerRule

from city_fleet import clock, naming, plan
from city_fleet.config import Fleet
from city_fleet.config.parts import EVERY_CITY, Part
from city_fleet.config.usable_fleets import Fetch, no_fetch, usable_fleets
from city_fleet.errors import FleetFileError, display_path
from city_fleet.orchestration import assets
from city_fleet.orchestration.broken_dags import broken_dag, broken_file, built_or_broken, told
from city_fleet.orchestration.city_tasks import job_operators as jobs
from city_fleet.orchestration.city_tasks.approve_operator import ApproveOperator
from city_fleet.orchestration.city_tasks.decide_operator import DecideOperator
from city_fleet.orchestration.city_tasks.publish_operator import KeepChampionOperator, PublishOperator
from city_fleet.orchestration.city_tasks.record_operator import RecordOperator, keep_failure
from city_fleet.orchestration.city_tasks.register_operator import RegisterOperator
from city_fleet.orchestration.fleet_dags import SHORT_TASK_TIMEOUT, backing_off, instant
from city_fleet.orchestration.timetables import FleetTimetable
from city_fleet.outgoing_text import markdown, markdown_code, one_line
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


def city_dags(
    folder: Path, only: str | None = None, part: Part = EVERY_CITY, fetch: Fetch = no_fetch
) -> Iterator[DAG]:
    """Yield the DAG of the cities of every fleet file in a folder, in a fixed order.

    A city whose settings are wrong yields a DAG that fails with the mistakes, so that the others go on, and the UI says
    what is wrong. So does a city of which no DAG can be built, whatever the reason. The cities of a file that can't be
    used go on in its last good form; without one the file yields such a DAG.

    :param only: build just this DAG id, of whatever part (Airflow's parsing context while a task starts).
    :param part: build just these cities.
    :param fetch: asked for last good forms that this machine lacks.
    """
    if only is not None:
        part = Part(slug=only.partition(".")[2])
    for loaded in usable_fleets(folder, part, fetch=fetch):
        if isinstance(loaded, FleetFileError):
            dag = broken_file(loaded)
            if only == dag.dag_id or (only is None and part.index == 0):
                yield dag
            continue
        for slug in sorted({*loaded.cities, *loaded.broken}):
            dag_id = naming.city_dag_id(loaded.fleet, slug)
            if only not in (None, dag_id):
                continue
            if slug in loaded.broken:
                dag = broken_dag(dag_id, loaded.fleet, str(loaded.broken[slug]))
            else:
                dag = built_or_broken(partial(_city_dag, dag_id, loaded, slug), dag_id, loaded.fleet)
            yield told(dag, loaded, starts=only is not None)


def _city_dag(dag_id: str, of_fleet: Fleet, slug: str) -> DAG:
    city_plan = plan.plan_city(of_fleet, slug)
    fleet, city = city_plan.fleet, city_plan.city
    dag = DAG(
        dag_id=dag_id,
        description=f"Retrain {one_line(city.shown_name)}",
        doc_md=_city_doc(city_plan),
        schedule=_schedule(city_plan),
        start_date=instant(city.start_date),
        catchup=False,
        # Where a person is asked, tonight's run must not wait behind last night's question: it supersedes it.
        max_active_runs=2 if city.approval == "manual" else 1,
        tags=[
            naming.fleet_tag(fleet.fleet),
            naming.environment_tag(fleet.environment),
            f"city:{city.slug}",
            *city.tags,
        ],
        auto_register=False,  # else one whose tasks can't be built would be registered too
    )
    # Each operator is told what a DAG's default_args would tell it, and is added when it is there: within the DAG's
    # context each class of each operator copies the DAG's defaults and params, which took a third of the time.
    common: dict[str, Any] = {
        "owner": city.owner,
        "retries": city.retries,
        **backing_off(timedelta(seconds=city.retry_delay_seconds)),
        "on_failure_callback": keep_failure,
    }
    steps = plan.steps(city.approval)
    tasks = {step.task_id: _task(step.task_id, city_plan, common) for step in steps}
    for task in tasks.values():
        dag.add_task(task)
    for step in steps:
        for before in step.upstream:
            tasks[before] >> tasks[step.task_id]
    # A teardown runs whatever happened before, and leaves the run's state to publish and keep_champion; and to
    # recorded, which no worker runs and which fails with it: a run without its record is no success.
    tasks[plan.RECORD].as_teardown()
    # One by one: given to the DAG as a whole they would be validated for each city, which they need not. Copies:
    # Airflow writes a run's values into a DAG's params, and one city's force must not be another's.
    for name, param in _PARAMS.items():
        dag.params[name] = copy(param)
    return dag


def _schedule(city_plan: CityPlan) -> Any:
    """Return when a city's DAG runs: by its schedule, when its raw data change, both, or never by itself."""
    fleet, city = city_plan.fleet, city_plan.city
    timetable: Any = None
    if city.schedule is not None:
        timetable = FleetTimetable(city.schedule, city.end_date, city_plan.delay_seconds)
    if not fleet.events.assets:
        return timetable
    changed = [assets.raw_data(fleet.keys, city.slug)]
    return changed if timetable is None else AssetOrTimeSchedule(timetable=timetable, assets=changed)


#: Of each city's DAG. A run's tasks are given the DAG's params without inheriting them.
_PARAMS = {
    "as_of": Param(
        None,
        type=["null", "string"],
        # Whoever starts a run is told at once, by Airflow itself.
        pattern=f"^$|{clock.LOOKS_LIKE_AN_INSTANT}",
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
    "repeat": Param(
        False,
        type="boolean",
        title="Repeat",
        description="Start and pay new jobs, though the same have been paid for.",
        source="dag",
    ),
}


def _task(task_id: str, city_plan: CityPlan, common: dict[str, Any]) -> BaseOperator:
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
            **common,
        )
    if task_id == plan.APPROVE:
        # No execution_timeout: Airflow would take it for the time that the person has.
        return ApproveOperator(task_id=task_id, plan=city_plan, **common)
    if task_id == plan.RECORDED:
        return EmptyOperator(task_id=task_id, **common)
    if task_id in plan.JOB_STEPS:
        extra: dict[str, Any] = {"pool": city_plan.fleet.jobs_pool, "region_name": city_plan.fleet.region}
    else:
        extra = {"execution_timeout": SHORT_TASK_TIMEOUT}
        if task_id == plan.REGISTER:
            extra["region_name"] = city_plan.fleet.region
        if task_id == plan.PUBLISH and city_plan.fleet.events.assets:
            extra["outlets"] = [assets.live_alias(city_plan.fleet)]
        if task_id == plan.RECORD:
            # It costs nothing, and nothing else tells what came of the run.
            extra["retries"] = max(city_plan.city.retries, _RECORD_RETRIES)
        if task_id == plan.KEEP_CHAMPION and asks:
            # Behind both the gate and the person, of whom only one sends a run here.
            extra["trigger_rule"] = TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS
    return _OPERATORS[task_id](task_id=task_id, plan=city_plan, **{**common, **extra})


def _city_doc(city_plan: CityPlan) -> str:
    """Return what the city's DAG is about, as Markdown.

    No settings: every DAG's text is stored anew at every look, and what the environment has given is not for everybody.
    """
    slug, fleet = city_plan.city.slug, city_plan.fleet
    plan_command = f"./fleet plan {slug} --fleet {fleet.fleet}"
    return (
        f"**{markdown(city_plan.city.shown_name)}**: retrains its model from the data known by the run's `as_of` and, "
        "if the gate promotes it, publishes it to the fleet's shared endpoint.\n\n"
        f"Endpoint, package group and all that a run reads and writes: `{plan_command}`  \n"
        f"Settings: {markdown_code(display_path(fleet.path))}; `{plan_command} --requests` shows what "
        "becomes of them.\n"
    )
