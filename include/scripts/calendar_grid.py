"""Periods as whole numbers: consecutive hours, days, business days, weeks, … have consecutive indices.

A lag of n periods is then ``index - n`` and a missing period is a gap in the indices, whatever the calendar
does. Everything is in UTC: there every day has 24 hours, also where clocks are put forward and back.

A frequency is one text: ``month``; ``5 year`` for periods of five years that begin where the number of the year is a
multiple of five; ``5 year+2`` for those that begin two years later (1952, 1957, …).
"""

from __future__ import annotations

import calendar
import math
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

FREQUENCIES = ("hour", "day", "business_day", "week", "month", "quarter", "year")
MOST_EVERY = 1000
AS_OF_FORMAT = "%Y%m%dT%H%M%SZ"
BUSINESS_DAYS = 5
#: Periods after which the calendar comes round.
_SEASON = {
    "hour": 24,
    "day": 7,
    "business_day": BUSINESS_DAYS,
    "week": 52,
    "month": 12,
    "quarter": 4,
    "year": 1,
}
_MONTHS = {"month": 1, "quarter": 3, "year": 12}
_MULTIPLE = re.compile(rf"([1-9][0-9]{{0,3}}) ({'|'.join(FREQUENCIES)})(?:\+([1-9][0-9]{{0,2}}))?")


def parse_as_of(text: str) -> datetime:
    """Read an as_of as it is written in keys.

    :param text: for example ``20140101T000000Z``.
    :return: the instant, in UTC.
    :raises ValueError: for anything else.
    """
    return datetime.strptime(text, AS_OF_FORMAT).replace(tzinfo=UTC)


def read_day(value: object) -> date:
    """Read the beginning of a period as requests and files of ours write it.

    :param value: for example ``2014-01-31``, or of an hour ``2014-01-31T05:00:00Z``.
    :return: a day; a moment in UTC where a time of day is written.
    :raises ValueError: for anything else.
    """
    try:
        if isinstance(value, str):
            if len(value) <= len("2014-01-31"):
                return date.fromisoformat(value)
            return in_utc(datetime.fromisoformat(value))
    except (ValueError, OverflowError):
        pass
    raise ValueError(
        f"got {str(value)[:50]!r}; allowed: a day such as 2014-01-31, or a moment such as 2014-01-31T05:00:00Z"
    )


def in_utc(moment: datetime) -> datetime:
    """Return a moment in UTC, which one without an offset is taken to be.

    :raises OverflowError: it lies beyond the calendar.
    """
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def frequency_text(base: str, every: int = 1, anchor: date | None = None) -> str:
    """Write periods of several hours, days, … as the one text that a frequency is.

    :param base: one of :data:`FREQUENCIES`.
    :param every: how many of them make a period.
    :param anchor: a day on which a period begins; None for a multiple of ``every``, counted from the year 0, and for
        hours, days and weeks from Monday, 0001-01-01.
    """
    if every == 1:
        return base
    offset = 0 if anchor is None else _base_index(anchor, base) % every
    return f"{every} {base}" + (f"+{offset}" if offset else "")


@lru_cache(maxsize=64)
def split_frequency(frequency: str) -> tuple[str, int, int]:
    """Return what a frequency is made of: hour, day, …; how many of them; and by how many they begin later.

    :raises ValueError: it is none.
    """
    if frequency in FREQUENCIES:
        return frequency, 1, 0
    found = _MULTIPLE.fullmatch(frequency)
    if found is not None:
        every, offset = int(found[1]), int(found[3] or 0)
        if 1 < every <= MOST_EVERY and offset < every:
            return found[2], every, offset
    raise ValueError(f"frequency: allowed: {', '.join(FREQUENCIES)}, or several of one such as '5 year'")


def is_frequency(value: object) -> bool:
    """Tell whether a value is a frequency."""
    try:
        return isinstance(value, str) and bool(split_frequency(value))
    except ValueError:
        return False


def noun(frequency: str) -> str:
    """Return what people call one period: month, business day, 5-year period."""
    base, every, _ = split_frequency(frequency)
    word = base.replace("_", " ")
    return word if every == 1 else f"{every}-{word} period"


def season(frequency: str) -> int:
    """Return after how many periods the calendar comes round: 24 hours, 7 days, 12 months; 26 periods of 2 weeks."""
    base, every, _ = split_frequency(frequency)
    return math.lcm(_SEASON[base], every) // every


