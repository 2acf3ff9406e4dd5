"""The index against real S3: nothing is lost, whoever folds when, and few calls are enough."""

from __future__ import annotations

import threading
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from city_fleet.naming import Keys
from city_fleet.state import index, live, run_records
from city_fleet.state.index_state import Index
from tests.support.aws_calls import Calls, client
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.states import pointer, record

NIGHT = datetime(2014, 1, 1, tzinfo=UTC)


@pytest.fixture
def keys() -> Keys:
    return Keys("city-fleet", f"f{uuid.uuid4().hex[:20]}", "laptop")


@pytest.fixture
def s3(aws: LocalSageMaker) -> Any:
    return client(aws, "s3", max_pool_connections=index.WORKERS)


def run(s3: Any, keys: Keys, city: str, night: datetime = NIGHT, name: str = "r", **fields: Any) -> str:
    """Let a run end; return the name of its record."""
    stamp = night.strftime("%Y%m%dT%H%M%SZ")
    value = record(
        city=city, as_of=stamp, finished_at=datetime.now(UTC).isoformat(timespec="seconds"), **fields
    )
    key = run_records.write(s3, keys, value, as_of=night, key_of_run=f"{name:0>10}")
    return key.removeprefix(keys.records_prefix())


def outcomes(found: Index) -> dict[str, list[str]]:
    return {city: [each.outcome for each in entry.runs] for city, entry in found.cities.items()}


def test_a_fleet_without_anything_has_an_empty_index(s3: Any, keys: Keys) -> None:
    first = index.refresh(s3, keys)
    empty = Index(fleet=keys.fleet, environment=keys.environment)
    assert first == index.Refreshed(empty, etag=first.etag)
    run(s3, keys, "austin")
    assert outcomes(index.refresh(s3, keys).index) == {"austin": ["held"]}


def test_only_what_is_new_is_read(s3: Any, keys: Keys) -> None:
    calls = Calls(s3)
    for number in range(12):
        run(s3, keys, f"c{number}")
        live.move(s3, keys, pointer(f"c{number}", 1, fleet=keys.fleet), None)
    index.refresh(s3, keys)
    calls.taken()
    index.refresh(s3, keys)  # may fold the events in that the first index was built without
    calls.taken()

    assert index.refresh(s3, keys).runs == 0
    assert calls.taken() == {"GetObject": 1, "ListObjectsV2": 2}

    run(s3, keys, "c3", NIGHT + timedelta(days=1), outcome="live")
    current = live.read(s3, keys, "c4")
    live.move(s3, keys, pointer("c4", 2, fleet=keys.fleet), current)
    calls.taken()
    found = index.refresh(s3, keys)
    assert calls.taken() == {"GetObject": 3, "ListObjectsV2": 2, "PutObject": 1}
    assert found.runs == 1
    assert found.index.cities["c3"].runs[0].outcome == "live"
    champions = {
        city: entry.champion.sequence for city, entry in found.index.cities.items() if entry.champion
    }
    assert champions == {f"c{number}": 2 if number == 4 else 1 for number in range(12)}


def test_folding_and_building_anew_give_the_same(s3: Any, keys: Keys) -> None:
    index.refresh(s3, keys)
    for day in range(6):
        for city in ("austin", "waco"):
            run(s3, keys, city, NIGHT + timedelta(days=day), f"{day}")
        if day % 2:
            index.refresh(s3, keys)
    run(s3, keys, "austin", NIGHT, "0", outcome="live")  # the first night's run is cleared and ends again
    live.move(s3, keys, pointer("waco", 1, fleet=keys.fleet), None)
    folded = index.refresh(s3, keys).index
    built = index.build(s3, keys)
    assert built.cities == folded.cities
    assert [each.as_of[:8] for each in folded.cities["austin"].runs][:3] == [
        "20140106",
        "20140105",
        "20140104",
    ]
    s3.delete_object(Bucket=keys.bucket, Key=keys.index())
    assert index.refresh(s3, keys).index.cities == built.cities
    s3.put_object(Bucket=keys.bucket, Key=keys.index(), Body=b"no index")
    assert index.refresh(s3, keys).index.cities == built.cities


def test_a_pointer_that_goes_and_one_that_is_none(s3: Any, keys: Keys) -> None:
    live.move(s3, keys, pointer("austin", 1, fleet=keys.fleet), None)
    live.move(s3, keys, pointer("waco", 1, fleet=keys.fleet), None)
    index.refresh(s3, keys)
    s3.delete_object(Bucket=keys.bucket, Key=keys.live("austin"))
    s3.put_object(Bucket=keys.bucket, Key=keys.live("waco"), Body=b"{")
    s3.put_object(Bucket=keys.bucket, Key=f"{keys.live_prefix()}notes.txt", Body=b"not ours")
    found = index.refresh(s3, keys).index.cities
    assert found["austin"].champion is None
    assert "live/waco.json" in str(found["waco"].champion.problem)  # type: ignore[union-attr]
    assert sorted(found) == ["austin", "waco"]


def test_too_many_at_once_are_folded_in_turns(s3: Any, keys: Keys) -> None:
    index.refresh(s3, keys)
    for number in range(7):
        run(s3, keys, f"c{number}")
    found = [index.refresh(s3, keys, limit=3) for _ in range(4)]
    assert [(each.runs, each.behind) for each in found] == [(3, 4), (3, 1), (1, 0), (0, 0)]
    assert len(found[-1].index.cities) == 7


