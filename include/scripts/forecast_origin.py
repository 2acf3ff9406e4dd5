"""What is known when a forecast is made: of a row that is known late, the newest ones are not.

A forecast of a period is made when the period begins. A row is known ``available_after`` after the start of its own
period, so of monthly data that are published three months late the forecast of May knows February, and a feature or a
baseline that used April would look ahead.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time

from calendar_grid import Duration, period_start


@dataclass(frozen=True)
class Origin:
    """When forecasts are made, and what is known then.

    :param frequency: one of :data:`calendar_grid.FREQUENCIES`.
    :param available_after: a row is known at the start of its period plus this.
    """

    frequency: str
    available_after: Duration

    def newest_known(self, index: int) -> int | None:
        """Return the newest period that is known when a period begins, however short the data take.

        :param index: of the period that is forecast; it itself never counts as known.
        :return: the index; None where none of the calendar is known.
        """
        moment = datetime.combine(period_start(index, self.frequency), time(), UTC)

        def known(candidate: int) -> bool:
            return self.available_after.after(period_start(candidate, self.frequency)) <= moment

        # When a row is known never falls as periods go on, so the newest known one is found by halving.
        unknown, distance = index, 1
        try:
            while not known(index - distance):
                unknown = index - distance
                distance *= 2
        except ValueError:  # before the calendar
            return None
        found = index - distance
        while unknown - found > 1:
            middle = (unknown + found) // 2
            found, unknown = (middle, unknown) if known(middle) else (found, middle)
        return found
