"""S3 as it is on a bad day: every error that a conditional write may meet, at every call of whatever is kept in S3.

A real client, whose requests are answered by the test instead of S3, or whose answers are lost, one at a time. Whatever
happens, the function does its work or says that it has not; done again, as a task's next try does it, it comes to the
same end: nothing is lost, and nothing is written twice.
"""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectionClosedError

from city_fleet.champions import breaker
from city_fleet.config import Breaker
from city_fleet.errors import PlatformError
from city_fleet.naming import Keys
from city_fleet.state import index, objects, retire_marks, run_records
from city_fleet.state.objects import UNCHANGED, ObjectStore
from city_fleet.state.retire_marks import Mark, Marks
from tests.quick.city_fleet.state.test_index_state import record
from tests.support.local_sagemaker import LocalSageMaker

NIGHT = "20140101T000000Z"
AS_OF = datetime(2014, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Fault:
    """What happens to a call.

    :param code: S3's answer in place of doing it; empty for a connection that breaks.
    :param operations: those that it may happen to; all where none are named.
    :param conditional: it happens to writes under a condition only.
    :param after: the call is done, and its answer is lost.
    :param times: so many calls in a row that it may happen to.
    """

    code: str = ""
    status: int = 0
    operations: tuple[str, ...] = ()
    conditional: bool = False
    after: bool = False
    times: int = 1

    def strikes(self, operation: str, params: dict[str, Any]) -> bool:
        conditional = {"If-Match", "If-None-Match"} & params["headers"].keys() and operation != "GetObject"
        return (not self.operations or operation in self.operations) and bool(
            conditional or not self.conditional
        )


FAULTS = {
    "conflict": Fault("ConditionalRequestConflict", 409, conditional=True),
    "twenty conflicts": Fault("ConditionalRequestConflict", 409, conditional=True, times=20),
    "lost race": Fault("PreconditionFailed", 412, conditional=True),
    "missing": Fault("NoSuchKey", 404, operations=("GetObject", "PutObject"), times=1),
    "unavailable": Fault("ServiceUnavailable", 503),
    "refused connection": Fault(),
    "lost answer": Fault(after=True),
}


@dataclass
class BadDay:
    """Strikes the calls of one client.

    :param at: number of the call that is struck first, of those that the fault may happen to.
    """

    fault: Fault | None = None
    at: int = 0
    seen: int = 0
    written: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def before(self, model: Any, params: dict[str, Any], context: dict[str, Any], **_: Any) -> Any:
        context["key"], context["struck"] = params["url_path"].lstrip("/"), False
        with self._lock:
            if self.fault is None or not self.fault.strikes(model.name, params):
                return None
            number, self.seen = self.seen, self.seen + 1
        if not self.at <= number < self.at + self.fault.times:
            return None
        if self.fault.code:
            error = {"Code": self.fault.code, "Message": "a bad day"}
            headers = {"HTTPStatusCode": self.fault.status, "HTTPHeaders": {}}
            return SimpleNamespace(status_code=self.fault.status), {
                "Error": error,
                "ResponseMetadata": headers,
            }
        if not self.fault.after:
            raise ConnectionClosedError(endpoint_url="the test")
        context["struck"] = True
        return None

    def after(self, model: Any, http_response: Any, context: dict[str, Any], **_: Any) -> None:
        if model.name in {"PutObject", "DeleteObject"} and http_response.status_code < 300:
            with self._lock:
                self.written[context["key"]] += 1
        if context["struck"]:
            raise ConnectionClosedError(endpoint_url="the test")


@dataclass(frozen=True)
class Case:
    """A function that keeps something in S3.

    :param act: does it; False where S3 has said that somebody else was first, so that nothing was done.
    :param check: that it is done, once; gets how often each key was written.
    :param prepare: what is there before.
    """

    act: Callable[[Any, Keys], bool]
    check: Callable[[Any, Keys, Counter[str]], None]
    prepare: Callable[[Any, Keys], Any] = lambda s3, keys: None


def store_of(s3: Any, keys: Keys) -> ObjectStore:
    return ObjectStore(s3, keys.bucket)


def thing(keys: Keys) -> str:
    return f"{keys.fleet}/thing.json"


def holds(body: bytes, writes: int = 1) -> Callable[[Any, Keys, Counter[str]], None]:
    def check(s3: Any, keys: Keys, written: Counter[str]) -> None:
        found = store_of(s3, keys).get(thing(keys))
        assert found is not None
        assert found.body == body
        assert written[thing(keys)] == writes

    return check


def replace(s3: Any, keys: Keys) -> bool:
    found = store_of(s3, keys).get(thing(keys))
    if found is not None and found.body == b"after":
        return True
    return store_of(s3, keys).replace(thing(keys), b"after", found.etag if found else None) is not None


def count_one(s3: Any, keys: Keys) -> bool:
    def change(body: bytes | None) -> bytes:
        return b"%d" % (int(body or b"0") + 1)

    return store_of(s3, keys).update(thing(keys), change) is not None


def delete(s3: Any, keys: Keys) -> bool:
    etag = hashlib.md5(b"before", usedforsecurity=False).hexdigest()
    return store_of(s3, keys).delete(thing(keys), f'"{etag}"')


def is_deleted(s3: Any, keys: Keys, written: Counter[str]) -> None:
    assert not store_of(s3, keys).exists(thing(keys))


def put(body: bytes) -> Callable[[Any, Keys], None]:
    return lambda s3, keys: store_of(s3, keys).put(thing(keys), body)


def write_record(s3: Any, keys: Keys) -> bool:
    ended = {"city": "waco", "outcome": "live", "finished_at": datetime.now(UTC).isoformat()}
    run_records.write(s3, keys, ended, as_of=AS_OF, key_of_run="0123456789")
    return True


def one_record(s3: Any, keys: Keys, written: Counter[str]) -> None:
    records = [item.key for item in store_of(s3, keys).items(keys.records_prefix())]
    events = [
        item.key.removeprefix(keys.events_prefix()) for item in store_of(s3, keys).items(keys.events_prefix())
    ]
    assert len(records) == 1
    assert written[records[0]] == 1
    assert records[0] in {keys.records_prefix() + event.split("/", 1)[1] for event in events}


def two_records(s3: Any, keys: Keys) -> None:
    run_records.write(s3, keys, record(city="waco"), as_of=AS_OF, key_of_run="0000000001")
    run_records.write(s3, keys, record(city="austin"), as_of=AS_OF, key_of_run="0000000002")


def one_folded(s3: Any, keys: Keys) -> None:
    run_records.write(s3, keys, record(city="waco"), as_of=AS_OF, key_of_run="0000000001")
    index.refresh(s3, keys)
    run_records.write(s3, keys, record(city="austin"), as_of=AS_OF, key_of_run="0000000002")


def refresh(s3: Any, keys: Keys) -> bool:
    return {*index.refresh(s3, keys).index.cities} == {"austin", "waco"}


def both_are_folded(s3: Any, keys: Keys, written: Counter[str]) -> None:
    kept, _ = index.load(s3, keys)
    assert kept is not None
    assert kept.cities == index.build(s3, keys).cities
    assert {*kept.cities} == {"austin", "waco"}


def mark_first(s3: Any, keys: Keys) -> None:
    retire_marks.write(s3, keys, "waco", Marks({"models/a": Mark(AS_OF), "models/b": Mark(AS_OF)}), None)


def mark_another(s3: Any, keys: Keys) -> bool:
    def change(marks: Marks) -> Marks:
        return Marks({**marks.marked, "models/c": Mark(AS_OF)})

    retire_marks.update(s3, keys, "waco", change)
    return True


def marks_are(*names: str) -> Callable[[Any, Keys, Counter[str]], None]:
    def check(s3: Any, keys: Keys, written: Counter[str]) -> None:
        assert {*retire_marks.read(s3, keys, "waco")[0].marked} == {*names}
        assert written[keys.retired("waco")] == 1

    return check


def claim(s3: Any, keys: Keys) -> bool:
    retire_marks.claim(s3, keys, "waco", "b")
    # Where S3 says that there are no marks, which it says only when it is true, there is nothing to claim.
    return "models/b" not in retire_marks.read(s3, keys, "waco")[0].marked


def bad_night(s3: Any, keys: Keys) -> None:
    for number in range(4):
        breaker.mark(s3, keys, NIGHT, f"city_{number}", ["poisoned"] if number < 2 else [])


def stop_night(s3: Any, keys: Keys) -> bool:
    rule = Breaker(max_failed_share=0.3, minimum_sample=4)
    night = breaker.stop_or_read(s3, keys, NIGHT, rule)
    assert night is None or (night.judged, night.unfit) == (4, 2)
    # What is returned is what everybody else sees.
    return night is not None and breaker.read(s3, keys, NIGHT) == night


def night_is(state: str) -> Callable[[Any, Keys, Counter[str]], None]:
    def check(s3: Any, keys: Keys, written: Counter[str]) -> None:
        night = breaker.read(s3, keys, NIGHT)
        assert night is not None
        assert (night.state, night.judged, night.unfit) == (state, 4, 2)
        assert written[keys.night(NIGHT)] == 1

    return check


def stopped_night(s3: Any, keys: Keys) -> None:
    bad_night(s3, keys)
    assert stop_night(s3, keys)


def approve_night(s3: Any, keys: Keys) -> bool:
    night = breaker.read(s3, keys, NIGHT)
    if night is None or night.state == breaker.TRIPPED:
        night = breaker.settle(s3, keys, NIGHT, breaker.APPROVED, by="ann", note="seen")
    return night is not None


def mark_city(s3: Any, keys: Keys) -> bool:
    breaker.mark(s3, keys, NIGHT, "city_3", [])
    return True


def four_are_counted(s3: Any, keys: Keys, written: Counter[str]) -> None:
    assert breaker.count(s3, keys, NIGHT) == breaker.Count(4, 2)


def read_in_all_ways(s3: Any, keys: Keys) -> bool:
    store = store_of(s3, keys)
    found = store.get(thing(keys))
    return (
        found is not None
        and found.body == b"before"
        and store.exists(thing(keys))
        and store.get_changed(thing(keys), found.etag) is UNCHANGED
        and [item.etag for item in store.items(f"{keys.fleet}/")] == [found.etag]
        and [item.key for item in store.items(f"{keys.fleet}/", limit=1)] == [thing(keys)]
        and list(store.folders(f"{keys.fleet}/")) == []
    )


def delete_many(s3: Any, keys: Keys) -> bool:
    store_of(s3, keys).delete_all([thing(keys), f"{thing(keys)}.none"])
    return True


CASES = {
    "create": Case(
        lambda s3, keys: store_of(s3, keys).create(thing(keys), b"after") is not None, holds(b"after")
    ),
    "replace": Case(replace, holds(b"after"), put(b"before")),
    "update": Case(count_one, holds(b"8"), put(b"7")),
    "update of nothing": Case(count_one, holds(b"1")),
    "delete": Case(delete, is_deleted, put(b"before")),
    "delete many": Case(delete_many, is_deleted, put(b"before")),
    "reads": Case(read_in_all_ways, holds(b"before", writes=0), put(b"before")),
    "a run's record": Case(write_record, one_record),
    "the index": Case(refresh, both_are_folded, one_folded),
    "a first index": Case(refresh, both_are_folded, two_records),
    "marks": Case(mark_another, marks_are("models/a", "models/b", "models/c"), mark_first),
    "a claim": Case(claim, marks_are("models/a"), mark_first),
    "the breaker": Case(stop_night, night_is(breaker.TRIPPED), bad_night),
    "a stopped night": Case(approve_night, night_is(breaker.APPROVED), stopped_night),
    "a city's mark": Case(mark_city, four_are_counted, bad_night),
}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty conflicts take half a minute of pauses; as many, in milliseconds."""
    monkeypatch.setattr(objects, "_FIRST_PAUSE_SECONDS", 0.0001)
    monkeypatch.setattr(objects, "_LONGEST_PAUSE_SECONDS", 0.001)


@pytest.fixture(scope="module")
def new_client(aws: LocalSageMaker) -> Callable[[BadDay], Any]:
    session = boto3.Session(region_name="us-east-1", aws_access_key_id="local", aws_secret_access_key="local")
    config = Config(retries={"total_max_attempts": 1}, proxies={}, max_pool_connections=index.WORKERS)

    def make(day: BadDay) -> Any:
        client = session.client("s3", endpoint_url=aws.url, config=config)
        client.meta.events.register("before-call.s3", day.before)
        client.meta.events.register("after-call.s3", day.after)
        return client

    return make


def calls_of(case: Case, fault: Fault, s3: Any, day: BadDay) -> int:
    """Return how many calls of a case, on a good day, the fault may happen to."""
    keys = Keys("city-fleet", f"f{uuid.uuid4().hex}", "laptop")
    case.prepare(s3, keys)
    day.fault, day.at, day.seen = fault, 1 << 30, 0
    day.written.clear()
    assert case.act(s3, keys)
    day.fault = None
    case.check(s3, keys, day.written)
    return day.seen


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", CASES)
def test_nothing_is_lost_and_nothing_is_done_twice(
    name: str, fault: str, new_client: Callable[[BadDay], Any]
) -> None:
    case, day = CASES[name], BadDay()
    s3 = new_client(day)
    calls = calls_of(case, FAULTS[fault], s3, day)
    for at in range(calls):
        keys = Keys("city-fleet", f"f{uuid.uuid4().hex}", "laptop")
        case.prepare(s3, keys)
        day.written.clear()
        day.fault, day.at, day.seen = FAULTS[fault], at, 0
        try:
            done = case.act(s3, keys)
        except (ClientError, BotoCoreError, PlatformError):
            done = False
        assert day.seen > at, "the fault has struck"
        if "conflict" in fault:
            assert done, "a conflict says nothing about who was first: the write goes on"
        day.fault = None
        assert done or case.act(s3, keys)
        case.check(s3, keys, day.written)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", sorted(CASES.keys() - {"a city's mark", "delete many", "reads"}))
def test_a_lost_answer_to_the_write_itself_is_no_error(
    name: str, new_client: Callable[[BadDay], Any]
) -> None:
    """The write was done, and what is there says so."""
    fault = Fault(after=True, conditional=True)
    case, day = CASES[name], BadDay()
    s3 = new_client(day)
    assert calls_of(case, fault, s3, day) == 1
    keys = Keys("city-fleet", f"f{uuid.uuid4().hex}", "laptop")
    case.prepare(s3, keys)
    day.written.clear()
    day.fault, day.at, day.seen = fault, 0, 0
    assert case.act(s3, keys)
    assert day.seen == 1
    day.fault = None
    case.check(s3, keys, day.written)


def test_conflicts_without_an_end_are_an_error_that_names_the_object(
    new_client: Callable[[BadDay], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(objects.rounds, "__defaults__", (0.2,))
    day = BadDay(Fault("ConditionalRequestConflict", 409, conditional=True, times=1 << 30))
    keys = Keys("city-fleet", f"f{uuid.uuid4().hex}", "laptop")
    s3 = new_client(day)
    with pytest.raises(PlatformError) as caught:
        write_record(s3, keys)
    assert f"s3://city-fleet/{keys.prefix}state/runs/waco/" in str(caught.value)
    assert "others got in the way" in str(caught.value)
    assert not list(store_of(s3, keys).items(keys.records_prefix()))
