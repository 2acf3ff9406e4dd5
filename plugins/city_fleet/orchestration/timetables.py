"""The timetable of city DAGs: a cron expression that may end, and whose runs are spread over a window.

Why not Airflow's own: a DAG's ``end_date`` is also every task's, so a run a person triggers after it has no task at
all and ends as a success (3.3.2: ``DagRun.verify_integrity`` leaves such tasks out). And a thousand cities on one
cron expression start in one second.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from airflow.sdk.timezone import coerce_datetime, utcnow
from airflow.timetables.base import DagRunInfo, DataInterval, Timetable
from airflow.timetables.trigger import CronTriggerTimetable

from city_fleet.ticks import Replay, replay

if TYPE_CHECKING:
    from airflow.timetables.base import TimeRestriction
    from pendulum import DateTime


@cache
def _ticks(cron: str) -> CronTriggerTimetable:
    """Return the one timetable of a cron expression.

    Airflow decodes a DAG's timetable more than a dozen times each time the DAG is parsed, and putting a cron
    expression into words takes longer than all the rest of it.
    """
    return CronTriggerTimetable(cron, timezone="UTC")


@lru_cache(maxsize=1024)
def _next_tick(
    cron: str, last: DataInterval | None, restriction: TimeRestriction, minute: int
) -> DagRunInfo | None:
    """Return a cron expression's next tick, which Airflow asks of each city at every look at its DAG.

    :param minute: now, in whole minutes: within one no cron expression ticks.
    """
    return _ticks(cron).next_dagrun_info(last_automated_data_interval=last, restriction=restriction)


def _minute() -> int:
    return int(utcnow().timestamp() // 60)


class FleetTimetable(Timetable):
    """A run for every tick of a cron expression in UTC, each started a fixed time after its tick.

    The logical date, and so the run's as_of, is the tick itself: all cities of a night see the same data,
    whenever their turn comes.

    :param cron: five fields, or a preset such as ``@daily``.
    :param until: last day with a scheduled run; None for no end. Manual runs and backfills know no end.
    :param delay_seconds: how long after its tick a run starts.
    :param replay_since: the day from which on the last ticks before ``until`` start their runs, one a night; None to
        start each at its tick. Backfills start theirs at once.
    """

    def __init__(
        self,
        cron: str,
        until: date | None = None,
        delay_seconds: int = 0,
        replay_since: date | None = None,
    ) -> None:
        self.cron = cron
        self.until = until
        self.delay_seconds = delay_seconds
        self.replay_since = replay_since

    @property
    def summary(self) -> str:
        """Return what the UI shows in lists: ``0 2 * * * +17m until 2015-08-01``."""
        delay = f" +{self.delay_seconds // 60}m" if self.delay_seconds else ""
        end = f" until {self.until.isoformat()}" if self.until else ""
        if (replayed := self._replay) is not None:
            end = f" {replayed.ticks[0]:%Y-%m-%d} … {replayed.ticks[-1]:%Y-%m-%d}, one a night"
        return f"{_ticks(self.cron).summary}{delay}{end}"

    @property
    def description(self) -> str:
        """Return what the UI shows as explanation."""
        delay = f", {self.delay_seconds // 60} minutes later" if self.delay_seconds else ""
        end = f", until {self.until.isoformat()}" if self.until else ""
        if (replayed := self._replay) is not None:
            end += (
                f". The data end there, so the runs of its last {len(replayed.ticks)} ticks are replayed, one a night, "
                f"from {replayed.since.isoformat()} on"
            )
        return f"{_ticks(self.cron).description}{delay}{end}"

    def serialize(self) -> dict[str, Any]:
        return {
            "cron": self.cron,
            "until": self.until.isoformat() if self.until else None,
            "delay_seconds": self.delay_seconds,
            **({"replay_since": self.replay_since.isoformat()} if self.replay_since else {}),
        }

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> Timetable:
        until = date.fromisoformat(data["until"]) if data["until"] else None
        since = date.fromisoformat(data["replay_since"]) if data.get("replay_since") else None
        return cls(data["cron"], until, data["delay_seconds"], since)

    @property
    def _replay(self) -> Replay | None:
        return replay(self.cron, self.replay_since, first_day=None, last_day=self.until)

    def validate(self) -> None:
        _ticks(self.cron).validate()

    def infer_manual_data_interval(self, *, run_after: DateTime) -> DataInterval:
        return _ticks(self.cron).infer_manual_data_interval(run_after=run_after)

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        # What is to be caught up are a backfill's ticks: its runs start at once, and not in their nights.
        if not restriction.catchup and (replayed := self._replay) is not None:
            return self._next_night(replayed, last_automated_data_interval, restriction)
        try:
            tick = _next_tick(self.cron, last_automated_data_interval, restriction, _minute())
            # Days are compared, never added to: 9999-12-31, as people write for "no end", has no day after it.
            if tick is None or (self.until is not None and tick.run_after.date() > self.until):
                return None
            run_after = tick.run_after + timedelta(seconds=self.delay_seconds)
        except (OverflowError, ValueError):
            # Beyond the calendar. Raised, it would be an error in the log at every look, and nothing in the UI.
            return None
        return DagRunInfo(run_after=run_after, data_interval=tick.data_interval)

    def _next_night(
        self, replayed: Replay, last: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """Return the run of the next tick that is replayed: the newest whose night has come, if it has not run."""
        due = replayed.due(utcnow())
        for tick, night in replayed.nights():
            if (
                (due is not None and tick < due)
                or (last is not None and tick <= last.end)
                or (restriction.earliest is not None and tick < restriction.earliest)
            ):
                continue
            # A trigger timetable's run is about a moment.
            return DagRunInfo(
                run_after=coerce_datetime(night + timedelta(seconds=self.delay_seconds)),
                data_interval=DataInterval.exact(coerce_datetime(tick)),
            )
        return None
