"""The schedule of city DAGs: spread, ended, backfilled, and the same after a round trip through the database."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pendulum
import pytest
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables.base import DataInterval, TimeRestriction

from city_fleet.orchestration import timetables
from city_fleet.orchestration.city_dags import city_dags
from city_fleet.orchestration.timetables import FleetTimetable
from city_fleet.ticks import PRESETS, last_tick, next_tick, replay
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


def test_a_tick_that_has_come_is_not_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow asks every half minute for thousands of cities; what it was told a minute ago may be over."""
    now = TimeRestriction(JANUARY, None, catchup=False)
    said = []
    for moment in (
        pendulum.datetime(2026, 11, 26, 1, 59, 59),
        pendulum.datetime(2026, 11, 26, 2, 0, 0),
        pendulum.datetime(2026, 11, 27, 1, 59, 59),
        pendulum.datetime(2026, 11, 27, 2, 0, 0),
    ):
        at(monkeypatch, moment)
        monkeypatch.setattr("airflow.timetables.trigger.utcnow", lambda moment=moment: moment)
        info = FleetTimetable("0 2 * * *").next_dagrun_info(
            last_automated_data_interval=None, restriction=now
        )
        assert info is not None
        said.append(info.run_after.day)
    assert said == [25, 26, 26, 27], "the newest tick that has come"


def at(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    monkeypatch.setattr(timetables, "utcnow", lambda: moment)


def test_an_ended_schedule_is_replayed_one_tick_a_night(monkeypatch: pytest.MonkeyPatch) -> None:
    replayed = FleetTimetable("@monthly", date(2015, 8, 1), 1020, date(2026, 11, 26))
    now = TimeRestriction(JANUARY, None, catchup=False)
    at(monkeypatch, datetime(2026, 11, 26, 18, 20, tzinfo=UTC))
    nights = runs(replayed, 30, now)
    # JANUARY is its first day: the ticks before it belong to no night.
    assert [info.logical_date for info in nights][:2] == [JANUARY, pendulum.datetime(2014, 2, 1)]
    assert nights[-1].logical_date == pendulum.datetime(2015, 8, 1)
    first = pendulum.datetime(2026, 11, 26) + timedelta(days=4, seconds=1020)
    assert [info.run_after for info in nights] == [first + timedelta(days=night) for night in range(20)]


def test_a_laptop_that_slept_goes_on_with_the_night_that_it_wakes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    replayed = FleetTimetable("@monthly", date(2015, 8, 1), replay_since=date(2026, 11, 26))
    now = TimeRestriction(pendulum.datetime(2010, 1, 1), None, catchup=False)
    for moment, expected in (
        (datetime(2026, 11, 26, 0, 0, 1, tzinfo=UTC), pendulum.datetime(2013, 9, 1)),
        (datetime(2026, 12, 1, 12, 0, tzinfo=UTC), pendulum.datetime(2014, 2, 1)),
        (datetime(2027, 5, 1, tzinfo=UTC), pendulum.datetime(2015, 8, 1)),
    ):
        at(monkeypatch, moment)
        due = runs(replayed, 1, now)[0]
        assert (due.logical_date, due.run_after <= moment) == (expected, True)
        assert due.logical_date == last_replayed(moment)
    # Each look at the DAG file asks again: the answer of a night that has come stays, until its run is there.
    at(monkeypatch, datetime(2026, 12, 2, 0, 0, 30, tzinfo=UTC))
    ran = DataInterval.exact(pendulum.datetime(2014, 2, 1))
    found = [replayed.next_dagrun_info(last_automated_data_interval=ran, restriction=now) for _ in range(2)]
    assert found[0] == found[1]
    assert found[0] is not None
    assert found[0].logical_date == pendulum.datetime(2014, 3, 1)


def last_replayed(moment: datetime) -> datetime | None:
    found = replay("@monthly", date(2026, 11, 26), first_day=date(2010, 1, 1), last_day=date(2015, 8, 1))
    return None if found is None else found.due(moment)


def test_a_backfill_waits_for_no_night() -> None:
    plain, replayed = (
        FleetTimetable("@monthly", date(2015, 8, 1), 0, since) for since in (None, date(2026, 11, 26))
    )
    assert runs(replayed, 12) == runs(plain, 12)


@pytest.mark.parametrize("until", [None, date(2026, 11, 26), date(9999, 12, 31)])
def test_a_schedule_that_goes_on_is_not_replayed(until: date | None) -> None:
    plain, replayed = (FleetTimetable("@daily", until, 0, since) for since in (None, date(2026, 11, 26)))
    now = TimeRestriction(JANUARY, None, catchup=False)
    assert runs(replayed, 2, now) == runs(plain, 2, now)
    assert (replayed.summary, replayed.description) == (plain.summary, plain.description)


def test_a_replay_survives_the_database() -> None:
    replayed = FleetTimetable("@monthly", date(2015, 8, 1), 60, date(2026, 11, 26))
    again = FleetTimetable.deserialize(replayed.serialize())
    assert again.serialize() == replayed.serialize()
    assert again.summary == "0 0 1 * * +1m 2013-09-01 … 2015-08-01, one a night"
    assert FleetTimetable("@daily").serialize() == {"cron": "@daily", "until": None, "delay_seconds": 0}


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