def period_index(day: date, frequency: str) -> int:
    """Number the period that a day, or a moment, lies in.

    :param day: of the period; of a moment the one in UTC, and a day is its midnight. A weekend lies in no period of
        business days, and counts as the Friday before it.
    :param frequency: weeks start on Monday.
    :return: the index; the next period's is one more.
    """
    base, every, offset = split_frequency(frequency)
    return (_base_index(day, base) - offset) // every


def period_of(day: date, frequency: str) -> int:
    """Number the period that a value of a day or a moment belongs to, as :func:`period_index` does.

    :raises ValueError: saying what is allowed: it belongs to none.
    """
    if isinstance(day, datetime):
        day = in_utc(day)
    if day.weekday() >= BUSINESS_DAYS and split_frequency(frequency)[0] == "business_day":
        raise ValueError("a day from Monday to Friday (frequency business_day; day has weekends)")
    index = period_index(day, frequency)
    try:
        period_start(index, frequency)
    except (ValueError, OverflowError):
        raise ValueError("a period that begins in the years 1 to 9999") from None
    return index


def begins_period(day: date, frequency: str) -> bool:
    """Tell whether a day lies in the first of the hours, days, … that make a period."""
    base, every, offset = split_frequency(frequency)
    return (_base_index(day, base) - offset) % every == 0


def _base_index(day: date, base: str) -> int:
    if isinstance(day, datetime):
        day = in_utc(day)
    if base == "hour":
        return day.toordinal() * 24 + (day.hour if isinstance(day, datetime) else 0)
    if base == "day":
        return day.toordinal()
    week, weekday = divmod(day.toordinal() - 1, 7)  # 0001-01-01 was a Monday
    if base == "business_day":
        return week * BUSINESS_DAYS + min(weekday, BUSINESS_DAYS - 1)
    return week if base == "week" else (day.year * 12 + day.month - 1) // _MONTHS[base]


def period_start(index: int, frequency: str) -> date:
    """Find the first day of a period, and of hours the moment, in UTC. ``isoformat()`` is how periods are written.

    :param index: from :func:`period_index`.
    :raises ValueError: it lies beyond the calendar.
    """
    base, every, offset = split_frequency(frequency)
    index = index * every + offset
    if base == "hour":
        day, hour = divmod(index, 24)
        return datetime.fromordinal(day).replace(hour=hour, tzinfo=UTC)
    if base in _MONTHS:
        year, month = divmod(index * _MONTHS[base], 12)
        return date(year, month + 1, 1)
    if base == "business_day":
        week, weekday = divmod(index, BUSINESS_DAYS)
        return date.fromordinal(week * 7 + weekday + 1)
    return date.fromordinal(index * 7 + 1 if base == "week" else index)


def begins_at(index: int, frequency: str) -> datetime:
    """Return the moment at which a period begins, in UTC.

    :raises ValueError: it lies beyond the calendar.
    """
    start = period_start(index, frequency)
    return start if isinstance(start, datetime) else datetime(start.year, start.month, start.day, tzinfo=UTC)


@dataclass(frozen=True)
class Duration:
    """A calendar duration such as P1M: so many months, then so many days, then so many hours."""

    months: int
    days: int
    hours: int = 0

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Read the subset PnYnMnWnDTnH of ISO 8601.

        :param text: for example ``P1M``, ``P2W`` or ``PT6H``.
        :raises ValueError: for anything else.
        """
        found = re.fullmatch(
            r"P(?=\d|T)(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T(\d+)H)?", text, re.ASCII
        )
        if found is None:
            raise ValueError(f"'{text}' is not a duration such as P1M, P2W, P10D or PT6H")
        years, months, weeks, days, hours = (int(part or 0) for part in found.groups())
        return cls(months=years * 12 + months, days=weeks * 7 + days, hours=hours)

    def __str__(self) -> str:
        days = f"{self.days}D" if self.days or not (self.months or self.hours) else ""
        months = f"{self.months}M" if self.months else ""
        return f"P{months}{days}" + (f"T{self.hours}H" if self.hours else "")

    def after(self, start: date) -> datetime:
        """Add the duration to a moment, or to midnight of a day.

        :return: the instant, in UTC; a day past the end of a month becomes its last day, and what lies beyond the
            calendar its last moment, which no as_of reaches.
        """
        hour = start.hour if isinstance(start, datetime) else 0
        month_index = start.year * 12 + start.month - 1 + self.months
        year, month = month_index // 12, month_index % 12 + 1
        try:
            day = min(start.day, calendar.monthrange(year, month)[1])
            return datetime(year, month, day, hour, tzinfo=UTC) + timedelta(days=self.days, hours=self.hours)
        except (ValueError, OverflowError):
            return datetime.max.replace(tzinfo=UTC)
