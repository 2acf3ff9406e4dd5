"""Run the reaper's DAG for real, in an Airflow home of its own: scheduler's database, execution API, jobs.

Started by test_reaper.py as a process, since Airflow reads its settings when it is imported. Prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
from airflow.models.dag import DagModel
from airflow.models.dagbag import DBDagBag
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import select, update

from city_fleet.config.places import fleets_folder
from city_fleet.jobs import reaper
from city_fleet.orchestration.fleet_dags import fleet_dags

DAG_ID = "texas_housing._reaper"
CITY_DAG_ID = "texas_housing.austin"


def sync() -> dict[str, bool]:
    """Write the DAGs to the database; return which of them are paused."""
    DagBundlesManager().sync_bundles_to_db()
    for bundle in DagBundlesManager().get_all_dag_bundles():
        bundle.initialize()
        bag = BundleDagBag(dag_folder=bundle.path, bundle_path=bundle.path, bundle_name=bundle.name)
        assert not bag.import_errors, bag.import_errors
        sync_bag_to_db(bag, bundle.name, bundle.version)
    with create_session() as session:
        return {dag.dag_id: dag.is_paused for dag in session.scalars(select(DagModel))}


def start_run(run_id: str, states: dict[str, str | None]) -> None:
    """Make a run of the city's DAG whose tasks have these states."""
    moment = datetime.now(UTC)
    with create_session() as session:
        dag: Any = DBDagBag().get_latest_version_of_dag(CITY_DAG_ID, session=session)
        run = dag.create_dagrun(
            run_id=run_id,
            run_after=moment,
            run_type=DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.TEST,
            state=DagRunState.RUNNING,
            session=session,
        )
        for task in run.get_task_instances(session=session):
            if task.task_id in states:
                task.state = states[task.task_id]


def reap(**conf: Any) -> tuple[str, Any]:
    """Run the reaper's DAG; return the run's state and the task's result."""
    (dag,) = fleet_dags(fleets_folder(), only=DAG_ID)
    fleet = dag.get_task("reap").fleet
    # The least that a fleet file may ask for is a minute; tests don't wait.
    at_once = fleet.reaper.model_copy(update={"grace_minutes": 0})
    dag.get_task("reap").retries = 0
    dag.get_task("reap").fleet = fleet.model_copy(update={"reaper": at_once})
    run = dag.test(run_conf=conf)
    with create_session() as session:
        query = XComModel.get_many(run_id=run.run_id, key="return_value", task_ids="reap", dag_ids=DAG_ID)
        found = session.scalars(query).first()
        return str(run.state), None if found is None else XComModel.deserialize_value(found)


def remember_for_long() -> None:
    """Make the database one that has known the fleet for years."""
    with create_session() as session:
        session.execute(
            update(XComModel)
            .where(XComModel.key == "note")
            .values(value={"since": "2000-01-01T00:00:00+00:00", "look": datetime.now(UTC).isoformat()})
        )


def main() -> None:
    states: dict[str, dict[str, str | None]] = json.loads(sys.argv[1])
    paused = sync()
    for run_id, of_run in states.items():
        start_run(run_id, of_run)
    reaper.SECOND_LOOK_AFTER = timedelta(seconds=1)
    report: dict[str, Any] = {"paused": paused, "new": reap(dry_run=True)}
    remember_for_long()
    report |= {"dry": reap(dry_run=True), "real": reap(), "again": reap()}
    print("REPORT " + json.dumps(report), flush=True)
    os._exit(0)  # Airflow's threads would keep the process for a while


if __name__ == "__main__":
    main()
