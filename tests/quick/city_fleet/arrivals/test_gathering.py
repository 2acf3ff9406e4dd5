"""When a burst of messages ends, and what it holds then."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from city_fleet.arrivals.gathering import MAX_MESSAGES, Burst, Received
from city_fleet.arrivals.messages import EVERY_CITY, Arrival, read

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


def message(city: str, receipt: str = "r") -> Received:
    return Received.of(receipt, [Arrival(city, f"f/raw/city={city}/a.csv", NOW)])


def test_a_burst_ends_when_nothing_comes_any_more_or_when_it_has_lasted_long_enough() -> None:
    burst = Burst(quiet_seconds=60, longest_seconds=100)
    assert burst.seconds_left(0) is None
    burst.add("1", message("austin"), 10)
    assert burst.seconds_left(10) == 60
    burst.add("2", message("waco"), 50)
    assert burst.seconds_left(60) == 50  # by the longest time: 10 + 100
    burst.add("3", message("austin"), 105)
    assert burst.seconds_left(109) == 1
    assert burst.seconds_left(400) == 0
    assert [received.cities for received in burst.take()] == [("austin",), ("waco",), ("austin",)]
    assert burst.seconds_left(400) is None
    burst.add("4", message("austin"), 1000)
    assert burst.seconds_left(1000) == 60


def test_a_message_that_is_delivered_again_counts_once_with_its_newest_receipt() -> None:
    burst = Burst(10, 10)
    burst.add("1", message("austin", "old"), 0)
    burst.add("1", message("austin", "new"), 5)
    assert [received.receipt for received in burst.take()] == ["new"]


def test_a_burst_that_is_full_ends_at_once() -> None:
    burst = Burst(60, 600)
    for number in range(MAX_MESSAGES):
        assert not burst.is_full
        burst.add(str(number), message("austin"), 0)
    assert burst.seconds_left(0) == 0
    many = Burst(60, 600)
    cities = {"cities": [f"c{number}" for number in range(10_000)]}
    arrivals = read(json.dumps(cities), bucket="b", fleet="f", now=NOW)
    many.add("1", Received.of("r", arrivals), 0)
    assert many.seconds_left(0) == 0


def test_what_is_handed_on_is_read_back() -> None:
    request = read({"cities": "all", "as_of": "2014-01-01"}, bucket="b", fleet="f", now=NOW)
    received = Received.of("handle", request)
    assert received == Received("handle", (EVERY_CITY,), "20140101T000000Z")
    assert Received.from_dict(json.loads(json.dumps(received.to_dict()))) == received
    for wrong in (None, [], {}, {"receipt": 1, "cities": [], "as_of": None}, {"receipt": "r", "cities": [1]}):
        with pytest.raises(ValueError, match="no received message"):
            Received.from_dict(wrong)
