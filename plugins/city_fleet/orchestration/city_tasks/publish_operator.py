"""Airflow operators that end a city's run: ``publish``, or ``keep_champion``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from city_fleet.approval import run_release
from city_fleet.champions.approval_states import ModelState
from city_fleet.champions.planned_city import PlannedCity
from city_fleet.champions.release import target_model
from city_fleet.orchestration import assets
from city_fleet.orchestration.city_tasks.city_operator import CityOperator
from city_fleet.orchestration.city_tasks.record_operator import tell_record
from city_fleet.orchestration.patience import patient
from city_fleet.orchestration.run_context import author_of, refuse_old_layout, registered, run_of, upstream
from city_fleet.plan import APPROVE, DECIDE, REGISTER
from city_fleet.state import live
from city_fleet.state.outcomes import Decided, Outcome

if TYPE_CHECKING:
    from airflow.sdk import Context


class PublishOperator(CityOperator):
    """Make the registered model the one that serves the city, unless its night awaits approval."""

    @patient
    def execute(self, context: Context) -> dict[str, Any]:
        city = self.city()
        refuse_old_layout(city.aws.s3, city.keys)
        package = registered(context, city.aws.sagemaker)
        ended = run_release.release(city, package, run_of(self.plan, context), author_of(self.plan, context))
        for reason in ended.reasons:
            self.log.info("%s: %s", ended.outcome, reason)
        result = {
            "outcome": ended.outcome.value,
            "reasons": list(ended.reasons),
            "target_model": target_model(city.slug, package),
            "live": ended.live,
        }
        tell_record(city, context, publish=result)
        self._announce(context, city, ended)
        return result

    def _announce(self, context: Context, city: PlannedCity, ended: Decided) -> None:
        """Update the asset of the live pointer, if the run has moved it; a try before this one may have, and died."""
        moved = ended.moved or context["ti"].try_number > 1
        if ended.outcome != Outcome.LIVE or not moved or not self.plan.fleet.events.assets:
            return
        found = live.read(city.aws.s3, city.keys, city.slug)
        if found is not None:
            assets.tell_moved(context, self.plan.fleet, found.pointer)


class KeepChampionOperator(CityOperator):
    """Say why the model that serves stays. It changes nothing."""

    @patient
    def execute(self, context: Context) -> dict[str, Any]:
        decision = upstream(context, DECIDE)
        registered = upstream(context, REGISTER)
        asked: Any = context["ti"].xcom_pull(task_ids=APPROVE)
        if asked:
            outcome, reasons = asked["outcome"], asked["reasons"]
        else:
            superseded, reasons = decision["superseded"], decision["reasons"]
            if decision["promote"]:  # the gate lets it go, but a person or a newer model does not
                superseded = registered["state"] == ModelState.SUPERSEDED.value
                reasons = [registered["reason"]]
            outcome = (Outcome.SUPERSEDED if superseded else Outcome.HELD).value
        for reason in reasons:
            self.log.info("%s: %s", outcome, reason)
        result = {"outcome": outcome, "reasons": reasons}
        tell_record(self.city(), context, keep_champion=result)
        return result
