"""Two rows of one period: one row where they say the same in two files, a mistake otherwise.

Exports overlap: one that begins where an older one has not ended, a full one beside a full one. What both say is no
mistake. What they say differently is one, and only a person knows which of the two is right.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from calendar_grid import noun, period_start
from job_failure import quoted


class PeriodRow(Protocol):
    """What is asked of a row of raw data."""

    @property
    def file(self) -> str: ...

    @property
    def number(self) -> int: ...

    @property
    def index(self) -> int: ...

    @property
    def cells(self) -> Mapping[str, str]: ...

    @property
    def values(self) -> Mapping[str, float | None]: ...


def is_repeated(first: PeriodRow, second: PeriodRow) -> bool:
    """Tell whether a row of another file says the same as the one that is there already, number for number."""
    return first.file != second.file and first.values == second.values


def contradiction(first: PeriodRow, second: PeriodRow, frequency: str) -> str:
    """Return the complaint about two rows of one period, with both places and what differs."""
    day = period_start(second.index, frequency).isoformat()
    there = f"{second.file}, row {second.number}: the {noun(frequency)} of {day} is there already, "
    if first.file == second.file:
        return f"{there}in row {first.number}; allowed: once."
    column = next(name for name, value in second.values.items() if first.values[name] != value)
    return (
        f"{there}in row {first.number} of {first.file}, with another '{column}': "
        f"'{quoted(first.cells[column].strip())}' there, '{quoted(second.cells[column].strip())}' here; "
        "allowed: once, or the same values in both files."
    )


def repeated_note(file: str, repeated: int) -> str:
    """Return what the log says of a file with rows that another file holds too."""
    rows = "1 row is" if repeated == 1 else f"{repeated} rows are"
    return f"{file}: {rows} in another file too, with the same values; each counts once."
