"""How a city's run has ended is written: its record, and the event that announces it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from city_fleet import clock
from city_fleet.champions.doubt import doubt_of
from city_fleet.champions.planned_city import PlannedCity
from city_fleet.jobs import fixed_run, job_bills
from city_fleet.jobs.code_bundle import CodeBundle
from city_fleet.plan import (
    DECIDE,
    EVALUATE,
    JOB_STEPS,
    KEEP_CHAMPION,
    PREPROCESS,
    PUBLISH,
    REGISTER,
    CityPlan,
    Run,
)
from city_fleet.state import known_values, run_records
from city_fleet.state.outcomes import Outcome

Results = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class RunEnd:
    """How a run has ended.

    :param failed_task: the task that has failed, and ``failure`` with which error: ``{error, message}``.
    :param jobs: what is known of its jobs.
    """

    outcome: str
    reasons: Sequence[str]
    failed_task: str | None = None
    failure: Mapping[str, Any] | None = None
    jobs: Sequence[Mapping[str, Any]] = field(default_factory=tuple)


def end_of(results: Results, failed_task: str | None, failure: Mapping[str, Any] | None) -> RunEnd:
    """Return how a run has ended by what its steps have left.

    :param results: step → its result; an empty one for a step without.
    """
    ended = results[PUBLISH] or results[KEEP_CHAMPION]
    if failed_task is not None:
        said = f": {failure['message']}" if failure and failure["message"] else ""
        return RunEnd(Outcome.FAILED.value, [f"task {failed_task} failed{said}"], failed_task, failure)
    if results[PREPROCESS].get("data_status") == Outcome.TOO_LITTLE_DATA:
        return RunEnd(Outcome.TOO_LITTLE_DATA.value, [results[PREPROCESS]["reason"]])
    if ended:
        return RunEnd(ended["outcome"], ended["reasons"])
    return RunEnd(Outcome.FAILED.value, ["the run was stopped before it published or held a model"])


def record_of(plan: CityPlan, run: Run, results: Results, end: RunEnd) -> dict[str, Any]:
    """Return a run's record.

    :param results: step → its result; an empty one for a step without.
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
        "outcome": end.outcome,
        "reasons": list(end.reasons),
        "failed_task": end.failed_task,
        "failure": end.failure,
        "decision": decision or None,
        "metrics": decision.get("metrics"),
        "data_until": decision.get("data_until"),
        "doubt": doubt_of(results[EVALUATE].get("report") or {}),
        "served_by": None,
        "evaluation_uri": results[EVALUATE].get("evaluation_uri"),
        "holdout_uri": results[EVALUATE].get("holdout_uri"),
        "target_model": results[PUBLISH].get("target_model"),
        "package_arn": results[REGISTER].get("package_arn"),
        "package_version": results[REGISTER].get("version"),
        "jobs": list(job_bills.each(end.jobs)),
        "code_digest": CodeBundle.of(plan).digest,
        "settings_digest": plan.settings_digest,
        "finished_at": clock.now_iso(),
    }


def jobs_of(results: Results) -> list[Mapping[str, Any]]:
    """Return what a run's steps know of their jobs."""
    return [results[step] for step in JOB_STEPS if results[step]]


def full_record(place: PlannedCity, run: Run, results: Results, end: RunEnd) -> dict[str, Any]:
    """Return a run's record with whose model answers for the city after it."""
    served_by = _served_by(place, run, end.outcome, results[DECIDE])
    return {**record_of(place.plan, run, results, end), "served_by": served_by}


def write_record(place: PlannedCity, run: Run, record: Mapping[str, Any], decision: Mapping[str, Any]) -> str:
    """Write a run's record, and return its URI.

    :param decision: of the gate; an empty one for a run that has not come so far.
    """
    plan, s3 = place.plan, place.aws.s3
    if decision and plan.city.parent is not None:
        beaten = decision.get("champion_target_model") if decision.get("parent_serves") else None
        known_values.note_beaten(s3, plan.keys, place.slug, run.stamp, beaten)
    return plan.keys.uri(run_records.write(s3, plan.keys, record, as_of=run.as_of, key_of_run=run.key))


def _served_by(place: PlannedCity, run: Run, outcome: str, decision: Mapping[str, Any]) -> str | None:
    """Return whose model answers for the city by its name after the run; None where none does.

    A model that serves on although its data are old may give way to the parent's: who predicts finds that out.
    """
    if outcome == Outcome.LIVE or (run.champion is not None and not decision.get("parent_serves")):
        return place.slug
    parent = fixed_run.parent_of(place.aws.s3, place.plan)
    return None if parent is None else parent.city
