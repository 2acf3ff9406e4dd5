"""Run a city's DAG that fails, and then the digest's DAG, in an Airflow home of its own.

Started by test_digest_dag.py as a process: Airflow reads its settings when it is imported. Prints one line of JSON.
"""

from __future__ import annotations

import json
import os
from typing import Any

from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
from airflow.models.taskinstance import TaskInstance
from airflow.utils.db import initdb
from airflow.utils.session import create_session
from sqlalchemy import select

from city_fleet.config.places import fleets_folder
from city_fleet.orchestration.city_dags import city_dags
from city_fleet.orchestration.fleet_dags import fleet_dags


def sync() -> None:
    """Write the DAGs to the database."""
    DagBundlesManager().sync_bundles_to_db()
    for bundle in DagBundlesManager().get_all_dag_bundles():
        bundle.initialize()
        bag = BundleDagBag(dag_folder=bundle.path, bundle_path=bundle.path, bundle_name=bundle.name)
        assert not bag.import_errors, bag.import_errors
        sync_bag_to_db(bag, bundle.name, bundle.version)


def run(dag: Any, **conf: Any) -> dict[str, Any]:
    """Run a DAG without retries; return the states of run and tasks."""
    for task in dag.tasks:
        task.retries = 0
    found = dag.test(run_conf=conf)
    with create_session() as session:
        query = select(TaskInstance).where(
            TaskInstance.dag_id == dag.dag_id, TaskInstance.run_id == found.run_id
        )
        states = {ti.task_id: str(ti.state) for ti in session.scalars(query)}
    return {"run": str(found.state), "run_id": found.run_id, "tasks": states}


def main() -> None:
    initdb()
    sync()
    (city,) = city_dags(fleets_folder(), only="texas_housing.austin")
    (digest,) = fleet_dags(fleets_folder(), only="texas_housing._digest")
    report = {
        "city": run(city, as_of="2014-01-01"),
        "digest": run(digest),
        "empty": run(digest, night="1999-01-01"),
    }
    print("REPORT " + json.dumps(report), flush=True)
    os._exit(0)  # Airflow's threads would keep the process for a while


if __name__ == "__main__":
    main()
