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
    ModelState,
    state_of,
    status_of,
    transition,
)
from tests.support.paths import ROOT

# "Update the Approval Status of a Model", SageMaker Developer Guide.
REGISTRY_ALLOWS = {
    ("PendingManualApproval", "Approved"),
    ("PendingManualApproval", "Rejected"),
    ("Approved", "Rejected"),
    ("Rejected", "Approved"),
}
PAIRS = list(itertools.product(ModelState, Event))


def test_every_pair_of_state_and_event_is_written_down() -> None:
    assert set(TRANSITIONS) == set(PAIRS)


def test_the_registry_allows_every_step(subtests: pytest.Subtests) -> None:
    for state, event in PAIRS:
        with subtests.test(event=event, state=state):
            step = transition(state, event)
            before, after = status_of(state), status_of(step.state)
            if step.effect is Effect.REGISTER:
                assert event in (Event.PROMOTE, Event.HOLD)
                assert after is not None
            elif before is None:
                assert after is None
            else:
                assert before == after or (before, after) in REGISTRY_ALLOWS


def test_what_is_published_is_approved_and_what_is_kept_is_not(subtests: pytest.Subtests) -> None:
    for state, event in PAIRS:
        with subtests.test(event=event, state=state):
            step = transition(state, event)
            if step.effect is Effect.PUBLISH:
                assert step.state in (ModelState.APPROVED, ModelState.REPLACED)
                assert event in (Event.APPROVE, Event.RELEASE)
            if step.effect is Effect.KEEP and state is not ModelState.REPLACED:
                assert status_of(step.state) == "Rejected"
            if step.effect is Effect.ALERT:
                assert (state, event) == (ModelState.LIVE, Event.REJECT)


def test_an_event_that_comes_twice_changes_nothing_more(subtests: pytest.Subtests) -> None:
    for state, event in PAIRS:
        with subtests.test(event=event, state=state):
            once = transition(state, event)
            twice = transition(once.state, event)
            assert twice.state is once.state
            if once.state is not ModelState.NEW:
                assert twice.effect is not Effect.REGISTER


def test_where_a_version_stands_can_be_read_from_the_registry(subtests: pytest.Subtests) -> None:
    """For every way into a state, status and event alone lead back to it."""
    for state in ModelState:
        with subtests.test(state=state):
            for (before, event), step in TRANSITIONS.items():
                status = status_of(step.state)
                if step.state is not state or step.state is before or status is None:
                    continue
                assert state_of(status, event, live=state is ModelState.LIVE) is state


def test_only_a_person_takes_from_a_model_that_served_the_right_to_serve_again(
    subtests: pytest.Subtests,
) -> None:
    for event in set(Event) - {Event.REJECT}:
        with subtests.test(event=event):
            for state in (ModelState.LIVE, ModelState.REPLACED):
                assert status_of(transition(state, event).state) == "Approved"
            assert state_of("Approved", event, live=False, served=True) is ModelState.REPLACED


def test_a_status_that_was_set_elsewhere_is_a_persons_word() -> None:
    assert state_of("Rejected", "", live=False) is ModelState.REJECTED
    assert state_of("Rejected", "something of another version", live=True) is ModelState.REJECTED
    assert state_of("Approved", "", live=False) is ModelState.APPROVED
    assert state_of("Approved", "expire", live=True) is ModelState.LIVE


@given(st.lists(st.sampled_from(Event), max_size=30))
def test_nothing_overrules_a_persons_no_but_a_person(events: list[Event]) -> None:
    state = ModelState.REJECTED
    for event in events:
        step = transition(state, event)
        if event is Event.APPROVE:
            return
        assert step.state is ModelState.REJECTED
        assert step.effect in (Effect.NOTHING, Effect.KEEP)


@given(st.lists(st.sampled_from([event for event in Event if event is not Event.PROMOTE]), max_size=30))
def test_a_superseded_model_never_goes_live_unless_it_is_judged_anew(events: list[Event]) -> None:
    """A person who rejects it and approves it after that wants it, whatever has superseded it."""
    state, rejected = ModelState.SUPERSEDED, False
    for event in events:
        rejected = rejected or event in (Event.REJECT, Event.HOLD)
        step = transition(state, event)
        assert step.effect is not Effect.PUBLISH or rejected
        state = step.state


@given(st.lists(st.sampled_from(Event), max_size=30))
def test_what_waits_got_there_by_a_new_version_and_goes_live_by_release_or_approval(
    events: list[Event],
) -> None:
    state = ModelState.NEW
    for event in events:
        step = transition(state, event)
        if step.state is ModelState.WAITING and state is not ModelState.WAITING:
            assert step.effect is Effect.REGISTER
        if state is ModelState.WAITING and step.state is ModelState.APPROVED:
            assert event in (Event.RELEASE, Event.APPROVE)
        assert bool(step.refusal) == (
            (state is ModelState.NEW and step.effect is Effect.NOTHING)
            or (state, event) == (ModelState.SUPERSEDED, Event.APPROVE)
        )
        state = step.state


def as_markdown() -> str:
    """Return the table of docs/approval.md."""
    lines = ["| | " + " | ".join(event.value for event in Event) + " |", "|---" * (len(Event) + 1) + "|"]
    for state in ModelState:
        cells = []
        for event in Event:
            after = transition(state, event)
            words = [after.state.value] if after.state is not state else []
            words += [after.effect.value] if after.effect is not Effect.NOTHING else []
            cells.append(": ".join(words) or "–")
        lines.append(f"| **{state.value}** | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def test_the_documentation_shows_this_table() -> None:
    assert as_markdown() in (ROOT / "docs" / "approval.md").read_text(encoding="utf-8")
