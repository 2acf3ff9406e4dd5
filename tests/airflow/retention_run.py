"""Fill a database with nights of one city, and clean it by a command line; started by test_retention.py.

A process with an Airflow home of its own: Airflow reads its settings when it is imported. Prints one line of JSON.

    python retention_run.py <arguments of airflow> ...
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.cli.cli_parser import get_parser
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
from airflow.models.dagrun import DagRun
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import func, inspect, select

DAG_ID = "texas_housing.austin"
#: Days since each night: the last one is the newest.
NIGHTS = (200, 150, 100, 20, 1)
NOW = datetime.now(UTC).replace(microsecond=0)


def nights(days: tuple[int, ...]) -> None:
    """Write a scheduled run of the city for each night, with its tasks and an XCom of each."""
    with create_session() as session:
        dag = SerializedDagModel.get_dag(DAG_ID, session=session)
        assert dag is not None
        for ago in days:
            moment = NOW - timedelta(days=ago)
            run = dag.create_dagrun(
                run_id=f"scheduled__{ago}",
                logical_date=moment,
                data_interval=(moment, moment),
                run_after=moment,
                run_type=DagRunType.SCHEDULED,
                triggered_by=DagRunTriggeredByType.TIMETABLE,
                state=DagRunState.SUCCESS,
                start_date=moment,
                session=session,
            )
            run.start_date = run.end_date = moment
            for instance in run.get_task_instances(session=session):
                instance.state = TaskInstanceState.SUCCESS
                instance.start_date = instance.end_date = moment
                XComModel.set(
                    "return_value",
                    {"job": "x"},
                    dag_id=DAG_ID,
                    task_id=instance.task_id,
                    run_id=run.run_id,
                    session=session,
                )


def left() -> dict[str, Any]:
    """What the database holds."""
    with create_session() as session:
        runs = session.scalars(
            select(DagRun.run_id).where(DagRun.dag_id == DAG_ID).order_by(DagRun.start_date)
        )
        counts = {
            model.__tablename__: session.scalar(select(func.count()).select_from(model))
            for model in (TaskInstance, XComModel, SerializedDagModel)
        }
        tables = inspect(session.get_bind()).get_table_names()
        return {"runs": list(runs), **counts, "archives": [name for name in tables if "deleted__" in name]}


def command(*arguments: str) -> str:
    """Run an airflow command in this process; return what it prints."""
    printed = io.StringIO()
    parsed = get_parser().parse_args(list(arguments))
    with contextlib.redirect_stdout(printed):
        parsed.func(parsed)
    return printed.getvalue()


def main() -> None:
    DagBundlesManager().sync_bundles_to_db()
    for bundle in DagBundlesManager().get_all_dag_bundles():
        bundle.initialize()
        bag = BundleDagBag(dag_folder=bundle.path, bundle_path=bundle.path, bundle_name=bundle.name)
        sync_bag_to_db(bag, bundle.name, bundle.version)
    nights(NIGHTS)
    arguments = sys.argv[1:]
    report: dict[str, Any] = {"before": left()}
    report["said"] = command(*arguments, "--dry-run")
    report["after dry run"] = left()
    command(*arguments)
    report["after"] = left()
    # The scheduler goes on: there is a newest run, and the next one can be made.
    nights((0,))
    report["then"] = left()
    print("REPORT " + json.dumps(report), flush=True)
    os._exit(0)  # Airflow's threads would keep the process for a while


if __name__ == "__main__":
    main()
