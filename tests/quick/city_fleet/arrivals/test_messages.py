"""Which messages say that a city's raw data have arrived, and which are refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from city_fleet.arrivals.messages import EVERY_CITY, MAX_BYTES, Arrival, Refused, distinct, read

NOW = datetime(2026, 5, 1, 12, 0, 30, tzinfo=UTC)
AT = datetime(2026, 5, 1, 12, 0, 1, tzinfo=UTC)
KEY = "texas_housing/raw/city=san_antonio/2026 05+a.csv"
THERE = [Arrival("san_antonio", KEY, AT)]
REQUESTED = [Arrival("austin", None, AT)]


def s3(key: str = "texas_housing/raw/city%3Dsan_antonio/2026+05%2Ba.csv", **other: Any) -> dict[str, Any]:
    """A notification, its key encoded as S3 does it."""
    record = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "eventTime": "2026-05-01T12:00:01.000Z",
        "s3": {"bucket": {"name": "city-fleet"}, "object": {"key": key, "size": 12}},
    }
    return {"Records": [{**record, **other}]}


def eventbridge(**other: Any) -> dict[str, Any]:
    """S3's event as EventBridge hands it on: the key is written as it is."""
    event = {
        "version": "0",
        "source": "aws.s3",
        "detail-type": "Object Created",
        "time": "2026-05-01T12:00:01Z",
        "detail": {"bucket": {"name": "city-fleet"}, "object": {"key": KEY}, "reason": "PutObject"},
    }
    return {**event, **other}


def sqs(body: object, sent: str = "1777636801000") -> dict[str, Any]:
    """Lambda's event of one message of a queue."""
    record = {"messageId": "1", "body": json.dumps(body), "attributes": {"SentTimestamp": sent}}
    return {"Records": [{**record, "eventSource": "aws:sqs"}]}


def sns(body: object) -> dict[str, Any]:
    return {"Type": "Notification", "TopicArn": "arn:…", "Message": json.dumps(body)}


def arrivals(message: object, sent: datetime | None = None) -> list[Arrival]:
    return read(message, bucket="city-fleet", fleet="texas_housing", now=NOW, sent=sent)


def test_every_form_says_the_same(subtests: pytest.Subtests) -> None:
    forms: dict[str, tuple[object, list[Arrival]]] = {
        "a notification of S3": (s3(), THERE),
        "as text": (json.dumps(s3()), THERE),
        "as bytes": (json.dumps(s3()).encode(), THERE),
        "an event of EventBridge": (eventbridge(), THERE),
        "S3 in SQS": (sqs(s3()), THERE),
        "EventBridge in SQS": (sqs(eventbridge()), THERE),
        "S3 in SNS in SQS": (sqs(sns(s3())), THERE),
        "S3 in SNS": (
            {"Records": [{"EventSource": "aws:sns", "Sns": {"Message": json.dumps(s3())}}]},
            THERE,
        ),
        "as ReceiveMessage gives it": ({"MessageId": "1", "Body": json.dumps(s3())}, THERE),
        "a request in SQS, at the time at which the queue took it": (sqs({"city": "austin"}), REQUESTED),
        "a request by itself": ({"city": "austin"}, [Arrival("austin", None, NOW)]),
        "a schedule's, at the time it was due": (
            {"city": "austin", "at": "2026-05-01T12:00:01Z"},
            REQUESTED,
        ),
        "several cities": (
            {"cities": ["austin", "waco"]},
            [Arrival("austin", None, NOW), Arrival("waco", None, NOW)],
        ),
        "all, of another moment": (
            {"cities": "all", "as_of": "2015-08-01"},
            [Arrival(EVERY_CITY, None, NOW, datetime(2015, 8, 1, tzinfo=UTC))],
        ),
    }
    for name, (message, expected) in forms.items():
        with subtests.test(name):
            assert arrivals(message) == expected


def test_what_is_no_arrival_and_no_mistake(subtests: pytest.Subtests) -> None:
    keys = (
        "texas_housing/raw/city=austin/",
        "texas_housing/raw/city=austin",
        "texas_housing/raw/city=Austin/a.csv",
        "texas_housing/raw/city=../a.csv",
        "texas_housing/raw/austin/a.csv",
        "texas_housing/raw/city=austin/_SUCCESS",
        "texas_housing/raw/city=austin/.a.csv",
        "texas_housing/raw/city=austin/a.csv.tmp",
        "texas_housing/laptop/live/austin.json",
        "other/raw/city=austin/a.csv",
        "texas_housing/raw/x/city=austin/a.csv",
        "texas_housing/raw/city%253Daustin/a.csv",
        "",
    )
    messages: dict[str, object] = {f"key {key}": s3(key) for key in keys} | {
        "another bucket": s3(
            s3={"bucket": {"name": "other"}, "object": {"key": "texas_housing/raw/city=austin/a.csv"}}
        ),
        "deleted": s3(eventName="ObjectRemoved:Delete"),
        "restored": s3(eventName="ObjectRestore:Completed"),
        "deleted, by EventBridge": eventbridge(**{"detail-type": "Object Deleted"}),
        "an encoded key of EventBridge is another key": eventbridge(
            detail={
                "bucket": {"name": "city-fleet"},
                "object": {"key": "texas_housing/raw/city%3Daustin/a.csv"},
            }
        ),
        "S3's test": {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "city-fleet"},
        "no records": {"Records": []},
    }
    for name, message in messages.items():
        with subtests.test(name):
            assert arrivals(message) == []


