"""What the DAG of a city and that of a cohort have in common: arguments of tasks, params, when they run."""

from __future__ import annotations

from copy import copy
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param

from city_fleet import clock
from city_fleet.config import City, Fleet
from city_fleet.orchestration.city_tasks.record_operator import keep_failure
from city_fleet.orchestration.fleet_dags import backing_off
from city_fleet.orchestration.timetables import FleetTimetable

#: Of the task that writes records; with their pauses about three hours, beside what it waits out by itself.
RECORD_RETRIES = 8

# The form shows a picker where the format is date-time; but whoever starts a run by REST, command or conf may write an
# instant as people do. Of draft 7 nothing beside a $ref counts, so the format is the form's alone (Airflow 3.3.2).
_INSTANT = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "$ref": "#/instant",
    # Whoever starts a run is told at once, by Airflow itself.
    "instant": {"type": ["null", "string"], "pattern": f"^$|{clock.LOOKS_LIKE_AN_INSTANT}"},
    "type": ["null", "string"],
    "format": "date-time",
}
#: Of each city's DAG. A run's tasks are given the DAG's params without inheriting them. The form stars what can't be
#: null, so all can.
PARAMS = {
    "as_of": Param(
        None,
        title="As of",
        description="The run sees only data known by this moment; if empty, by the logical date or, once the "
        "schedule has ended, by its last tick.",
        source="dag",
        **_INSTANT,
    ),
    "force": Param(
        False,
        type=["boolean", "null"],
        title="Force",
        description="Publish despite gate, order of as_of and pin.",
        source="dag",
    ),
    "repeat": Param(
        False,
        type=["boolean", "null"],
        title="Repeat",
        description="Start and pay new jobs, though the same have been paid for.",
        source="dag",
    ),
}


def add_params(dag: DAG, **more: Param) -> None:
    """Give a DAG the params of every city's, and more.

    One by one: given to the DAG as a whole they would be validated for each city, which they need not. Copies: Airflow
    writes a run's values into a DAG's params, and one city's force must not be another's.
    """
    for name, param in {**PARAMS, **more}.items():
        dag.params[name] = copy(param)


def common_arguments(city: City) -> dict[str, Any]:
    """Return what every task of a city's DAG is told."""
    return {
        "owner": city.owner,
        "retries": city.retries,
        **backing_off(timedelta(seconds=city.retry_delay_seconds)),
        "on_failure_callback": keep_failure,
    }


def timetable_of(city: City, delay_seconds: int) -> FleetTimetable | None:
    """Return when a city's schedule fires; None where it has none.

    :param delay_seconds: how long after a tick the run starts.
    """
    if city.schedule is None:
        return None
    replayed = city.replay
    since = None if replayed is None else replayed.since
    return FleetTimetable(city.schedule, city.end_date, delay_seconds, since)


def when(city: City, fleet: Fleet) -> str:
    """Return when a city's DAG runs, in words; nothing of them depends on today."""
    arrive = "when raw data arrive" if fleet.events.assets else ""
    if city.schedule is None:
        return arrive or "when somebody starts it"
    # Airflow's words, of one timetable for all cities of a schedule.
    words = FleetTimetable(city.schedule).description
    words = f"{words[:1].lower()}{words[1:]} (UTC)"
    if city.end_date is not None:
        until = f", until {city.end_date.isoformat()}"
        words += (
            f"{until}: its last ticks here again, one a night"
            if city.replay
            else f"{until}: by hand after that, with the data known by then"
        )
    return f"{arrive}, and {words}" if arrive else words
