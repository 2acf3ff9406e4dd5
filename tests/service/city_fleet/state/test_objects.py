"""Objects in S3 under conditions, against the local SageMaker's S3: nothing is lost, however many write at once."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from city_fleet import aws_errors
from city_fleet.errors import PlatformError
from city_fleet.state import objects
from city_fleet.state.objects import UNCHANGED, ObjectStore, Stored, read_uri
from tests.support.local_sagemaker import LocalSageMaker

BUCKET = "city-fleet"
WRITERS = 8


@pytest.fixture
def store(aws: LocalSageMaker) -> ObjectStore:
    return ObjectStore(aws.client("s3"), BUCKET)


@pytest.fixture
def key() -> str:
    return f"objects-{uuid.uuid4().hex}/a.json"


def at_once(work: Callable[[int], Any]) -> list[Any]:
    """Let several threads begin at the same moment, and return what each did."""
    start = threading.Barrier(WRITERS)

    def run(number: int) -> Any:
        start.wait(30)
        return work(number)

    with ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(run, range(WRITERS)))


def body_of(store: ObjectStore, key: str) -> bytes | None:
    found = store.get(key)
    return found.body if found else None


def test_an_object_is_created_once(store: ObjectStore, key: str) -> None:
    assert (store.get(key), store.etag_of(key), store.exists(key)) == (None, None, False)
    etag = store.create(key, b"one")
    assert etag is not None
    assert etag == store.etag_of(key)
    assert store.create(key, b"two") is None
    assert store.create(key, b"one") == etag, "the same bytes are as good as its own write"
    found = store.get(key)
    assert isinstance(found, Stored)
    assert (found.body, found.etag) == (b"one", etag)
    assert abs(found.modified - datetime.now(UTC)) < timedelta(minutes=5)


def test_only_what_was_read_is_replaced(store: ObjectStore, key: str) -> None:
    assert store.replace(key, b"x", '"0123"') is None, "there is none to be replaced"
    first = store.replace(key, b"one", None)
    assert first is not None
    assert store.replace(key, b"none", None) is None
    second = store.replace(key, b"two", first)
    assert second is not None
    assert store.replace(key, b"three", first) is None
    assert body_of(store, key) == b"two"
    assert store.replace(key, b"two", first) == second, "an answer that was lost"


def test_only_what_was_read_is_deleted(store: ObjectStore, key: str) -> None:
    first = store.create(key, b"one")
    assert first is not None
    store.put(key, b"two")
    assert store.delete(key, first) is False
    assert body_of(store, key) == b"two"
    second = store.etag_of(key)
    assert second is not None
    assert store.delete(key, second) is True
    assert store.delete(key, second) is True, "it is gone, whoever deleted it"
    assert not store.exists(key)


def test_a_known_object_is_sent_again_only_when_it_has_changed(store: ObjectStore, key: str) -> None:
    store.put(key, b"one")
    etag = store.etag_of(key)
    assert etag is not None
    assert store.get_changed(key, etag) is UNCHANGED
    store.put(key, b"two")
    found = store.get_changed(key, etag)
    assert isinstance(found, Stored)
    assert found.body == b"two"
    store.delete(key, found.etag)
    assert store.get_changed(key, etag) is None


def test_nothing_is_written_where_nothing_changes(store: ObjectStore, key: str) -> None:
    assert store.update(key, lambda body: None) is None
    assert not store.exists(key)
    assert store.update(key, lambda body: b"one") == b"one"
    before = store.get(key)
    assert store.update(key, lambda body: body) == b"one" == store.update(key, lambda body: None)
    assert store.get(key) == before


def test_of_those_who_create_at_once_one_is_first(store: ObjectStore, key: str) -> None:
    answers = at_once(lambda number: store.create(key, str(number).encode()))
    (winner,) = [number for number, etag in enumerate(answers) if etag is not None]
    assert body_of(store, key) == str(winner).encode()


def test_of_those_who_replace_at_once_one_is_first(store: ObjectStore, key: str) -> None:
    etag = store.create(key, b"before")
    answers = at_once(lambda number: store.replace(key, str(number).encode(), etag))
    (winner,) = [number for number, written in enumerate(answers) if written is not None]
    assert body_of(store, key) == str(winner).encode()


def test_of_those_who_delete_and_replace_at_once_one_is_first(store: ObjectStore, key: str) -> None:
    etag = store.create(key, b"before")
    assert etag is not None

    def work(number: int) -> bool:
        if number % 2:
            return store.replace(key, str(number).encode(), etag) is not None
        return store.delete(key, etag)

    answers = at_once(work)
    replaced = [number for number in range(1, WRITERS, 2) if answers[number]]
    # Whoever finds it gone may count it as deleted.
    deleted = any(answers[0::2])
    assert (len(replaced), deleted) in ((1, False), (0, True))
    assert body_of(store, key) == (str(replaced[0]).encode() if replaced else None)


def test_no_change_is_lost_however_many_change_at_once(store: ObjectStore, key: str) -> None:
    rounds = 5

    def add(number: int, turn: int) -> None:
        def change(body: bytes | None) -> bytes:
            return json.dumps([*json.loads(body or b"[]"), [number, turn]]).encode()

        store.update(key, change)

    at_once(lambda number: [add(number, turn) for turn in range(rounds)])
    kept = json.loads(body_of(store, key) or b"")
    wanted = [[number, turn] for number in range(WRITERS) for turn in range(rounds)]
    assert sorted(kept) == wanted


def test_objects_and_folders_are_listed(store: ObjectStore, key: str) -> None:
    top = key.split("/", maxsplit=1)[0]
    for name in ("a/1", "a/2", "b/1", "c"):
        store.put(f"{top}/{name}", name.encode())
    found = list(store.items(f"{top}/"))
    assert [item.key for item in found] == [f"{top}/{name}" for name in ("a/1", "a/2", "b/1", "c")]
    assert [item.size_bytes for item in found] == [3, 3, 3, 1]
    assert found[3].etag == store.etag_of(f"{top}/c")
    assert all(abs(item.modified - item.listed_at) < timedelta(minutes=5) for item in found)
    assert [item.key for item in store.items(f"{top}/", after=f"{top}/a/2")] == [f"{top}/b/1", f"{top}/c"]
    assert [item.key for item in store.items(f"{top}/", delimiter="/")] == [f"{top}/c"]
    assert [item.key for item in store.items(f"{top}/", limit=2)] == [f"{top}/a/1", f"{top}/a/2"]
    assert list(store.items(f"{top}/d", limit=1)) == []
    assert list(store.folders(f"{top}/")) == ["a", "b"]


def test_a_thousand_objects_and_more_are_deleted(store: ObjectStore, key: str) -> None:
    top = key.split("/", maxsplit=1)[0]
    there = [f"{top}/{number:05d}" for number in (0, 999, 1000, 1500)]
    for each in there:
        store.put(each, b"x")
    store.delete_all([f"{top}/{number:05d}" for number in range(1501)])
    assert list(store.items(f"{top}/")) == []


def test_an_object_is_read_by_its_uri(store: ObjectStore, key: str) -> None:
    store.put(key, b"one")
    assert read_uri(store.client, store.uri(key)) == b"one"
    assert read_uri(store.client, store.uri(key + ".gone")) is None
    assert read_uri(store.client, f"s3://no-such-bucket-{uuid.uuid4().hex}/{key}") is None
    with pytest.raises(ValueError, match="s3://"):
        read_uri(store.client, "file:///etc/hosts")


def test_a_bucket_that_is_not_there_is_no_object_that_is_not_there(store: ObjectStore, key: str) -> None:
    elsewhere = ObjectStore(store.client, f"no-such-bucket-{uuid.uuid4().hex}")
    calls: list[Callable[[], Any]] = [
        lambda: elsewhere.get(key),
        lambda: elsewhere.create(key, b"x"),
        lambda: list(elsewhere.items("")),
    ]
    for call in calls:
        with pytest.raises(ClientError) as caught:
            call()
        assert aws_errors.is_no_bucket(caught.value)


def test_tries_end_with_what_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        nonlocal now
        pauses.append(seconds)
        now += seconds

    monkeypatch.setattr(objects.time, "sleep", sleep)
    monkeypatch.setattr(objects.time, "monotonic", lambda: now)
    monkeypatch.setattr(objects.random, "uniform", lambda low, high: high)
    with pytest.raises(PlatformError) as caught:
        list(objects.rounds("s3://b/k", seconds=60))
    assert str(caught.value).startswith("s3://b/k: others got in the way ")
    assert f"{len(pauses) + 1} times within 60 seconds" in str(caught.value)
    assert 60 <= sum(pauses) < 60 + max(pauses), "the last try comes when the time is up, none later"
    assert pauses == sorted(pauses)
    assert max(pauses) == 4.0
