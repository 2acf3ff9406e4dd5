"""What one city's run does after the job of its cohort: everything that a city's own DAG does in tasks of their own.

What the job has left of the city is copied to the folder of the city's run, to the keys that its own jobs would have
written; so whatever reads a run later knows nothing of cohorts, and the job's folder may go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from city_fleet import naming, outgoing_text
from city_fleet.champions import breaker
from city_fleet.champions.planned_city import PlannedCity
from city_fleet.champions.run_evidence import ARTIFACT, EVALUATION, HOLDOUT
from city_fleet.errors import PlatformError
from city_fleet.jobs import fixed_run, job_bills
from city_fleet.plan import (
    DECIDE,
    EVALUATE,
    JOB_STEPS,
    KEEP_CHAMPION,
    PREPROCESS,
    PUBLISH,
    REGISTER,
    TRAIN,
)
from city_fleet.run_steps import decide_step, end_step, known_step, record_step, register_step
from city_fleet.run_steps.step_input import CityRun
from city_fleet.state.objects import BYTES, GZIP, JSON, ObjectStore, json_of
from city_fleet.state.outcomes import Decided

OUTCOME_FILE = "outcome.json"
_EVALUATED, _SKIPPED = "evaluated", "skipped"
# Folder in the job's output → step of a city's own jobs, whose outputs it stands for.
_FOLDERS = {"report": PREPROCESS, "training": TRAIN, "evaluation": EVALUATE}
_TYPES = {".json": JSON, ".gz": GZIP}
_log = outgoing_text.logger(__name__)


class CityFailed(Exception):
    """The job could do nothing with a city; another try would say the same.

    :ivar step: of the run, at which it has failed.
    """

    def __init__(self, reason: str, step: str) -> None:
        super().__init__(reason)
        self.step = step


class DataChanged(PlatformError):
    """A city's raw data were changed after its run had begun and before the job read them."""


@dataclass(frozen=True)
class CohortOutput:
    """What a job of all steps has left.

    :param uri: the folder with ``outcome.json``, with a slash at the end.
    :param facts: the job's bill (:mod:`~city_fleet.jobs.job_bills`), and those of jobs before it in vain.
    """

    uri: str
    facts: Mapping[str, Any]

    @classmethod
    def of(cls, artifacts_uri: str, facts: Mapping[str, Any]) -> CohortOutput:
        """Return what a job has left.

        :param artifacts_uri: ``ModelArtifacts.S3ModelArtifacts`` of its description.
        """
        return cls(artifacts_uri.rstrip("/") + "/", facts)


@dataclass(frozen=True)
class CityEnd:
    """How a city's run has ended.

    :param results: step → what it has left.
    :param decided: of publishing; None where it did not come to that.
    :param record: what was written of it.
    """

    outcome: str
    reasons: tuple[str, ...]
    record_uri: str
    results: Mapping[str, Mapping[str, Any]]
    decided: Decided | None = None
    record: Mapping[str, Any] = field(default_factory=dict)


def outcomes_of(place: PlannedCity, output: CohortOutput) -> dict[str, Any]:
    """Return what has come of each city of the job.

    :raises PlatformError: the job's output can't be read.
    """
    bucket, key = naming.split_uri(output.uri + OUTCOME_FILE)
    found = ObjectStore(place.aws.s3, bucket).get(key)
    if found is None:
        raise PlatformError(f"{output.uri}{OUTCOME_FILE}: the job's output is gone. Clear the task 'train'")
    try:
        return dict(json_of(found.body)["cities"])
    except (ValueError, KeyError, TypeError) as error:
        raise PlatformError(
            f"{output.uri}{OUTCOME_FILE}: the job's output cannot be read: {error}"
        ) from error


def end_city(at: CityRun, output: CohortOutput) -> CityEnd:
    """Decide about a city's model, register it, publish it or keep the champion, and record the run.

    :param at: its ``result`` is not asked.
    :raises CityFailed: the job could do nothing with the city.
    :raises DataChanged: the job has read other raw data than the run is about.
    """
    place, run = at.city, at.run
    outcomes = outcomes_of(place, output)
    entry = outcomes.get(place.slug)
    if entry is None:
        raise PlatformError(f"{output.uri}{OUTCOME_FILE}: says nothing about city {place.slug!r}")
    facts = share_of(output, place.slug, outcomes)
    if entry["status"] not in (_EVALUATED, _SKIPPED):
        if entry["step"] == PREPROCESS:
            # Data that are refused are as bad a sign for the night as a model that is.
            breaker.mark(place.aws.s3, place.keys, run.stamp, place.slug, [str(entry["reason"])])
        raise CityFailed(str(entry["reason"]), str(entry["step"]))
    results: dict[str, dict[str, Any]] = {
        step: {} for step in (*JOB_STEPS, DECIDE, REGISTER, PUBLISH, KEEP_CHAMPION)
    }
    results |= _copied(place, run.key, output, facts)
    _refuse_changed(at, results[PREPROCESS])
    known_step.keep_known(place, run, f"{results[PREPROCESS]['outputs']['report']}city={place.slug}/")
    decided: Decided | None = None
    if entry["status"] == _EVALUATED:
        at = replace(at, result=results.__getitem__)
        results[DECIDE] = decide_step.decide(at)
        results[REGISTER], package = register_step.register_once(
            at, lambda new: register_step.create_version(place.aws, place.group, new)
        )
        if results[REGISTER]["proceed"]:
            results[PUBLISH], decided = end_step.publish(at, package)
        else:
            results[KEEP_CHAMPION] = end_step.keep_champion(at)
    end = replace(record_step.end_of(results, None, None), jobs=[facts])
    record = record_step.full_record(place, run, results, end)
    uri = record_step.write_record(place, run, record, results[DECIDE])
    _log.info("%s: %s: %s", place.slug, end.outcome, "; ".join(end.reasons) or "no reason given")
    return CityEnd(end.outcome, tuple(end.reasons), uri, results, decided, record)


