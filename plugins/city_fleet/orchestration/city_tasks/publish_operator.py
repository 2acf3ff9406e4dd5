"""Airflow operators that end a city's run: ``publish``, or ``keep_champion``."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from city_fleet.champions.planned_city import PlannedCity
from city_fleet.orchestration import assets, lineage, spans
from city_fleet.orchestration.city_tasks.city_operator import CityOperator, city_run_of
from city_fleet.orchestration.city_tasks.record_operator import tell_record
from city_fleet.orchestration.console_pages import say_made
from city_fleet.orchestration.patience import patient
from city_fleet.orchestration.run_context import refuse_old_layout, registered, upstream
from city_fleet.plan import APPROVE, DECIDE, REGISTER, Run
from city_fleet.run_steps import end_step
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
        live_uri = city.keys.uri(city.keys.live(city.slug))
        say_made(context, city.aws.sagemaker, package=package.arn, output=live_uri)
        began, at = datetime.now(UTC), city_run_of(city, context)
        result, ended = end_step.publish(at, package)
        self.lineage = partial(lineage.of_publication, self.plan, at.run, package.arn, result)
        trace_publish(context, city, at.run, began, ended)
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


def trace_publish(context: Context, city: PlannedCity, run: Run, began: datetime, ended: Decided) -> None:
    """Write the span of a publication: which version, and from which target model the live pointer moved to which."""
    if not spans.is_traced(context):
        return
    found = live.read(city.aws.s3, city.keys, city.slug) if ended.outcome == Outcome.LIVE else None
    moved: dict[str, str | int | None] = {}
    if found is not None:
        pointer = found.pointer
        moved = {
            "cityfleet.target_model": pointer.target_model,
            "cityfleet.predecessor": pointer.predecessor,
            "cityfleet.pointer.sequence": pointer.sequence,
        }
    told = {"cityfleet.outcome": ended.outcome.value, "cityfleet.version": ended.version, **moved}
    spans.emit(context, spans.since(began, "cityfleet.publish", {**spans.about(city.plan, run), **told}))


class KeepChampionOperator(CityOperator):
    """Say why the model that serves stays. It changes nothing."""

    @patient
    def execute(self, context: Context) -> dict[str, Any]:
        city = self.city()
        asked: Any = context["ti"].xcom_pull(task_ids=APPROVE)
        result = end_step.keep_champion(city_run_of(city, context), asked)
        package, output = (
            upstream(context, REGISTER)["package_arn"],
            upstream(context, DECIDE)["decision_uri"],
        )
        say_made(context, city.aws.sagemaker, package=package, output=output)
        tell_record(city, context, keep_champion=result)
        return result
