"""What a task of a city's DAG reads from Airflow: its run, and the results before it."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from city_fleet import naming, outgoing_text
from city_fleet.errors import OldLayout, RegistryError
from city_fleet.jobs.fixed_run import FixedRun
from city_fleet.orchestration import assets
from city_fleet.outgoing_text import printable
from city_fleet.plan import PREPROCESS, REGISTER, CityPlan, FixedChampion, FixedParent, Run
from city_fleet.state import old_layout, registry
from city_fleet.state.author import Author

if TYPE_CHECKING:
    from airflow.sdk import Context
    from types_boto3_s3 import S3Client
    from types_boto3_sagemaker import SageMakerClient


#: Name of the XCom by which the first task hands on what the run is about.
BEGUN = "run"
#: Name of the XCom with which a task says its job's name as soon as the job has one.
STARTED_JOB = "started_job"
#: Names of the params of each city's DAG.
PARAMS = ("as_of", "force", "repeat")
#: The one that a cohort's DAG has beside them.
CITIES = "cities"
#: Types of runs that somebody has started, as Airflow names them: in the UI, by REST, by a task of another DAG.
_BY_HAND = ("manual", "operator_triggered")
# Of Airflow 3.3.2: how `airflow tasks test` calls the run that it makes, and what it sets in its own process.
_TEMPORARY, _TESTS_A_TASK = "__airflow_temporary_run_", "AIRFLOW_TEST_MODE"


_log = outgoing_text.logger(__name__)


def is_temporary(context: Context) -> bool:
    """Tell whether the run is that of ``airflow tasks test``, which Airflow deletes when the task is over."""
    return context["dag_run"].run_id.startswith(_TEMPORARY)


def refuse_slips(context: Context, params: Sequence[str] = PARAMS) -> None:
    """Refuse a run that somebody has started with a name that is nearly one of the DAG's params.

    Airflow (3.3.2) takes every name; the run would go on without what was meant, and its jobs would be paid for. What
    looks like none of the params is somebody else's and may stay.

    :param params: names of the DAG's.
    :raises AirflowFailException: with what was given and what may have been meant.
    """
    for name in context["dag_run"].conf or {}:
        # Nearer than what a sentence suggests for a name that is wrong anyway: "source" is not "force".
        meant = difflib.get_close_matches(name.lower(), params, n=1, cutoff=0.8)
        if meant and name not in params:
            raise AirflowFailException(
                f"The run was started with {printable(repr(name))}, which its DAG has no param for; was {meant[0]!r} "
                "meant? Nothing was paid for: start another run with the right name"
            )


def as_of(
    plan: CityPlan,
    context: Context,
    champion: Callable[[], FixedChampion | None] | None = None,
    arrived: Iterable[str] | None = None,
) -> datetime:
    """Return the moment up to which a run may see data, for its first task, which fixes it for all of them.

    It is the run's param, else its logical date; of a run that an asset has started the moment of the newest event of
    the raw data, of others without a date their run_after. Where a person has started it without a param after the end
    of the schedule, it is the schedule's last tick: a champion that claims to have seen data until today, of data that
    have ended, would keep out every run of the schedule from then on. A newer champion than that says that there are
    newer data, and the run is as of its moment.

    :param champion: reads the model that serves; asked only where the schedule has ended.
    :param arrived: the cities whose raw data the run is about; the plan's by default.
    :raises AirflowFailException: it is not an instant, or lies in the future; or the scheduler has taken up the run of
        ``airflow tasks test``.
    """
    dag_run = context["dag_run"]
    _refuse_taken_up(plan, context)
    text = context["params"].get("as_of")
    try:
        moment = naming.parse_as_of(text) if text else dag_run.logical_date
        if moment is None and getattr(dag_run, "run_type", None) == assets.ASSET_TRIGGERED:
            moments = [assets.newest_moment(plan.keys, slug) for slug in arrived or (plan.city.slug,)]
            moment = max(filter(None, moments), default=None)
        moment = moment or dag_run.run_after
        if not text and _is_by_hand(dag_run):
            moment = _within_schedule(plan, moment, champion)
        return plan.check_as_of(moment)
    except ValueError as error:
        raise AirflowFailException(str(error)) from error


def _is_by_hand(dag_run: Any) -> bool:
    """Tell whether neither the schedule nor the arrival of data has started a run, but somebody."""
    arrived = dag_run.run_id.startswith(naming.ARRIVAL_RUN)  # by REST, as a person's are
    return getattr(dag_run, "run_type", None) in _BY_HAND and not arrived


def _within_schedule(
    plan: CityPlan, moment: datetime, champion: Callable[[], FixedChampion | None] | None
) -> datetime:
    last = plan.last_moment(moment)
    if last is None:
        return moment
    served = champion() if champion is not None else None
    newest = max(last, naming.parse_as_of(served.as_of)) if served else last
    _log.info(
        "No as_of was given, and the schedule of %s has ended on %s: the run sees the data known by %s, %s. Start it "
        "with the param as_of for those of another moment",
        plan.dag_id,
        plan.city.end_date,
        "its last tick" if newest == last else "the moment of the model that serves",
        naming.as_of_stamp(newest),
    )
    return newest


def _refuse_taken_up(plan: CityPlan, context: Context) -> None:
    if is_temporary(context) and not os.environ.get(_TESTS_A_TASK):
        raise AirflowFailException(
            "This run is that of `airflow tasks test`, for one task in the terminal; the scheduler has taken it up, "
            f"as the DAG is on. Nothing is done for it here. Pause the DAG first: airflow dags pause {plan.dag_id}"
        )


def run_of(plan: CityPlan, context: Context) -> Run:
    """Return the run a task belongs to, as the first task has fixed it.

    :raises AirflowFailException: as_of is not an instant, or lies in the future; or the first task has not come so far.
    """
    begun = _begun(context)
    if begun is None:
        raise AirflowFailException(
            f"Task {PREPROCESS!r} of this run has not said what the run is about; {_what_to_do(context)}"
        )
    champion = begun["champion"] and FixedChampion(**begun["champion"])
    _refuse_taken_up(plan, context)
    # A run that was begun by an earlier version has not kept its as_of.
    moment = naming.parse_as_of(begun["as_of"]) if "as_of" in begun else as_of(plan, context)
    # One that was begun by an earlier version has no parent.
    parent = FixedParent(**begun["parent"]) if begun.get("parent") else None
    return replace(_run(context, begun["key"], moment), champion=champion, parent=parent)


def run_to_record(plan: CityPlan, context: Context) -> Run:
    """Return the run a task belongs to; where the first task has failed before it could fix it, one of its own key.

    :raises AirflowFailException: as_of is not an instant, or lies in the future.
    """
    if _begun(context) is not None:
        return run_of(plan, context)
    key = naming.digest([plan.fleet.environment, name_of(plan, context)])
    return _run(context, key, as_of(plan, context))


def _begun(context: Context) -> dict[str, Any] | None:
    value: Any = context["ti"].xcom_pull(task_ids=PREPROCESS, key=BEGUN)
    return value or None


def _run(context: Context, key: str, moment: datetime) -> Run:
    force = bool(context["params"].get("force"))
    return Run(context["dag_run"].run_id, key, moment, force=force)


def hand_on(fixed: FixedRun, context: Context) -> None:
    """Hand on to the later tasks what the first task has fixed."""
    value = {
        "key": fixed.key,
        "as_of": fixed.as_of,
        "repetition": fixed.repetition,
        "champion": fixed.champion and asdict(fixed.champion),
        "parent": fixed.parent and asdict(fixed.parent),
        "begun_by": fixed.begun_by,
    }
    context["ti"].xcom_push(key=BEGUN, value=value)


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
    if not context["params"].get("force"):
        return Author(name)
    person = getattr(context["dag_run"], "triggering_user_name", None)
    return Author(person, f"forced run {name}") if person else Author(name, "forced")


def upstream(context: Context, task_id: str) -> dict[str, Any]:
    """Return the result of an upstream task of the same run.

    :raises AirflowFailException: it has none, for example because only part of the run was cleared.
    """
    value = context["ti"].xcom_pull(task_ids=task_id)
    if not isinstance(value, dict):
        raise AirflowFailException(f"Task {task_id!r} of this run has no result; {_what_to_do(context)}")
    return value


def _what_to_do(context: Context) -> str:
    """Return what helps a task that lacks what an earlier one of its run has found out."""
    if is_temporary(context):
        return (
            "`airflow tasks test` makes a run for one task alone. Name a run that has come so far, by its id or its "
            "logical date, or take `airflow dags test`"
        )
    return "clear it together with everything downstream"


def registered(context: Context, sagemaker: SageMakerClient) -> registry.ModelPackage:
    """Return the version that the run's task ``register`` has registered, as it is now.

    :raises AirflowFailException: it was deleted since, which no retry brings back.
    """
    try:
        return registry.read(sagemaker, upstream(context, REGISTER)["package_arn"])
    except RegistryError as error:
        raise AirflowFailException(
            f"{error}. Clear the task {REGISTER!r} with everything downstream: it registers the model again"
        ) from error
