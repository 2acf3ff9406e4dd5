"""The gate judges a run's model, and the judgement is kept beside the run."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from city_fleet import naming, outgoing_text
from city_fleet.champions import breaker, data_checks, gate, run_evidence
from city_fleet.champions.planned_city import PlannedCity
from city_fleet.plan import EVALUATE, PREPROCESS
from city_fleet.run_steps.step_input import CityRun, NoUseAgain
from city_fleet.state import live, objects

_log = outgoing_text.logger(__name__)


def decide(at: CityRun, *, of_a_night: bool = True) -> dict[str, Any]:
    """Apply the gate to the evaluation report, keep the decision, and count it for the night.

    :param of_a_night: whether it counts for the night; not that of a model that a person brings.
    :return: the decision as it is kept, with ``decision_uri``.
    :raises NoUseAgain: what the preprocess job has measured is gone.
    """
    place, run = at.city, at.run
    rule = place.plan.city.gate
    evaluated = at.result(EVALUATE)
    report = evaluated["report"]
    data = data_checks.check(_data_report(at), report, rule.data)
    decision = _named(place, gate.decide(report, rule, data=data, force=run.force))
    for reason in decision.reasons:
        _log.info("%s: %s", "promote" if decision.promote else "hold", reason)
    for warning in decision.warnings:
        _log.warning("%s", warning)
    value = run_evidence.sealed(decision, evaluated.get("sha256", {}))
    digest = naming.digest(value, run_evidence.DIGEST_LENGTH)
    key = place.keys.decision(place.slug, run.key, digest)
    place.objects.put(key, json.dumps(value, indent=2).encode())
    if of_a_night and not decision.superseded:  # an older run says nothing about the night
        against = decision.reasons if decision.unfit else ()
        breaker.mark(place.aws.s3, place.keys, run.stamp, place.slug, against)
    return {**value, "decision_uri": place.keys.uri(key)}


def _named(place: PlannedCity, decision: gate.Decision) -> gate.Decision:
    """Name the state of the live pointer with which the champion serves, if it still does."""
    now = live.read(place.aws.s3, place.keys, place.slug)
    if now is None or now.pointer.target_model != decision.champion_target_model:
        return decision
    return replace(decision, champion_sequence=now.pointer.sequence)


def _data_report(at: CityRun) -> Any:
    """Return what the preprocess job has measured of the data."""
    uri = f"{at.result(PREPROCESS)['outputs']['report']}city={at.city.slug}/status.json"
    body = objects.read_uri(at.city.aws.s3, uri)
    if body is None:
        raise NoUseAgain(f"{uri} is gone; clear the task {PREPROCESS!r} with everything downstream")
    return objects.json_of(body)
