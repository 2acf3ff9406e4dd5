"""How a row of raw data says which period it is of."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import MAXYEAR, MINYEAR, UTC, date, datetime

_YEAR_OR_MONTH = re.compile(r"([0-9]{4})(?:-([0-9]{2}))?")


@dataclass(frozen=True)
class TimeColumns:
    """How a row says its period.

    :param columns: one column with a date, or year; year, month; year, month, day (also year, quarter and
        year, week, told by the second column's name).
    :param format: strptime format of a single column; None for ISO 8601 (``2014``, ``2014-07``,
        ``2014-07-01``, …).
    """

    columns: tuple[str, ...]
    format: str | None
    frequency: str

    def read(self, cells: Sequence[str]) -> date:
        """Turn a row's time cells into a day of its period.

        :param cells: one text per column.
        :raises ValueError: with what is allowed, when the cells are not a date.
        """
        if len(self.columns) > 1:
            return self._read_parts(cells)
        text = cells[0].strip()
        if self.format is not None:
            try:
                return datetime.strptime(text, self.format).date()
            except (ValueError, OverflowError):
                raise ValueError(f"a date written as {self.format}, in the years 1 to 9999") from None
        try:
            if (found := _YEAR_OR_MONTH.fullmatch(text)) is not None:
                return date(int(found[1]), int(found[2] or 1), 1)
            # Python takes any character between date and time, so a count of milliseconds would be one.
            if not text.isdigit() or len(text) == len("20140701"):
                return datetime.fromisoformat(text).date()
        except (ValueError, OverflowError):
            pass
        raise ValueError(
            "an ISO date such as 2014-07-01, in the years 1 to 9999 (another spelling needs the time format)"
        )

    def read_moment(self, cells: Sequence[str]) -> datetime:
        """Turn a row's time cells into its moment: that of its date and time of day, or the beginning of its day.

        :return: in UTC, which a time without an offset is taken to be.
        :raises ValueError: with what is allowed, when the cells are not a date.
        """
        day = self.read(cells)
        found = datetime(day.year, day.month, day.day)
        text = cells[0].strip()
        if len(self.columns) == 1 and (self.format is not None or len(text) > len("2014-07-01")):
            found = datetime.strptime(text, self.format) if self.format else datetime.fromisoformat(text)
        try:
            return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        except OverflowError:
            raise ValueError("a date in the years 1 to 9999") from None

    def _read_parts(self, cells: Sequence[str]) -> date:
        second = self.columns[1].lower()
        unit = second if second in ("quarter", "week") else "month"
        numbers: list[int] = []
        try:
            numbers = [_whole(cell) for cell in cells]
            if unit == "quarter" and 1 <= numbers[1] <= 4:
                return date(numbers[0], numbers[1] * 3 - 2, 1)
            if unit == "week":
                return date.fromisocalendar(numbers[0], numbers[1], 1)
            if unit == "month":
                return date(numbers[0], numbers[1], numbers[2] if len(numbers) > 2 else 1)
        except (ValueError, OverflowError):
            pass
        years = "" if numbers and MINYEAR <= numbers[0] <= MAXYEAR else ", in the years 1 to 9999"
        last = {"quarter": "quarter (1 to 4)", "week": "ISO week (1 to 53)", "month": "month (1 to 12)"}[unit]
        raise ValueError(
            f"a year and a {last}" + (" and a day of that month" if len(cells) > 2 else "") + years
        )


def _whole(text: str) -> int:
    """Read a whole number; tools that know missing values write years as 2014.0."""
    value = math.nan if "_" in text else float(text.strip())
    if not value.is_integer():
        raise ValueError(text)
    return int(value)
