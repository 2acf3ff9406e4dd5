"""What raw data say of periods that are still to come, in columns whose values are known ahead.

A row that is not known yet, because its period has not come or its data are late, may hold the promotion that is
planned, or a forecast of the weather. Of such a row the columns with ``known_ahead`` count and no others, whatever
stands in them: known is what the files of the run hold. What the plan was on an earlier day they do not say, so a
backfill is made of the plans that stand there today. Several rows of one period become one as known ones do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from period_rows import PeriodRule, Row

if TYPE_CHECKING:
    from row_reader import Limits

#: Periods behind the newest one that can be known at as_of: a mistake in a row of a far future stops no run.
MOST_AHEAD = 100


@dataclass(frozen=True)
class RowsAhead:
    """Which of them are looked at.

    :param limits: the columns that are known ahead, and what their values may be.
    :param until: number of the last period that is looked at.
    """

    limits: Mapping[str, Limits]
    until: int

    def wants(self, index: int) -> bool:
        """Tell whether the row of a period that is not known yet is looked at."""
        return index <= self.until

    def rule(self, of_all: PeriodRule) -> PeriodRule:
        """Return what becomes of several rows of one period: that of known ones, for these columns."""
        aggregate = {name: kind for name, kind in of_all.aggregate.items() if name in self.limits}
        return PeriodRule(aggregate, of_all.others, of_all.duplicates)


def values_of(rows: Iterable[Row]) -> dict[int, dict[str, float | None]]:
    """Return number of a period → column → value, of the periods that have one."""
    return {row.index: row.values for row in rows if any(value is not None for value in row.values.values())}
