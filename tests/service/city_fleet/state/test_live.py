"""The live pointer against real S3 conditional writes: one unbroken history, whoever moves it and dies when."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError
from hypothesis import given, settings
from hypothesis import strategies as st

from city_fleet.errors import BrokenPointer, PointerMoved, PublishError
from city_fleet.naming import Keys
from city_fleet.state import live
from tests.support.actors import Actor, run_alone
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.paths import ROOT
from tests.support.serving import Serving
from tests.support.states import pointer

KEYS = Keys("city-fleet", "texas_housing", "laptop")


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
    assert live.kept_sequences(s3, KEYS, city) == [1, 2], "what serves is kept as well"
    assert live.read_kept(s3, KEYS, city, 2) == second.pointer


def test_a_move_says_what_it_was_and_a_pointer_without_that_was_published(s3: Any, city: str) -> None:
    rollback = replace(
        pointer(city, 3),
        move=live.ROLLBACK,
        moved_at="2014-02-01T00:00:00+00:00",
        moved_by="ann",
        reason="prices ten times too high",
        restores=1,
    )
    assert live.LivePointer.from_json(rollback.to_json(), "x") == rollback
    assert (rollback.published_by, rollback.origin) == ("texas_housing.austin/run", 1)
    old = json.loads(pointer(city, 2).to_json())
    for name in ("move", "moved_at", "moved_by", "reason", "restores"):
        del old[name]
    s3.put_object(Bucket=KEYS.bucket, Key=KEYS.live(city), Body=json.dumps(old).encode())
    found = live.read(s3, KEYS, city)
    assert found is not None
    assert found.pointer == pointer(city, 2)
    assert found.pointer.move == live.PUBLISH
    assert found.pointer.moved_by == "texas_housing.austin/run"
    assert found.pointer.moved_at == "2014-01-01T00:00:00+00:00"
    assert (found.pointer.restores, found.pointer.origin) == (None, 2)


def test_a_history_of_an_earlier_version_goes_on(s3: Any, city: str) -> None:
    """Earlier versions kept a pointer only when it was replaced, without the members of today."""
    for sequence, key in ((1, KEYS.history(city, 1)), (2, KEYS.live(city))):
        old = json.loads(pointer(city, sequence).to_json())
        for name in ("move", "moved_at", "moved_by", "reason", "restores"):
            del old[name]
        s3.put_object(Bucket=KEYS.bucket, Key=key, Body=json.dumps(old).encode())
    live.move(s3, KEYS, pointer(city, 3), live.read(s3, KEYS, city))
    assert [p.sequence for p in live.history(s3, KEYS, city)] == [1, 2]
    assert live.kept_sequences(s3, KEYS, city) == [1, 2, 3]


def test_a_pointer_that_moved_refuses_and_nothing_changes(s3: Any, city: str) -> None:
    first = live.move(s3, KEYS, pointer(city, 1), None)
    with pytest.raises(PointerMoved):
        live.move(s3, KEYS, pointer(city, 1, "b"), None)
    second = live.move(s3, KEYS, pointer(city, 2), first)
    with pytest.raises(PointerMoved):
        live.move(s3, KEYS, pointer(city, 2, "b"), first)
    assert live.read(s3, KEYS, city) == second


@pytest.mark.parametrize("key", ["live", "history"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_move_whose_answer_is_lost(s3: Any, aws: LocalSageMaker, city: str, key: str, when: str) -> None:
    """The client does not try again. What was done counts, what was not done fails, and both can be repeated."""
    first = live.move(s3, KEYS, pointer(city, 1), None)
    name = f"*/{key}/{city}*"
    if key == "history":
        name = f"*/history/{city}/00000002.json"
    lost = {"kind": "dropped_connection", "operation": "s3:PutObject", "name": name, "when": when, "count": 1}
    with Serving(aws, []).faults(lost):
        if (key, when) == ("live", "before"):
            with pytest.raises(BotoCoreError):
                live.move(s3, KEYS, pointer(city, 2), first)
            assert live.read(s3, KEYS, city) == first
        else:
            assert live.move(s3, KEYS, pointer(city, 2), first).pointer == pointer(city, 2)
    second = live.move(s3, KEYS, pointer(city, 2), first)
    live.move(s3, KEYS, pointer(city, 3), second)
    assert [p.sequence for p in live.history(s3, KEYS, city)] == [1, 2]


def test_a_lost_answer_is_understood_after_the_next_move_too(s3: Any, aws: LocalSageMaker, city: str) -> None:
    """Its put succeeds and the answer is lost; before it looks, somebody else moves on."""
    first = live.move(s3, KEYS, pointer(city, 1), None)
    slow = Actor(aws)
    slow.start(lambda client: live.move(client, KEYS, pointer(city, 2, "slow"), first))
    lost = {
        "kind": "dropped_connection",
        "operation": "s3:PutObject",
        "name": f"*/live/{city}*",
        "when": "after",
        "count": 1,
    }
    with Serving(aws, []).faults(lost):
        while (found := live.read(s3, KEYS, city)) == first:
            slow.step()
    live.move(s3, KEYS, pointer(city, 3, "next"), found)
    assert slow.finish().pointer == pointer(city, 2, "slow"), "what it has done itself, not what serves now"
    assert [p.target_model for p in live.history(s3, KEYS, city)][1] == pointer(city, 2, "slow").target_model


def test_a_conflict_of_conditional_writes_is_tried_again(s3: Any, aws: LocalSageMaker, city: str) -> None:
    first = live.move(s3, KEYS, pointer(city, 1), None)
    conflict = {"kind": "conditional_conflict", "name": f"*/{city}*", "count": 3}
    with Serving(aws, []).faults(conflict):
        live.move(s3, KEYS, pointer(city, 2), first)
    assert [p.sequence for p in live.history(s3, KEYS, city)] == [1]


def test_repeating_a_move_whose_answer_was_lost_is_harmless(s3: Any, city: str) -> None:
    first = live.move(s3, KEYS, pointer(city, 1), None)
    moved = live.move(s3, KEYS, pointer(city, 2), first)
    assert live.move(s3, KEYS, pointer(city, 2), first) == moved


def test_a_mover_that_dies_anywhere_leaves_no_gap(s3: Any, aws: LocalSageMaker, city: str) -> None:
    """Every move of this loop dies one call later than the one before, until one does not come to die."""
    actor = Actor(aws)
    live.move(s3, KEYS, pointer(city, 1), None)
    moves, call, died = 1, 0, True
    while died:
        current = live.read(s3, KEYS, city)
        assert current is not None
        new = pointer(city, current.pointer.sequence + 1, f"dies-{call}-")
        died = run_alone(actor, lambda client: live.move(client, KEYS, new, current), die_before=call)  # noqa: B023
        found = live.read(s3, KEYS, city)
        moves += found is not None and found.pointer == new
        check_chain(s3, city, moves)
        call += 1
    assert call > 4, "four calls at least: two copies, a look at the next place, and the move"
    assert moves == 3, "one died after the move, before its copy; and the last one did not die"


def check_chain(s3: Any, city: str, count: int) -> None:
    """The live pointer and the history are one line of so many moves without a gap."""
    current = live.read(s3, KEYS, city)
    states = live.history(s3, KEYS, city) + ([current.pointer] if current else [])
    assert [p.sequence for p in states] == list(range(1, count + 1))


def test_a_city_whose_pointer_is_gone_goes_on_where_its_history_ends(s3: Any, city: str) -> None:
    live.move(s3, KEYS, pointer(city, 2), live.move(s3, KEYS, pointer(city, 1), None))
    s3.delete_object(Bucket=KEYS.bucket, Key=KEYS.live(city))
    assert live.next_sequence(s3, KEYS, city, None) == 3
    live.move(s3, KEYS, pointer(city, 3), None)
    assert [p.sequence for p in live.history(s3, KEYS, city)] == [1, 2]


def test_a_pointer_put_back_by_hand_is_not_moved_over_the_history(s3: Any, city: str) -> None:
    first = live.move(s3, KEYS, pointer(city, 1), None)
    live.move(s3, KEYS, pointer(city, 2), first)
    s3.put_object(Bucket=KEYS.bucket, Key=KEYS.live(city), Body=first.pointer.to_json())
    with pytest.raises(
        PublishError, match=f"an object below live/ was replaced outside City Fleet. `./fleet rebuild {city}`"
    ) as caught:
        live.move(s3, KEYS, pointer(city, 2, "b"), live.read(s3, KEYS, city))
    assert not isinstance(caught.value, PointerMoved)
    assert live.read(s3, KEYS, city) == first


def test_a_pointer_written_by_hand_is_not_taken_for_history(s3: Any, city: str) -> None:
    live.move(s3, KEYS, pointer(city, 2), live.move(s3, KEYS, pointer(city, 1), None))
    by_hand = pointer(city, 1, "by hand")
    s3.put_object(Bucket=KEYS.bucket, Key=KEYS.live(city), Body=by_hand.to_json())
    current = live.read(s3, KEYS, city)
    with pytest.raises(PublishError, match="an object below live/ was replaced outside City Fleet"):
        live.move(s3, KEYS, pointer(city, 2, "b"), current)


def damaged(**members: Any) -> bytes:
    return json.dumps({**json.loads(pointer("austin", 1).to_json()), **members}).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b'{"format_version": 1}',
        b'{"format_version": 1, "city": 3}',
        damaged(sequence="1"),
        damaged(sequence=0),
        damaged(sequence=True),
        damaged(restores=1.5),
        damaged(target_model=None),
        damaged(features="trend"),
    ],
)
def test_a_damaged_pointer_is_named(s3: Any, city: str, body: bytes) -> None:
    s3.put_object(Bucket=KEYS.bucket, Key=KEYS.live(city), Body=body)
    with pytest.raises(BrokenPointer, match=f"live/{city}.json"):
        live.read(s3, KEYS, city)
    broken = live.read_or_broken(s3, KEYS, city)
    assert isinstance(broken, live.Broken)
    assert live.move(s3, KEYS, pointer(city, 1), broken) == live.read(s3, KEYS, city)


def test_a_pointer_of_a_newer_version_says_to_upgrade(s3: Any, city: str) -> None:
    s3.put_object(Bucket=KEYS.bucket, Key=KEYS.live(city), Body=b'{"format_version": 2}')
    for read in (live.read, live.read_or_broken):
        with pytest.raises(PublishError, match="upgrade") as caught:
            read(s3, KEYS, city)
        assert not isinstance(caught.value, BrokenPointer), "it is sound, and nothing may replace it"


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


# A process that moves a city's pointer until it is killed, and writes down every move that it has made.
MOVER = """
import sys, boto3
from botocore.config import Config
from city_fleet.state import live
from city_fleet.errors import PointerMoved
from city_fleet.naming import Keys
from dataclasses import replace
from tests.support.states import pointer

