"""A sample of predictions on its way to a bucket: bounded, tried again, never in an answer's way."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from city_fleet import traffic_rules
from city_fleet.naming import Keys
from city_fleet.prediction import capture as capture_module
from city_fleet.prediction.capture import Capture
from city_fleet.state import captured
from city_fleet.state.objects import ObjectStore
from city_fleet.state.observed import Observed
from city_fleet.traffic_rules import CaptureRule
from tests.quick.city_fleet.state.test_captured import SEEN
from tests.support.waiting import wait_until

KEYS = Keys("city-fleet", "houses", "laptop")
DENIED = ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "PutObject")


class Bucket:
    """A client of S3 of which nothing but the one call is asked; it may refuse, or not answer."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.refuses: Exception | None = None
        self.answers = threading.Event()
        self.answers.set()

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, **_: Any) -> dict[str, str]:
        self.answers.wait(10)
        if self.refuses is not None:
            raise self.refuses
        self.objects[Key] = Body
        return {"ETag": "e"}

    @property
    def kept(self) -> list[Observed]:
        return [captured.parse(line) for body in self.objects.values() for line in body.splitlines()]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make(rule: CaptureRule) -> tuple[Capture, Bucket, Clock]:
    bucket, clock = Bucket(), Clock()
    store = ObjectStore(bucket, KEYS.bucket)  # type: ignore[arg-type]
    return Capture(rule, store, KEYS, draw=lambda: 0.5, seconds=clock), bucket, clock


ALL = CaptureRule(share=1)


def test_a_call_that_comes_alone_is_written_at_once_and_a_busy_hour_once_a_minute() -> None:
    keep, bucket, clock = make(ALL)
    for second in range(180):
        clock.now += 1
        keep(replace(SEEN, latency_ms=float(second)))
        keep.end_of_call(lambda: 10)
    assert [len(body.splitlines()) for body in bucket.objects.values()] == [1, 60, 60]
    assert all(key.startswith("houses/laptop/capture/city=austin/day=2015-08-01/") for key in bucket.objects)
    keep.close()
    assert [each.latency_ms for each in bucket.kept] == list(map(float, range(180)))


def test_masked_values_never_leave_and_only_named_cities_are_kept() -> None:
    keep, bucket, _ = make(CaptureRule(share=1, mask=("sales",), mask_answers=True, cities=("austin",)))
    for seen in (SEEN, replace(SEEN, city="waco"), replace(SEEN, city="../x"), replace(SEEN, status=404)):
        keep(seen)
    keep.end_of_call(lambda: 10)
    (found,) = bucket.kept
    assert found.asked["features"]["sales_lag_1"] is None
    assert found.answer["prediction"] is None
    assert not any(b"2873" in body for body in bucket.objects.values())


def test_a_share_is_drawn_by_the_id_so_that_a_shadow_is_kept_where_its_champion_is() -> None:
    keep, bucket, _ = make(CaptureRule(share=0.25))
    ids = [f"austin.20150801T061500Z.{number * 2**40:012x}" for number in range(256)]
    for prediction_id in ids:
        keep(replace(SEEN, prediction_id=prediction_id))
        keep(replace(SEEN, prediction_id=prediction_id, shadow=True))
    keep(replace(SEEN, prediction_id="", status=503, answer={}))  # drawn: 0.5
    keep.end_of_call(lambda: 10)
    assert [each.prediction_id for each in bucket.kept if each.shadow] == ids[:64]
    assert [each.prediction_id for each in bucket.kept if not each.shadow] == ids[:64]


def test_a_bucket_that_refuses_is_said_once_a_minute_and_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    keep, bucket, clock = make(ALL)
    bucket.refuses = DENIED
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            keep(SEEN)
            keep.end_of_call(lambda: 10)
            clock.now += 30
    assert keep.taken_errors() == 3, "the first object again, and another one"
    assert keep.taken_errors() == 0
    assert caplog.text.count("can't be written below s3://city-fleet/houses/laptop/capture/") == 2
    assert "give the role s3:PutObject there" in caplog.text
    bucket.refuses = None
    clock.now += 60
    keep.end_of_call(lambda: 10)
    assert len(bucket.kept) == 3
    assert keep.taken_errors() == 0


