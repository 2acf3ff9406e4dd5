"""The fleet-wide DAG that deletes what nothing needs any more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, Param

from city_fleet.config import Fleet
from city_fleet.retiring.retire_operator import RETIRE, TIME_LIMIT_SECONDS, RetireOperator
from city_fleet.timetables import FleetTimetable

# What is there now is looked at, whatever days the fleet's schedule is about.
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
# A pass ends by itself at its time limit; it then has to wait for the cities that are under way.
_MARGIN = timedelta(hours=1)


def retire_dag(dag_id: str, fleet: Fleet) -> DAG:
    """Return the DAG that deletes what nothing needs any more."""
    rule = fleet.retire
    with DAG(
        dag_id=dag_id,
        description=f"Delete models, runs and versions of {fleet.fleet} that nothing needs any more",
        doc_md=(
            f"Keeps of each city of fleet `{fleet.fleet}` the model that serves, {rule.keep_predecessors} that a "
            f"rollback could return to, the newest {rule.keep_newest}, whatever waits for approval, and all that "
            f"served within {rule.grace_days} days. The rest is marked, and deleted by a later pass when nothing has "
            f"needed it for {rule.grace_days} days: its artifact below `models/`, the folder of its run, and "
            + (
                "its version in the registry. "
                if rule.delete_packages
                else "not its version in the registry. "
            )
            + "Raw data, run records and the history are never touched.\n\n"
            f"Run it with `dry_run`, or `./fleet retire --dry-run --fleet {fleet.fleet}`, to see what it would do. It "
            "is paused until somebody switches it on."
        ),
        schedule=None if rule.schedule is None else FleetTimetable(rule.schedule),
        start_date=_LONG_AGO,
        catchup=False,
        max_active_runs=1,
        tags=[f"fleet:{fleet.fleet}", "retire", *fleet.tags],
        params={
            "dry_run": Param(
                False,
                type="boolean",
                title="Dry run",
                description="Say what would be marked and deleted, and change nothing.",
            )
        },
        default_args={"owner": fleet.owner, "retries": 1, "retry_delay": timedelta(minutes=5)},
    ) as dag:
        limit = timedelta(seconds=TIME_LIMIT_SECONDS) + _MARGIN
        RetireOperator(task_id=RETIRE, fleet=fleet, execution_timeout=limit)
    return dag
