"""The timetable of city DAGs: a cron expression that may end, and whose runs are spread over a window.

Why not Airflow's own: a DAG's ``end_date`` is also every task's, so a run a person triggers after it has no task at
all and ends as a success (3.3.2: ``DagRun.verify_integrity`` leaves such tasks out). And a thousand cities on one
cron expression start in one second.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from airflow.timetables.base import DagRunInfo, Timetable
from airflow.timetables.trigger import CronTriggerTimetable

if TYPE_CHECKING:
    from airflow.timetables.base import DataInterval, TimeRestriction
    from pendulum import DateTime


@cache
def _ticks(cron: str) -> CronTriggerTimetable:
    """Return the one timetable of a cron expression.

    Airflow decodes a DAG's timetable more than a dozen times each time the DAG is parsed, and putting a cron
    expression into words takes longer than all the rest of it.
    """
    return CronTriggerTimetable(cron, timezone="UTC")


class FleetTimetable(Timetable):
    """A run for every tick of a cron expression in UTC, each started a fixed time after its tick.

    The logical date, and so the run's as_of, is the tick itself: all cities of a night see the same data,
    whenever their turn comes.

    :param cron: five fields, or a preset such as ``@daily``.
    :param until: last day with a scheduled run; None for no end. Manual runs and backfills know no end.
    :param delay_seconds: how long after its tick a run starts.
    """

    def __init__(self, cron: str, until: date | None = None, delay_seconds: int = 0) -> None:
        self.cron = cron
        self.until = until
        self.delay_seconds = delay_seconds

    @property
    def summary(self) -> str:
        """Return what the UI shows in lists: ``0 2 * * * +17m until 2015-08-01``."""
        delay = f" +{self.delay_seconds // 60}m" if self.delay_seconds else ""
        end = f" until {self.until.isoformat()}" if self.until else ""
        return f"{_ticks(self.cron).summary}{delay}{end}"

    @property
    def description(self) -> str:
        """Return what the UI shows as explanation."""
        delay = f", {self.delay_seconds // 60} minutes later" if self.delay_seconds else ""
        end = f", until {self.until.isoformat()}" if self.until else ""
        return f"{_ticks(self.cron).description}{delay}{end}"

    def serialize(self) -> dict[str, Any]:
        return {
            "cron": self.cron,
            "until": self.until.isoformat() if self.until else None,
            "delay_seconds": self.delay_seconds,
        }

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> Timetable:
        until = date.fromisoformat(data["until"]) if data["until"] else None
        return cls(data["cron"], until, data["delay_seconds"])

    def validate(self) -> None:
        _ticks(self.cron).validate()

    def infer_manual_data_interval(self, *, run_after: DateTime) -> DataInterval:
        return _ticks(self.cron).infer_manual_data_interval(run_after=run_after)

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        try:
            tick = _ticks(self.cron).next_dagrun_info(
                last_automated_data_interval=last_automated_data_interval, restriction=restriction
            )
            # Days are compared, never added to: 9999-12-31, as people write for "no end", has no day after it.
            if tick is None or (self.until is not None and tick.run_after.date() > self.until):
                return None
            run_after = tick.run_after + timedelta(seconds=self.delay_seconds)
        except (OverflowError, ValueError):
            # Beyond the calendar. Raised, it would be an error in the log at every look, and nothing in the UI.
            return None
        return DagRunInfo(run_after=run_after, data_interval=tick.data_interval)
