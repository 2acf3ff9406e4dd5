"""From the rows of a city's files to one row per period: each row is one, or several of a period are put together.

Without an aggregate a period has one row, and a second one is a mistake, a correction (``last``) or a part (``sum``).
With one the rows are transactions. Two exports that overlap hold the same transactions twice: a row that another file
holds too, cell for cell, counts once, unless ``duplicates`` says that rows add up (``sum``) or that of each period the
newest file alone counts (``last``).
"""

from __future__ import annotations

import math
import statistics
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from calendar_grid import noun, period_start
from job_failure import JobFailure
from same_period import contradiction, is_repeated

ERROR, LAST, SUM = "error", "last", "sum"
DUPLICATES = (ERROR, LAST, SUM)
COUNT = "count"
#: Of a city's first to its last period, where those without a row count as 0. A hundred years have 876,600 hours.
MOST_FILLED_PERIODS = 1_000_000
_FUNCTIONS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "sum": math.fsum,
    "mean": lambda values: math.fsum(values) / len(values),
    "median": statistics.median,
    COUNT: lambda values: float(len(values)),
    "min": min,
    "max": max,
}
AGGREGATES = (*_FUNCTIONS, LAST)
#: A period without a row is one of none of it.
_ZERO_WITHOUT_ROWS = ("sum", COUNT)


@dataclass(slots=True)
class Row:
    """One period of one city, as the file has it.

    :param number: row in the file; 1 is the header.
    :param cells: needed columns → text as in the file.
    :param values: number columns → value; None where missing.
    :param other_names: the file's other columns; all its rows share them.
    :param other_values: one for each of them; NaN where missing or no number.
    """

    file: str
    number: int
    index: int
    cells: dict[str, str]
    values: dict[str, float | None]
    other_names: tuple[str, ...] = ()
    other_values: array[float] = field(default_factory=lambda: array("d"))

    @property
    def others(self) -> Iterator[tuple[str, float | None]]:
        """The other columns with their values; None where missing or no number."""
        for name, value in zip(self.other_names, self.other_values, strict=True):
            yield name, None if math.isnan(value) else value


@dataclass(frozen=True)
class PeriodRule:
    """What becomes of several rows of one period.

    :param aggregate: number column → one of :data:`AGGREGATES`; empty where a period has one row.
    :param others: that of columns that nobody has asked for.
    :param duplicates: one of :data:`DUPLICATES`.
    """

    aggregate: Mapping[str, str] = field(default_factory=dict)
    others: str = LAST
    duplicates: str = ERROR

    def counts(self, column: str) -> bool:
        """Tell whether the column's cells are counted, and may be any text."""
        return self.aggregate.get(column) == COUNT


class OnePerPeriod:
    """Keeps one row of each period.

    :param complain: takes a sentence about two rows that contradict each other.
    """

    def __init__(self, rule: PeriodRule, frequency: str, complain: Callable[[str], None]) -> None:
        self._rule, self._frequency, self._complain = rule, frequency, complain
        self._rows: dict[int, Row] = {}

    def begin_file(self) -> None:
        """Note that the rows of the next file follow."""

    def add(self, row: Row, moment: datetime, fingerprint: int) -> bool:
        """Take a row.

        :param moment: that the row is of, :param fingerprint: of all its cells.
        :return: False for one that says what another file has said.
        """
        there = self._rows.get(row.index)
        if there is None:
            self._rows[row.index] = row
        elif self._rule.duplicates == SUM:
            self._rows[row.index] = _added(there, row)
        elif is_repeated(there, row):
            return False
        elif self._rule.duplicates == LAST:
            self._rows[row.index] = row
        else:
            self._complain(contradiction(there, row, self._frequency))
        return True

    def finish(self) -> list[Row]:
        """Return the rows in the order of their periods."""
        return [self._rows[index] for index in sorted(self._rows)]


class _Transactions:
    """The rows of one period."""

    def __init__(self, first: Row, file: int) -> None:
        self.first, self.file = first, file
        self.rows = 0
        self.values: dict[str, array[float]] = {}
        self.newest: dict[str, tuple[datetime, int, float]] = {}

    def take(self, name: str, value: float, moment: datetime, kind: str) -> None:
        if kind != LAST:
            self.values.setdefault(name, array("d")).append(value)
        elif name not in self.newest or self.newest[name][:2] <= (moment, self.rows):
            self.newest[name] = (moment, self.rows, value)

    def value(self, name: str, kind: str) -> float | None:
        if kind == LAST:
            return self.newest[name][2] if name in self.newest else None
        values = self.values.get(name, ())
        if not values:
            return 0.0 if kind == COUNT else None
        return _FUNCTIONS[kind](values)


