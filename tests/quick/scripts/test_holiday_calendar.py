"""Holidays as data: what is made of them, and what lies beyond the years that are known."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calendar_grid import FREQUENCIES, begins_at, period_index, read_day
from holiday_calendar import HolidayCalendar, feature_names

DAYS = (date(2014, 12, 25), date(2014, 12, 26), date(2015, 1, 1), date(2015, 7, 4))
CALENDAR = HolidayCalendar("DE", "BY", date(2014, 1, 1), date(2015, 12, 31), DAYS)


def test_a_day_knows_its_neighbours_and_a_month_how_many_there_are() -> None:
    assert feature_names("day") == ["holiday", "before_holiday", "after_holiday"]
    of_day = {
        day: CALENDAR.features(period_index(date.fromisoformat(day), "day"), "day")
        for day in ("2014-12-24", "2014-12-25", "2014-12-26", "2014-12-27", "2014-12-29")
    }
    assert list(of_day.values()) == [[0, 1, 0], [1, 1, 0], [1, 0, 1], [0, 0, 1], [0, 0, 0]]
    for frequency, day, count in (
        ("week", "2014-12-22", 2),
        ("month", "2014-12-01", 2),
        ("month", "2015-02-01", 0),
        ("quarter", "2015-07-01", 1),
        ("year", "2015-01-01", 2),
    ):
        assert CALENDAR.features(period_index(date.fromisoformat(day), frequency), frequency) == [count]


def test_hours_have_their_days_holiday_and_fridays_that_of_the_weekend_behind_them() -> None:
    def of(moment: str, frequency: str) -> list[float | None]:
        return CALENDAR.features(period_index(read_day(moment), frequency), frequency)

    for hour, expected in (
        ("2014-12-24T00:00:00Z", [0, 1, 0]),
        ("2014-12-25T23:00:00Z", [1, 1, 0]),
        ("2014-12-27T05:00:00Z", [0, 0, 1]),
    ):
        assert of(hour, "hour") == of(hour, "6 hour") == expected, hour
    # Longer than a day: how many there are of the days that begin in it.
    assert [of(f"2014-12-{day}T00:00:00Z", "48 hour") for day in (23, 25, 27)] == [[0], [2], [0]]
    from_noon = CALENDAR.between(read_day("2014-12-25T12:00:00Z"), CALENDAR.last)
    assert (from_noon.first, from_noon.days[0]) == (date(2014, 12, 25), date(2014, 12, 25))
    # The fourth of July of 2015 was a Saturday.
    assert of("2015-07-03", "business_day") == [0, 1, 0]
    assert of("2015-07-06", "business_day") == [0, 0, 1]
    assert of("2015-07-02", "business_day") == [0, 0, 0]
    assert feature_names("2 week") == feature_names("2 day") == ["holidays"]
    assert of("2014-12-24", "2 week+1")[0] in (2, 3)


@given(st.sampled_from(FREQUENCIES), st.integers(-20, 900))
def test_beyond_the_years_that_are_known_is_missing_and_never_no_holiday(frequency: str, after: int) -> None:
    index = period_index(date(2014, 1, 1), frequency) + after
    starts = (begins_at(index, frequency).date(), begins_at(index + 1, frequency).date())
    within_a_day = frequency in ("hour", "day", "business_day")
    begins, ends = starts if not within_a_day else (starts[0], starts[0] + timedelta(days=1))
    inside = date(2014, 1, 1) <= begins and ends.toordinal() - 1 <= date(2015, 12, 31).toordinal()
    first = CALENDAR.features(index, frequency)[0]
    count = sum(begins <= day < ends for day in DAYS)
    assert first == ((min(count, 1) if within_a_day else count) if inside else None)


def test_a_newer_calendar_counts_for_the_days_that_it_knows() -> None:
    newer = HolidayCalendar(
        "DE", "BY", date(2015, 1, 1), date(2016, 12, 31), (date(2015, 1, 1), date(2016, 5, 1))
    )
    joined = CALENDAR.continued(newer)
    assert joined.days == (*DAYS[:3], date(2016, 5, 1))  # the fourth of July is none any more
    assert (joined.first, joined.last) == (date(2014, 1, 1), date(2016, 12, 31))
    assert CALENDAR.continued(HolidayCalendar("AT", None, newer.first, newer.last, newer.days)) == CALENDAR
    assert CALENDAR.continued(None) == CALENDAR
    assert HolidayCalendar.from_json(CALENDAR.to_json()) == CALENDAR


def test_what_is_no_calendar_is_refused(subtests: pytest.Subtests) -> None:
    good = CALENDAR.to_json()
    named = HolidayCalendar.from_json({**good, "days": [["2014-12-25", "Christmas"], "2015-01-01"]})
    assert named.days == (date(2014, 12, 25), date(2015, 1, 1))
    bad: dict[str, tuple[Any, str]] = {
        "a country alone": ("US", "allowed: an object"),
        "no days": ({"country": "US"}, "days: allowed: a list"),
        "too many": ({**good, "days": ["2014-01-01"] * 10_001}, "up to 10000"),
        "no day": ({**good, "days": ["Christmas"]}, "got 'Christmas'; allowed: a day"),
        "no years": ({**good, "last": None}, "got 'None'; allowed: a day"),
        "no country": ({**good, "country": ""}, "codes such as US"),
    }
    for name, (value, sentence) in bad.items():
        with subtests.test(name), pytest.raises(ValueError, match="holidays: ") as caught:
            HolidayCalendar.from_json(value)
        assert sentence in str(caught.value)
