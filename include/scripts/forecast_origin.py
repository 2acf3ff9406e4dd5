"""What is known when a forecast is made: of a row that is known late, the newest ones are not.

The forecast of step 1 of a period is made when the period begins, that of step 2 a period earlier, and so on. A row is
known ``available_after`` after the start of its own period, so of monthly data that are published three months late
the forecast of May knows February, and a feature or a baseline that used April would look ahead.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from calendar_grid import Duration, begins_at


@dataclass(frozen=True)
class Origin:
    """When forecasts are made, and what is known then.

    :param frequency: as :mod:`calendar_grid` writes it.
    :param available_after: a row is known at the start of its period plus this.
    """

    frequency: str
    available_after: Duration

    def newest_known(self, index: int, step: int = 1) -> int | None:
        """Return the newest period that is known when a forecast is made, however soon the data are there.

        :param index: of the period that is forecast.
        :param step: how many periods ahead it lies; those themselves never count as known.
        :return: the index; None where none of the calendar is known.
        """
        begins = index - step + 1
        return self.newest_at(self._start(begins), begins)

    def newest_at(self, moment: datetime, before: int) -> int | None:
        """Return the newest of the periods before one that is known at a moment; None for none of the calendar."""

        def known(candidate: int) -> bool:
            return self.available_after.after(self._start(candidate)) <= moment

        # When a row is known never falls as periods go on, so the newest known one is found by halving.
        unknown, distance = before, 1
        try:
            while not known(before - distance):
                unknown = before - distance
                distance *= 2
        except ValueError:  # before the calendar
            return None
        found = before - distance
        while unknown - found > 1:
            middle = (unknown + found) // 2
            found, unknown = (middle, unknown) if known(middle) else (found, middle)
        return found

    def first_ahead(self, newest: int) -> int:
        """Return the period whose forecast of step 1 is made next when a period has just become known.

        :param newest: index of the newest known period.
        :raises ValueError: it lies beyond the calendar.
        """
        index = newest + 1
        while True:
            known = self.newest_known(index)
            if known is not None and known >= newest:
                return index
            # Rows that are known late: as far again as is lacking, which halves what lacks at least.
            index += max(1, (newest - (newest if known is None else known)) // 2)

    def _start(self, index: int) -> datetime:
        return begins_at(index, self.frequency)