def test_a_record_that_comes_late_is_not_lost(s3: Any, keys: Keys) -> None:
    """The event is there and the record not yet; meanwhile others are folded in."""
    index.refresh(s3, keys)
    name = "slow/20140101T000000Z-0000000000.json"
    s3.put_object(
        Bucket=keys.bucket, Key=keys.event(datetime.now(UTC), keys.records_prefix() + name), Body=b""
    )
    run(s3, keys, "austin")
    assert outcomes(index.refresh(s3, keys).index) == {"austin": ["held"]}
    skewed = keys.event(datetime.now(UTC) - timedelta(minutes=50), keys.records_prefix() + name)
    s3.delete_object(Bucket=keys.bucket, Key=keys.event(datetime.now(UTC), name))
    s3.put_object(Bucket=keys.bucket, Key=skewed, Body=b"")  # by a worker whose clock is late
    run(s3, keys, "slow", name="0")
    assert outcomes(index.refresh(s3, keys).index) == {"austin": ["held"], "slow": ["held"]}


def test_an_event_whose_record_never_came_is_given_up(s3: Any, keys: Keys) -> None:
    index.refresh(s3, keys)
    name = "dead/20140101T000000Z-0000000000.json"
    old = datetime.now(UTC) - timedelta(hours=2)
    s3.put_object(Bucket=keys.bucket, Key=keys.event(old, keys.records_prefix() + name), Body=b"")
    calls = Calls(s3)
    assert index.refresh(s3, keys).runs == 0
    assert calls.taken()["GetObject"] == 2
    index.refresh(s3, keys)
    assert calls.taken() == {"GetObject": 1, "ListObjectsV2": 2}


def test_what_is_no_record_is_passed_over(s3: Any, keys: Keys, caplog: pytest.LogCaptureFixture) -> None:
    index.refresh(s3, keys)
    name = "austin/20140101T000000Z-0000000000.json"
    s3.put_object(Bucket=keys.bucket, Key=keys.records_prefix() + name, Body=b"[]")
    s3.put_object(
        Bucket=keys.bucket, Key=keys.event(datetime.now(UTC), keys.records_prefix() + name), Body=b""
    )
    s3.put_object(Bucket=keys.bucket, Key=keys.events_prefix() + "junk", Body=b"")
    s3.put_object(Bucket=keys.bucket, Key=keys.records_prefix() + "junk", Body=b"")
    run(s3, keys, "waco")
    assert outcomes(index.refresh(s3, keys, limit=1).index) == {}
    assert outcomes(index.refresh(s3, keys, limit=1).index) == {"waco": ["held"]}
    assert f"{name} is passed over" in caplog.text
    assert outcomes(index.build(s3, keys)) == {"waco": ["held"]}


def test_those_who_fold_at_the_same_time_lose_nothing(aws: LocalSageMaker, s3: Any, keys: Keys) -> None:
    index.refresh(s3, keys)
    problems: list[BaseException] = []

    def work(number: int) -> None:
        own = client(aws, "s3", max_pool_connections=index.WORKERS)
        try:
            for turn in range(4):
                run(own, keys, f"c{number}", NIGHT + timedelta(days=turn), str(turn))
                live.move(
                    own,
                    keys,
                    pointer(f"c{number}", turn + 1, fleet=keys.fleet),
                    live.read(own, keys, f"c{number}"),
                )
                index.refresh(own, keys)
        except BaseException as error:
            problems.append(error)
            raise

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert not problems
    stored, _ = index.load(s3, keys)
    assert stored is not None
    assert stored.cities == index.build(s3, keys).cities
    assert {city: entry.champion.sequence for city, entry in stored.cities.items() if entry.champion} == {
        f"c{number}": 4 for number in range(4)
    }


@pytest.fixture
def reader(aws: LocalSageMaker) -> Any:
    """A client that may read the bucket and write nothing."""
    own = client(aws, "s3", max_pool_connections=index.WORKERS)

    def refuse(params: Any, **_: Any) -> None:
        raise own.exceptions.ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "PutObject")

    own.meta.events.register("provide-client-params.s3.PutObject", refuse)
    return own


def test_who_may_only_read_sees_the_same(s3: Any, reader: Any, keys: Keys) -> None:
    run(s3, keys, "austin")
    found = index.refresh(reader, keys)
    assert outcomes(found.index) == {"austin": ["held"]}
    assert "AccessDenied" in str(found.problem)
    assert index.load(s3, keys) == (None, None)


def test_a_removed_record_changes_nothing_in_the_index(s3: Any, keys: Keys) -> None:
    """Old records may be deleted to save space; what is known of the last runs stays."""
    name = run(s3, keys, "austin")
    before = index.refresh(s3, keys).index
    s3.delete_object(Bucket=keys.bucket, Key=keys.records_prefix() + name)
    after = index.refresh(s3, keys).index
    assert replace(after, folded=frozenset(), watermark=None) == replace(
        before, folded=frozenset(), watermark=None
    )


def test_a_write_that_meets_another_is_folded_again(aws: LocalSageMaker, s3: Any, keys: Keys) -> None:
    fault = {
        "kind": "conditional_conflict",
        "operation": "s3:PutObject",
        "name": f"*{keys.index()}",
        "count": 2,
    }
    httpx.post(f"{aws.url}/_local/faults", json=fault, trust_env=False).raise_for_status()
    run(s3, keys, "austin")
    calls = Calls(s3)
    assert outcomes(index.refresh(s3, keys).index) == {"austin": ["held"]}
    assert calls.taken()["PutObject"] == 3
    stored, _ = index.load(s3, keys)
    assert stored is not None
    assert outcomes(stored) == {"austin": ["held"]}
