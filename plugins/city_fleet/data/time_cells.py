"""Reads a row's time cells into a moment, as the job scripts do (``include/scripts/time_columns.py``); a test compares.

A moment with an offset is turned into UTC, one without is taken to be in it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta

from city_fleet.config.data_section import Part, Time
from city_fleet.periods import in_utc

_YEAR_OR_MONTH = re.compile(r"([0-9]{4})(?:\.0+|-([0-9]{2}))?", re.ASCII)
_QUARTER = re.compile(
    r"(?:(?P<year>[0-9]{4})[ \-/:.]?Q(?P<quarter>[1-4])|Q(?P<q>[1-4])[ \-/:.]?(?P<y>[0-9]{4}))",
    re.IGNORECASE | re.ASCII,
)
_ISO_WEEK = re.compile(r"([0-9]{4})-?W([0-9]{2})(?:-?([1-7]))?", re.ASCII)


def moment_of(time: Time, cells: Sequence[str]) -> datetime:
    """Return the moment of a row, or when the day, month, quarter, … that it names begins; in UTC.

    :param cells: one text per time column.
    :raises ValueError: they are none; also OverflowError.
    """
    if len(time.columns) == 1:
        text = cells[0].strip()
        return in_utc(datetime.strptime(text, time.format) if time.format is not None else _one_cell(text))
    return in_utc(_several(time.told, cells))


def _several(parts: tuple[Part, ...], cells: Sequence[str]) -> datetime:
    if parts[-1] == "hour":
        days = cells[:-1]
        day = _one_cell(days[0].strip()) if len(days) == 1 else _several(parts[:-1], days)
        hour = _whole(cells[-1])
        if not 0 <= hour <= 23:
            raise ValueError("no hour")
        return day.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(hours=hour)
    year, second = _whole(cells[0]), _whole(cells[1], parts[1])
    if parts[1] == "quarter":
        if not 1 <= second <= 4:
            raise ValueError("no quarter")
        return datetime(year, second * 3 - 2, 1)
    if parts[1] == "week":
        return _of_day(date.fromisocalendar(year, second, 1))
    return datetime(year, second, _whole(cells[2]) if len(parts) > 2 else 1)


def _one_cell(text: str) -> datetime:
    if (found := _YEAR_OR_MONTH.fullmatch(text)) is not None:
        return datetime(int(found[1]), int(found[2] or 1), 1)
    if (found := _QUARTER.fullmatch(text)) is not None:
        return datetime(int(found["year"] or found["y"]), int(found["quarter"] or found["q"]) * 3 - 2, 1)
    if (found := _ISO_WEEK.fullmatch(text)) is not None:
        return _of_day(date.fromisocalendar(int(found[1]), int(found[2]), int(found[3] or 1)))
    if text.isdigit() and len(text) != len("20140701"):
        raise ValueError("a number")
    return datetime.fromisoformat(text)


def _of_day(day: date) -> datetime:
    return datetime(day.year, day.month, day.day)


def _whole(text: str, part: str = "") -> int:
    text = text.strip()
    if part in ("quarter", "week") and text[:1].upper() == part[0].upper():
        text = text[1:]
    value = float("nan") if "_" in text else float(text)
    if not value.is_integer():
        raise ValueError(text)
    return int(value)