def test_a_write_whose_answer_was_lost_makes_no_second_object() -> None:
    keep, bucket, clock = make(ALL)
    bucket.refuses = ReadTimeoutError(endpoint_url="http://s3")
    keep(SEEN)
    keep.end_of_call(lambda: 10)
    (batch,) = keep._waiting.values()
    bucket.refuses = None
    bucket.objects[batch.key] = b"as it was"
    clock.now += 60
    keep.end_of_call(lambda: 10)
    assert list(bucket.objects) == [batch.key]
    assert bucket.kept == [SEEN]


def test_memory_is_bounded_and_what_is_lost_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture_module, "MOST_BYTES", 10_000)
    keep, bucket, _ = make(ALL)
    bucket.refuses = DENIED
    for _ in range(200):
        keep(SEEN)
    keep.flush(10)
    held = 10_000 // len(captured.to_line(SEEN))
    assert keep.taken_errors() == 1 + 200 - held
    bucket.refuses = None
    keep.flush(10)
    assert len(bucket.kept) == held
    for _ in range(5):
        keep(SEEN)
    keep.flush(10)
    assert len(bucket.kept) == held + 5, "there is room again"


def test_lines_are_made_of_several_at_once_and_of_much_that_was_asked_right_away() -> None:
    keep, bucket, _ = make(ALL)
    for _ in range(capture_module.GROUP - 1):
        keep(SEEN)
    assert not keep._waiting
    keep(SEEN)
    (batch,) = keep._waiting.values()
    assert len(batch.lines) == capture_module.GROUP
    much = "x" * capture_module.GROUP_CHARACTERS
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    for asked in ({"features": {"a": much}}, {"features": {much: 1}}, {"history": [{"a": much}]}):
        keep(replace(SEEN, asked=asked))
        assert not keep._fresh, "memory is bounded by what callers send, not by their number alone"
    keep(replace(SEEN, asked={"features": deep}))
    keep.flush(10)
    assert len(bucket.kept) == capture_module.GROUP + 3
    assert keep.taken_errors() == 1, "JSON does not go so deep"


def test_what_no_line_can_be_made_of_is_counted_and_the_others_are_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    keep, bucket, _ = make(ALL)
    for seen in (SEEN, replace(SEEN, error=7), SEEN):  # type: ignore[arg-type]
        keep(seen)
    keep.flush(10)
    assert bucket.kept == [SEEN, SEEN]
    assert keep.taken_errors() == 1
    assert "no line could be made of it" in caplog.text


def test_a_bucket_that_does_not_answer_holds_up_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture_module, "MANY_LINES", 2)
    keep, bucket, clock = make(ALL)
    bucket.answers.clear()
    keep(SEEN)
    keep.end_of_call(lambda: 0.05)
    for _ in range(5):
        clock.now += 1
        keep(SEEN)
        keep.end_of_call(
            lambda: 1000
        )  # much waits, and the last write is still under way: this one does not begin another
    assert not bucket.objects
    bucket.answers.set()
    wait_until(lambda: len(bucket.kept) == 1, 10, "the object")
    clock.now += 60
    keep.end_of_call(lambda: 10)
    assert len(bucket.kept) == 6


def test_a_server_writes_by_itself_and_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture_module, "MANY_LINES", 3)
    keep, bucket, _ = make(ALL)
    keep.start()
    for _ in range(3):
        keep(SEEN)
    wait_until(lambda: len(bucket.kept) == 3, 10, "the objects")
    keep(SEEN)
    keep.close()
    assert len(bucket.kept) == 4


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"share": 2}', '{"share": true}', '{"share": 1, "mask": "a"}', '{"share": 1, "x": 1}'],
)
def test_a_rule_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="allowed: a JSON object with share"):
        traffic_rules.parse_capture(text)
    rule = CaptureRule(0.5, ("sales",), True, ("austin",), 5, "arn:aws:kms:us-east-1:123456789012:key/k")
    assert traffic_rules.parse_capture(rule.text()) == rule
    assert traffic_rules.parse_capture(CaptureRule(0).text()) is None