class Aggregated:
    """Puts the rows of each period together.

    :param fills: column → whether it is 0 in a period of which there is no row.
    """

    def __init__(self, rule: PeriodRule, frequency: str, fills: Mapping[str, bool]) -> None:
        self._rule, self._frequency = rule, frequency
        self._fills = {
            name: fills[name] and kind in _ZERO_WITHOUT_ROWS for name, kind in rule.aggregate.items()
        }
        self._periods: dict[int, _Transactions] = {}
        self._file = 0
        #: (period, fingerprint) → how often the file that holds it most often does.
        self._seen: dict[tuple[int, int], int] = {}
        self._current: Counter[tuple[int, int]] = Counter()
        #: How many periods without a row count as 0; known when all is finished.
        self.filled = 0

    def begin_file(self) -> None:
        """Note that the rows of the next file follow."""
        self._file += 1
        for key, times in self._current.items():
            self._seen[key] = max(times, self._seen.get(key, 0))
        self._current.clear()

    def add(self, row: Row, moment: datetime, fingerprint: int) -> bool:
        """Take a row, as :meth:`OnePerPeriod.add` does."""
        if self._rule.duplicates == ERROR:
            key = (row.index, fingerprint)
            self._current[key] += 1
            if self._current[key] <= self._seen.get(key, 0):
                return False
        period = self._periods.get(row.index)
        if period is None or (self._rule.duplicates == LAST and period.file != self._file):
            period = self._periods[row.index] = _Transactions(row, self._file)
        period.rows += 1
        for name, kind in self._rule.aggregate.items():
            value = row.values[name]
            if value is not None:
                period.take(name, value, moment, kind)
        for name, value in row.others:
            if value is not None:
                period.take(name, value, moment, self._rule.others)
        return True

    def finish(self) -> list[Row]:
        """Return one row per period, in their order, those without a row among them where that means 0.

        :raises JobFailure: there are too many of them.
        """
        if not self._periods:
            return []
        first, last = min(self._periods), max(self._periods)
        if any(self._fills.values()) and last - first >= MOST_FILLED_PERIODS:
            begin, end = (period_start(each, self._frequency).isoformat() for each in (first, last))
            raise JobFailure(
                f"{self._periods[first].first.file}, row {self._periods[first].first.number}: the first "
                f"{noun(self._frequency)} is {begin}, the last {end}: got {last - first + 1}; allowed: "
                f"{MOST_FILLED_PERIODS}. Is a date mistyped?"
            )
        rows: list[Row] = []
        for index in range(first, last + 1) if any(self._fills.values()) else sorted(self._periods):
            period = self._periods.get(index)
            if period is None:
                self.filled += 1
                rows.append(self._without_rows(index, rows[-1]))
            else:
                rows.append(self._row(index, period))
        return rows

    def _row(self, index: int, period: _Transactions) -> Row:
        values = {name: period.value(name, kind) for name, kind in self._rule.aggregate.items()}
        known = dict.fromkeys([*period.values, *period.newest])
        names = tuple(name for name in known if name not in values)
        others = (period.value(name, self._rule.others) for name in names)
        return replace(
            period.first,
            index=index,
            cells=period.first.cells | {name: _text(value) for name, value in values.items()},
            values=values,
            other_names=names,
            other_values=array("d", [math.nan if value is None else value for value in others]),
        )

    def _without_rows(self, index: int, before: Row) -> Row:
        values = {name: 0.0 if self._fills[name] else None for name in self._rule.aggregate}
        cells = dict.fromkeys(before.cells, "") | {name: _text(value) for name, value in values.items()}
        return Row(before.file, 0, index, cells, values)


def _text(value: float | None) -> str:
    return "" if value is None else repr(value)


def _added(first: Row, second: Row) -> Row:
    """Return the sum of two rows; what one lacks the other has."""
    values = {name: _sum(value, second.values[name]) for name, value in first.values.items()}
    others = {**dict(first.others)}
    for name, value in second.others:
        others[name] = _sum(others.get(name), value)
    return replace(
        first,
        values=values,
        cells=first.cells | {name: _text(value) for name, value in values.items()},
        other_names=tuple(others),
        other_values=array("d", [math.nan if value is None else value for value in others.values()]),
    )


def _sum(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other
