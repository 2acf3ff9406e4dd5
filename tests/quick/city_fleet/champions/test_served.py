"""Where a rollback goes: pure, over histories of every shape."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_fleet.champions.served import Destination, walk_back, went_live_since
from city_fleet.errors import PublishError
from city_fleet.state import live
from city_fleet.state.live import LivePointer


def state(sequence: int, model: str, restores: int | None = None, hour: int | None = None) -> LivePointer:
    """A state of the pointer, published at an hour (by default the one of its sequence or of what it restores)."""
    published = hour if hour is not None else (restores or sequence)
    return LivePointer(
        sequence=sequence,
        city="austin",
        target_model=model,
        package_arn="",
        as_of=f"201401{published:02}T000000Z",
        metrics={},
        features=(),
        artifact_sha256="",
        published_at=f"2014-01-01T{published:02}:00:00+00:00",
        published_by="run",
        move=live.PUBLISH if restores is None else live.ROLLBACK,
        restores=restores,
    )


def ways(*states: LivePointer, since: datetime | None = None) -> list[tuple[int, str]]:
    *earlier, current = states
    return [(s.sequence, s.target_model) for s in walk_back(current, reversed(earlier), since)]


A, B, C = state(1, "a"), state(2, "b"), state(3, "c")


def test_it_goes_back_one_by_one() -> None:
    assert ways(A) == []
    assert ways(A, B, C) == [(2, "b"), (1, "a")]


def test_a_second_rollback_goes_further_back() -> None:
    assert ways(A, B, C, state(4, "b", restores=2)) == [(1, "a")]
    assert ways(A, B, C, state(4, "b", restores=2), state(5, "a", restores=1)) == []


def test_an_unpinned_model_is_where_it_was() -> None:
    unpinned = replace(state(5, "b", restores=2), move=live.UNPIN)
    assert ways(A, B, C, state(4, "b", restores=2), unpinned) == [(1, "a")]


def test_what_somebody_rolled_back_from_is_not_returned_to() -> None:
    """b was rolled back from; d is published, and is no good either: a served before it."""
    assert ways(A, B, state(3, "a", restores=1), state(4, "d")) == [(3, "a")]
    assert ways(A, B, state(3, "a", restores=1), state(4, "d"), state(5, "e")) == [(4, "d"), (3, "a")]


def test_forward_and_back_again() -> None:
    assert ways(A, B, C, state(4, "a", restores=1), state(5, "c", restores=3)) == [(2, "b"), (1, "a")]


def test_the_same_model_published_twice_is_no_way_back() -> None:
    assert ways(A, B, state(3, "a")) == [(2, "b")]
    assert ways(A, state(2, "a")) == []


def test_a_night_leaves_out_what_it_published_itself() -> None:
    night = datetime(2014, 1, 1, 2, tzinfo=UTC)
    assert ways(A, B, C, since=night) == [(1, "a")]
    assert ways(B, C, since=night) == []
    # In the night somebody returned to a model of before, and then another one was published.
    assert ways(
        A, state(2, "b", hour=1), C, state(4, "b", restores=2, hour=1), state(5, "d"), since=night
    ) == [
        (4, "b"),
        (1, "a"),
    ]


def test_when_a_model_went_live() -> None:
    night = datetime(2014, 1, 1, 2, tzinfo=UTC)
    assert not went_live_since(A, night)
    assert went_live_since(B, night)
    assert not went_live_since(
        replace(state(9, "a", restores=1), moved_at="2015-01-01T00:00:00+00:00"), night
    )
    with pytest.raises(PublishError, match=r"sequence 1 says .* 'tomorrow', which is not an instant"):
        went_live_since(replace(A, published_at="tomorrow"), night)


@st.composite
def histories(draw: Any) -> list[LivePointer]:
    """Publishes of new models and rollbacks to anything earlier, in any order."""
    states = [state(1, "m1", hour=0)]
    for sequence in range(2, draw(st.integers(2, 12)) + 1):
        back_to = draw(st.one_of(st.none(), st.sampled_from(states)))
        if back_to is None:
            states.append(state(sequence, f"m{sequence}", hour=0))
        else:
            states.append(state(sequence, back_to.target_model, restores=back_to.origin, hour=0))
    return states


@given(states=histories())
def test_rolling_back_again_and_again_ends_and_never_repeats(states: list[LivePointer]) -> None:
    seen = [states[-1].target_model]
    while found := ways(*states):
        sequence, model = found[0]
        restored = next(s for s in states if s.sequence == sequence)
        assert model not in seen, "a rollback never returns to what was left by one"
        assert sequence < states[-1].origin
        seen.append(model)
        states = [*states, state(len(states) + 1, model, restores=restored.origin, hour=0)]
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize(
    ("text", "destination"),
    [
        ("3", Destination(sequence=3)),
        (
            "austin/20140101T000000Z-0123456789ab.tar.gz",
            Destination(target_model="austin/20140101T000000Z-0123456789ab.tar.gz"),
        ),
        ("2014-01-01", Destination(as_of="20140101")),
        ("20140101", Destination(as_of="20140101")),
        ("20140101T060000Z", Destination(as_of="20140101T060000Z")),
        ("2014-01-01T06:00-06:00", Destination(as_of="20140101T120000Z")),
    ],
)
def test_where_a_person_may_want_to_go(text: str, destination: Destination) -> None:
    assert Destination.parse(text) == destination


@pytest.mark.parametrize("text", ["", "yesterday", "-1", "austin/model.tar.gz", "2014-13-01", "1.5"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="allowed: "):
        Destination.parse(text)


def test_destinations_match_states() -> None:
    assert Destination(sequence=2).matches(B)
    assert not Destination(sequence=2).matches(A)
    assert Destination(target_model="b").matches(B)
    assert Destination(as_of="20140102").matches(B)
    assert not Destination(as_of="20140101").matches(B)
    assert [
        str(Destination(sequence=2)),
        str(Destination(target_model="b")),
        str(Destination(as_of="2014")),
    ] == [
        "sequence 2",
        "b",
        "as_of 2014",
    ]
    assert Destination.parse("2014-01-02T00:00") == Destination(as_of="20140102T000000Z")
