"""What served when, as people read it."""

from __future__ import annotations

import json

import pytest

from city_fleet.champions import moves
from city_fleet.champions.champion_history import history
from city_fleet.state import live
from city_fleet.state.author import Author
from tests.support.factors import KEYS, City
from tests.support.local_sagemaker import LocalSageMaker


@pytest.fixture
def city(aws: LocalSageMaker) -> City:
    return City(aws)


def test_a_city_that_never_went_live(city: City) -> None:
    found = history(city.s3, KEYS, city.slug)
    assert (found.states, found.older, found.problem) == ((), 0, None)


def test_every_state_says_until_when_it_served(city: City) -> None:
    first, second = city.go_live(1.1, month=1), city.go_live(1.2, month=2)
    current = live.read(city.s3, KEYS, city.slug)
    assert current is not None
    third = moves.state_after(
        second, first, kind=live.ROLLBACK, author=Author("ann", "wrong data"), pinned=True
    )
    live.move(city.s3, KEYS, third, current)
    found = history(city.s3, KEYS, city.slug)
    assert [(s.sequence, s.state, s.until, s.live) for s in found.states] == [
        (1, first, "2014-02-01T00:00:00+00:00", False),
        (2, second, third.moved_at, False),
        (3, third, None, True),
    ]
    assert found.problem is None
    newest = history(city.s3, KEYS, city.slug, limit=2)
    assert (newest.states, newest.older) == (found.states[1:], 1)
    assert json.loads(json.dumps(newest.states[-1].to_dict()))["state"]["reason"] == "wrong data"


def test_a_copy_too_few_or_unreadable_is_no_gap(city: City) -> None:
    city.go_live(1.1, month=1)
    city.go_live(1.2, month=2)
    third = city.go_live(1.3, month=3)
    city.s3.delete_object(Bucket=KEYS.bucket, Key=KEYS.history(city.slug, 3))
    city.s3.put_object(Bucket=KEYS.bucket, Key=KEYS.history(city.slug, 2), Body=b"{}")
    first, second, last = history(city.s3, KEYS, city.slug).states
    assert (last.state, last.live) == (third, True)
    assert (second.state, second.until) == (None, third.moved_at)
    assert "is not a live pointer" in (second.error or "")
    assert first.until is None


def test_what_is_wrong_with_the_live_pointer_is_said(city: City) -> None:
    first = city.go_live(1.1, month=1)
    city.go_live(1.2, month=2)
    key = KEYS.live(city.slug)
    city.s3.put_object(Bucket=KEYS.bucket, Key=key, Body=first.to_json())
    found = history(city.s3, KEYS, city.slug)
    assert found.problem == (
        f"the live pointer has sequence 1, but the history goes up to 2; `./fleet rebuild {city.slug}` restores it"
    )
    assert [(s.sequence, s.live) for s in found.states] == [(1, True), (2, False)]
    city.s3.put_object(Bucket=KEYS.bucket, Key=key, Body=b"{}")
    assert "is not a live pointer" in (history(city.s3, KEYS, city.slug).problem or "")
    city.s3.delete_object(Bucket=KEYS.bucket, Key=key)
    found = history(city.s3, KEYS, city.slug)
    assert (found.problem or "").startswith("the live pointer is missing; ")
    assert [s.live for s in found.states] == [False, False]
