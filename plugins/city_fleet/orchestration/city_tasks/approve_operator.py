"""Airflow operator that asks a person whether a model may go live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import HITLBranchOperator
from airflow.sdk import Param
from airflow.sdk.exceptions import TaskAwaitingInput

from city_fleet import naming
from city_fleet.approval import approvals
from city_fleet.approval.approval_question import body, subject
from city_fleet.champions import approval_states, breaker
from city_fleet.champions.approval_states import Event, ModelState
from city_fleet.champions.planned_city import PlannedCity
from city_fleet.orchestration import spans
from city_fleet.orchestration.city_tasks.approve_trigger import (
    ABOUT,
    DECIDED,
    EXPIRED,
    OPTIONS,
    ApprovalTrigger,
)
from city_fleet.orchestration.city_tasks.city_operator import PatientTask, city_of
from city_fleet.orchestration.city_tasks.record_operator import results_of
from city_fleet.orchestration.console_pages import say_made
from city_fleet.orchestration.patience import patient
from city_fleet.orchestration.run_context import name_of, registered, run_of, upstream
from city_fleet.plan import DECIDE, EVALUATE, KEEP_CHAMPION, PUBLISH, CityPlan
from city_fleet.run_steps.record_step import RunEnd, jobs_of, record_of
from city_fleet.state import registry, run_records
from city_fleet.state.author import Author
from city_fleet.state.outcomes import Outcome
from city_fleet.state.registry import ModelPackage

if TYPE_CHECKING:
    from airflow.sdk import Context

_APPROVE, _REJECT = OPTIONS
_NOTE = "note"


class ApproveOperator(PatientTask, HITLBranchOperator):
    """Ask a person, in Airflow's own form; then publish, or keep the champion.

    The answer goes to the registry. A decision that is made there instead, by command or in the console, ends the
    wait as well, and so does a newer model of the city. The task takes no slot while it waits.
    """

    # Airflow would render subject and body with the whole context: a city named "{{ conn.x.password }}" would show the
    # password in the question. The page of the question has both texts; "Rendered Templates" need not repeat them.
    template_fields = ()

    def __init__(self, *, plan: CityPlan, aws_conn_id: str | None = "aws_default", **kwargs: Any) -> None:
        # Airflow hands the DAG's params down to each task; the form shows the task's own ones only.
        kwargs.pop("params", None)
        # Null, because the form takes an empty text for one that is missing.
        note = Param(
            None,
            source="task",
            type=["null", "string"],
            title="Note",
            description="Why; kept in the registry.",
        )
        super().__init__(
            subject=subject(plan),
            options=[_APPROVE, _REJECT],
            options_mapping={_APPROVE: PUBLISH, _REJECT: KEEP_CHAMPION},
            params={_NOTE: note},
            **kwargs,
        )
        self.plan = plan
        self.aws_conn_id = aws_conn_id

    @patient
    def execute(self, context: Context) -> Any:
        run = run_of(self.plan, context)
        city = city_of(self.plan, self.aws_conn_id)
        version, state = self._version(city, context)
        say_made(context, city.aws.sagemaker, package=version.arn)
        if run.force:
            return self._end(context, version, PUBLISH, state)
        if state is not ModelState.WAITING:
            self.log.info("Version %d is %s already", version.number, state.value)
            return self._end_decided(context, version, state)
        night = breaker.read(city.aws.s3, city.keys, run.stamp)
        self.body = body(
            self.plan,
            version,
            decision=upstream(context, DECIDE),
            evaluation_uri=upstream(context, EVALUATE)["evaluation_uri"],
            night=night.sentence if night else None,
        )
        self._record_wait(context, version, city)
        try:
            return super().execute(context)
        except TaskAwaitingInput:
            self.defer(trigger=self._trigger(context, version), method_name="execute_complete")

    @patient
    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        city = city_of(self.plan, self.aws_conn_id)
        version, state = self._version(city, context)
        # An answer that Airflow itself hands to this very task names no version.
        if event.get(ABOUT, version.arn) != version.arn:
            self.log.warning("Woken by an event about another model: %s", event[ABOUT])
            event = {DECIDED: True}  # the registry says whether it was
        if DECIDED in event or EXPIRED in event:
            if EXPIRED in event:
                hours = self.plan.city.approval_expires_hours
                author = Author(name_of(self.plan, context), f"expired: no decision within {hours} hours")
                approvals.write(city.aws, version, state, Event.EXPIRE, author)
            elif version.status != version.settled_status:
                serves, served = approvals.serving(city, version)
                approvals.adopt(city.aws, version, live=serves, served=served)
        else:
            if "error" in event:
                self.process_trigger_event_error(event)
            self.validate_chosen_options(event["chosen_options"])
            answer = Event.APPROVE if event["chosen_options"] == [_APPROVE] else Event.REJECT
            step, _ = approvals.write(city.aws, version, state, answer, self._author_of(event))
            if step.refusal:
                self.log.warning("The answer comes too late: %s", step.refusal)
        version, state = self._version(city, context)
        if state is ModelState.WAITING:
            # The list that the trigger had read was older than the version.
            self.defer(trigger=self._trigger(context, version), method_name="execute_complete")
        return self._end_decided(context, version, state)

    def _author_of(self, event: dict[str, Any]) -> Author:
        """Return who has answered in Airflow, and the note of the form."""
        who = event["responded_by_user"] or {}
        note = (event.get("params_input") or {}).get(_NOTE)
        return Author(str(who.get("name") or "an unnamed person in Airflow"), str(note or "").strip())

    def _version(self, city: PlannedCity, context: Context) -> tuple[ModelPackage, ModelState]:
        version = registered(context, city.aws.sagemaker)
        return version, approvals.state_of(city, version)

    def _record_wait(self, context: Context, version: ModelPackage, city: PlannedCity) -> None:
        """Write a record that the run waits, for views of the whole fleet; it is replaced by that of its end."""
        run = run_of(self.plan, context)
        deadline = naming.parse_as_of(version.metadata[registry.EXPIRES_AT])
        reasons = [f"awaits approval until {deadline:%Y-%m-%d %H:%M} UTC"]
        results = results_of(context)
        record = record_of(self.plan, run, results, RunEnd(Outcome.PENDING, reasons, jobs=jobs_of(results)))
        run_records.write(city.aws.s3, city.keys, record, as_of=run.as_of, key_of_run=run.key)

    def _trigger(self, context: Context, version: ModelPackage) -> ApprovalTrigger:
        return ApprovalTrigger(
            package_arn=version.arn,
            name_part=naming.package_groups_part(self.plan.fleet.fleet, self.plan.fleet.environment),
            expires_at=version.metadata[registry.EXPIRES_AT],
            poll_seconds=self.plan.city.waiter_delay_seconds,
            aws_conn_id=self.aws_conn_id,
            region_name=self.plan.fleet.region,
            ti_id=context["task_instance"].id,
            options=self.options,
            params=self.serialized_params,
        )

    def _end_decided(self, context: Context, version: ModelPackage, state: ModelState) -> None:
        goes = approval_states.status_of(state) == registry.APPROVED
        self._end(context, version, PUBLISH if goes else KEEP_CHAMPION, state)

    def _end(self, context: Context, version: ModelPackage, branch: str, state: ModelState) -> None:
        self.log.info("Version %d is %s: %s", version.number, state.value, version.status_reason)
        result = {
            "state": state.value,
            "outcome": approvals.outcome_of(state).value,
            "reasons": [version.status_reason],
        }
        # Without who has answered: a trace goes to people who need not know.
        told = {
            "cityfleet.state": state.value,
            "cityfleet.version": version.number,
            "cityfleet.goes_on": branch,
        }
        whose = spans.about(self.plan, run_of(self.plan, context))
        spans.emit(context, spans.since(spans.begun(context), "cityfleet.approval", {**whose, **told}))
        # Branching skips the other way by an exception, and what a task returns is lost then.
        context["ti"].xcom_push(key="return_value", value=result)
        self.do_branch(context, branch)
