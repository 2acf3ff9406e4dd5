"""Airflow operators of the fleet's ``_monitor`` DAG: look whether models are still right, tell who is not, retrain."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from botocore.config import Config

from city_fleet import clock, naming
from city_fleet.errors import BrokenScores, ConfigError
from city_fleet.monitoring import look as monitoring
from city_fleet.orchestration.fleet_tasks.fleet_operator import FleetOperator
from city_fleet.orchestration.patience import patient
from city_fleet.outgoing_text import one_line, printable
from city_fleet.state.objects import ObjectStore

if TYPE_CHECKING:
    from airflow.sdk import Context

LOOK, ALERT, RETRAIN = "look", "alert", "retrain"
_TOLD, _PROBLEMS = "told", "problems"
_LINES = 50


class LookOperator(FleetOperator):
    """Score the forecasts whose truth has become known, and say whose model is no longer right.

    Returns a list of ``{trigger_dag_id, trigger_run_id, conf, note}``, a run for each city that is to be retrained.
    """

    @patient
    def execute(self, context: Context) -> list[dict[str, Any]]:
        fleet = self.fleet
        store = ObjectStore(self.client("s3", Config(max_pool_connections=monitoring.THREADS)), fleet.bucket)
        try:
            done = monitoring.look(
                store, fleet, context["run_id"], clock.utc_now(), say=lambda text: self.log.info("%s", text)
            )
        except (BrokenScores, ConfigError) as error:
            raise AirflowFailException(printable(str(error))) from error
        cities = done.found.cities
        for problem in done.problems:
            self.log.warning("%s", problem)
        alarming = [slug for slug, health in cities.items() if health.alarm]
        self.log.info(
            "%d cities, %d of them no longer right, %d since this look",
            len(cities),
            len(alarming),
            len(done.new),
        )
        lines = [f"{slug}: {'; '.join(cities[slug].remarks)}" for slug in done.new]
        for line in lines:
            self.log.error("%s", line)
        if done.found.fleet_wide:
            lines = [done.found.fleet_wide, *lines]
        context["ti"].xcom_push(key=_TOLD, value={"count": len(done.new), "lines": lines})
        context["ti"].xcom_push(key=_PROBLEMS, value=list(done.problems))
        return [
            self._run_of(slug, cities[slug].alarm or "", "; ".join(cities[slug].reasons))
            for slug in done.retrain
        ]

    def _run_of(self, slug: str, since: str, why: str) -> dict[str, Any]:
        """Return the DAG run that retrains a city: one for each alarm, whoever asks again."""
        of_cohort = self.fleet.cohort_of(slug) is not None
        return {
            "trigger_dag_id": self.fleet.dag_id_of(slug),
            "trigger_run_id": f"monitor__{slug}__{re.sub('[^0-9A-Za-z]', '', since)}",
            "conf": {"cities": [slug]} if of_cohort else {},
            "note": printable(one_line(f"{slug} is no longer right since {since}: {why}"))[:900],
        }


class AlertOperator(FleetOperator):
    """Compose the message about new alarms. Skips itself, and with it the notifiers, where there is none.

    Returns ``{subject, text, counts}``; fails where cities could not be looked at and nobody else would say so.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        ti: Any = context["ti"]
        told = ti.xcom_pull(task_ids=LOOK, key=_TOLD) or {"count": 0, "lines": []}
        problems = ti.xcom_pull(task_ids=LOOK, key=_PROBLEMS) or []
        count, lines = (
            told["count"],
            [*told["lines"], *(f"could not be looked at: {each}" for each in problems)],
        )
        if not count and problems:
            raise AirflowException(
                f"{len(problems)} cities could not be looked at: " + printable(" ".join(problems))
            )
        if not count:
            raise AirflowSkipException("No city is newly wrong; nothing is sent")
        fleet = self.fleet
        rest = len(lines) - _LINES
        shown = [*lines[:_LINES], *([f"and {rest} more"] if rest > 0 else [])]
        more = f"./fleet status --fleet {fleet.fleet} shows all; docs/monitoring.md says what to do."
        return {
            "subject": f"{fleet.fleet} ({fleet.environment}): {count} cities are no longer right",
            "text": "\n".join(map(one_line, [*shown, "", more])) + "\n",
            "counts": {"no_longer_right": count},
            "night": naming.as_of_stamp(clock.utc_now()),
        }
