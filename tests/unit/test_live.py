"""The live pointer against real S3 conditional writes: one unbroken history, whoever moves it and dies when."""

from __future__ import annotations

import threading
import uuid
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from city_fleet import live
from city_fleet.errors import PointerMoved, PublishError
from city_fleet.naming import Keys
from tests.local_sagemaker.conftest import LocalSageMaker

KEYS = Keys("city-fleet", "texas_housing")


def pointer(city: str, sequence: int, name: str = "a") -> live.LivePointer:
    return live.LivePointer(
        sequence=sequence,
        city=city,
        target_model=f"{city}/{name}{sequence}.tar.gz",
        package_arn="arn:aws:sagemaker:us-east-1:123456789012:model-package/group/1",
        as_of="20140101T000000Z",
        metrics={"mape": 0.04, "r2": None},
        features=("trend", "median_mean_12"),
        artifact_sha256="0" * 64,
        published_at="2014-01-01T00:00:00+00:00",
        published_by="texas_housing.austin/run",
        reasons=("there is no champion yet",),
    )


@pytest.fixture
def s3(aws: LocalSageMaker) -> Any:
    return aws.client("s3")


@pytest.fixture
def city() -> str:
    return f"c{uuid.uuid4().hex}"


def test_a_city_without_a_model_has_no_pointer(s3: Any, city: str) -> None:
    assert live.read(s3, KEYS, city) is None
    assert live.history(s3, KEYS, city) == []


def test_a_move_keeps_what_served_before(s3: Any, city: str) -> None:
    first = live.move(s3, KEYS, pointer(city, 1), None)
    second = live.move(s3, KEYS, pointer(city, 2), first)
    assert live.read(s3, KEYS, city) == second
    assert live.history(s3, KEYS, city) == [first.pointer]


def test_a_pointer_that_moved_refuses_and_nothing_changes(s3: Any, city: str) -> None:
    first = live.move(s3, KEYS, pointer(city, 1), None)
    with pytest.raises(PointerMoved):
        live.move(s3, KEYS, pointer(city, 1, "b"), None)
    second = live.move(s3, KEYS, pointer(city, 2), first)
    with pytest.raises(PointerMoved):
        live.move(s3, KEYS, pointer(city, 2, "b"), first)
    assert live.read(s3, KEYS, city) == second


def test_repeating_a_move_whose_answer_was_lost_is_harmless(s3: Any, city: str) -> None:
    first = live.move(s3, KEYS, pointer(city, 1), None)
    moved = live.move(s3, KEYS, pointer(city, 2), first)
    assert live.move(s3, KEYS, pointer(city, 2), first) == moved


def test_a_mover_that_died_after_the_copy_leaves_no_gap(s3: Any, city: str) -> None:
    first = live.move(s3, KEYS, pointer(city, 1), None)
    live._keep_history(s3, KEYS, first.pointer)
    second = live.move(s3, KEYS, pointer(city, 2), first)
    assert [p.sequence for p in live.history(s3, KEYS, city)] == [1]
    assert live.read(s3, KEYS, city) == second


def test_a_pointer_written_by_hand_is_not_taken_for_history(s3: Any, city: str) -> None:
    live.move(s3, KEYS, pointer(city, 2), live.move(s3, KEYS, pointer(city, 1), None))
    by_hand = replace(pointer(city, 1), target_model="somebody/else.tar.gz")
    s3.put_object(Bucket=KEYS.bucket, Key=KEYS.live(city), Body=by_hand.to_json())
    current = live.read(s3, KEYS, city)
    with pytest.raises(PublishError, match="wrote to live/ by hand"):
        live.move(s3, KEYS, pointer(city, 2, "b"), current)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"format_version": 1}', b'{"format_version": 1, "city": 3}']
)
def test_a_damaged_pointer_is_named(s3: Any, city: str, body: bytes) -> None:
    s3.put_object(Bucket=KEYS.bucket, Key=KEYS.live(city), Body=body)
    with pytest.raises(PublishError, match=f"live/{city}.json"):
        live.read(s3, KEYS, city)


def test_a_pointer_of_a_newer_version_says_to_upgrade(s3: Any, city: str) -> None:
    s3.put_object(Bucket=KEYS.bucket, Key=KEYS.live(city), Body=b'{"format_version": 2}')
    with pytest.raises(PublishError, match="upgrade"):
        live.read(s3, KEYS, city)


def test_movers_at_the_same_time_lose_no_move(s3: Any, aws: LocalSageMaker, city: str) -> None:
    """Eight movers, five moves each; every move is in the history once and the chain has no gap."""

    def mover(name: str) -> None:
        done = 0
        while done < 5:
            current = live.read(s3, KEYS, city)
            sequence = current.pointer.sequence + 1 if current else 1
            predecessor = current.pointer.target_model if current else None
            new = replace(pointer(city, sequence, f"{name}-{done}-"), predecessor=predecessor)
            try:
                live.move(s3, KEYS, new, current)
                done += 1
            except PointerMoved:
                continue

    threads = [threading.Thread(target=mover, args=(f"m{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    current = live.read(s3, KEYS, city)
    assert current is not None
    chain = [*live.history(s3, KEYS, city), current.pointer]
    assert [p.sequence for p in chain] == list(range(1, 41))
    assert [p.predecessor for p in chain[1:]] == [p.target_model for p in chain[:-1]]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.sampled_from(["move", "die after the copy", "stale move"]), max_size=8))
def test_any_order_of_moves_and_deaths_keeps_one_unbroken_history(s3: Any, steps: list[str]) -> None:
    city = f"c{uuid.uuid4().hex}"
    stale = None
    for number, step in enumerate(steps):
        current = live.read(s3, KEYS, city)
        sequence = current.pointer.sequence + 1 if current else 1
        if step == "move":
            stale = current
            live.move(s3, KEYS, pointer(city, sequence, f"{number}-"), current)
        elif step == "die after the copy" and current:
            live._keep_history(s3, KEYS, current.pointer)
        elif step == "stale move" and current:
            with pytest.raises(PointerMoved):
                live.move(s3, KEYS, pointer(city, sequence, f"{number}-stale-"), stale)
    current = live.read(s3, KEYS, city)
    count = current.pointer.sequence if current else 0
    assert count == steps.count("move")
    assert [p.sequence for p in live.history(s3, KEYS, city)][: max(count - 1, 0)] == list(range(1, count))
