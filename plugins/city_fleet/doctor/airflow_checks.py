"""The doctor's look at Airflow: does it know the fleets, and are its settings enough for that many cities? Pure.

The numbers were measured with Airflow 3.3.2 on two cores of about a third of a laptop's speed; they are for the order
of magnitude.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from city_fleet import naming
from city_fleet.config import Fleet
from city_fleet.doctor.findings import Area, Finding
from city_fleet.errors import list_names
from city_fleet.plan import (
    ARRIVALS_PURPOSE,
    DIGEST_PURPOSE,
    ENDPOINT_PURPOSE,
    HOURS_PURPOSE,
    REAPER_PURPOSE,
    RECONCILE_PURPOSE,
    steps,
)

AREA = Area("Airflow")
#: The oldest minor version that has what City Fleet relies on, and the newest that its tests have run with; both are
#: explained in docs/adr/0014-which-airflow.md.
OLDEST, TESTED = (3, 3), (3, 3)
# Per DAG of a city: building its tasks; turning it into what the database keeps; writing that on every pass.
BUILD_SECONDS, SERIALISE_SECONDS, SYNC_SECONDS = 0.005, 0.008, 0.011
# A busy machine takes twice as long as an idle one.
_BUSY = 2.0
# Tasks per second that one scheduler starts: SQLite 2.8, PostgreSQL 4.1. A task that waits for a job starts twice.
TASKS_PER_SECOND = {"sqlite": 2.8}
_OTHER_TASKS_PER_SECOND = 4.1
_STARTS_PER_CITY = len(steps()) + 3
# SQLite lets one process write at a time.
_MOST_CITIES_ON_SQLITE = 100
#: Of the options that so many DAGs need more of, what Airflow 3.3 gives: seconds, and runs.
_LOOP = ("scheduler", "max_dagruns_per_loop_to_schedule")
DEFAULTS: dict[tuple[str, str], int] = {
    ("core", "dagbag_import_timeout"): 30,
    ("dag_processor", "dag_file_processor_timeout"): 50,
    ("dag_processor", "min_file_process_interval"): 30,
    _LOOP: 20,
}
_MOST_A_LOOP = 500
_COMPONENTS = {
    "metadatabase": ("the database", "Look at [database] sql_alchemy_conn"),
    "scheduler": ("the scheduler", "airflow scheduler"),
    "dag_processor": ("the DAG processor", "airflow dag-processor"),
    "triggerer": ("the triggerer", "airflow triggerer"),
}


def check(
    facts: Mapping[str, Any],
    fleets: Sequence[Fleet],
    cities: int | None = None,
    slots: Mapping[str, int] | None = None,
) -> list[Finding]:
    """Judge what the probe has found.

    :param facts: as :func:`city_fleet.doctor.airflow_probe.facts` returns them.
    :param cities: judge the settings for so many cities instead of the fleets' own.
    :param slots: of its pool, what tonight needs of each fleet by name; None where nobody has reckoned it.
    """
    number = cities or sum(len(fleet.cities) for fleet in fleets)
    found = [_version(facts)]
    if facts["problem"]:
        advice = "Create or update its database (airflow db migrate), or set AIRFLOW_HOME to the right one"
        found.append(AREA.fail(f"its database can't be read: {facts['problem']}", advice))
    else:
        if facts["import_errors"]:
            advice = "airflow dags list-import-errors says what is wrong"
            names = list_names(sorted(facts["import_errors"]))
            found.append(AREA.fail(f"DAG files that can't be read: {names}", advice))
        for fleet in fleets:
            found += _environment(fleet, facts["environments"])
            found += _dags(fleet, facts["dags"])
            needed = (slots or {}).get(fleet.fleet)
            found += _pool(fleet, facts["pools"], facts["settings"], number, needed)
    found += _settings(facts["settings"], number)
    found += _speed(facts["dialect"], number, fleets)
    return found


def _version(facts: Mapping[str, Any]) -> Finding:
    """Judge Airflow's version by its first two numbers."""
    what = f"Airflow {facts['version']} on Python {facts['python']}, {facts['dialect']}"
    numbers = re.match(r"(\d+)\.(\d+)", facts["version"])
    minor = (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)
    if minor < OLDEST:
        reason = (
            "it has no store for a task's state, by which a retry finds the job that is paid for, and no on_kill of "
            "triggers; the DAGs can't be read"
        )
        pinned = "Install requirements/production.lock, which pins a version that was tested"
        return AREA.fail(f"{what}: {reason}", pinned)
    if minor > TESTED:
        advice = (
            "Run the tests with it before you rely on it (docs/adr/0014-which-airflow.md), or install "
            "requirements/production.lock"
        )
        return AREA.warn(f"{what}: newer than the {TESTED[0]}.{TESTED[1]} that was tested", advice)
    return AREA.ok(what)