def share_of(output: CohortOutput, slug: str, outcomes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a city's share of what a job has cost, by the time that it took in it.

    :param outcomes: of :func:`outcomes_of`.
    """
    return job_bills.shared(output.facts, slug, weights_of(outcomes))


def weights_of(outcomes: Mapping[str, Any]) -> dict[str, float]:
    """Return the time that each city took in a job, in seconds."""
    return {slug: float(outcome.get("seconds") or 0) for slug, outcome in outcomes.items()}


def _copied(
    place: PlannedCity, key_of_run: str, output: CohortOutput, facts: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Copy what the job has left of a city to where its own jobs would have, and return what their steps would."""
    bucket, prefix = naming.split_uri(output.uri)
    source, job, slug = ObjectStore(place.aws.s3, bucket), facts["job"], place.slug
    bodies: dict[tuple[str, str], bytes] = {}
    for folder, step in _FOLDERS.items():
        below = f"{prefix}{folder}/city={slug}/"
        for item in source.items(below):
            found = source.get(item.key)
            if found is None:
                raise PlatformError(
                    f"{source.uri(item.key)}: the job's output is gone. Clear the task 'train'"
                )
            name = item.key.removeprefix(below)
            to = f"{place.keys.step(slug, key_of_run, step)}{job}/{folder}/city={slug}/{name}"
            kind = next((kind for end, kind in _TYPES.items() if name.endswith(end)), BYTES)
            place.objects.put(to, found.body, kind)
            bodies[step, name] = found.body

    def uri(step: str, folder: str) -> str:
        return place.keys.uri(f"{place.keys.step(slug, key_of_run, step)}{job}/{folder}/")

    status = _json(bodies, PREPROCESS, "status.json", output)
    report = uri(PREPROCESS, "report")
    results: dict[str, dict[str, Any]] = {
        PREPROCESS: {
            **facts,
            "outputs": {"report": report},
            "manifest_uri": f"{report}city={slug}/manifest.json",
            "manifest": _json(bodies, PREPROCESS, "manifest.json", output),
            "rows": status["rows"],
            "data_status": status["status"],
            "reason": status["reason"],
        }
    }
    if (EVALUATE, EVALUATION) in bodies:
        folder = f"{uri(EVALUATE, 'evaluation')}city={slug}/"
        results[TRAIN] = {**facts, "artifact_uri": folder + ARTIFACT}
        results[EVALUATE] = {
            **facts,
            "evaluation_uri": folder + EVALUATION,
            "holdout_uri": folder + HOLDOUT,
            "artifact_uri": folder + ARTIFACT,
            "sha256": {
                name: hashlib.sha256(bodies[EVALUATE, name]).hexdigest()
                for name in (EVALUATION, HOLDOUT)
                if (EVALUATE, name) in bodies
            },
            "report": _json(bodies, EVALUATE, EVALUATION, output),
        }
    return results


def _json(bodies: Mapping[tuple[str, str], bytes], step: str, name: str, output: CohortOutput) -> Any:
    body = bodies.get((step, name))
    try:
        if body is None:
            raise ValueError("it is not there")
        return json_of(body)
    except ValueError as error:
        raise PlatformError(f"{output.uri}: {name} of step {step} cannot be read: {error}") from error


def _refuse_changed(at: CityRun, prepared: Mapping[str, Any]) -> None:
    """Raise where the job has read what the city's run is not about."""
    place = at.city
    fixed = fixed_run.read(place.objects, place.keys, place.slug, at.run.key)
    if fixed is None:
        return
    changed = fixed_run.difference(
        fixed,
        prepared["manifest"]["inputs"],
        place.plan.raw.folder_uri,
        lambda: fixed_run.raw_objects(place.aws.s3, place.plan),
    )
    if changed:
        raise DataChanged(
            f"City {place.slug!r}: {changed} after the run had begun and before the job {prepared['job']} read the "
            "raw data, so its result does not count; the next try trains this city alone, with the data as they are "
            "then. Write raw data before the run's schedule, all at once"
        )


def record_failure(
    place: PlannedCity, run_of_record: Any, failed_task: str, failure: Mapping[str, Any] | None, **job: Any
) -> Mapping[str, Any]:
    """Write the record of a city's run that has failed, and return it.

    :param run_of_record: the city's run, or what stands for one that was never fixed.
    :param failure: ``{error, message}``; None where nobody knows.
    :param job: ``facts`` of the job that has failed, where there is one.
    """
    results: dict[str, dict[str, Any]] = {
        step: {} for step in (*JOB_STEPS, DECIDE, REGISTER, PUBLISH, KEEP_CHAMPION)
    }
    end = record_step.end_of(results, failed_task, failure)
    facts = job.get("facts")
    record = record_step.full_record(
        place, run_of_record, results, replace(end, jobs=[facts] if facts else [])
    )
    record_step.write_record(place, run_of_record, record, {})
    return record
