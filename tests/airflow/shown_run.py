"""Runs of a city's DAG in Airflow's own database, ended by its scheduler's code, and what its API server shows.

Started by test_what_airflow_shows.py as a process, since Airflow reads its settings when it is imported. Prints one
line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from typing import Any

from airflow.api_fastapi.app import create_app
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
from airflow.models.dagbag import DBDagBag
from airflow.models.dagrun import DagRun
from airflow.models.xcom import XComModel
from airflow.sdk.bases.xcom import BaseXCom
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from fastapi.testclient import TestClient
from sqlalchemy import select

DAG_ID = "small.a"


def sync() -> None:
    """Write the DAGs to the database, as the DAG processor does."""
    DagBundlesManager().sync_bundles_to_db()
    for bundle in DagBundlesManager().get_all_dag_bundles():
        bundle.initialize()
        bag = BundleDagBag(dag_folder=bundle.path, bundle_path=bundle.path, bundle_name=bundle.name)
        assert not bag.import_errors, bag.import_errors
        sync_bag_to_db(bag, bundle.name, bundle.version)


def start(run_id: str, asked: dict[str, Any]) -> None:
    """Make a run whose tasks have said something.

    :param asked: ``note`` of a person, ``xcoms`` (task → key → value).
    """
    with create_session() as session:
        # As the scheduler reads DAGs: without links.
        dag: Any = DBDagBag(load_op_links=False).get_latest_version_of_dag(DAG_ID, session=session)
        run = dag.create_dagrun(
            run_id=run_id,
            run_after=datetime.now(UTC),
            run_type=DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.TEST,
            state=DagRunState.RUNNING,
            session=session,
        )
        if "note" in asked:
            run.note = (asked["note"], "ann")
        session.flush()
        say(run_id, asked["xcoms"], session)


def say(run_id: str, xcoms: dict[str, dict[str, Any]], session: Any) -> None:
    """Keep XComs as the execution API does."""
    for task_id, values in xcoms.items():
        for key, value in values.items():
            XComModel.set(
                key=key,
                value=BaseXCom.serialize_value(value),
                dag_id=DAG_ID,
                task_id=task_id,
                run_id=run_id,
                serialize=False,
                session=session,
            )


def run_of(run_id: str, session: Any) -> Any:
    found = session.scalar(select(DagRun).where(DagRun.dag_id == DAG_ID, DagRun.run_id == run_id))
    found.dag = DBDagBag(load_op_links=False).get_dag_for_run(found, session=session)
    return found


def end(run_id: str, failed: str | None) -> None:
    """Have the scheduler see that the run's tasks are over."""
    with create_session() as session:
        run = run_of(run_id, session)
        for task in run.get_task_instances(session=session):
            over = task.task_id in ("preprocess", "record", "recorded") or failed is None
            task.state = "failed" if task.task_id == failed else "success" if over else "upstream_failed"
            if task.task_id == "publish" and failed is None:
                task.state = "skipped"
        session.flush()
        run.update_state(session=session, execute_callbacks=False)


def clear(run_id: str) -> None:
    """Have the scheduler begin a run anew."""
    with create_session() as session:
        run = run_of(run_id, session)
        for task in run.get_task_instances(session=session):
            task.state = None
        run.set_state(DagRunState.RUNNING)
        run.notify_dagrun_state_changed(msg="started")


def main() -> None:
    asked: dict[str, Any] = json.loads(sys.argv[1])
    sync()
    report: dict[str, Any] = {}
    for run_id, of_run in asked.items():
        start(run_id, of_run)
        end(run_id, of_run.get("failed"))
    # The name of a user's token is checked; the rest of the login is none of these tests'.
    os.environ["AIRFLOW__API_AUTH__JWT_SECRET"] = "x" * 64
    app = create_app()
    token = SimpleAuthManager().generate_jwt(SimpleAuthManagerUser(username="ann", role="admin"))
    with TestClient(app, headers={"Authorization": f"Bearer {token}"}) as client:

        def get(path: str) -> Any:
            answer = client.get(path)
            assert answer.status_code == 200, (path, answer.status_code, answer.text)
            return answer.json()

        runs = f"/api/v2/dags/{DAG_ID}/dagRuns"
        tasks = sorted(each["task_id"] for each in get(f"/api/v2/dags/{DAG_ID}/tasks")["tasks"])
        report["links"] = {
            run_id: {
                task: get(f"{runs}/{run_id}/taskInstances/{task}/links")["extra_links"] for task in tasks
            }
            for run_id in asked
        }
        report["notes"] = {each["dag_run_id"]: each["note"] for each in get(runs)["dag_runs"]}
        report["states"] = {each["dag_run_id"]: each["state"] for each in get(runs)["dag_runs"]}
        report["marked"] = {each["run_id"]: each["has_note"] for each in get(f"/ui/grid/runs/{DAG_ID}")}
        shown = get("/api/v2/dags?dag_display_name_pattern=Alpha")["dags"]
        instances = {run: get(f"{runs}/{run}/taskInstances")["task_instances"] for run in asked}
        report["marked_tasks"] = {
            run: {each["task_id"]: each["note"] for each in found if each["note"]}
            for run, found in instances.items()
        }
        report["listed"] = [(each["dag_id"], each["dag_display_name"]) for each in shown]
        report["plugins"] = [each["operator_extra_links"] for each in get("/api/v2/plugins")["plugins"]]
        for run_id in asked:
            clear(run_id)
        report["cleared"] = {each["dag_run_id"]: each["note"] for each in get(runs)["dag_runs"]}
        report["marked_after"] = [
            each["task_id"]
            for run in asked
            for each in get(f"{runs}/{run}/taskInstances")["task_instances"]
            if each["note"]
        ]
        form = client.post(runs, json={"logical_date": None, "conf": {"as_of": "next tuesday"}})
        report["refused"] = (form.status_code, form.json()["detail"])
        form = client.post(runs, json={"logical_date": None, "conf": {"as_of": "2014-01-01", "force": None}})
        report["taken"] = form.status_code
    print("REPORT " + json.dumps(report), flush=True)
    os._exit(0)  # Airflow's threads would keep the process for a while


if __name__ == "__main__":
    main()
