"""Ticks of a schedule."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_fleet.ticks import last_tick, next_tick

SCHEDULES = (
    "@hourly",
    "@daily",
    "@weekly",
    "@monthly",
    "@quarterly",
    "@yearly",
    "5 4 * * 1",
    "*/15 2-5 * * *",
)
moments = st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1)).map(
    lambda moment: moment.replace(tzinfo=UTC)
)


@given(st.sampled_from(SCHEDULES), moments)
def test_the_last_tick_is_the_last(schedule: str, moment: datetime) -> None:
    tick = last_tick(schedule, moment)
    assert tick is not None
    assert tick <= moment < next_tick(schedule, tick)
    assert last_tick(schedule, tick) == tick
    assert last_tick(schedule, tick - timedelta(microseconds=1)) != tick


@pytest.mark.parametrize(
    ("until", "expected"),
    [
        (datetime(2015, 7, 31, tzinfo=UTC), datetime(2015, 7, 1, tzinfo=UTC)),
        (datetime(2015, 8, 1, tzinfo=UTC), datetime(2015, 8, 1, tzinfo=UTC)),
        (datetime(2020, 1, 1, tzinfo=UTC), datetime(2015, 8, 1, tzinfo=UTC)),
        (datetime(2013, 12, 31, tzinfo=UTC), None),
    ],
)
def test_first_and_last_day(until: datetime, expected: datetime | None) -> None:
    days = {"first_day": date(2014, 1, 1), "last_day": date(2015, 8, 1)}
    assert last_tick("@monthly", until, **days) == expected


NOW = datetime(2026, 11, 26, 4, 30, tzinfo=UTC)
LAST = datetime.max.replace(tzinfo=UTC)


@pytest.mark.parametrize("schedule", [*SCHEDULES, "0 0 29 2 *"])
def test_a_last_day_for_ever_is_none(schedule: str) -> None:
    for last_day in (date.max, date(9999, 12, 30)):
        assert last_tick(schedule, NOW, last_day=last_day) == last_tick(schedule, NOW)
    last = last_tick(schedule, LAST, last_day=date.max)
    assert last is not None
    assert last.year in (9996, 9999)


@pytest.mark.parametrize("schedule", [*SCHEDULES, "0 0 29 2 *"])
def test_beyond_the_calendar_there_is_no_tick(schedule: str) -> None:
    for moment in (LAST, LAST - timedelta(seconds=59)):
        with pytest.raises(ValueError, match="has no tick after 9999-12-31"):
            next_tick(schedule, moment)
    for moment in (datetime(1000, 1, 1, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)):
        found = last_tick(schedule, moment)
        assert found is None or found <= moment
    assert last_tick(schedule, LAST, first_day=date.max, last_day=date(2020, 1, 1)) is None


def test_no_schedule_has_no_tick() -> None:
    assert last_tick(None, datetime(2014, 1, 1, tzinfo=UTC)) is None