def look_at_health(answer: Mapping[str, Any] | None, url: str) -> list[Finding]:
    """Judge what Airflow says of its own components.

    :param answer: of ``/api/v2/monitor/health``; None when it did not answer.
    :param url: where it was asked.
    """
    if answer is None:
        return [AREA.warn(f"the API server does not answer at {url}", "Start it, or set [api] base_url")]
    found = []
    for key, (name, advice) in _COMPONENTS.items():
        status = (answer.get(key) or {}).get("status")
        if status != "healthy":
            found.append(AREA.fail(f"{name} is {status or 'not running'}", advice))
    return found or [AREA.ok("database, scheduler, DAG processor and triggerer are healthy")]


def _environment(fleet: Fleet, environments: Mapping[str, str]) -> Iterator[Finding]:
    """Tell whether Airflow runs another environment of the fleet than the fleet file here describes."""
    dag_id = naming.fleet_dag_id(fleet.fleet, ENDPOINT_PURPOSE)
    theirs = environments.get(dag_id, fleet.environment)
    if theirs != fleet.environment:
        what = f"{dag_id} is of environment {theirs}, the fleet file here of {fleet.environment}"
        advice = (
            "One Airflow runs one environment of a fleet: is CITY_FLEET_ENVIRONMENT the same here and there?"
        )
        yield AREA.fail(what, advice)


def _dags(fleet: Fleet, dags: Mapping[str, bool]) -> Iterator[Finding]:
    ids = {slug: fleet.dag_id_of(slug) for slug in fleet.cities}
    missing = sorted(slug for slug, dag_id in ids.items() if dag_id not in dags)
    if missing:
        advice = (
            "Airflow reads the fleet files every half minute. Is CITY_FLEET_FLEETS the same there, and the DAG "
            "processor running?"
        )
        yield AREA.warn(f"{fleet.fleet}: {len(missing)} cities have no DAG: {list_names(missing)}", advice)
    paused = sorted(slug for slug, dag_id in ids.items() if dags.get(dag_id))
    if paused:
        every = "(_cohort_|[a-z0-9])" if fleet.members else "[a-z0-9]"
        advice = rf"airflow dags unpause --treat-dag-id-as-regex --yes '^{fleet.fleet}\.{every}' switches them all on"
        yield AREA.warn(f"{fleet.fleet}: {len(paused)} of {len(ids)} cities are paused", advice)
    if not missing and not paused:
        yield AREA.ok(f"{fleet.fleet}: all {len(ids)} cities have a DAG that is switched on")
    for purpose, loss in (
        (REAPER_PURPOSE, "jobs that nobody waits for go on until their time limit"),
        (RECONCILE_PURPOSE, "models that are approved in the registry do not go live, and none expires"),
        (DIGEST_PURPOSE, "nobody hears in the morning what the night came to"),
    ):
        dag_id = naming.fleet_dag_id(fleet.fleet, purpose)
        if dags.get(dag_id) and getattr(fleet, purpose).schedule is not None:
            yield AREA.warn(f"{dag_id} is paused: {loss}", f"airflow dags unpause {dag_id}")
    dag_id = naming.fleet_dag_id(fleet.fleet, HOURS_PURPOSE)
    if dags.get(dag_id):
        loss = "endpoints that are closed do not open, and none closes"
        yield AREA.warn(f"{dag_id} is paused: {loss}", f"airflow dags unpause {dag_id}")
    dag_id = naming.fleet_dag_id(fleet.fleet, ARRIVALS_PURPOSE)
    if fleet.events.queue is not None and dags.get(dag_id):
        loss = "raw data that arrive wait in the queue, and no city retrains because of them"
        yield AREA.warn(f"{dag_id} is paused: {loss}", f"airflow dags unpause {dag_id}")


