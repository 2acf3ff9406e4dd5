"""Reads a record of raw data: its period, the numbers that are asked for, and what is wrong with it.

Every complaint names file, row (as an editor counts them: 1 is the header), column, what was got and what is allowed;
all of them are collected, so that a person does not correct a file one run at a time.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from calendar_grid import Duration, begins_period, noun, period_of, period_start, split_frequency
from job_failure import JobFailure, quoted
from period_rows import PeriodRule, Row
from raw_records import DataFile, Record
from rows_ahead import RowsAhead
from time_columns import TimeColumns

#: A number beyond this is none that a model could learn: XGBoost reckons in single precision, and errors are squared.
LARGEST = 1e18
MISSING = frozenset({"", "na", "n/a", "nan", "null", "none"})
COMPLAINTS_SHOWN = 3
_WITH_COMMA = re.compile(r"[+-]?(?:[0-9]{1,3}(?:\.[0-9]{3})+|[0-9]+)?(?:,[0-9]+)?(?:[eE][+-]?[0-9]+)?")


@dataclass(frozen=True)
class Limits:
    """What a column's values may be.

    :param low: smallest value, or None.
    :param high: largest value, or None.
    :param above_zero: whether 0 is too little (for a target under a logarithm).
    """

    low: float | None = None
    high: float | None = None
    above_zero: bool = False

    def allow(self, value: float) -> bool:
        """Say whether a value is possible.

        :param value: a finite number.
        """
        return not (
            (self.low is not None and value < self.low)
            or (self.high is not None and value > self.high)
            or (self.above_zero and value <= 0)
        )

    def __str__(self) -> str:
        if self.low is not None and self.high is not None:
            return f"a number from {self.low:.12g} to {self.high:.12g}"
        if self.high is not None:
            return (
                f"a number above 0 and of at most {self.high:.12g}"
                if self.above_zero
                else f"a number of at most {self.high:.12g}"
            )
        if self.low is not None and not (self.above_zero and self.low <= 0):
            return f"a number of at least {self.low:.12g}"
        return "a number above 0" if self.above_zero else "a number"


class Complaints:
    """What is wrong with the data: all of it is counted, and the first is kept."""

    def __init__(self) -> None:
        self._first: list[str] = []
        self._count = 0

    def add(self, complaint: str) -> None:
        """Note one."""
        self._count += 1
        if len(self._first) < COMPLAINTS_SHOWN:
            self._first.append(complaint)

    def raise_any(self) -> None:
        """Fail if there is one.

        :raises JobFailure: naming the first, and how many there are.
        """
        if self._first:
            more = self._count - len(self._first)
            tail = f" There are {more} more like these." if more > 0 else ""
            raise JobFailure(" ".join(self._first) + tail + " Correct the data and run again.")


@dataclass(frozen=True)
class Later:
    """A row of a period that is not known yet.

    :param ahead: what is known ahead of it, and its moment; None where nobody looks at it.
    """

    ahead: tuple[Row, datetime] | None = None


LATER = Later()


class RowReader:
    """Reads records into rows, and notes what is wrong with them."""

    def __init__(  # noqa: PLR0917
        self,
        time: TimeColumns,
        limits: Mapping[str, Limits],
        as_of: datetime,
        available_after: Duration,
        rule: PeriodRule,
        complaints: Complaints,
        ahead: RowsAhead | None = None,
    ) -> None:
        self._time, self._limits, self._rule = time, limits, rule
        self._as_of, self._available_after = as_of, available_after
        self._complaints, self._ahead = complaints, ahead
        self._known: dict[int, bool] = {}

    def read(self, file: DataFile, record: Record, comma: bool) -> tuple[Row, datetime] | Later | None:
        """Return a row and its moment; None for one that is wrong.

        :param comma: whether numbers have a decimal comma.
        """
        number, cells, texts = record
        found = self._period(file.uri, number, cells)
        if found is None:
            return None
        index, moment = found
        if index not in self._known:
            start = period_start(index, self._time.frequency)
            self._known[index] = self._available_after.after(start) <= self._as_of
        if not self._known[index]:
            if self._ahead is not None and self._ahead.wants(index):
                planned = self._values(file.uri, number, cells, comma, self._ahead.limits)
                return Later((Row(file.uri, number, index, cells, planned), moment))
            return LATER
        values = self._values(file.uri, number, cells, comma, self._limits)
        others = array("d", (_other(text, comma) for text in texts))
        return Row(file.uri, number, index, cells, values, file.others, others), moment

    def _period(self, uri: str, number: int, cells: Mapping[str, str]) -> tuple[int, datetime] | None:
        texts = [cells[column] for column in self._time.columns]
        frequency = self._time.frequency
        try:
            moment = self._time.read_moment(texts)
            index = period_of(moment, frequency)
            if not self._rule.aggregate and not begins_period(moment, frequency):
                base, _, _ = split_frequency(frequency)
                start = period_start(index, frequency).isoformat()
                raise ValueError(
                    f"the first {base.replace('_', ' ')} of a {noun(frequency)}, such as {start}; dataset.anchor says "
                    "where they begin, and dataset.aggregate puts several rows together"
                )
        except ValueError as error:
            names = "', '".join(self._time.columns)
            plural = "s" if len(texts) > 1 else ""
            got = "', '".join(quoted(text) for text in texts)
            self._complaints.add(
                f"{uri}, row {number}, column{plural} '{names}': got '{got}'; allowed: {error}."
            )
            return None
        return index, moment

    def _values(
        self,
        uri: str,
        number: int,
        cells: Mapping[str, str],
        comma: bool,
        limits: Mapping[str, Limits],
    ) -> dict[str, float | None]:
        values: dict[str, float | None] = {}
        for column, allowed in limits.items():
            text = cells[column].strip()
            values[column] = None
            if text.lower() in MISSING:
                continue
            if self._rule.counts(column):
                values[column] = 1.0
                continue
            value = read_number(text, comma)
            # What several rows make together is looked at when all of them are there.
            if abs(value) <= LARGEST and (self._rule.aggregate or allowed.allow(value)):
                values[column] = value
                continue
            size = f" (between -{LARGEST:g} and {LARGEST:g})" if LARGEST < abs(value) < math.inf else ""
            self._complaints.add(
                f"{uri}, row {number}, column '{column}': got '{quoted(text)}'; "
                f"allowed: {'a number' if self._rule.aggregate else allowed}{size}, or empty.{_hint(text, comma)}"
            )
        return values


def read_number(text: str, comma: bool = False) -> float:
    """Read a number; NaN for what is none.

    :param comma: with a decimal comma, and dots at most between groups of three digits.
    """
    if comma:
        if not _WITH_COMMA.fullmatch(text):
            return math.nan
        text = text.replace(".", "").replace(",", ".")
    try:
        # Python reads 1_000 as a number; raw data never mean that.
        return math.nan if "_" in text else float(text)
    except ValueError:
        return math.nan


def _hint(text: str, comma: bool) -> str:
    """Say what to do about a number that is written with the other sign."""
    if not comma and "," in text and not math.isnan(read_number(text, True)):
        return ' Is it a decimal comma? Then set dataset.decimal to ",".'
    if comma and not math.isnan(read_number(text)):
        return ' dataset.decimal is ",".'
    return ""


def _other(text: str, comma: bool) -> float:
    """Read a cell of a column that the settings do not ask for: whatever is no number is missing (NaN)."""
    value = read_number(text.strip(), comma)
    return value if abs(value) <= LARGEST else math.nan
