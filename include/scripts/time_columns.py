"""How a row of raw data says which period it is of, or which moment."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import MAXYEAR, MINYEAR, date, datetime, timedelta

from calendar_grid import in_utc

#: What columns of their own may hold, in their order; ``date`` is a whole date in one cell.
PARTS = (
    ("year", "month"),
    ("year", "quarter"),
    ("year", "week"),
    ("year", "month", "day"),
    ("date", "hour"),
    ("year", "month", "day", "hour"),
)
_BY_NAME = {"quarter": "quarter", "week": "week", "hour": "hour"}
# A year as tools write it that know missing values: 1950.0.
_YEAR_OR_MONTH = re.compile(r"([0-9]{4})(?:\.0+|-([0-9]{2}))?", re.ASCII)
_QUARTER = re.compile(
    r"(?:(?P<year>[0-9]{4})[ \-/:.]?Q(?P<quarter>[1-4])|Q(?P<q>[1-4])[ \-/:.]?(?P<y>[0-9]{4}))",
    re.IGNORECASE | re.ASCII,
)
_ISO_WEEK = re.compile(r"([0-9]{4})-?W([0-9]{2})(?:-?([1-7]))?", re.ASCII)
_ISO = (
    "an ISO date such as 2014-07-01, in the years 1 to 9999; a month (2014-07), a quarter (2014 Q3), a week (2014-W27) "
    "or a year also (another spelling needs the time format)"
)
_LAST = {
    "quarter": "quarter (1 to 4)",
    "week": "ISO week (1 to 53)",
    "month": "month (1 to 12)",
    "hour": "hour (0 to 23)",
}


@dataclass(frozen=True)
class TimeColumns:
    """How a row says its period.

    :param columns: one column with a date or a moment, or those of the parts.
    :param format: strptime format of a single column; None for ISO 8601 (``2014``, ``2014-07``,
        ``2014-07-01``, …) and quarters as people write them.
    :param parts: one of :data:`PARTS`; None goes by the number of columns and the second one's name.
    """

    columns: tuple[str, ...]
    format: str | None
    frequency: str
    parts: tuple[str, ...] | None = None

    def read(self, cells: Sequence[str]) -> date:
        """Turn a row's time cells into a day of its period, as it is written there: without its offset from UTC.

        :param cells: one text per column.
        :raises ValueError: with what is allowed, when the cells are not a date.
        """
        return self._written(cells).date()

    def read_moment(self, cells: Sequence[str]) -> datetime:
        """Turn a row's time cells into its moment: that of its date and time of day, or the beginning of its day.

        :return: in UTC, which a time without an offset is taken to be.
        :raises ValueError: with what is allowed, when the cells are not a date.
        """
        found = self._written(cells)
        try:
            return in_utc(found)
        except OverflowError:
            raise ValueError("a date in the years 1 to 9999") from None

    def _written(self, cells: Sequence[str]) -> datetime:
        if len(self.columns) > 1:
            return self._read_parts(cells)
        text = cells[0].strip()
        if self.format is not None:
            try:
                return datetime.strptime(text, self.format)
            except (ValueError, OverflowError):
                raise ValueError(f"a date written as {self.format}, in the years 1 to 9999") from None
        return _read_text(text)

    @property
    def _parts(self) -> tuple[str, ...]:
        if self.parts is not None:
            return self.parts
        if len(self.columns) == 2:
            return "year", _BY_NAME.get(self.columns[1].lower(), "month")
        return ("year", "month", "day", "hour")[: len(self.columns)]

    def _read_parts(self, cells: Sequence[str]) -> datetime:
        parts = self._parts
        if parts[-1] == "hour":
            return self._with_hour(cells)
        unit = parts[1]
        numbers: list[int] = []
        try:
            numbers = [_whole(cell, unit if at == 1 else "") for at, cell in enumerate(cells)]
            if unit == "quarter" and 1 <= numbers[1] <= 4:
                return datetime(numbers[0], numbers[1] * 3 - 2, 1)
            if unit == "week":
                return datetime.combine(date.fromisocalendar(numbers[0], numbers[1], 1), datetime.min.time())
            if unit == "month":
                return datetime(numbers[0], numbers[1], numbers[2] if len(numbers) > 2 else 1)
        except (ValueError, OverflowError):
            pass
        years = "" if numbers and MINYEAR <= numbers[0] <= MAXYEAR else ", in the years 1 to 9999"
        raise ValueError(
            f"a year and a {_LAST[unit]}" + (" and a day of that month" if len(cells) > 2 else "") + years
        )

    def _with_hour(self, cells: Sequence[str]) -> datetime:
        """Read a day, in one cell or in three, and its hour."""
        days = cells[:-1]
        if len(days) == 1:
            day = _read_text(days[0].strip())
        else:
            day = TimeColumns(self.columns[:-1], None, self.frequency)._read_parts(days)
        try:
            hour = _whole(cells[-1])
        except (ValueError, OverflowError):
            hour = -1
        if not 0 <= hour <= 23:
            raise ValueError(f"a date and an {_LAST['hour']}")
        return day.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(hours=hour)


def _read_text(text: str) -> datetime:
    """Read a date, a moment, or the first day of a year, quarter, month or week.

    :raises ValueError: with what is allowed.
    """
    try:
        if (found := _YEAR_OR_MONTH.fullmatch(text)) is not None:
            return datetime(int(found[1]), int(found[2] or 1), 1)
        if (found := _QUARTER.fullmatch(text)) is not None:
            return datetime(int(found["year"] or found["y"]), int(found["quarter"] or found["q"]) * 3 - 2, 1)
        if (found := _ISO_WEEK.fullmatch(text)) is not None:
            day = date.fromisocalendar(int(found[1]), int(found[2]), int(found[3] or 1))
            return datetime(day.year, day.month, day.day)
        # Python takes any character between date and time, so a count of milliseconds would be one.
        if not text.isdigit() or len(text) == len("20140701"):
            return datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        pass
    raise ValueError(_ISO)


def _whole(text: str, unit: str = "") -> int:
    """Read a whole number; tools that know missing values write years as 2014.0, and people quarters as Q3."""
    text = text.strip()
    if unit in ("quarter", "week") and text[:1].upper() == unit[0].upper():
        text = text[1:]
    value = math.nan if "_" in text else float(text)
    if not value.is_integer():
        raise ValueError(text)
    return int(value)
