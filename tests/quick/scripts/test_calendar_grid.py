"""Periods of every frequency are consecutive numbers, and durations add as the calendar does."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calendar_grid import (
    FREQUENCIES,
    Duration,
    begins_at,
    begins_period,
    frequency_text,
    is_frequency,
    parse_as_of,
    period_index,
    period_of,
    period_start,
    read_day,
    season,
)
from time_columns import TimeColumns

MOMENTS = st.datetimes(datetime(1900, 1, 8), datetime(2200, 1, 1), timezones=st.just(UTC))
GRIDS = st.sampled_from(FREQUENCIES) | st.builds(
    frequency_text,
    st.sampled_from(FREQUENCIES),
    st.integers(2, 12),
    st.dates(date(1950, 1, 1), date(2050, 1, 1)) | st.none(),
)


@given(MOMENTS, GRIDS)
def test_a_moment_lies_in_its_period_and_the_next_period_is_one_more(
    moment: datetime, frequency: str
) -> None:
    index = period_index(moment, frequency)
    begin, end = begins_at(index, frequency), begins_at(index + 1, frequency)
    assert begin <= moment < end
    assert period_index(begin, frequency) == index
    assert period_index(end - timedelta(seconds=1), frequency) == index
    assert begins_period(begin, frequency)
    assert read_day(period_start(index, frequency).isoformat()) == period_start(index, frequency)


@pytest.mark.parametrize(
    ("frequency", "alias"),
    [
        ("hour", "h"),
        ("day", "D"),
        ("business_day", ""),
        ("week", "W-SUN"),
        ("month", "M"),
        ("quarter", "Q"),
        ("year", "Y"),
    ],
)
@given(moment=MOMENTS)
def test_pandas_finds_the_same_next_period(frequency: str, alias: str, moment: datetime) -> None:
    if frequency == "business_day" and moment.weekday() > 4:
        moment += timedelta(days=2)
    plain = pd.Timestamp(moment.replace(tzinfo=None))
    if alias:
        there = (pd.Period(plain, freq=alias) + 1).start_time
    else:
        there = plain.normalize() + pd.offsets.BusinessDay(1)
    here = begins_at(period_index(moment, frequency) + 1, frequency)
    assert pd.Timestamp(here.replace(tzinfo=None)) == there


def test_several_make_a_period_that_begins_where_the_anchor_says(subtests: pytest.Subtests) -> None:
    for base, every, anchor, day, start in [
        ("year", 5, None, date(1952, 6, 1), "1950-01-01"),
        ("year", 5, date(1952, 1, 1), date(1952, 6, 1), "1952-01-01"),
        ("year", 5, date(2007, 3, 3), date(1956, 12, 31), "1952-01-01"),
        ("year", 10, date(1952, 1, 1), date(1961, 12, 31), "1952-01-01"),
        ("week", 2, date(2015, 7, 29), date(2015, 8, 9), "2015-07-27"),
        ("month", 6, date(2015, 4, 1), date(2015, 3, 31), "2014-10-01"),
        ("hour", 6, None, datetime(2015, 3, 29, 13, tzinfo=UTC), "2015-03-29T12:00:00+00:00"),
        ("business_day", 5, None, date(2015, 7, 31), "2015-07-27"),
    ]:
        with subtests.test(base=base, every=every, day=day):
            frequency = frequency_text(base, every, anchor)
            assert is_frequency(frequency)
            assert period_start(period_index(day, frequency), frequency).isoformat() == start


def test_the_calendar_comes_round(subtests: pytest.Subtests) -> None:
    for frequency, periods in [
        ("hour", 24), ("6 hour", 4), ("day", 7), ("2 day", 7), ("business_day", 5), ("week", 52), ("2 week", 26),
        ("month", 12), ("5 month", 12), ("quarter", 4), ("year", 1), ("5 year+2", 1),
    ]:  # fmt: skip
        with subtests.test(frequency=frequency):
            assert season(frequency) == periods


def test_other_frequencies_are_none() -> None:
    for text in ["", "hours", "0 year", "1 year", "05 year", "5 year+5", "5 years", "1001 day", "5", None, 5]:
        assert not is_frequency(text), text


def test_an_hour_is_one_of_utc_where_clocks_are_put_back() -> None:
    texts = ["2015-10-25T02:30:00+02:00", "2015-10-25T02:30:00+01:00", "2015-10-25 01:30:00Z"]
    times = TimeColumns(("at",), None, "hour")
    first, second, same = (period_of(times.read_moment([text]), "hour") for text in texts)
    assert (second - first, same) == (1, second)


@pytest.mark.parametrize("day", [date(2015, 8, 1), datetime(2015, 8, 2, 23, tzinfo=UTC)])
def test_a_weekend_lies_in_no_period_of_business_days(day: date) -> None:
    with pytest.raises(ValueError, match="Monday to Friday"):
        period_of(day, "business_day")
    assert period_start(period_index(day, "business_day"), "business_day") == date(2015, 7, 31)  # Friday


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
        ("PT6H", date(2014, 1, 1), datetime(2014, 1, 1, 6, tzinfo=UTC)),
        ("P1MT1H", datetime(2015, 1, 31, 23, tzinfo=UTC), datetime(2015, 3, 1, tzinfo=UTC)),
    ],
)
def test_durations_add_as_the_calendar_does(text: str, start: date, end: datetime) -> None:
    assert Duration.parse(text).after(start) == end


@pytest.mark.parametrize("text", ["P1D", "P1M", "P9999Y", "P999999999999D", "P99999999999999999999M"])
def test_what_lies_beyond_the_calendar_is_after_every_as_of(text: str) -> None:
    assert Duration.parse(text).after(date.max) > parse_as_of("99991231T235959Z")


def test_other_durations_are_refused(subtests: pytest.Subtests) -> None:
    for text in ["", "P", "1M", "P1H", "PT", "P1DT", "PT1M", "P-1M", "P1M2Y", "P1.5M"]:
        with subtests.test(text=text), pytest.raises(ValueError, match="not a duration"):
            Duration.parse(text)


def test_as_of_is_utc() -> None:
    assert parse_as_of("20140101T000000Z") == datetime(2014, 1, 1, tzinfo=UTC)


#: columns, format, parts, cells, moment: every form that a row may say its time in.
FORMS = [
    (("date",), None, None, ["2014-07-03"], "2014-07-03T00"),
    (("date",), None, None, ["20140703"], "2014-07-03T00"),
    (("date",), None, None, ["2014-07-03T10:00:00"], "2014-07-03T10"),
    (("date",), None, None, ["2014-07-03 10:00"], "2014-07-03T10"),
    (("date",), None, None, ["2014-07-03T01:00:00+02:00"], "2014-07-02T23"),
    (("date",), None, None, ["2014-07-03T23:00:00-05:00"], "2014-07-04T04"),
    (("date",), None, None, ["2014-07-03T10:00:00Z"], "2014-07-03T10"),
    (("date",), "%d.%m.%Y %H:%M %z", None, ["03.07.2014 01:00 +0200"], "2014-07-02T23"),
    (("date",), "%d.%m.%Y", None, ["03.07.2014"], "2014-07-03T00"),
    (("date",), None, None, ["2014-07"], "2014-07-01T00"),
    (("year",), None, None, ["2014"], "2014-01-01T00"),
    (("year",), None, None, ["1950.0"], "1950-01-01T00"),
    *(
        (("quarter",), None, None, [text], "1981-07-01T00")
        for text in ("1981 Q3", "1981Q3", "Q3 1981", "1981-Q3", "Q3-1981", "1981q3", "Q3/1981", " 1981-q3 ")
    ),
    (("week",), None, None, ["2015-W03"], "2015-01-12T00"),
    (("week",), None, None, ["2015W03"], "2015-01-12T00"),
    (("week",), None, None, ["2015-W03-4"], "2015-01-15T00"),
    (("year", "month"), None, None, ["2014.0", " 7"], "2014-07-01T00"),
    (("jahr", "monat", "tag"), None, None, ["2014", "7", "3"], "2014-07-03T00"),
    (("year", "quarter"), None, None, ["2014", "3"], "2014-07-01T00"),
    (("year", "quarter"), None, None, ["2014", "Q3"], "2014-07-01T00"),
    (("yr", "qtr"), None, ("year", "quarter"), ["2014.0", "3.0"], "2014-07-01T00"),
    (("year", "week"), None, None, ["2014", "27"], "2014-06-30T00"),
    (("jahr", "kw"), None, ("year", "week"), ["2014", "W27"], "2014-06-30T00"),
    (("dteday", "hr"), None, ("date", "hour"), ["2011-01-01", "23"], "2011-01-01T23"),
    (("date", "hour"), None, None, ["2011-01-01", "0"], "2011-01-01T00"),
    (("y", "m", "d", "h"), None, None, ["2011", "1", "31", "5"], "2011-01-31T05"),
]


@pytest.mark.parametrize(("columns", "written", "parts", "cells", "moment"), FORMS)
def test_time_cells_are_read(
    columns: tuple[str, ...],
    written: str | None,
    parts: tuple[str, ...] | None,
    cells: list[str],
    moment: str,
) -> None:
    made = TimeColumns(columns, written, "day", parts)
    assert made.read_moment(cells) == datetime.fromisoformat(f"{moment}:00:00+00:00")


@pytest.mark.parametrize(
    ("columns", "cells", "allowed"),
    [
        (("date", "hour"), ["2014-07-01", "24"], r"a date and an hour \(0 to 23\)"),
        (("date",), ["2014 Q5"], r"a quarter \(2014 Q3\)"),
        (("date",), ["2014-W54"], r"a week \(2014-W27\)"),
        (("date",), ["1950.5"], "an ISO date"),
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
