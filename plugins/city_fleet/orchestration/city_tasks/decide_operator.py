"""Airflow operator of the task ``decide``: the gate judges the challenger."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from city_fleet import naming
from city_fleet.champions import breaker, data_checks, gate, run_evidence
from city_fleet.orchestration.city_tasks.city_operator import CityOperator
from city_fleet.orchestration.patience import patient
from city_fleet.orchestration.run_context import run_of, upstream
from city_fleet.plan import EVALUATE, PREPROCESS
from city_fleet.state import live, objects

if TYPE_CHECKING:
    from airflow.sdk import Context
    from types_boto3_s3 import S3Client


class DecideOperator(CityOperator):
    """Apply the gate to the evaluation report, keep the decision beside the run, and count it for the night."""

    @patient
    def execute(self, context: Context) -> dict[str, Any]:
        run, place = run_of(self.plan, context), self.city()
        rule = self.plan.city.gate
        report = upstream(context, EVALUATE)["report"]
        data = data_checks.check(self._data_report(place.aws.s3, context), report, rule.data)
        decision = self._named(gate.decide(report, rule, data=data, force=run.force))
        for reason in decision.reasons:
            self.log.info("%s: %s", "promote" if decision.promote else "hold", reason)
        for warning in decision.warnings:
            self.log.warning("%s", warning)
        value = run_evidence.sealed(decision, upstream(context, EVALUATE).get("sha256", {}))
        digest = naming.digest(value, run_evidence.DIGEST_LENGTH)
        key = place.keys.decision(place.slug, run.key, digest)
        place.objects.put(key, json.dumps(value, indent=2).encode())
        if not decision.superseded:  # an older run says nothing about the night
            against = decision.reasons if decision.unfit else ()
            breaker.mark(place.aws.s3, place.keys, run.stamp, place.slug, against)
        return {**value, "decision_uri": place.keys.uri(key)}

    def _named(self, decision: gate.Decision) -> gate.Decision:
        """Name the state of the live pointer with which the champion serves, if it still does."""
        place = self.city()
        now = live.read(place.aws.s3, place.keys, place.slug)
        if now is None or now.pointer.target_model != decision.champion_target_model:
            return decision
        return replace(decision, champion_sequence=now.pointer.sequence)

    def _data_report(self, s3: S3Client, context: Context) -> Any:
        """Return what the preprocess job has measured of the data.

        :raises AirflowFailException: its report is gone, which no retry brings back.
        """
        uri = f"{upstream(context, PREPROCESS)['outputs']['report']}city={self.plan.city.slug}/status.json"
        body = objects.read_uri(s3, uri)
        if body is None:
            raise AirflowFailException(
                f"{uri} is gone; clear the task {PREPROCESS!r} with everything downstream"
            )
        return objects.json_of(body)
