"""How a row of raw data says which period it is of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime


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
            except ValueError:
                raise ValueError(f"a date written as {self.format}") from None
        try:
            if len(text) == 4:
                return date(int(text), 1, 1)
            if len(text) == 7 and text[4] == "-":
                return date(int(text[:4]), int(text[5:]), 1)
            return datetime.fromisoformat(text).date()
        except ValueError:
            raise ValueError(
                "an ISO date such as 2014-07-01 (another spelling needs the time format)"
            ) from None

    def _read_parts(self, cells: Sequence[str]) -> date:
        second = self.columns[1].lower()
        unit = second if second in ("quarter", "week") else "month"
        try:
            numbers = [_whole(cell) for cell in cells]
            if unit == "quarter" and 1 <= numbers[1] <= 4:
                return date(numbers[0], numbers[1] * 3 - 2, 1)
            if unit == "week":
                return date.fromisocalendar(numbers[0], numbers[1], 1)
            if unit == "month":
                return date(numbers[0], numbers[1], numbers[2] if len(numbers) > 2 else 1)
        except ValueError:
            pass
        last = {"quarter": "quarter (1 to 4)", "week": "ISO week (1 to 53)", "month": "month (1 to 12)"}[unit]
        raise ValueError(f"a year and a {last}" + (" and a day of that month" if len(cells) > 2 else ""))


def _whole(text: str) -> int:
    """Read a whole number; tools that know missing values write years as 2014.0."""
    value = float(text.strip())
    if not value.is_integer():
        raise ValueError(text)
    return int(value)
