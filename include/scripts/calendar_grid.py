"""Periods as whole numbers: consecutive days, weeks, months, quarters or years have consecutive indices.

A lag of n periods is then ``index - n`` and a missing period is a gap in the indices, whatever the calendar
does. Everything is in UTC.
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

FREQUENCIES = ("day", "week", "month", "quarter", "year")
AS_OF_FORMAT = "%Y%m%dT%H%M%SZ"


def parse_as_of(text: str) -> datetime:
    """Read an as_of as it is written in keys.

    :param text: for example ``20140101T000000Z``.
    :return: the instant, in UTC.
    :raises ValueError: for anything else.
    """
    return datetime.strptime(text, AS_OF_FORMAT).replace(tzinfo=UTC)


def read_day(value: object) -> date:
    """Read a day of a period as requests and files of ours write it.

    :param value: for example ``2014-01-31``.
    :raises ValueError: for anything else.
    """
    try:
        if isinstance(value, str):
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise ValueError(f"got {str(value)[:50]!r}; allowed: a day such as 2014-01-31")


def period_index(day: date, frequency: str) -> int:
    """Number the period that a day lies in.

    :param day: any day of the period.
    :param frequency: one of :data:`FREQUENCIES`; weeks start on Monday.
    :return: the index; the next period's is one more.
    """
    if frequency == "day":
        return day.toordinal()
    if frequency == "week":
        return (day.toordinal() - 1) // 7  # 0001-01-01 was a Monday
    if frequency == "month":
        return day.year * 12 + day.month - 1
    if frequency == "quarter":
        return day.year * 4 + (day.month - 1) // 3
    return day.year


def period_start(index: int, frequency: str) -> date:
    """Find the first day of a period.

    :param index: from :func:`period_index`.
    """
    if frequency == "day":
        return date.fromordinal(index)
    if frequency == "week":
        return date.fromordinal(index * 7 + 1)
    if frequency == "month":
        return date(index // 12, index % 12 + 1, 1)
    if frequency == "quarter":
        return date(index // 4, index % 4 * 3 + 1, 1)
    return date(index, 1, 1)


@dataclass(frozen=True)
class Duration:
    """A calendar duration such as P1M: so many months, then so many days."""

    months: int
    days: int

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Read the subset PnYnMnWnD of ISO 8601.

        :param text: for example ``P1M`` or ``P2W``.
        :raises ValueError: for anything else.
        """
        found = re.fullmatch(r"P(?=\d)(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?", text)
        if found is None:
            raise ValueError(f"'{text}' is not a duration such as P1M, P2W or P10D")
        years, months, weeks, days = (int(part or 0) for part in found.groups())
        return cls(months=years * 12 + months, days=weeks * 7 + days)

    def __str__(self) -> str:
        days = f"{self.days}D" if self.days or not self.months else ""
        return f"P{self.months}M{days}" if self.months else f"P{days}"

    def after(self, start: date) -> datetime:
        """Add the duration to midnight of a day.

        :return: the instant, in UTC; a day past the end of a month becomes its last day, and what lies beyond the
            calendar its last moment, which no as_of reaches.
        """
        month_index = start.year * 12 + start.month - 1 + self.months
        year, month = month_index // 12, month_index % 12 + 1
        try:
            day = min(start.day, calendar.monthrange(year, month)[1])
            return datetime(year, month, day, tzinfo=UTC) + timedelta(days=self.days)
        except (ValueError, OverflowError):
            return datetime.max.replace(tzinfo=UTC)
