"""The timetable of city DAGs: a cron expression that may end.

Airflow's own ``end_date`` of a DAG is also every task's: a run a person triggers after it has no task at all and
ends as a success (3.3.2: ``DagRun.verify_integrity`` leaves such tasks out). An end that belongs to the schedule
alone keeps manual runs and backfills whole.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.timetables.trigger import CronTriggerTimetable

if TYPE_CHECKING:
    from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction, Timetable


class FleetTimetable(CronTriggerTimetable):
    """Run at every tick of a cron expression in UTC, up to and including the day ``until``.

    :param cron: five fields, or a preset such as ``@daily``.
    :param until: last day with a scheduled run; None for no end.
    """

    def __init__(self, cron: str, until: date | None = None) -> None:
        super().__init__(cron, timezone="UTC")
        self.until = until

    @property
    def summary(self) -> str:
        """Return what the UI shows in lists."""
        return (
            self._expression if self.until is None else f"{self._expression} until {self.until.isoformat()}"
        )

    def serialize(self) -> dict[str, Any]:
        return {"cron": self._expression, "until": self.until.isoformat() if self.until else None}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> Timetable:
        return cls(data["cron"], date.fromisoformat(data["until"]) if data["until"] else None)

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        found = super().next_dagrun_info(
            last_automated_data_interval=last_automated_data_interval, restriction=restriction
        )
        if found is None or self.until is None:
            return found
        first_instant_after = datetime.combine(
            self.until + timedelta(days=1), datetime.min.time(), tzinfo=found.run_after.tzinfo
        )
        return found if found.run_after < first_instant_after else None
