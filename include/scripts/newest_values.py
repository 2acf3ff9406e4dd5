"""What is known of a city: the newest values of the columns that rows are made of, as ``known.json`` holds them.

preprocess.py writes it at every run, evaluate.py puts a copy into the artifact, and who asks for a forecast may hand
on a newer one: what a model has learned and what is known are two things, and the second is as new as the last run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from calendar_grid import FREQUENCIES, is_frequency, period_index, period_start, read_day, season
from feature_table import Values
from holiday_calendar import HolidayCalendar
from model_card import MOST_KNOWN_BYTES
from series_layout import SeriesLayout

FORMAT_VERSION = 1
FILE = "known.json"
_MOST_PERIODS = 100_000
_MOST_COLUMNS = 10_000


@dataclass(frozen=True)
class KnownValues:
    """The newest periods of a city.

    :param as_of: as it is written in keys: when they were known.
    :param columns: the target first.
    :param values: number of a period → column → value; None where missing. Behind the newest known period are those
        of which something is known ahead.
    :param holidays: of the city's calendar, from the first period on; None where no feature is made of them.
    """

    city: str
    as_of: str
    frequency: str
    columns: tuple[str, ...]
    values: Values
    holidays: HolidayCalendar | None = None

    def newest(self) -> int | None:
        """Return the number of the newest period whose target is known; None where none is."""
        return newest_known(self.values, self.columns[0])

    def to_json(self) -> dict[str, Any]:
        """Write known.json: a row for each period of the calendar, from the first to the last."""
        newest = self.newest()
        first, last = min(self.values, default=0), max(self.values, default=-1)
        return {
            "format_version": FORMAT_VERSION,
            "city": self.city,
            "as_of": self.as_of,
            "frequency": self.frequency,
            "known_until": None if newest is None else period_start(newest, self.frequency).isoformat(),
            "columns": list(self.columns),
            "first": period_start(first, self.frequency).isoformat() if self.values else None,
            "rows": [
                [self.values.get(index, {}).get(column) for column in self.columns]
                for index in range(first, last + 1)
            ],
            **({"holidays": self.holidays.to_json()} if self.holidays is not None else {}),
        }

    @classmethod
    def from_json(cls, value: Any) -> KnownValues:
        """Read it without trusting it: it comes from a bucket, or from whoever asks.

        :raises ValueError: naming the member that is not as :meth:`to_json` writes it.
        """
        if not isinstance(value, dict):
            raise ValueError("allowed: an object")
        if value.get("format_version") != FORMAT_VERSION:
            raise ValueError(f"format_version: allowed: {FORMAT_VERSION}")
        for name in ("city", "as_of", "frequency"):
            if not isinstance(value.get(name), str) or len(value[name]) > 1000:
                raise ValueError(f"{name}: allowed: text")
        columns, rows = value.get("columns"), value.get("rows")
        if (
            not isinstance(columns, list)
            or not 1 <= len(columns) <= _MOST_COLUMNS
            or not all(isinstance(name, str) for name in columns)
        ):
            raise ValueError(f"columns: allowed: a list of 1 to {_MOST_COLUMNS} names")
        if not isinstance(rows, list) or len(rows) > _MOST_PERIODS:
            raise ValueError(f"rows: allowed: a list of up to {_MOST_PERIODS}")
        frequency = value["frequency"]
        if not is_frequency(frequency):
            raise ValueError(f"frequency: allowed: {', '.join(FREQUENCIES)}, or several such as '5 year'")
        first = period_index(read_day(value.get("first")), frequency) if rows else 0
        values = {first + at: _row(row, columns) for at, row in enumerate(rows)}
        holidays = value.get("holidays")
        calendar = None if holidays is None else HolidayCalendar.from_json(holidays)
        return cls(value["city"], value["as_of"], frequency, tuple(columns), values, calendar)

    @classmethod
    def from_bytes(cls, content: bytes) -> KnownValues:
        """Read the file.

        :raises ValueError: it is too large, no JSON, or not as :meth:`to_json` writes it.
        """
        if len(content) > MOST_KNOWN_BYTES:
            raise ValueError(f"got {len(content)} bytes; allowed: {MOST_KNOWN_BYTES}")
        try:
            return cls.from_json(json.loads(content))
        except RecursionError:
            raise ValueError("lists in lists without end") from None


def known_values(city: str, as_of: str, layout: SeriesLayout, values: Values) -> KnownValues:
    """Keep of a city's values the newest, as many as the row of a forecast may be made of.

    :param values: number of a period → column → value; of periods to come what is known ahead.
    """
    columns = layout.value_columns
    newest = newest_known(values, layout.target)
    # A season as well: the forecast of a parent's city may be the same period of the last one.
    periods = max(layout.known_periods, season(layout.frequency))
    first = 0 if newest is None else newest - periods + 1
    kept = {
        index: {name: row.get(name) for name in columns} for index, row in values.items() if index >= first
    }
    holidays = layout.holidays
    if holidays is not None and kept:
        holidays = holidays.between(period_start(min(kept), layout.frequency), holidays.last)
    return KnownValues(city, as_of, layout.frequency, tuple(columns), kept, holidays)


def newest_known(values: Values, target: str) -> int | None:
    """Return the number of the newest period whose target is known; None where none is."""
    known = (index for index, row in values.items() if row.get(target) is not None)
    return max(known, default=None)


def _row(row: Any, columns: list[str]) -> Mapping[str, float | None]:
    if not isinstance(row, list) or len(row) != len(columns):
        raise ValueError(f"rows: allowed: lists of {len(columns)} values")
    return {name: number(value, name) for name, value in zip(columns, row, strict=True)}


def number(value: Any, name: str) -> float | None:
    """Read a value of a column; None where it is missing.

    :raises ValueError: it is no finite number.
    """
    if value is None:
        return None
    try:
        if not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value):
            return float(value)
    except OverflowError:
        pass
    raise ValueError(f"'{name[:100]}': got {str(value)[:50]!r}; allowed: a number, or null where missing")
