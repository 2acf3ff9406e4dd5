"""What a row of raw data says: its period, and the values that the fleet uses.

Read as the job scripts read it, so that the desk knows what a run would meet: the same period is the same text here,
however a file writes it.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from city_fleet.config.dataset import Dataset
from city_fleet.config.series import Series
from city_fleet.config.table import Table
from city_fleet.data.time_cells import moment_of

#: Of a cell that is no number or no date: as much as tells it from others.
LONGEST_TEXT = 100
_WITH_COMMA = re.compile(r"[+-]?(?:[0-9]{1,3}(?:\.[0-9]{3})+|[0-9]+)?(?:,[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none"})


@dataclass(frozen=True, slots=True)
class Record:
    """One row.

    :param period: first day of its period, as in ``2024-06-01``; the cells themselves where they are no date. Of a
        table what tells the row apart: its key, or a digest of all its cells.
    :param values: the numbers of target and features; text where it is no number, None where it is missing. None of a
        table.
    :param row: its line in the file, 1 being the header.
    """

    period: str
    values: tuple[float | str | None, ...]
    row: int


class RecordReader:
    """Reads the rows of one file.

    :param header: the file's columns, with all that the dataset uses among them.
    :param optional: columns that it may lack.
    """

    def __init__(
        self, dataset: Dataset, header: Sequence[str], optional: frozenset[str] = frozenset()
    ) -> None:
        names = [name.strip() for name in header]
        self._dataset = dataset
        self._time = [names.index(column) for column in _identity(dataset, names)]
        lacking = optional.difference(names)
        self.columns = tuple(name for name in dict.fromkeys(dataset.value_columns) if name not in lacking)
        self._values = [names.index(column) for column in self.columns]
        self._periods: dict[tuple[str, ...], str] = {}

    def read(self, row: Sequence[str], number: int) -> Record:
        """Return what a row says; cells that it lacks are empty."""
        time = tuple(_cell(row, at) for at in self._time)
        if not isinstance(
            self._dataset, Series
        ):  # a name in each row, and nobody compares what two of them say
            return Record(_name(self._dataset, time), (), number)
        if time not in self._periods:
            self._periods[time] = _period(self._dataset, time)
        comma = self._dataset.decimal == ","
        return Record(
            self._periods[time], tuple(_value(_cell(row, at), comma) for at in self._values), number
        )


def _cell(row: Sequence[str], at: int) -> str:
    return row[at].strip() if at < len(row) else ""


def _value(text: str, comma: bool) -> float | str | None:
    if text.lower() in _MISSING:
        return None
    plain = text
    if comma:
        plain = text.replace(".", "").replace(",", ".") if _WITH_COMMA.fullmatch(text) else "_"
    try:
        number = math.nan if "_" in plain else float(plain)
    except ValueError:
        return text[:LONGEST_TEXT]
    return number if math.isfinite(number) else text[:LONGEST_TEXT]


def _identity(dataset: Dataset, names: Sequence[str]) -> Sequence[str]:
    """Return the columns that tell rows apart: the period of a series; of a table the key, or all that it has."""
    if isinstance(dataset, Series):
        return dataset.time.columns
    return [dataset.key] if dataset.key is not None else names


def _name(dataset: Table, cells: tuple[str, ...]) -> str:
    text = "\0".join(cells)
    return text if dataset.key is not None else hashlib.sha256(text.encode()).hexdigest()[:32]


def _period(dataset: Series, cells: tuple[str, ...]) -> str:
    try:
        grid = dataset.grid
        return grid.text(grid.index(moment_of(dataset.time, cells)))
    except (ValueError, OverflowError):
        return " ".join(cells)[:LONGEST_TEXT]