def _pool(
    fleet: Fleet, pools: Mapping[str, Any], settings: Mapping[str, Any], cities: int, needed: int | None
) -> Iterator[Finding]:
    name = fleet.jobs_pool
    pool = pools.get(name)
    create = f"airflow pools set {name} {needed or 50} 'SageMaker jobs at a time' --include-deferred"
    if pool is None:
        yield AREA.fail(f"there is no pool {name}: its tasks wait for ever", create)
        return
    slots = pool["slots"]
    if not pool["include_deferred"]:
        advice = create.replace(f" {needed or 50} ", f" {slots} ", 1)
        what = f"pool {name} does not count tasks that wait for their job, so it limits nothing"
        yield AREA.fail(what, advice)
    elif needed is not None and 0 <= slots < needed:
        what = f"pool {name} lets {slots} jobs run at a time, tonight needs {needed} to be over in time"
        yield AREA.warn(what, create)
    else:
        yield AREA.ok(f"pool {name} lets {slots} jobs run at a time")
    capacity, waiting = settings.get("triggerer.capacity"), min(slots, cities) if slots > 0 else cities
    if capacity is not None and waiting > capacity:
        advice = f"Start {math.ceil(waiting / capacity)} triggerers, or raise [triggerer] capacity"
        yield AREA.warn(f"{waiting} tasks may wait at a time, one triggerer takes {capacity}", advice)


def options(cities: int) -> dict[str, int]:
    """Return the options of which so many DAGs in one file need more than Airflow gives by default.

    :return: ``section.option`` → what to set.
    """
    wanted = {option: _rounded(seconds) for option, seconds in _seconds(cities).items()}
    wanted[_LOOP] = min(cities, _MOST_A_LOOP)
    return {".".join(option): value for option, value in wanted.items() if value > DEFAULTS[option]}


def _seconds(cities: int) -> dict[tuple[str, str], float]:
    """Return how long so many DAGs in one file may take, by the option that bounds it."""
    parsing = cities * (BUILD_SECONDS + SERIALISE_SECONDS)
    return {
        ("core", "dagbag_import_timeout"): _BUSY * cities * BUILD_SECONDS,
        ("dag_processor", "dag_file_processor_timeout"): _BUSY * parsing,
        ("dag_processor", "min_file_process_interval"): parsing + cities * SYNC_SECONDS,
    }


def _rounded(seconds: float) -> int:
    return math.ceil(seconds / 10) * 10


def _settings(settings: Mapping[str, Any], cities: int) -> Iterator[Finding]:
    """Yield the settings that are too small for that many DAGs in one file."""
    small = False
    for (section, option), seconds in _seconds(cities).items():
        value = settings.get(f"{section}.{option}")
        if value is not None and value < seconds:
            small = True
            variable = f"AIRFLOW__{section.upper()}__{option.upper()}={_rounded(seconds)}"
            what = f"[{section}] {option} is {value:g} s; {cities} cities may take {seconds:.0f} s"
            yield AREA.warn(what, f"Set {variable}")
    # With as many runs going on, the scheduler's loop no longer gets to those of a backfill (3.3.2).
    loop = settings.get(".".join(_LOOP))
    if loop is not None and cities > loop:
        small = True
        variable = f"AIRFLOW__SCHEDULER__MAX_DAGRUNS_PER_LOOP_TO_SCHEDULE={min(cities, _MOST_A_LOOP)}"
        what = f"[scheduler] max_dagruns_per_loop_to_schedule is {loop}: as many runs going on keep backfills waiting"
        yield AREA.warn(what, f"Set {variable}")
    if not small:
        yield AREA.ok(f"its limits are enough for {cities} cities")


def _speed(dialect: str, cities: int, fleets: Sequence[Fleet]) -> Iterator[Finding]:
    """Yield how long a night takes the scheduler."""
    rate = TASKS_PER_SECOND.get(dialect, _OTHER_TASKS_PER_SECOND)
    hours = cities * _STARTS_PER_CITY / rate / 3600
    length = f"{hours:.1f} hours" if hours >= 1 else f"{hours * 60:.0f} minutes"
    what = f"starting the tasks of {cities} cities takes one scheduler about {length} on a small machine"
    slack = min((fleet.defaults.stale_after_hours for fleet in fleets), default=12)
    if dialect == "sqlite" and cities > _MOST_CITIES_ON_SQLITE:
        yield AREA.warn(f"SQLite with {cities} cities: one process writes at a time", "Use PostgreSQL")
    if hours > slack:
        advice = f"Start more schedulers on a larger machine: models count as stale after {slack} hours"
        yield AREA.warn(what, advice)
    else:
        yield AREA.ok(what)
