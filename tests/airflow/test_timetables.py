"""The schedule of city DAGs: spread, ended, backfilled, and the same after a round trip through the database."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pendulum
import pytest
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables.base import DataInterval, TimeRestriction

from city_fleet.orchestration.city_dags import city_dags
from city_fleet.orchestration.timetables import FleetTimetable
from city_fleet.ticks import PRESETS, last_tick, next_tick
from tests.support.paths import ROOT

JANUARY = pendulum.datetime(2014, 1, 1)
WITHOUT_END = TimeRestriction(JANUARY, None, catchup=True)


def runs(timetable: FleetTimetable, count: int, restriction: TimeRestriction = WITHOUT_END) -> list[Any]:
    found: list[Any] = []
    last: DataInterval | None = None
    while len(found) < count:
        info = timetable.next_dagrun_info(last_automated_data_interval=last, restriction=restriction)
        if info is None:
            break
        found.append(info)
        last = info.data_interval
    return found


def test_a_run_starts_after_its_tick_and_keeps_the_tick_as_its_date() -> None:
    first, second = runs(FleetTimetable("@daily", delay_seconds=1020), 2)
    assert first.logical_date == JANUARY
    assert first.run_after == JANUARY + timedelta(minutes=17)
    assert second.logical_date == JANUARY + timedelta(days=1)


def test_the_last_day_has_a_run_and_the_next_none() -> None:
    found = runs(FleetTimetable("@monthly", until=date(2014, 3, 1), delay_seconds=3600), 10)
    assert [info.logical_date.month for info in found] == [1, 2, 3]
    assert len(runs(FleetTimetable("@monthly", until=date(2014, 2, 28)), 10)) == 2


def test_without_catchup_an_ended_schedule_starts_nothing() -> None:
    """A city of data that end in 2015 is unpaused today."""
    ended = FleetTimetable("@monthly", until=date(2015, 8, 1))
    assert runs(ended, 1, TimeRestriction(JANUARY, None, catchup=False)) == []


@pytest.mark.parametrize("schedule", [*PRESETS, "5 4 * * 1", "0 2 29 2 *", "*/20 3 * * 1-5"])
def test_status_and_digest_count_the_same_ticks(schedule: str) -> None:
    ticks = [info.logical_date for info in runs(FleetTimetable(schedule), 5)]
    assert ticks[1:] == [next_tick(schedule, tick) for tick in ticks[:-1]]
    assert ticks == [last_tick(schedule, tick) for tick in ticks]


@pytest.mark.parametrize("until", [date(9999, 12, 31), date(9999, 12, 30), date(9999, 1, 1)])
@pytest.mark.parametrize("delay", [0, 86_340])
def test_an_end_for_ever_is_no_end(until: date, delay: int) -> None:
    endless = FleetTimetable("@daily", delay_seconds=delay)
    for_ever = FleetTimetable("@daily", until, delay)
    assert runs(for_ever, 3) == runs(endless, 3)
    now = TimeRestriction(JANUARY, None, catchup=False)
    assert runs(for_ever, 1, now) == runs(endless, 1, now)


@pytest.mark.parametrize("schedule", ["@daily", "@yearly", "0 0 29 2 *", "59 23 31 12 *"])
@pytest.mark.parametrize("first", [pendulum.datetime(9999, 12, 31), pendulum.datetime(9999, 12, 31, 23, 59)])
def test_a_schedule_ends_where_the_calendar_ends(schedule: str, first: pendulum.DateTime) -> None:
    """As a DAG may be stored that was built before such a start_date was refused."""
    found = runs(
        FleetTimetable(schedule, delay_seconds=86_340), 3, TimeRestriction(first, None, catchup=True)
    )
    assert len(found) < 3


def test_it_reads_well() -> None:
    timetable = FleetTimetable("0 2 * * *", until=date(2015, 8, 1), delay_seconds=1020)
    assert timetable.summary == "0 2 * * * +17m until 2015-08-01"
    assert timetable.description == "At 02:00, 17 minutes later, until 2015-08-01"


@pytest.mark.parametrize(
    "timetable", [FleetTimetable("@daily"), FleetTimetable("5 4 * * 1", date(2030, 1, 1), 59)]
)
def test_it_survives_serialisation(timetable: FleetTimetable) -> None:
    again = FleetTimetable.deserialize(timetable.serialize())
    assert again.serialize() == timetable.serialize()
    assert runs(again, 3) == runs(timetable, 3)  # type: ignore[arg-type]


def test_a_backfill_of_a_stored_dag_finds_the_ticks() -> None:
    (dag,) = city_dags(ROOT / "include" / "fleets", only="texas_housing.austin")
    stored = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    found = stored.iter_dagrun_infos_between(
        datetime(2014, 1, 1, tzinfo=UTC), datetime(2014, 6, 1, tzinfo=UTC)
    )
    assert [info.logical_date.strftime("%Y-%m-%d") for info in found] == [
        f"2014-{month:02}-01" for month in range(1, 7)
    ]
