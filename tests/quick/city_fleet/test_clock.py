"""Instants are written and read in one place, in two forms, and both forms read back."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_fleet import clock
from tests.support.fleets import ROOT

LIBRARY = ROOT / "plugins" / "city_fleet"
MOMENT = datetime(2014, 1, 1, 6, tzinfo=UTC)
# What only clock.py may do; days (date.fromisoformat) are not instants.
OWN_WAYS = re.compile(r"datetime\.fromisoformat\(|strptime\(|timespec=|%Y%m%dT%H")


@pytest.mark.parametrize(
    "text",
    [
        "20140101T060000Z",
        "2014-01-01T06:00:00+00:00",
        "2014-01-01T06:00:00Z",
        "2014-01-01T08:00+02:00",
        "2014-01-01T06",
    ],
)
def test_an_instant_is_read_in_either_form(text: str) -> None:
    assert clock.parse(text) == MOMENT
    assert clock.parse(text).tzinfo is UTC
    assert re.match(clock.LOOKS_LIKE_AN_INSTANT, text)


def test_what_looks_like_no_instant_is_none_and_the_other_way_round() -> None:
    for text in (
        "2014-01-01",
        "20140101",
        "2014-W01-3",
        "2014W013",
        "2014-01-01 06:00",
        "2014-01-01T06:00:00.5-06",
    ):
        clock.parse(text)
        assert re.match(clock.LOOKS_LIKE_AN_INSTANT, text), text
    for text in ("next tuesday", "2014", "2014-1-1", "01.01.2014", "1/1/2014"):
        assert not re.match(clock.LOOKS_LIKE_AN_INSTANT, text), text


@given(st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)), st.integers(-14 * 60, 14 * 60))
def test_what_is_written_reads_back(moment: datetime, offset_minutes: int) -> None:
    moment = moment.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=offset_minutes)))
    assert clock.parse(clock.stamp(moment)) == moment
    assert clock.parse(clock.iso(moment)) == moment


def test_both_forms() -> None:
    moment = datetime(2014, 1, 1, 8, 0, 0, 999, tzinfo=timezone(timedelta(hours=2)))
    assert clock.stamp(moment) == "20140101T060000Z"
    assert clock.iso(moment.astimezone(UTC)) == "2014-01-01T06:00:00+00:00"
    with pytest.raises(ValueError, match="no time zone"):
        clock.stamp(datetime(2014, 1, 1))


@pytest.mark.parametrize("text", ["", "yesterday", "2014-13-01", "20140101T000000"[:-1] + "x"])
def test_anything_else_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match=f"^got {text!r}; allowed: an instant such as "):
        clock.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "9999-12-31",
        "99991231T235959Z",
        "9000-01-01",
        "9999-12-31T23:59-02:00",
        "0001-01-01T00:00+02:00",
        "0999-12-31",
    ],
)
def test_an_instant_from_which_one_leaves_the_calendar_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="allowed: an instant from the year 1000 to 8999"):
        clock.parse(text)
    for moment in (datetime.max, datetime.min):
        with pytest.raises(ValueError, match="from the year 1000 to 8999"):
            clock.stamp(moment.replace(tzinfo=timezone(timedelta(hours=2))))


def test_this_moment() -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    assert before <= clock.parse(clock.now_iso()) <= datetime.now(UTC)
    assert before <= clock.utc_now() <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("text", "beginning"),
    [
        ("2014-01-02", "20140102"),
        ("20140102", "20140102"),
        ("2014-01-02T00:00", "20140102T000000Z"),
        ("20140102T000000Z", "20140102T000000Z"),
        ("2014-01-02T01:00+02:00", "20140101T230000Z"),
    ],
)
def test_a_day_alone_means_all_its_stamps(text: str, beginning: str) -> None:
    assert clock.beginning_of_stamp(text) == beginning
    assert clock.is_day(text) == (len(beginning) == 8)


#: Times of raw data and periods, which are no instants of ours: written as whoever made the file wrote them.
RAW_DAYS = (LIBRARY / "data" / "time_cells.py", LIBRARY / "periods.py")


def test_no_other_module_of_the_library_writes_or_reads_instants_its_own_way() -> None:
    found = [
        f"{path.relative_to(LIBRARY)}:{number}: {line.strip()}"
        for path in sorted(LIBRARY.rglob("*.py"))
        if path.name != "clock.py" and path not in RAW_DAYS
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if OWN_WAYS.search(line)
    ]
    assert found == []
