"""When a shared endpoint with hours is open, over both changes of the clocks, and what is done about it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from city_fleet.config import load_fleet
from city_fleet.config.hours_section import DAYS, Hours
from city_fleet.errors import FleetFileError
from city_fleet.serving import office_hours
from city_fleet.serving.office_hours import Do, is_open, last_closing, next_opening, to_do
from city_fleet.state.shared_endpoints import Closed, ServingEndpoint, SharedEndpoint
from tests.support.fleets import SMALL

WEEK = ("mon", "tue", "wed", "thu", "fri")
OFFICE = Hours(open="07:00", close="20:00", days=WEEK, time_zone="Europe/Berlin")
NIGHT = Hours(open="22:00", close="02:30", days=("sat",), time_zone="Europe/Berlin")
#: Of a Friday in November: 06:00 UTC is seven in Berlin.
OPENS, CLOSES = datetime(2026, 11, 27, 6, tzinfo=UTC), datetime(2026, 11, 27, 19, tzinfo=UTC)
EVENING = CLOSES + timedelta(hours=1)
FIRST = ServingEndpoint(name="texas", config="a", since="2026-01-01T00:00:00+00:00")
OPEN = SharedEndpoint(serving=FIRST)
MINUTE = timedelta(minutes=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_it_is_open_from_its_opening_to_before_its_closing_on_its_days() -> None:
    assert [is_open(OFFICE, each) for each in (OPENS - MINUTE, OPENS, CLOSES - MINUTE, CLOSES)] == [
        False,
        True,
        True,
        False,
    ]
    assert next_opening(OFFICE, CLOSES).isoformat() == "2026-11-30T07:00:00+01:00"  # over the weekend
    assert last_closing(OFFICE, OPENS) == CLOSES - timedelta(days=1)


@pytest.mark.parametrize(
    ("day", "opening"),
    [
        ("2026-03-27", "06:00"),
        ("2026-03-30", "05:00"),
        ("2026-10-23", "05:00"),
        ("2026-10-26", "06:00"),
    ],
)
def test_seven_is_seven_in_summer_and_in_winter(day: str, opening: str) -> None:
    assert next_opening(OFFICE, utc(f"{day}T00:00")) == utc(f"{day}T{opening}")


@pytest.mark.parametrize(
    ("evening", "closing"),
    [
        ("2026-03-28", "2026-03-29T01:30"),  # 02:30 is leapt over: as if the clock had not leapt yet
        ("2026-10-24", "2026-10-25T01:30"),  # 02:30 comes twice: the second closes
        ("2026-11-21", "2026-11-22T01:30"),
    ],
)
def test_what_closes_after_midnight_does_so_when_clocks_change_too(evening: str, closing: str) -> None:
    end = utc(closing)
    assert is_open(NIGHT, utc(f"{evening}T23:30"))
    assert is_open(NIGHT, end - MINUTE)
    assert not is_open(NIGHT, end)
    assert last_closing(NIGHT, end) == end


def test_whole_days_that_follow_each_other_close_once() -> None:
    hours = Hours(open="00:00", close="24:00", days=WEEK, time_zone="UTC")
    assert is_open(hours, utc("2026-11-26T00:00"))
    assert last_closing(hours, utc("2026-11-27T12:00")) == utc("2026-11-21T00:00")
    assert not is_open(hours, utc("2026-11-28T00:00"))


TIMES = st.times().map(lambda time: time.strftime("%H:%M"))


@settings(max_examples=40, deadline=None)
@given(
    TIMES,
    TIMES,
    st.sets(st.sampled_from(DAYS), min_size=1),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"]),
    st.datetimes(datetime(2024, 1, 1), datetime(2027, 1, 1)),
)
def test_an_endpoint_opens_after_it_has_closed_and_closes_after_it_has_opened(
    opens: str, closes: str, days: set[Any], zone: str, now: datetime
) -> None:
    if opens == closes:
        return
    hours = Hours(open=opens, close=closes, days=tuple(days), time_zone=zone)
    now = now.replace(tzinfo=UTC)
    opening, closing = next_opening(hours, now), last_closing(hours, now)
    assert closing <= now < opening
    assert is_open(hours, opening)
    assert not is_open(hours, opening - timedelta(seconds=1))
    assert not is_open(hours, closing)


CLOSED = replace(
    OPEN, closed=Closed(CLOSES.isoformat(), "2026-11-30T07:00:00+01:00", OFFICE.time_zone), opened=""
)
MAKING = replace(CLOSED, making=ServingEndpoint(name="texas---1"))
BY_HAND = (EVENING - MINUTE).isoformat()
MORNING = utc("2026-11-30T05:45")


@pytest.mark.parametrize(
    ("said", "status", "now", "do"),
    [
        (OPEN, "InService", CLOSES - MINUTE, Do.NOTHING),
        (None, None, EVENING, Do.NOTHING),  # it was never made
        (OPEN, None, EVENING, Do.NOTHING),
        (None, "InService", EVENING, Do.CLOSE),
        (OPEN, "InService", EVENING, Do.CLOSE),
        (OPEN, "Failed", EVENING, Do.CLOSE),
        (OPEN, "Updating", EVENING, Do.WAIT),
        (replace(OPEN, making=MAKING.making), "InService", EVENING, Do.WAIT),
        (replace(OPEN, opened=BY_HAND), "InService", EVENING, Do.NOTHING),  # until it closes next
        (replace(OPEN, opened=BY_HAND), "InService", EVENING + timedelta(days=3), Do.CLOSE),
        (CLOSED, "InService", CLOSES + MINUTE, Do.WAIT),  # not every caller knows
        (CLOSED, "InService", EVENING, Do.DELETE),
        (CLOSED, "Updating", EVENING, Do.WAIT),
        (MAKING, "InService", EVENING, Do.WAIT),
        (CLOSED, "Deleting", EVENING, Do.WAIT),
        (CLOSED, None, EVENING, Do.NOTHING),
        (replace(CLOSED, opened=BY_HAND), None, EVENING, Do.CREATE),  # opened while it was deleted
        (CLOSED, None, MORNING, Do.CREATE),
        (CLOSED, "Deleting", MORNING, Do.WAIT),
        (CLOSED, "Creating", MORNING, Do.WAIT),
        (CLOSED, "InService", MORNING, Do.OPEN),
        (CLOSED, "Failed", MORNING, Do.MEND),
    ],
)
def test_what_is_done(said: SharedEndpoint | None, status: str | None, now: datetime, do: Do) -> None:
    assert to_do(OFFICE, said, status, now) is do


def test_an_endpoint_whose_hours_were_taken_out_of_the_fleet_file_opens() -> None:
    assert to_do(None, CLOSED, None, EVENING) is Do.CREATE
    assert to_do(None, OPEN, "InService", EVENING) is Do.NOTHING


def test_it_is_paid_for_while_it_is_there() -> None:
    ahead = office_hours.AHEAD / timedelta(hours=1)
    assert office_hours.share_open(None) == 1.0
    assert office_hours.share_open(OFFICE) == pytest.approx(5 * (13 + ahead) / (7 * 24))


@pytest.mark.parametrize(
    ("hours", "said"),
    [
        (
            '{open: "07:00", close: "07:00"}',
            "'endpoint.hours.close': got '07:00'; allowed: another time than open",
        ),
        ('{open: "00:00", close: "24:00"}', "allowed: hours in which it closes"),
        ('{open: "7:00", close: "20:00"}', 'allowed: a time of day in quotes, from "00:00" to "23:59"'),
        ('{open: "07:00", close: 20}', "Put it in quotes"),
        ('{open: "07:00", close: "20:00", days: [mon, tus]}', "Did you mean 'tue'?"),
        ('{open: "07:00", close: "20:00", days: [mon, mon]}', "'mon' a second time"),
        ('{open: "07:00", close: "20:00", days: []}', "endpoint.hours.days"),
        ('{open: "07:00", close: "20:00", time_zone: Europe/Berlim}', "Did you mean 'Europe/Berlin'?"),
        ('{open: "07:00", close: "20:00", time_zone: ../etc/passwd}', "the name of a time zone"),
    ],
)
def test_hours_that_can_not_be_kept_are_refused(tmp_path: Path, hours: str, said: str) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(f"{SMALL}endpoint: {{hours: {hours}}}\ncities: {{austin: }}\n", encoding="utf-8")
    with pytest.raises(FleetFileError) as error:
        load_fleet(path, {})
    assert said in str(error.value)
