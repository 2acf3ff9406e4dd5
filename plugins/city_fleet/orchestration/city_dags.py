"""Plans become Airflow DAGs, one per city. Beside it, cohorts and fleets have modules that wire tasks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from airflow.providers.amazon.aws.operators.sagemaker import SageMakerConditionOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, AssetOrTimeSchedule, BaseOperator, TriggerRule

from city_fleet import naming, plan
from city_fleet.config import Fleet
from city_fleet.config.parts import EVERY_CITY, Part
from city_fleet.config.usable_fleets import Fetch, no_fetch, usable_fleets
from city_fleet.errors import FleetFileError, display_path
from city_fleet.orchestration import assets
from city_fleet.orchestration.broken_dags import broken_dag, broken_file, built_or_broken, told
from city_fleet.orchestration.city_tasks import job_operators as jobs
from city_fleet.orchestration.city_tasks.approve_operator import ApproveOperator
from city_fleet.orchestration.city_tasks.city_operator import copy_of
from city_fleet.orchestration.city_tasks.decide_operator import DecideOperator
from city_fleet.orchestration.city_tasks.publish_operator import KeepChampionOperator, PublishOperator
from city_fleet.orchestration.city_tasks.record_operator import RecordOperator
from city_fleet.orchestration.city_tasks.register_operator import RegisterOperator
from city_fleet.orchestration.cohort_dags import cohort_dags
from city_fleet.orchestration.dag_parts import (
    RECORD_RETRIES,
    add_params,
    common_arguments,
    timetable_of,
    when,
)
from city_fleet.orchestration.fleet_dags import SHORT_TASK_TIMEOUT, instant
from city_fleet.outgoing_text import markdown, one_line
from city_fleet.plan import CityPlan

#: One task of each kind, by all that tasks of one fleet differ in.
Patterns = dict[tuple[Any, ...], BaseOperator]

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
        yield from cohort_dags(loaded, only)
        built: Patterns = {}
        for slug in sorted({*loaded.cities, *loaded.broken}):
            if slug in loaded.cities and loaded.cohort_of(slug) is not None:
                continue
            dag_id = naming.city_dag_id(loaded.fleet, slug)
            if only not in (None, dag_id):
                continue
            if slug in loaded.broken:
                dag = broken_dag(dag_id, loaded.fleet, str(loaded.broken[slug]))
            else:
                dag = built_or_broken(partial(_city_dag, dag_id, loaded, slug, built), dag_id, loaded.fleet)
            yield told(dag, loaded, starts=only is not None)


def _city_dag(dag_id: str, of_fleet: Fleet, slug: str, built: Patterns) -> DAG:
    city_plan = plan.plan_city(of_fleet, slug)
    fleet, city = city_plan.fleet, city_plan.city
    dag = DAG(
        dag_id=dag_id,
        dag_display_name=one_line(f"{city.shown_name} ({fleet.fleet})"),
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
    common = common_arguments(city)
    steps = plan.steps(city.approval)
    tasks = {step.task_id: _copied(step.task_id, city_plan, common, built) for step in steps}
    for task in tasks.values():
        dag.add_task(task)
    for step in steps:
        for before in step.upstream:
            tasks[before] >> tasks[step.task_id]
    # A teardown runs whatever happened before, and leaves the run's state to publish and keep_champion; and to
    # recorded, which no worker runs and which fails with it: a run without its record is no success.
    tasks[plan.RECORD].as_teardown()
    add_params(dag)
    return dag


def _schedule(city_plan: CityPlan) -> Any:
    """Return when a city's DAG runs: by its schedule, when its raw data change, both, or never by itself."""
    fleet, city = city_plan.fleet, city_plan.city
    by_clock = timetable_of(city, city_plan.delay_seconds)
    if not fleet.events.assets:
        return by_clock
    changed = [assets.raw_data(fleet.keys, city.slug)]
    return changed if by_clock is None else AssetOrTimeSchedule(timetable=by_clock, assets=changed)


def _copied(task_id: str, city_plan: CityPlan, common: dict[str, Any], built: Patterns) -> BaseOperator:
    """Return a task like that of another city of the fleet, where one is built already that differs by its city alone.

    :param built: tasks of the fleet that stand in no DAG, to be copied; added to.
    """
    city = city_plan.city
    if task_id == plan.APPROVE:
        return _task(task_id, city_plan, common)  # its texts are about the city
    # All that a task takes from its city, beside the plan: see _task.
    alike = (task_id, city.owner, city.retries, city.retry_delay_seconds, city.approval)
    if alike not in built:
        built[alike] = _task(task_id, city_plan, common)
    return copy_of(built[alike], city_plan)


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
            extra["retries"] = max(city_plan.city.retries, RECORD_RETRIES)
        if task_id == plan.KEEP_CHAMPION and asks:
            # Behind both the gate and the person, of whom only one sends a run here.
            extra["trigger_rule"] = TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS
    return _OPERATORS[task_id](task_id=task_id, plan=city_plan, **{**common, **extra})


def _city_doc(city_plan: CityPlan) -> str:
    """Return what the city's DAG is about, as Markdown: a sentence, and a line each for when, what next and where.

    No settings: every DAG's text is stored anew at every look, and what the environment has given is not for everybody.
    """
    fleet, city = city_plan.fleet, city_plan.city
    of = f"{city.slug} --fleet {fleet.fleet}"
    # Bold, no code: the grey behind a line of code covers the lower edge of the line above it, underscores and all.
    status, plan_of_run = (
        markdown(f"./fleet {command}") for command in (f"status {of}", f"plan {of} --requests")
    )
    return (
        f"Trains the model of **{markdown(city.shown_name)}**, and publishes it if the gate lets it.\n\n"
        f"- Runs {when(city, fleet)}\n"
        f"- What serves: **{status}**\n"
        f"- Settings: {markdown(display_path(fleet.path))}; **{plan_of_run}**\n"
    )