def test_what_cannot_be_read_is_refused_with_a_sentence(subtests: pytest.Subtests) -> None:
    nested: object = {"city": "austin"}
    for _ in range(6):
        nested = sns(nested)
    messages: dict[str, tuple[object, str]] = {
        "no JSON": ("{", "no JSON"),
        "no UTF-8": (b"\xff\xfe\x00", "no JSON"),
        "deep": ("[" * 100_000, "too deeply"),
        "deep objects": ('{"a":' * 100_000, "too deeply"),
        "long": ('"' + "x" * MAX_BYTES + '"', "allowed: up to 1048576"),
        "a long number": ('{"city": ' + "9" * 10_000 + "}", "no JSON"),
        "a list": ([1], "a list of 1"),
        "null": (None, "null"),
        "many envelopes": (nested, "envelopes"),
        "records are none": ({"Records": {"a": 1}}, "allowed: a list"),
        "too many records": ({"Records": [{}] * 1001}, "up to 1000"),
        "a record is none": ({"Records": [7]}, "eventSource: got null"),
        "of another source": ({"Records": [{"eventSource": "aws:kinesis"}]}, "aws:kinesis"),
        "no key": (s3(s3={"bucket": {"name": "city-fleet"}}), "s3.object.key: got null"),
        "a key that is none": (s3(s3={"bucket": {"name": "b"}, "object": {"key": 7}}), "got 7"),
        "no time": (s3(eventTime=None), "eventTime"),
        "no instant": (s3(eventTime="soon"), "got 'soon'"),
        "the end of the calendar": (s3(eventTime="9999-12-31T23:59:59-12:00"), "year"),
        "no detail": (eventbridge(detail=None), "detail.bucket.name"),
        "a schedule without an input": (
            {"source": "aws.events", "detail-type": "Scheduled Event"},
            "needs an input",
        ),
        "an empty request": ({}, "'city' or 'cities'"),
        "both": ({"city": "austin", "cities": "all"}, "'city' or 'cities'"),
        "no slug": ({"city": "San Antonio"}, "got 'San Antonio'"),
        "a path": ({"city": "../../dags"}, "allowed: a slug"),
        "every city by its mark": ({"city": EVERY_CITY}, "allowed: a slug"),
        "no cities": ({"cities": []}, "an empty list"),
        "too many": ({"cities": ["a"] * 10_001}, "a list of 10001"),
        "a city that is none": ({"cities": [["austin"]]}, "a list of 1"),
        "misspelt": ({"city": "austin", "asof": "2015-08-01"}, "Did you mean 'as_of'?"),
        "at is no instant": ({"city": "austin", "at": "<aws.scheduler.scheduled-time>"}, "at: "),
        "as_of is a number": ({"city": "austin", "as_of": 2015}, "got 2015"),
        "as_of is no instant": ({"city": "austin", "as_of": "2015-13-01"}, "2015-13-01"),
    }
    for name, (message, said) in messages.items():
        with subtests.test(name), pytest.raises(Refused) as refused:
            arrivals(message)
        with subtests.test(f"{name}: its sentence"):
            assert said in str(refused.value)
            assert len(str(refused.value)) < 700
            assert "Traceback" not in str(refused.value)


def test_no_arrival_is_later_than_now() -> None:
    """A time of a clock that is ahead, or of a forger, names no window that has not come yet."""
    assert [arrival.at for arrival in arrivals(s3(eventTime="2999-01-01T00:00:00Z"))] == [NOW]
    assert [arrival.at for arrival in arrivals({"city": "austin"}, sent=NOW + timedelta(hours=1))] == [NOW]
    assert [arrival.at for arrival in arrivals(sqs({"city": "austin"}, sent="9" * 14))] == [NOW]
    assert [arrival.at for arrival in arrivals(sqs({"city": "austin"}, sent="soon"))] == [NOW]


def test_of_a_citys_arrivals_the_newest_counts() -> None:
    late, early = (Arrival("austin", f"{day}.csv", AT + timedelta(days=day)) for day in (2, 1))
    other = Arrival("waco", None, AT)
    assert distinct([early, late, other, early]) == {"austin": late, "waco": other}


@pytest.mark.parametrize(
    ("bucket", "key", "city"),
    [
        ("lake", "sales/city=San Antonio/year=2015/part-0.parquet", "san_antonio"),
        ("lake", "sales/city=San%20Antonio/a.csv", "san_antonio"),
        ("lake", "sales/city=Frankfurt%2FMain/a.csv", "ffm"),
        ("lake", "sales/city=Mu\u0308nchen/a.csv", "munich"),
        ("lake", "sales/city=San Antonio/_SUCCESS", None),
        ("lake", "sales/city=San Antonio", None),
        ("lake", "sales/other/a.csv", None),
        ("elsewhere", "sales/city=San Antonio/a.csv", None),
        ("lake", "by_slug/waco/a.csv", "waco"),
        ("lake", "by_slug/Waco!/a.csv", None),
        ("lake", "only/austin/deep/a.csv", "austin"),
    ],
)
def test_raw_data_that_are_read_in_place_arrive_too(bucket: str, key: str, city: str | None) -> None:
    elsewhere = {
        "s3://lake/sales/city={name}/": {"Frankfurt/Main": "ffm", "M\u00fcnchen": "munich"},
        "s3://lake/by_slug/{slug}/": {},
        "s3://lake/only/austin/": {"": "austin"},
    }
    detail = {"bucket": {"name": bucket}, "object": {"key": key}}
    found = read(
        eventbridge(detail=detail), bucket="city-fleet", fleet="texas_housing", now=NOW, elsewhere=elsewhere
    )
    assert found == ([] if city is None else [Arrival(city, key, AT)])