url, city, name = sys.argv[1:]
s3 = boto3.client("s3", region_name="us-east-1", endpoint_url=url, aws_access_key_id="local",
                  aws_secret_access_key="local", config=Config(proxies={}))
keys = Keys("city-fleet", "texas_housing", "laptop")
done = 0
while True:
    current = live.read(s3, keys, city)
    new = replace(pointer(city, live.next_sequence(s3, keys, city, current), f"{name}-{done}-"), published_by=name,
                  predecessor=current.pointer.target_model if current else None)
    try:
        live.move(s3, keys, new, current)
    except PointerMoved:
        continue
    print(new.target_model, flush=True)
    done += 1
"""


def test_processes_that_are_killed_lose_no_move_and_leave_no_gap(
    s3: Any, aws: LocalSageMaker, city: str, tmp_path: Path
) -> None:
    """Four processes move at the same time; each is killed where it happens to be, and another one takes over."""
    reports: list[Path] = []
    killed = 0

    def start() -> subprocess.Popen[bytes]:
        reports.append(tmp_path / f"process-{len(reports)}")
        with reports[-1].open("wb") as out:
            command = [sys.executable, "-c", MOVER, aws.url, city, reports[-1].name]
            environ = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "plugins", ROOT)))}
            return subprocess.Popen(command, stdout=out, env=environ)

    def moves() -> list[str]:
        return [line for report in reports for line in report.read_text().splitlines()]

    running = [start() for _ in range(4)]
    try:
        for goal in (10, 20, 30, 40):
            end = time.monotonic() + 120
            while len(moves()) < goal:
                assert time.monotonic() < end, f"not {goal} moves in time"
                assert all(process.poll() is None for process in running)
                time.sleep(0.02)
            victim = running.pop(0)
            victim.kill()
            victim.wait()
            killed += 1
            if goal < 30:
                running.append(start())
    finally:
        for process in running:
            process.kill()
            process.wait()
    current = live.read(s3, KEYS, city)
    assert current is not None
    chain = [*live.history(s3, KEYS, city), current.pointer]
    assert [p.sequence for p in chain] == list(range(1, len(chain) + 1))
    assert [p.predecessor for p in chain] == [None, *(p.target_model for p in chain[:-1])]
    served = [p.target_model for p in chain]
    assert len(set(served)) == len(served)
    assert set(moves()) <= set(served), "a move that was made is in the history"
    # A process that is killed after its move and before it could write it down: once each at most.
    assert len(served) - len(moves()) <= len(reports)
    assert killed == 4


@pytest.fixture(scope="module")
def actors(aws: LocalSageMaker) -> list[Actor]:
    return [Actor(aws) for _ in range(3)]


@settings(max_examples=25)
@given(
    work=st.lists(st.integers(0, 3), min_size=3, max_size=3),
    schedule=st.lists(st.tuples(st.integers(0, 2), st.sampled_from([False] * 7 + [True])), max_size=60),
)
def test_any_order_of_calls_and_deaths_keeps_one_unbroken_history(
    aws: LocalSageMaker, actors: list[Actor], work: list[int], schedule: list[tuple[int, bool]]
) -> None:
    """Three movers with up to three moves each; which of them makes the next S3 call, or dies instead, is drawn.

    After a death the mover begins its next move, as another process would. In the end all go on undisturbed.
    """
    s3, city = aws.client("s3"), f"c{uuid.uuid4().hex}"
    left = dict(enumerate(work))
    made: list[str] = []

    def one_move(client: Any, name: str) -> None:
        while True:
            current = live.read(client, KEYS, city)
            sequence = live.next_sequence(client, KEYS, city, current)
            before = current.pointer.target_model if current else None
            new = replace(pointer(city, sequence, name), predecessor=before)
            try:
                live.move(client, KEYS, new, current)
                break
            except PointerMoved:
                continue
        made.append(new.target_model)

    def step(number: int, die: bool) -> None:
        actor = actors[number]
        if actor.over:
            if not left[number]:
                return
            left[number] -= 1
            name = f"{number}-{left[number]}"
            actor.start(lambda client: one_move(client, name))
        else:
            actor.step(die=die)
        if actor.over and actor.error is not None:
            raise actor.error

    try:
        for number, die in schedule:
            step(number, die)
        while any(not actor.over or left[number] for number, actor in enumerate(actors)):
            for number in range(3):
                step(number, False)
    finally:
        for actor in actors:
            while not actor.over:
                actor.step(die=True)
    current = live.read(s3, KEYS, city)
    chain = live.history(s3, KEYS, city) + ([current.pointer] if current else [])
    served = [p.target_model for p in chain]
    assert [p.sequence for p in chain] == list(range(1, len(chain) + 1))
    assert [p.predecessor for p in chain] == [None, *served[:-1]][: len(chain)]
    assert len(set(served)) == len(served), "no move is made twice"
    assert set(made) <= set(served), "no move that was made is lost"
    kept = live.kept_sequences(s3, KEYS, city)
    assert set(range(1, len(chain))) <= set(kept) <= set(range(1, len(chain) + 1))
