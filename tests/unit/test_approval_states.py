"""The state machine of a registered model: every pair, what the registry allows, and what no order of events may do."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_fleet.champions.approval_states import (
    TRANSITIONS,
    Effect,
    Event,
    State,
    as_markdown,
    state_of,
    status_of,
    transition,
)
from tests.unit.fleets import ROOT

# "Update the Approval Status of a Model", SageMaker Developer Guide.
REGISTRY_ALLOWS = {
    ("PendingManualApproval", "Approved"),
    ("PendingManualApproval", "Rejected"),
    ("Approved", "Rejected"),
    ("Rejected", "Approved"),
}
PAIRS = list(itertools.product(State, Event))


def test_every_pair_of_state_and_event_is_written_down() -> None:
    assert set(TRANSITIONS) == set(PAIRS)


@pytest.mark.parametrize(("state", "event"), PAIRS)
def test_the_registry_allows_every_step(state: State, event: Event) -> None:
    step = transition(state, event)
    before, after = status_of(state), status_of(step.state)
    if step.effect is Effect.REGISTER:
        assert event in (Event.PROMOTE, Event.HOLD)
        assert after is not None
    elif before is None:
        assert after is None
    else:
        assert before == after or (before, after) in REGISTRY_ALLOWS


@pytest.mark.parametrize(("state", "event"), PAIRS)
def test_what_is_published_is_approved_and_what_is_kept_is_not(state: State, event: Event) -> None:
    step = transition(state, event)
    if step.effect is Effect.PUBLISH:
        assert step.state in (State.APPROVED, State.REPLACED)
        assert event in (Event.APPROVE, Event.RELEASE)
    if step.effect is Effect.KEEP and state is not State.REPLACED:
        assert status_of(step.state) == "Rejected"
    if step.effect is Effect.ALERT:
        assert (state, event) == (State.LIVE, Event.REJECT)


@pytest.mark.parametrize(("state", "event"), PAIRS)
def test_an_event_that_comes_twice_changes_nothing_more(state: State, event: Event) -> None:
    once = transition(state, event)
    twice = transition(once.state, event)
    assert twice.state is once.state
    if once.state is not State.NEW:
        assert twice.effect is not Effect.REGISTER


@pytest.mark.parametrize("state", State)
def test_where_a_version_stands_can_be_read_from_the_registry(state: State) -> None:
    """For every way into a state, status and event alone lead back to it."""
    for (before, event), step in TRANSITIONS.items():
        status = status_of(step.state)
        if step.state is not state or step.state is before or status is None:
            continue
        assert state_of(status, event, live=state is State.LIVE) is state


@pytest.mark.parametrize("event", [event for event in Event if event is not Event.REJECT])
def test_only_a_person_takes_from_a_model_that_served_the_right_to_serve_again(event: Event) -> None:
    for state in (State.LIVE, State.REPLACED):
        assert status_of(transition(state, event).state) == "Approved"
    assert state_of("Approved", event, live=False, served=True) is State.REPLACED


def test_a_status_that_was_set_elsewhere_is_a_persons_word() -> None:
    assert state_of("Rejected", "", live=False) is State.REJECTED
    assert state_of("Rejected", "something of another version", live=True) is State.REJECTED
    assert state_of("Approved", "", live=False) is State.APPROVED
    assert state_of("Approved", "expire", live=True) is State.LIVE


@given(st.lists(st.sampled_from(Event), max_size=30))
def test_nothing_overrules_a_persons_no_but_a_person(events: list[Event]) -> None:
    state = State.REJECTED
    for event in events:
        step = transition(state, event)
        if event is Event.APPROVE:
            return
        assert step.state is State.REJECTED
        assert step.effect in (Effect.NOTHING, Effect.KEEP)


@given(st.lists(st.sampled_from([event for event in Event if event is not Event.PROMOTE]), max_size=30))
def test_a_superseded_model_never_goes_live_unless_it_is_judged_anew(events: list[Event]) -> None:
    """A person who rejects it and approves it after that wants it, whatever has superseded it."""
    state, rejected = State.SUPERSEDED, False
    for event in events:
        rejected = rejected or event in (Event.REJECT, Event.HOLD)
        step = transition(state, event)
        assert step.effect is not Effect.PUBLISH or rejected
        state = step.state


@given(st.lists(st.sampled_from(Event), max_size=30))
def test_what_waits_got_there_by_a_new_version_and_goes_live_by_release_or_approval(
    events: list[Event],
) -> None:
    state = State.NEW
    for event in events:
        step = transition(state, event)
        if step.state is State.WAITING and state is not State.WAITING:
            assert step.effect is Effect.REGISTER
        if state is State.WAITING and step.state is State.APPROVED:
            assert event in (Event.RELEASE, Event.APPROVE)
        assert bool(step.refusal) == (
            (state is State.NEW and step.effect is Effect.NOTHING)
            or (state, event) == (State.SUPERSEDED, Event.APPROVE)
        )
        state = step.state


def test_the_documentation_shows_this_table() -> None:
    assert as_markdown() in (ROOT / "docs" / "approval.md").read_text(encoding="utf-8")
