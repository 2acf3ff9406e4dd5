"""The doctor's look at trials of challengers: can they come to an end, and to which? Nothing is changed.

Clients are passed in.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from city_fleet import clock, naming
from city_fleet.config import Fleet
from city_fleet.doctor.findings import Area, Finding
from city_fleet.errors import BrokenScores, OtherInstallation, PlatformError, list_names
from city_fleet.plan import REAPER_PURPOSE
from city_fleet.state import challengers, live_scores
from city_fleet.state.challengers import Challenger
from city_fleet.state.objects import ObjectStore
from city_fleet.state.observed import CHALLENGER

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

# Of many trials so many as a doctor has time for, evenly spread.
_LOOKED_AT = 100
_READERS = 16
#: The reaper looks every quarter of an hour by default.
_LATE = timedelta(hours=2)

# What is wrong, and what to do.
Wrong = tuple[str, str]


def trials(area: Area, fleet: Fleet, s3: S3Client) -> Iterator[Finding]:
    """Check the trials of a fleet; what is the same of many cities is one finding."""
    store = ObjectStore(s3, fleet.bucket)
    try:
        running = challengers.read(store, fleet.keys).running
    except (PlatformError, OtherInstallation) as error:
        yield area.fail(str(error), "Until then no challenger is asked, and the champions serve")
        return
    if not running:
        return
    chosen = list(running.values())[:: max(1, -(-len(running) // _LOOKED_AT))]
    now = clock.utc_now()
    with ThreadPoolExecutor(_READERS) as pool:
        looked = pool.map(lambda trial: (trial.city, _wrong(fleet, store, trial, now)), chosen)
        found: dict[tuple[bool, Wrong], list[str]] = {}
        for city, wrong in looked:
            for each in wrong:
                found.setdefault(each, []).append(city)
    for (fails, (what, advice)), cities in found.items():
        said = f"{what}: {list_names(sorted(cities))}"
        yield area.fail(said, advice) if fails else area.warn(said, advice)
    if not found:
        of = "" if len(chosen) == len(running) else f" of {len(running):,}, evenly spread,"
        yield area.ok(f"{len(chosen)} trials of challengers{of} can come to an end")


def _wrong(fleet: Fleet, store: ObjectStore, trial: Challenger, now: datetime) -> list[tuple[bool, Wrong]]:
    """Return what is wrong with a trial, each with whether it is a failure."""
    reaper = naming.fleet_dag_id(fleet.fleet, REAPER_PURPOSE)
    found: list[tuple[bool, Wrong]] = []
    if not store.exists(fleet.keys.model(trial.model.target_model)):
        what = "the artifact of a challenger on trial is gone, so instances that start can't load it"
        found.append(
            (True, (what, f"./fleet challenge CITY --end, or wait for the DAG {reaper}, which ends it"))
        )
    if now >= clock.parse(trial.until) + _LATE:
        what = "the time of a trial is up, and nobody has looked what it came to"
        schedule = fleet.reaper.schedule
        advice = (
            f"Unpause the DAG {reaper}, or run it"
            if schedule
            else f"reaper.schedule is null: run the DAG {reaper}"
        )
        return [*found, (True, (what, advice))]
    undecided = _undecidable(fleet, trial)
    if undecided is not None:
        return [*found, (False, undecided)]
    since = clock.parse(trial.since)
    if now - since > (clock.parse(trial.until) - since) / 2 and not _knows_outcomes(fleet, store, trial):
        what = "half of a trial's time is over, and of no answer of its challenger it is known what really happened"
        found.append((False, (what, _how_outcomes_come(fleet, trial))))
    return found


def _undecidable(fleet: Fleet, trial: Challenger) -> Wrong | None:
    """Return why nothing will ever be known of what a challenger's answers were worth; None where it may be."""
    what = "a trial can't be decided by what really happened, only by failures and by time"
    if fleet.monitor.schedule is None:
        return f"{what}, as monitor.schedule is null", "Set monitor.schedule: docs/monitoring.md"
    if _is_table(fleet, trial.city):
        named = fleet.capture.cities
        if fleet.capture.share == 0 or (named and trial.city not in named):
            return (
                f"{what}, as its predictions are not captured",
                "Set capture.share, or add it to capture.cities",
            )
    elif fleet.forecasts.schedule is None:
        return f"{what}, as forecasts.schedule is null", "Set forecasts.schedule: docs/forecasts.md"
    elif not trial.model.forecast:
        return (
            f"{what}, as its model makes no forecast by the city's name",
            "Look at ./fleet compare CITY instead",
        )
    return None


def _knows_outcomes(fleet: Fleet, store: ObjectStore, trial: Challenger) -> bool:
    try:
        scores = live_scores.read(store, fleet.keys, trial.city)
    except BrokenScores:
        return True  # its look says so
    return bool(scores.of(CHALLENGER, trial.model.target_model))


def _how_outcomes_come(fleet: Fleet, trial: Challenger) -> str:
    if _is_table(fleet, trial.city):
        return "Report outcomes by ./fleet outcome, or the function's POST /outcome: docs/monitoring.md"
    return "A period brings one outcome when it is over: give a trial of a slow series more days, or a person decides"


def _is_table(fleet: Fleet, city: str) -> bool:
    settings = fleet.cities.get(city)
    return (fleet if settings is None else settings).dataset.kind == "table"
