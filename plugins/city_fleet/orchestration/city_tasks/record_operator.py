"""Airflow operator that ends every run of a city: it writes the run's record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from city_fleet import clock, outgoing_text
from city_fleet.champions import breaker
from city_fleet.champions.planned_city import PlannedCity
from city_fleet.jobs.code_bundle import CodeBundle
from city_fleet.orchestration.city_tasks.city_operator import CityOperator
from city_fleet.orchestration.patience import patient
from city_fleet.orchestration.run_context import is_temporary, refuse_old_layout, run_to_record
from city_fleet.plan import (
    APPROVE,
    DECIDE,
    EVALUATE,
    JOB_STEPS,
    KEEP_CHAMPION,
    PREPROCESS,
    PUBLISH,
    RECORD,
    RECORDED,
    REGISTER,
    CityPlan,
    Run,
)
from city_fleet.state import run_records
from city_fleet.state.outcomes import Outcome

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
        return write_record(self.city(), context, results_of(context), _states(self.plan, context))


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
    ended = results[PUBLISH] or results[KEEP_CHAMPION]
    temporary = is_temporary(context)
    if failed_task is not None:
        said = f": {failure['message']}" if failure and failure["message"] else ""
        outcome, reasons = Outcome.FAILED.value, [f"task {failed_task} failed{said}"]
        refused = failed_task == PREPROCESS and failed_job and failed_job["status"] == "Failed"
        if refused and not temporary:
            # Data that are refused are as bad a sign for the night as a model that is.
            breaker.mark(city.aws.s3, plan.keys, run.stamp, city.slug, reasons)
    elif results[PREPROCESS].get("data_status") == Outcome.TOO_LITTLE_DATA:
        outcome, reasons = Outcome.TOO_LITTLE_DATA.value, [results[PREPROCESS]["reason"]]
    elif ended:
        outcome, reasons = ended["outcome"], ended["reasons"]
    else:
        outcome, reasons = (
            Outcome.FAILED.value,
            ["the run was stopped before it published or held a model"],
        )
    record = {
        **record_of(plan, run, results, outcome, reasons),
        "failed_task": failed_task,
        "failure": failure,
    }
    if failed_job:
        record["jobs"].append(_job(failed_job))
    if temporary:
        log.info(
            "A run of `airflow tasks test` leaves no record. It would say: %s",
            json.dumps(record, default=str),
        )
        return {"record_uri": None, "outcome": outcome}
    key = run_records.write(city.aws.s3, plan.keys, record, as_of=run.as_of, key_of_run=run.key)
    log.info("%s: %s", outcome, "; ".join(reasons) or "no reason given")
    return {"record_uri": plan.keys.uri(key), "outcome": outcome}


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


def record_of(
    plan: CityPlan, run: Run, results: dict[str, dict[str, Any]], outcome: str, reasons: list[str]
) -> dict[str, Any]:
    """Return a run's record.

    :param results: of the run's steps, as :func:`results_of` returns them.
    """
    decision = {key: value for key, value in results[DECIDE].items() if key != "decision_uri"}
    return {
        "format_version": 1,
        "fleet": plan.fleet.fleet,
        "environment": plan.fleet.environment,
        "city": plan.city.slug,
        "as_of": run.stamp,
        "dag_id": plan.dag_id,
        "run_id": run.run_id,
        "run_key": run.key,
        "outcome": outcome,
        "reasons": reasons,
        "failed_task": None,
        "failure": None,
        "decision": decision or None,
        "metrics": decision.get("metrics"),
        "data_until": decision.get("data_until"),
        "evaluation_uri": results[EVALUATE].get("evaluation_uri"),
        "holdout_uri": results[EVALUATE].get("holdout_uri"),
        "target_model": results[PUBLISH].get("target_model"),
        "package_arn": results[REGISTER].get("package_arn"),
        "package_version": results[REGISTER].get("version"),
        "jobs": [_job(results[step]) for step in JOB_STEPS if results[step]],
        "code_digest": CodeBundle.of(plan).digest,
        "settings_digest": plan.settings_digest,
        "finished_at": clock.now_iso(),
    }


def _job(facts: dict[str, Any]) -> dict[str, Any]:
    return {key: facts[key] for key in ("step", "job", "status", "instance_type", "billable_seconds")}
