"""What a city's own run does with its model package once the gate, and where asked a person, have spoken."""

from __future__ import annotations

from city_fleet.approval import approvals
from city_fleet.champions import approval_states, breaker
from city_fleet.champions.approval_states import Effect, Event, ModelState
from city_fleet.champions.planned_city import PlannedCity
from city_fleet.champions.release import Release, publish_package
from city_fleet.plan import Run
from city_fleet.state import registry
from city_fleet.state.author import Author
from city_fleet.state.outcomes import Decided, Outcome
from city_fleet.state.registry import ModelPackage


def release(city: PlannedCity, package: ModelPackage, run: Run, author: Author) -> Decided:
    """Make the run's package the one that serves the city, unless its night, or the city, awaits approval.

    :raises PublishError: what the run left is gone, or the endpoint does not answer as it should.
    """
    state = approvals.state_of(city, package)
    event = Event.APPROVE if run.force else Event.RELEASE
    if state is ModelState.WAITING and not run.force:
        if city.plan.city.approval == "manual":
            # The question was marked as answered, and was not.
            return _pending(city, package, "it has not been approved yet")
        night = breaker.stop_or_read(city.aws.s3, city.keys, run.stamp, city.plan.fleet.breaker)
        if night is not None and night.state == breaker.TRIPPED:
            approvals.wait_for_person(city, package, night.sentence)
            return _pending(city, package, night.sentence)
        if night is not None:
            event = Event.APPROVE if night.state == breaker.APPROVED else Event.REJECT
            author = Author(night.by, night.note)
    step = approval_states.transition(state, event)
    if step.effect in (Effect.PUBLISH, Effect.NOTHING) or run.force:
        approves = None if package.status == registry.APPROVED else event
        told = Release(author, approves, force=run.force, record=False)
        return publish_package(city, package, state, told)
    step, package = approvals.write(city.aws, package, state, event, author)
    outcome = approvals.outcome_of(step.state)
    return Decided(city.slug, package.number, outcome, (package.status_reason,))


def _pending(city: PlannedCity, package: ModelPackage, reason: str) -> Decided:
    return Decided(city.slug, package.number, Outcome.PENDING, (reason,))
