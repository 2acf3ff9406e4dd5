"""Cohorts become Airflow DAGs: one job for many cities, then a task for each of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, AssetAny, AssetOrTimeSchedule, Param

from city_fleet import naming
from city_fleet.config import Fleet
from city_fleet.errors import display_path
from city_fleet.jobs.cohort_plan import BEGIN, CITY, RECORD_COHORT, TRAIN_COHORT, CohortPlan, plan_cohort
from city_fleet.orchestration import assets
from city_fleet.orchestration.broken_dags import built_or_broken, told
from city_fleet.orchestration.cohort_tasks.cohort_begin_operator import BeginCohortOperator
from city_fleet.orchestration.cohort_tasks.cohort_city_operator import CohortCityOperator
from city_fleet.orchestration.cohort_tasks.cohort_record_operator import RecordCohortOperator
from city_fleet.orchestration.cohort_tasks.cohort_train_operator import TrainCohortOperator
from city_fleet.orchestration.dag_parts import (
    RECORD_RETRIES,
    add_params,
    common_arguments,
    timetable_of,
    when,
)
from city_fleet.orchestration.fleet_dags import SHORT_TASK_TIMEOUT, instant
from city_fleet.orchestration.run_context import CITIES
from city_fleet.outgoing_text import markdown_code
from city_fleet.plan import RECORDED

_NAMED = 12


def cohort_dags(fleet: Fleet, only: str | None = None) -> Iterator[DAG]:
    """Yield the DAG of each cohort of which a fleet holds cities.

    :param only: build just this DAG id.
    """
    for name in sorted({cohort for slug in fleet.cities if (cohort := fleet.cohort_of(slug)) is not None}):
        dag_id = naming.cohort_dag_id(fleet.fleet, name)
        if only in (None, dag_id):
            dag = built_or_broken(partial(_cohort_dag, dag_id, fleet, name), dag_id, fleet.fleet)
            yield told(dag, fleet, starts=only is not None)


def _cohort_dag(dag_id: str, fleet: Fleet, name: str) -> DAG:
    cohort = plan_cohort(fleet, name)
    city = cohort.city
    dag = DAG(
        dag_id=dag_id,
        dag_display_name=f"{name.replace('_', ' ')} ({fleet.fleet})",
        description=f"Retrain {len(cohort.slugs)} cities by one job",
        doc_md=_doc(cohort),
        schedule=_schedule(cohort),
        start_date=instant(city.start_date),
        catchup=False,
        max_active_runs=1,
        tags=[
            naming.fleet_tag(fleet.fleet),
            naming.environment_tag(fleet.environment),
            "cohort",
            *fleet.tags,
        ],
        auto_register=False,  # else one whose tasks can't be built would be registered too
    )
    common = {**common_arguments(city), "owner": fleet.owner}
    waits = {"pool": fleet.jobs_pool, "region_name": fleet.region}
    with dag:
        begin = BeginCohortOperator(
            task_id=BEGIN, cohort=cohort, execution_timeout=SHORT_TASK_TIMEOUT, **common
        )
        train = TrainCohortOperator(task_id=TRAIN_COHORT, plan=cohort, **waits, **common)
        moves: dict[str, Any] = {"outlets": [assets.live_alias(fleet)]} if fleet.events.assets else {}
        each = CohortCityOperator.partial(
            task_id=CITY,
            cohort=cohort,
            map_index_template="{{ task.shown }}",
            **waits,
            **moves,
            **common,
        ).expand(slug=begin.output)
        record = RecordCohortOperator(
            task_id=RECORD_COHORT,
            cohort=cohort,
            execution_timeout=SHORT_TASK_TIMEOUT,
            **{**common, "retries": max(city.retries, RECORD_RETRIES)},
        )
        recorded = EmptyOperator(task_id=RECORDED, **common)
        begin >> train >> each >> record >> recorded
        # A teardown runs whatever happened before, and leaves the run's state to the cities; and to recorded, which no
        # worker runs and which fails with it: a run without its records is no success.
        record.as_teardown()
    add_params(dag, **{CITIES: _cities_param(cohort)})
    return dag


def _cities_param(cohort: CohortPlan) -> Param:
    return Param(
        None,
        type=["null", "array", "string"],
        items={"type": "string"},
        title="Cities",
        description="The run is about these cities of the cohort alone, by slug or name; if empty, about all.",
        examples=list(cohort.slugs),
        source="dag",
    )


def _schedule(cohort: CohortPlan) -> Any:
    """Return when a cohort's DAG runs: by its cities' schedule, when raw data of one change, both, or by hand."""
    fleet = cohort.fleet
    by_clock = timetable_of(cohort.city, cohort.delay_seconds)
    if not fleet.events.assets:
        return by_clock
    changed = AssetAny(*(assets.raw_data(fleet.keys, slug) for slug in cohort.slugs))
    return changed if by_clock is None else AssetOrTimeSchedule(timetable=by_clock, assets=changed)


def _doc(cohort: CohortPlan) -> str:
    """Return what the cohort's DAG is about, as Markdown."""
    fleet, slugs = cohort.fleet, cohort.slugs
    more = f" and {len(slugs) - _NAMED} more" if len(slugs) > _NAMED else ""
    return (
        f"Trains the models of **{len(slugs)} cities** by one job, and publishes each that the gate lets: "
        f"{', '.join(map(markdown_code, slugs[:_NAMED]))}{more}.\n\n"
        f"- Runs {when(cohort.city, fleet)}\n"
        f"- One city: clear its task `{CITY}`, or start a run with the param `{CITIES}`\n"
        f"- Settings: {markdown_code(display_path(fleet.path))}; `./fleet plan {slugs[0]} --fleet {fleet.fleet}`\n"
    )
