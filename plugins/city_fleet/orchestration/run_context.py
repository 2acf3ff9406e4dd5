"""What a task of a city's DAG reads from Airflow: its run, and the results before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from city_fleet import naming
from city_fleet.errors import OldLayout
from city_fleet.plan import CityPlan, Run
from city_fleet.state import old_layout
from city_fleet.state.author import Author

if TYPE_CHECKING:
    from airflow.sdk import Context
    from types_boto3_s3 import S3Client


def run_of(plan: CityPlan, context: Context) -> Run:
    """Return the run a task belongs to. as_of is the run's param, else its logical date, else its run_after.

    :raises AirflowFailException: as_of is not an instant, or lies in the future.
    """
    dag_run = context["dag_run"]
    text = context["params"].get("as_of")
    try:
        moment = naming.parse_as_of(text) if text else dag_run.logical_date or dag_run.run_after
        return plan.run(dag_run.run_id, moment, force=bool(context["params"].get("force")))
    except ValueError as error:
        raise AirflowFailException(str(error)) from error


def refuse_old_layout(s3: S3Client, keys: naming.Keys) -> None:
    """Refuse to write while something of the layout of before awaits being moved; no retry helps.

    :raises AirflowFailException: with the command that moves it.
    """
    try:
        old_layout.refuse(s3, keys)
    except OldLayout as error:
        raise AirflowFailException(str(error)) from error


def name_of(plan: CityPlan, context: Context) -> str:
    """Return ``<dag id>/<run id>``: how a run signs what it decides."""
    return f"{plan.dag_id}/{context['dag_run'].run_id}"


def author_of(plan: CityPlan, context: Context) -> Author:
    """Return who lets the model of a run go live: of a forced run the person who has started it, else the run."""
    name = name_of(plan, context)
    if not run_of(plan, context).force:
        return Author(name)
    person = getattr(context["dag_run"], "triggering_user_name", None)
    return Author(person, f"forced run {name}") if person else Author(name, "forced")


def upstream(context: Context, task_id: str) -> dict[str, Any]:
    """Return the result of an upstream task of the same run.

    :raises AirflowFailException: it has none, for example because only part of the run was cleared.
    """
    value = context["ti"].xcom_pull(task_ids=task_id)
    if not isinstance(value, dict):
        raise AirflowFailException(
            f"Task {task_id!r} of this run has no result; clear it together with everything downstream"
        )
    return value
