"""The holidays of a country as data: which days, and for which years that is known.

The settings file of a run brings them (``dataset.holidays``): no job and no endpoint asks a package which days are
holidays, so a model answers in a year's time by the calendar that it was trained by, or by a newer run's.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from calendar_grid import period_start, read_day, split_frequency

#: A century of a country with fifty holidays a year takes half of it.
MOST_DAYS = 10_000
_LONGEST_NAME = 50
_HOURS = 24


def feature_names(frequency: str) -> list[str]:
    """Name the features: of a day, whether it is a holiday, and whether the one before or after it is; of a longer
    period how many holidays it has."""
    if _within_a_day(frequency):
        return ["holiday", "before_holiday", "after_holiday"]
    return ["holidays"]


@dataclass(frozen=True)
class HolidayCalendar:
    """The holidays of a country, or of a part of it.

    :param subdivision: the part, as a state; None for what the whole country has.
    :param first: the first day, :param last: the last day of which it is known whether it is one.
    :param days: the holidays among them, in order, each once.
    """

    country: str
    subdivision: str | None
    first: date
    last: date
    days: tuple[date, ...]

    def count(self, begins: date, ends: date) -> int | None:
        """Count the holidays from one day to the day before another; None where not all of them are known."""
        if begins < self.first or ends.toordinal() - 1 > self.last.toordinal():
            return None
        return bisect_left(self.days, ends) - bisect_left(self.days, begins)

    def features(self, index: int, frequency: str) -> list[float | None]:
        """Make a period's values, in the order of :func:`feature_names`; None beyond the years that are known."""
        try:
            starts = [period_start(index + step, frequency) for step in (-1, 0, 1)]
            before, day, following = (date.fromordinal(start.toordinal()) for start in starts)
            if not _within_a_day(frequency):
                return [_number(self.count(day, following))]
            one = date.fromordinal(day.toordinal() + 1)
            if isinstance(starts[1], datetime):  # an hour's neighbours are those of its day
                before, following = date.fromordinal(day.toordinal() - 1), one
            # Of days without weekends Friday comes before a holiday that is on Monday, or on Saturday.
            after_next = date.fromordinal(following.toordinal() + 1)
        except (ValueError, OverflowError):  # beyond the calendar
            return [None] * len(feature_names(frequency))
        return [
            _flag(self.count(day, one)),
            _flag(self.count(one, after_next)),
            _flag(self.count(before, day)),
        ]

    def is_of(self, other: HolidayCalendar | None) -> bool:
        """Tell whether another calendar is that of the same place, so that features of one name mean the same."""
        return other is not None and (self.country, self.subdivision) == (other.country, other.subdivision)

    def between(self, first: date, last: date) -> HolidayCalendar:
        """Leave out what lies before a day, or after another; of a moment its day counts."""
        first = max(date.fromordinal(first.toordinal()), self.first)
        last = min(date.fromordinal(last.toordinal()), self.last)
        days = tuple(day for day in self.days if first <= day <= last)
        return HolidayCalendar(self.country, self.subdivision, first, last, days)

    def continued(self, newer: HolidayCalendar | None) -> HolidayCalendar:
        """Take a newer calendar's word for the days that it knows."""
        if newer is None or not self.is_of(newer) or newer.first > newer.last or self.last < newer.first:
            return self
        days = {day for day in self.days if not newer.first <= day <= newer.last} | set(newer.days)
        first, last = min(self.first, newer.first), max(self.last, newer.last)
        return HolidayCalendar(self.country, self.subdivision, first, last, tuple(sorted(days)))

    def to_json(self) -> dict[str, Any]:
        """Write it for an artifact, or for known.json; names of holidays stay in the settings."""
        return {
            "country": self.country,
            "subdivision": self.subdivision,
            "first": self.first.isoformat(),
            "last": self.last.isoformat(),
            "days": [day.isoformat() for day in self.days],
        }

    @classmethod
    def from_json(cls, value: Any) -> HolidayCalendar:
        """Read it without trusting it: it comes from a bucket, or from whoever asks.

        :raises ValueError: naming the member that is not as :meth:`to_json` writes it, or as settings have it, whose
            days are pairs of a day and a name.
        """
        if not isinstance(value, dict):
            raise ValueError("holidays: allowed: an object")
        country, subdivision, days = value.get("country"), value.get("subdivision"), value.get("days")
        codes = [country] if subdivision is None else [country, subdivision]
        if not all(isinstance(code, str) and 0 < len(code) <= _LONGEST_NAME for code in codes):
            raise ValueError("holidays: country, subdivision: allowed: codes such as US and TX")
        if not isinstance(days, list) or len(days) > MOST_DAYS:
            raise ValueError(f"holidays: days: allowed: a list of up to {MOST_DAYS}")
        try:
            read = [_day(day[0] if isinstance(day, list) and len(day) == 2 else day) for day in days]
            first, last = _day(value.get("first")), _day(value.get("last"))
        except ValueError as error:
            raise ValueError(f"holidays: {error}") from None
        within = sorted({day for day in read if first <= day <= last})
        return cls(str(country), subdivision, first, last, tuple(within))


def _day(value: object) -> date:
    day = read_day(value)
    if isinstance(day, datetime):
        raise ValueError(f"got {str(value)[:50]!r}; allowed: a day such as 2014-01-31")
    return day


def _within_a_day(frequency: str) -> bool:
    """Tell whether a period is a day, or no longer than one."""
    base, every, _ = split_frequency(frequency)
    return every <= _HOURS if base == "hour" else every == 1 and base in ("day", "business_day")


def _number(value: int | None) -> float | None:
    return None if value is None else float(value)


def _flag(value: int | None) -> float | None:
    return None if value is None else float(value > 0)
