"""Periods of a series: hours, days, business days, weeks, months, quarters, years, and several of one of them.

What the job scripts know as ``calendar_grid``; a test holds the two together. A frequency is one text: ``month``, or
``5 year`` and ``5 year+2`` for periods of several, the second beginning two years later. Everything is in UTC.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

FREQUENCIES = ("hour", "day", "business_day", "week", "month", "quarter", "year")
MOST_EVERY = 1000
_BUSINESS_DAYS = 5
_MONTHS = {"month": 1, "quarter": 3, "year": 12}
#: Of a frequency as text.
PATTERN = rf"(?:([1-9][0-9]{{0,3}}) )?({'|'.join(FREQUENCIES)})(?:\+([1-9][0-9]{{0,2}}))?"
_FREQUENCY = re.compile(PATTERN)


def in_utc(moment: datetime) -> datetime:
    """Return a moment in UTC, which one without an offset is taken to be.

    :raises OverflowError: it lies beyond the calendar.
    """
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


@dataclass(frozen=True)
class Grid:
    """The periods of one frequency, numbered.

    :param base: one of :data:`FREQUENCIES`.
    :param every: how many of them make a period.
    :param offset: by how many the periods begin later than at a multiple of ``every``.
    """

    base: str
    every: int = 1
    offset: int = 0

    @classmethod
    def of(cls, base: str, every: int = 1, anchor: date | None = None) -> Grid:
        """Return the grid of a fleet file's settings.

        :param anchor: a day on which a period begins.
        """
        offset = 0 if anchor is None or every == 1 else _base_index(_midnight(anchor), base) % every
        return cls(base, every, offset)

    @classmethod
    def parse(cls, text: str) -> Grid:
        """Read a frequency.

        :raises ValueError: it is none.
        """
        found = _FREQUENCY.fullmatch(text)
        if found is not None:
            grid = cls(found[2], int(found[1] or 1), int(found[3] or 0))
            if grid.every <= MOST_EVERY and grid.offset < grid.every and str(grid) == text:
                return grid
        raise ValueError(f"allowed: {', '.join(FREQUENCIES)}, or several such as '5 year'")

    def __str__(self) -> str:
        if self.every == 1:
            return self.base
        return f"{self.every} {self.base}" + (f"+{self.offset}" if self.offset else "")

    @property
    def noun(self) -> str:
        """What people call one period: month, business day, 5-year period."""
        word = self.base.replace("_", " ")
        return word if self.every == 1 else f"{self.every}-{word} period"

    def index(self, moment: datetime) -> int:
        """Number the period that a moment lies in.

        :raises ValueError: none of business days has the moment.
        """
        moment = in_utc(moment)
        if self.base == "business_day" and moment.weekday() >= _BUSINESS_DAYS:
            raise ValueError("a weekend lies in no period of business days")
        return (_base_index(moment, self.base) - self.offset) // self.every

    def start(self, index: int) -> datetime:
        """Return when a period begins.

        :raises ValueError: beyond the calendar.
        """
        index = index * self.every + self.offset
        if self.base in _MONTHS:
            year, month = divmod(index * _MONTHS[self.base], 12)
            return datetime(year, month + 1, 1, tzinfo=UTC)
        if self.base == "hour":
            day, hour = divmod(index, 24)
            return datetime.fromordinal(day).replace(hour=hour, tzinfo=UTC)
        if self.base == "business_day":
            week, weekday = divmod(index, _BUSINESS_DAYS)
            index = week * 7 + weekday + 1
        return datetime.fromordinal(index * 7 + 1 if self.base == "week" else index).replace(tzinfo=UTC)

    def text(self, index: int) -> str:
        """Return how a period is written: its first day, or of hours its moment."""
        start = self.start(index)
        return start.isoformat() if self.base == "hour" else start.date().isoformat()


def noun(frequency: str) -> str:
    """Return what people call one period of a frequency; text that is none stays as it is."""
    try:
        return Grid.parse(frequency).noun
    except ValueError:
        return frequency


def read_begin(text: str) -> datetime:
    """Read the beginning of a period: a day, or a moment.

    :raises ValueError: it is none.
    """
    return in_utc(datetime.fromisoformat(text))


def begin_text(text: str) -> str:
    """Return the beginning of a period as it is written: a day as such, a moment in UTC.

    :raises ValueError: it is none.
    """
    if len(text) <= len("2015-07-01"):
        return date.fromisoformat(text).isoformat()
    return read_begin(text).isoformat()


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _base_index(moment: datetime, base: str) -> int:
    if base in _MONTHS:
        return (moment.year * 12 + moment.month - 1) // _MONTHS[base]
    ordinal = moment.toordinal()
    if base == "hour":
        return ordinal * 24 + moment.hour
    week, weekday = divmod(ordinal - 1, 7)  # 0001-01-01 was a Monday
    if base == "business_day":
        return week * _BUSINESS_DAYS + min(weekday, _BUSINESS_DAYS - 1)
    return week if base == "week" else ordinal


@dataclass(frozen=True)
class Span:
    """A calendar duration: so many months, then so many days, then so many hours."""

    months: int = 0
    days: int = 0
    hours: int = 0

    def after(self, moment: datetime) -> datetime:
        """Add it to a moment; a day past the end of a month becomes its last day.

        :return: the last moment of the calendar where it would lie beyond.
        """
        year, month = divmod(moment.year * 12 + moment.month - 1 + self.months, 12)
        try:
            first = datetime(year, month + 1, 1, moment.hour, tzinfo=UTC)
            last = (first.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
            day = min(moment.day, last.day)
            return first.replace(day=day) + timedelta(days=self.days, hours=self.hours)
        except (ValueError, OverflowError):
            return datetime.max.replace(tzinfo=UTC)

    def covers(self, grid: Grid) -> bool:
        """Tell whether a period is over when it has passed since the period's beginning."""
        first = grid.index(datetime(2000, 1, 3, tzinfo=UTC))
        return all(self.after(grid.start(at)) >= grid.start(at + 1) for at in range(first, first + 60))
