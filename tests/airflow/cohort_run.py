"""Run the endpoint's DAG and a cohort's, all of it, in Airflow's own database.

Started by test_cohort_run.py as a process with an Airflow home of its own: Airflow reads its settings when it is
imported. Prints one line of JSON.
"""

from __future__ import annotations

import json
import os
from typing import Any

from airflow.assets.manager import asset_manager
from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models import dagrun
from airflow.models.asset import AssetModel
from airflow.models.dag import DagModel
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import select

from city_fleet.config.places import fleets_folder
from city_fleet.orchestration.city_dags import city_dags
from city_fleet.orchestration.fleet_dags import fleet_dags
from city_fleet.orchestration.task_links import PageLink
from tests.airflow.digest_run import sync


def run(dag: Any, **conf: Any) -> dict[str, Any]:
    """Run a DAG without retries; return the states of run and tasks, what mapped ones are called, and their results."""
    found = dag.test(run_conf=conf)
    with create_session() as session:
        tasks = select(TaskInstance).where(
            TaskInstance.dag_id == dag.dag_id, TaskInstance.run_id == found.run_id
        )
        instances = list(session.scalars(tasks))
        values = select(XComModel).where(XComModel.dag_id == dag.dag_id, XComModel.run_id == found.run_id)
        said = {f"{each.task_id}/{each.map_index}/{each.key}": each.value for each in session.scalars(values)}
    return {
        "run": str(found.state),
        "tasks": {f"{ti.task_id}/{ti.map_index}": str(ti.state) for ti in instances},
        "shown": {f"{ti.task_id}/{ti.map_index}": ti.rendered_map_index for ti in instances},
        "said": said,
        "pages": {
            f"{ti.task_id}/{ti.map_index}": PageLink().get_link(dag.get_task(ti.task_id), ti_key=ti.key)
            for ti in instances
        },
    }


def arrive(dag: Any, uri: str, as_of: str) -> dict[str, Any]:
    """Have an asset change, and run the run that Airflow's scheduler makes of it."""
    with create_session() as session:
        session.scalar(select(DagModel).where(DagModel.dag_id == dag.dag_id)).is_paused = False
        session.commit()
        asset = session.scalar(select(AssetModel).where(AssetModel.uri == uri))
        asset_manager.register_asset_change(asset=asset, extra={"as_of": as_of}, session=session)
        session.commit()
        models, _ = DagModel.dags_needing_dagruns(session)
        due = [each for each in models if each.dag_id == dag.dag_id]
        assert due, "an arrival of one city is reason enough"
        SchedulerJobRunner(Job(), executors=[])._create_dag_runs_asset_triggered(
            dag_models=due, session=session
        )
        made = session.scalars(
            select(dagrun.DagRun).where(
                dagrun.DagRun.dag_id == dag.dag_id, dagrun.DagRun.run_type == "asset_triggered"
            )
        ).one()
        key = made.id

    def that_run(*, dag: Any, session: Any, **_: Any) -> dagrun.DagRun:
        found: Any = session.get(dagrun.DagRun, key)
        found.dag, found.state = dag, "running"
        session.commit()
        return found

    dagrun.get_or_create_dagrun = that_run  # what DAG.test runs instead of one by hand
    return run(dag)


def main() -> None:
    sync()
    (endpoint,) = fleet_dags(fleets_folder(), only="texas_housing._endpoint")
    report = {"endpoint": run(endpoint)["run"]}
    (cohort,) = city_dags(fleets_folder(), only="texas_housing._cohort_001")
    report["night"] = run(cohort, as_of="2015-06-01")
    # Another object, for a run leaves its conf in the DAG's params.
    (cohort,) = city_dags(fleets_folder(), only="texas_housing._cohort_001")
    keys = cohort.task_dict["begin"].cohort.keys
    report["arrival"] = arrive(cohort, keys.raw_asset("waco"), "20150701T000000Z")
    print("REPORT " + json.dumps(report, default=str), flush=True)
    os._exit(0)  # Airflow's threads would keep the process for a while


if __name__ == "__main__":
    main()
