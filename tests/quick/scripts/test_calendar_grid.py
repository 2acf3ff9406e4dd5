"""Periods of every frequency are consecutive numbers, and durations add as the calendar does."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calendar_grid import FREQUENCIES, Duration, parse_as_of, period_index, period_start
from time_columns import TimeColumns

DAYS = st.dates(date(1900, 1, 8), date(2200, 1, 1))


@given(DAYS, st.sampled_from(FREQUENCIES))
def test_a_day_lies_in_its_period_and_the_next_period_is_one_more(day: date, frequency: str) -> None:
    index = period_index(day, frequency)
    assert period_start(index, frequency) <= day < period_start(index + 1, frequency)
    assert period_index(period_start(index, frequency), frequency) == index
    assert period_index(period_start(index + 1, frequency) - timedelta(days=1), frequency) == index


def test_weeks_start_on_monday() -> None:
    assert period_start(period_index(date(2015, 8, 1), "week"), "week") == date(2015, 7, 27)


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("P1M", date(2014, 12, 1), datetime(2015, 1, 1, tzinfo=UTC)),
        ("P1M", date(2015, 1, 31), datetime(2015, 2, 28, tzinfo=UTC)),
        ("P1Y2M", date(2014, 11, 1), datetime(2016, 1, 1, tzinfo=UTC)),
        ("P2W3D", date(2014, 1, 1), datetime(2014, 1, 18, tzinfo=UTC)),
        ("P0D", date(2014, 1, 1), datetime(2014, 1, 1, tzinfo=UTC)),
    ],
)
def test_durations_add_as_the_calendar_does(text: str, start: date, end: datetime) -> None:
    assert Duration.parse(text).after(start) == end


@pytest.mark.parametrize("text", ["P1D", "P1M", "P9999Y", "P999999999999D", "P99999999999999999999M"])
def test_what_lies_beyond_the_calendar_is_after_every_as_of(text: str) -> None:
    assert Duration.parse(text).after(date.max) > parse_as_of("99991231T235959Z")


def test_other_durations_are_refused(subtests: pytest.Subtests) -> None:
    for text in ["", "P", "1M", "P1H", "PT1H", "P-1M", "P1M2Y", "P1.5M"]:
        with subtests.test(text=text), pytest.raises(ValueError, match="not a duration"):
            Duration.parse(text)


def test_as_of_is_utc() -> None:
    assert parse_as_of("20140101T000000Z") == datetime(2014, 1, 1, tzinfo=UTC)


def test_time_cells_are_read(subtests: pytest.Subtests) -> None:
    for columns, time_format, frequency, cells, day in [
        (("date",), None, "day", ["2014-07-03"], date(2014, 7, 3)),
        (("date",), None, "day", ["2014-07-03T10:00:00"], date(2014, 7, 3)),
        (("date",), None, "month", ["2014-07"], date(2014, 7, 1)),
        (("year",), None, "year", ["2014"], date(2014, 1, 1)),
        (("date",), "%d.%m.%Y", "day", ["03.07.2014"], date(2014, 7, 3)),
        (("year", "month"), None, "month", ["2014.0", " 7"], date(2014, 7, 1)),
        (("jahr", "monat", "tag"), None, "day", ["2014", "7", "3"], date(2014, 7, 3)),
        (("year", "quarter"), None, "quarter", ["2014", "3"], date(2014, 7, 1)),
        (("year", "week"), None, "week", ["2014", "27"], date(2014, 6, 30)),
    ]:
        with subtests.test(columns=columns):
            assert TimeColumns(columns, time_format, frequency).read(cells) == day


@pytest.mark.parametrize(
    ("columns", "cells", "allowed"),
    [
        (("year", "month"), ["2014", "13"], r"a year and a month \(1 to 12\)"),
        (("year", "quarter"), ["2014", "5"], r"a year and a quarter \(1 to 4\)"),
        (("year", "month"), ["2014", ""], r"a year and a month \(1 to 12\)"),
        (("year", "month", "day"), ["2014", "2", "30"], "and a day of that month"),
        (("year", "month"), ["inf", "1"], "a year and a month"),
        (("date",), ["01/02/2014"], "an ISO date such as 2014-07-01"),
        (("year", "month"), ["1717200000000", "6"], "in the years 1 to 9999"),
        (("year", "month"), ["0", "6"], "in the years 1 to 9999"),
        (("year", "month"), ["1e300", "6"], "in the years 1 to 9999"),
        (("year", "month"), ["2_014", "6"], "in the years 1 to 9999"),
        (("year", "week"), ["1e30", "6"], "in the years 1 to 9999"),
        (("date",), ["0000-00-00"], "in the years 1 to 9999"),
        (("date",), ["10000-01-01"], "in the years 1 to 9999"),
        (("date",), ["1717010100000"], "an ISO date"),  # would be 1717-01-01 with "0" before the time
        (("date",), ["1717200000"], "an ISO date"),
        (("date",), ["1_14"], "an ISO date"),
    ],
)
def test_time_cells_that_are_no_date_say_what_is_allowed(
    columns: tuple[str, ...], cells: list[str], allowed: str
) -> None:
    with pytest.raises(ValueError, match=allowed):
        TimeColumns(columns, None, "month").read(cells)
