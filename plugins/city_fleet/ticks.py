"""When the schedule of a fleet file fires. Pure, without Airflow.

A test compares these ticks with those of the timetable by which Airflow starts runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache

# A minute before the last one that a datetime can hold.
_END = datetime.max.replace(minute=58, second=0, microsecond=0, tzinfo=UTC)
# Airflow's own meaning of the presets (airflow.utils.dates.cron_presets, 3.3.2).
PRESETS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@quarterly": "0 0 1 */3 *",
    "@yearly": "0 0 1 1 *",
}
#: The environment variable with the day from which on schedules that have ended are replayed, one tick a night.
REPLAY_VARIABLE = "CITY_FLEET_REPLAY_SINCE"
#: So many of its last ticks a schedule that has ended has once more, where it is replayed.
REPLAYED_TICKS = 24
_MEASURED_TICKS = 400


@dataclass(frozen=True)
class Replay:
    """The last ticks of a schedule that has ended, once more, one a night: so a sample of old data has nights.

    :param ticks: in their order; a run's as_of is its tick, as ever.
    :param since: the day whose midnight (UTC) has the first of them; each night after it has the next one.
    """

    ticks: tuple[datetime, ...]
    since: date

    def nights(self) -> Iterator[tuple[datetime, datetime]]:
        """Yield each tick with its night."""
        first = datetime.combine(self.since, time(), UTC)
        for number, tick in enumerate(self.ticks):
            yield tick, first + timedelta(days=number)

    def night(self, tick: datetime) -> datetime | None:
        """Return the night in which a tick is replayed; None for one that is not."""
        return dict(self.nights()).get(tick)

    def due(self, at: datetime) -> datetime | None:
        """Return the newest tick whose night has come at a moment; None before the first night."""
        nights = (at - datetime.combine(self.since, time(), UTC)).days
        return None if nights < 0 else self.ticks[min(nights, len(self.ticks) - 1)]


@lru_cache(maxsize=1024)
def replay(
    schedule: str | None, since: date | None, *, first_day: date | None, last_day: date | None
) -> Replay | None:
    """Return how a schedule is replayed.

    :param since: the day on which the installation began to replay; None where it does not.
    :param first_day: and ``last_day``: of the schedule.
    :return: None for a schedule that had not ended on that day, or that has no tick.
    """
    if schedule is None or since is None or last_day is None or last_day >= since:
        return None
    found: list[datetime] = []
    moment = datetime.combine(last_day, time.max, UTC)
    while len(found) < REPLAYED_TICKS:
        tick = last_tick(schedule, moment, first_day=first_day, last_day=last_day)
        if tick is None:
            break
        found.append(tick)
        moment = tick - timedelta(minutes=1)
    return Replay(tuple(reversed(found)), since) if found else None


def last_tick(
    schedule: str | None, until: datetime, *, first_day: date | None = None, last_day: date | None = None
) -> datetime | None:
    """Return the newest tick of a schedule at or before a moment.

    :param schedule: cron expression of five fields or a preset, in UTC; None for never.
    :param first_day: first day with a tick, and ``last_day``: the last one; None for no limit.
    :return: None when the schedule has no such tick.
    """
    if schedule is None:
        return None
    if last_day is not None:
        # No sum of days here: 9999-12-31, as people write for "no end", is the last day of Python's calendar.
        until = min(until, datetime.combine(last_day, time.max, UTC))
    until = min(until.replace(second=0, microsecond=0), _END)
    tick = _tick_before(schedule, until + timedelta(minutes=1))
    if tick is None or (first_day is not None and tick < datetime.combine(first_day, time(), UTC)):
        return None
    return tick


def next_tick(schedule: str, after: datetime) -> datetime:
    """Return the first tick of a schedule after a moment.

    :raises ValueError: there is none before the end of the calendar.
    """
    from croniter import croniter  # type: ignore[import-untyped]  # noqa: PLC0415 - slow

    try:
        tick: datetime = croniter(PRESETS.get(schedule, schedule), after).get_next(datetime)
    except (ValueError, OverflowError):  # croniter's own errors are ValueErrors
        raise ValueError(f"the schedule {schedule!r} has no tick after {after.isoformat()}") from None
    return tick


@lru_cache(maxsize=1024)
def per_month(schedule: str | None) -> float:
    """Return how often a schedule ticks in a mean month, a twelfth of a year; 0 without one.

    One of many ticks is measured by its first ones of a year.
    """
    begin, end = datetime(2027, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC)
    moment, count = begin - timedelta(microseconds=1), -1
    try:
        while schedule is not None and moment < end and count < _MEASURED_TICKS:
            moment, count = next_tick(schedule, moment), count + 1
    except ValueError:  # no tick any more
        return max(count, 0) / 12
    passed = end - begin if moment >= end else moment - begin
    return max(count, 0) * ((end - begin) / 12 / passed)


@lru_cache(maxsize=4096)
def _tick_before(schedule: str, moment: datetime) -> datetime | None:
    """Return the newest tick before a moment, if the calendar holds one. Thousands of cities ask for the same one."""
    from croniter import croniter  # noqa: PLC0415 - slow

    try:
        tick: datetime = croniter(PRESETS.get(schedule, schedule), moment).get_prev(datetime)
    except (ValueError, OverflowError):
        return None
    return tick
