"""Airflow operators of the fleet's ``_monitor`` DAG: look whether models are still right, tell who is not, and act."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from city_fleet import aws_errors, clock, naming
from city_fleet.champions.planned_city import homes_of
from city_fleet.config import Fleet
from city_fleet.errors import BrokenScores, CityFleetError, ConfigError
from city_fleet.monitoring import going_back
from city_fleet.monitoring import look as monitoring
from city_fleet.orchestration.fleet_tasks.fleet_operator import FleetOperator
from city_fleet.orchestration.patience import patient
from city_fleet.orchestration.task_clients import TaskClients
from city_fleet.outgoing_text import one_line, printable
from city_fleet.plan import endpoint_name
from city_fleet.state import city_actions
from city_fleet.state.city_actions import Action
from city_fleet.state.context import CityContext
from city_fleet.state.objects import ObjectStore

if TYPE_CHECKING:
    from airflow.sdk import Context

LOOK, ALERT, RETRAIN, ROLLBACK = "look", "alert", "retrain", "rollback"
_TOLD, _PROBLEMS, _ROLLBACK = "told", "problems", "rollback"
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
        said = {slug: "; ".join(cities[slug].remarks) for slug in done.new}
        for slug, text in said.items():
            self.log.error("%s: %s", slug, text)
        context["ti"].xcom_push(key=_TOLD, value={"cities": said, "all": done.found.fleet_wide})
        context["ti"].xcom_push(key=_PROBLEMS, value=list(done.problems))
        context["ti"].xcom_push(key=_ROLLBACK, value=list(done.rollback))
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

    Returns ``{subject, text, counts, night}``, and ``owners`` with such messages about the cities of each one that
    ``digest.owners`` names; fails where cities could not be looked at and nobody else would say so.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        ti: Any = context["ti"]
        told = ti.xcom_pull(task_ids=LOOK, key=_TOLD) or {"cities": {}, "all": ""}
        problems = ti.xcom_pull(task_ids=LOOK, key=_PROBLEMS) or []
        cities = told["cities"]
        if not cities and problems:
            raise AirflowException(
                f"{len(problems)} cities could not be looked at: " + printable(" ".join(problems))
            )
        if not cities:
            raise AirflowSkipException("No city is newly wrong; nothing is sent")
        also = [f"could not be looked at: {each}" for each in problems]
        return _message(self.fleet, "no longer right", cities, before=[told["all"]], after=also)


class RollbackOperator(FleetOperator):
    """Roll the cities back whose ``decay.action`` says so, each to an earlier model that was clearly better.

    Returns a message as :class:`AlertOperator` does, also about those that were not rolled back and why, with
    ``outcomes``, city → what was done. Skips itself where there is no such city. What passes by itself is tried again
    by the next attempt, which finds what is done already; the last one says what is left.
    """

    @patient
    def execute(self, context: Context) -> dict[str, Any]:
        ti: Any = context["ti"]
        slugs = ti.xcom_pull(task_ids=LOOK, key=_ROLLBACK) or []
        fleet, run_id = self.fleet, context["run_id"]
        slugs = [slug for slug in slugs if slug in fleet.cities]
        if not slugs:
            raise AirflowSkipException("No city is to be rolled back")
        clients = TaskClients(self.aws_conn_id, fleet.region, fleet.kms_key)
        said, outcomes, passing = dict[str, str](), dict[str, str](), []
        for slug in slugs:
            try:
                done = self._one(clients, slug, f"{self.dag_id}/{run_id}")
            except (CityFleetError, ClientError, BotoCoreError) as error:
                if aws_errors.is_passing(error) and ti.try_number <= ti.max_tries:
                    passing.append(f"{slug}: {error}")
                    continue
                done = going_back.Done(slug, city_actions.REFUSED, str(error))
            moved = done.kind == city_actions.ROLLBACK
            log = self.log.warning if moved else self.log.error
            log("%s: %s: %s", slug, done.kind, printable(done.sentence))
            outcomes[slug] = done.kind
            said[slug] = (
                f"rolled back {done.sentence}. It is pinned there until `./fleet unpin {slug}`"
                if moved
                else f"NOT rolled back: {done.sentence}. Its model serves on"
            )
            action = Action(clock.now_iso(), done.kind, printable(one_line(done.sentence)), run_id)
            try:
                city_actions.keep(ObjectStore(clients.s3, fleet.bucket), fleet.keys, slug, action)
            except (CityFleetError, ClientError, BotoCoreError) as error:
                self.log.warning("%s: is not written down: %s", slug, printable(str(error)))
        if passing:
            raise AirflowException(f"{len(passing)} are left: {printable(' '.join(passing))}")
        return _message(fleet, "no longer right: what was done", said) | {"outcomes": outcomes}

    def _one(self, clients: TaskClients, slug: str, by: str) -> going_back.Done:
        fleet, rule = self.fleet, self.fleet.cities[slug].decay
        group = naming.package_group(fleet.fleet, fleet.environment, slug)
        city = CityContext(clients, fleet.keys, endpoint_name(fleet), group, slug, home_of=homes_of(fleet))
        return going_back.roll_back(city, by, limit=rule.limit, patience=rule.patience)


def _message(
    fleet: Fleet,
    what: str,
    cities: Mapping[str, str],
    *,
    before: Iterable[str] = (),
    after: Iterable[str] = (),
) -> dict[str, Any]:
    """Return a message about some cities, and those to the owners that have one of them.

    :param what: of the cities, for the subject; ``cities``: what to say of each.
    :param before: lines about all, for everybody; ``after``: for the fleet's own notifiers alone.
    """
    before = [line for line in before if line]

    def made(of: Mapping[str, str], owner: str, extra: Iterable[str]) -> dict[str, Any]:
        lines = [*before, *(f"{slug}: {text}" for slug, text in of.items()), *extra]
        rest = len(lines) - _LINES
        shown = [*lines[:_LINES], *([f"and {rest} more"] if rest > 0 else [])]
        option = f" --owner {shlex.quote(owner)}" if owner else ""
        more = f"./fleet status --fleet {fleet.fleet}{option} shows all; docs/monitoring.md says what to do."
        whose = f", {owner}" if owner else ""
        count = "1 city is" if len(of) == 1 else f"{len(of)} cities are"
        return {
            "subject": one_line(f"{fleet.fleet} ({fleet.environment}{whose}): {count} {what}"),
            "text": "\n".join(map(one_line, [*shown, "", more])) + "\n",
            "counts": {what.split(":", maxsplit=1)[0].replace(" ", "_"): len(of)},
            "night": naming.as_of_stamp(clock.utc_now()),
        }

    message = made(cities, "", after)
    if fleet.digest.owners:
        message["owners"] = {
            owner: made(theirs, owner, ())
            for owner in fleet.digest.owners
            if (theirs := {slug: cities[slug] for slug in fleet.cities_of_owner(owner) if slug in cities})
        }
    return message
