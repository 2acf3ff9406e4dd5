"""Airflow operator that ends every run of a city: it writes the run's record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from city_fleet import outgoing_text
from city_fleet.champions import breaker
from city_fleet.champions.planned_city import PlannedCity
from city_fleet.jobs import job_bills
from city_fleet.jobs.sagemaker_jobs import PROCESSING, TRAINING
from city_fleet.orchestration.city_tasks.city_operator import CityOperator
from city_fleet.orchestration.console_pages import say_made
from city_fleet.orchestration.patience import patient
from city_fleet.orchestration.run_context import STARTED_JOB, is_temporary, refuse_old_layout, run_to_record
from city_fleet.orchestration.run_notes import NOTE, note_of
from city_fleet.orchestration.run_tracker import track
from city_fleet.plan import (
    APPROVE,
    DECIDE,
    JOB_STEPS,
    KEEP_CHAMPION,
    PREPROCESS,
    PUBLISH,
    RECORD,
    RECORDED,
    REGISTER,
    TRAIN,
    CityPlan,
)
from city_fleet.run_steps import record_step
from city_fleet.run_steps.record_step import end_of, full_record, jobs_of

if TYPE_CHECKING:
    from airflow.sdk import Context

_FAILURE = "failure"
_LONGEST_MESSAGE = 1000
_STEPS = (*JOB_STEPS, DECIDE, REGISTER, APPROVE, PUBLISH, KEEP_CHAMPION)
_ENDED = frozenset({"success", "failed", "upstream_failed", "skipped"})

log = outgoing_text.logger(__name__)


class RecordOperator(CityOperator):
    """Write how the run ended, however it did.

    The task is a teardown: it runs after success, failure and skip alike, and does not decide how the run counts.
    """

    @patient
    def execute(self, context: Context) -> dict[str, Any]:
        city = self.city()
        written = write_record(city, context, results_of(context), _states(self.plan, context))
        if written["record_uri"]:
            say_made(context, city.aws.sagemaker, output=written["record_uri"])
        return written


def tell_record(city: PlannedCity, context: Context, **ended: dict[str, Any]) -> None:
    """Write the run's record anew where it was written before a task of the run has ended in another way.

    Airflow runs the record's task again when it is cleared with the others; whoever clears the failed tasks alone
    leaves it out.

    :param ended: task id → its result, which Airflow does not know yet.
    """
    states = _states(city.plan, context)
    if states.get(RECORD) in _ENDED:
        write_record(city, context, results_of(context) | ended, states)


def write_record(
    city: PlannedCity, context: Context, results: dict[str, dict[str, Any]], states: Mapping[str, Any]
) -> dict[str, Any]:
    """Write how a run has ended, and return the record's URI and outcome; of a run that is a test, write nothing.

    :param results: of the run's steps, as :func:`results_of` returns them.
    :param states: of its tasks.
    """
    plan = city.plan
    refuse_old_layout(city.aws.s3, plan.keys)
    run = run_to_record(plan, context)
    ti: Any = context["ti"]
    failed = (task for task, state in states.items() if state == "failed" and task not in (RECORD, RECORDED))
    failed_task = next(failed, None)
    failed_job = ti.xcom_pull(task_ids=failed_task, key="failed_job") if failed_task else None
    failure = ti.xcom_pull(task_ids=failed_task, key=_FAILURE) if failed_task else None
    temporary = is_temporary(context)
    end = end_of(results, failed_task, failure)
    if failed_task in JOB_STEPS and failed_job is None:
        started = ti.xcom_pull(task_ids=failed_task, key=STARTED_JOB)
        failed_job = _bill_of_killed(city, failed_task, started)
    refused = failed_task == PREPROCESS and failed_job and failed_job["status"] == "Failed"
    if refused and not temporary:
        # Data that are refused are as bad a sign for the night as a model that is.
        breaker.mark(city.aws.s3, plan.keys, run.stamp, city.slug, end.reasons)
    jobs = [*jobs_of(results), *([failed_job] if failed_job else [])]
    record = full_record(city, run, results, replace(end, jobs=jobs))
    if temporary:
        log.info(
            "A run of `airflow tasks test` leaves no record. It would say: %s",
            json.dumps(record, default=str),
        )
        return {"record_uri": None, "outcome": end.outcome}
    uri = record_step.write_record(city, run, record, results[DECIDE])
    track(plan, record)
    ti.xcom_push(key=NOTE, value=note_of(end.outcome, end.reasons, city.slug))
    log.info("%s: %s", end.outcome, "; ".join(end.reasons) or "no reason given")
    return {"record_uri": uri, "outcome": end.outcome}


def _bill_of_killed(city: PlannedCity, step: str, started: Any) -> dict[str, Any] | None:
    """Return the bill of the job of a task that ended without a look at it: a person has marked the task as failed, or
    its worker has died in its last try. None where it had none, or nobody can say.

    :param started: the name of the job that it had started last, if any.
    """
    if not started:
        return None
    kind = TRAINING if step == TRAIN else PROCESSING
    try:
        description = kind.describe(city.aws.sagemaker, str(started))
    except (ClientError, BotoCoreError) as error:
        log.warning("What job %s has cost is not in the record: it cannot be described: %s", started, error)
        return None
    return job_bills.bill_of(kind, description, step) if description is not None else None


def _states(plan: CityPlan, context: Context) -> dict[str, Any]:
    """Return the states of the run's tasks; None of one that has none yet."""
    ti: Any = context["ti"]
    run_id = context["dag_run"].run_id
    states: dict[str, Any] = ti.get_task_states(dag_id=plan.dag_id, run_ids=[run_id])[run_id]
    return states


def keep_failure(context: Mapping[str, Any]) -> None:
    """Keep why a task has failed for good, where the run record finds it, as XCom ``failure``: ``{error, message}``.

    A failure callback; Airflow itself keeps that in the task's log alone. It reports the task's end before it runs
    this, so a record that is written within the same moment may miss it and then names the task only; as it does for
    a worker that was killed.

    :param context: the failed task's.
    """
    error = context.get("exception")
    if error is not None:
        value = {"error": type(error).__name__, "message": str(error).strip()[:_LONGEST_MESSAGE]}
        context["ti"].xcom_push(key=_FAILURE, value=value)


def results_of(context: Context) -> dict[str, dict[str, Any]]:
    """Return the results that the steps of this run have left so far; an empty one for a step without."""
    return {step: context["ti"].xcom_pull(task_ids=step) or {} for step in _STEPS}
