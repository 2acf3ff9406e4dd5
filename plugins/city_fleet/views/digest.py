"""The morning's message: what a night's runs came to, what needs a person, and who is served by an old model. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from city_fleet import clock, naming, ticks
from city_fleet.config import Fleet
from city_fleet.state.index_state import KEPT_RUNS, Index, RunSummary
from city_fleet.state.outcomes import Outcome
from city_fleet.views.fleet import CityState, CityStatus, FleetSnapshot

#: Nights of a fleet whose digest has no schedule: from noon to noon.
NOON = "0 12 * * *"
# What differs from city to city where the cause is the same: moments, digests, numbers.
_VARYING = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ][\d:.+Z-]+)?|\d{8}T\d{6}Z"
    r"|(?<![A-Za-z0-9])[0-9a-f]{8,}(?![A-Za-z0-9])"
    r"|(?<![A-Za-z0-9])\d+(?:[.,:]\d+)*"
)
_DOTS = re.compile(r"…(?:[-.,:+/ ]*…)+")


@dataclass(frozen=True)
class DigestWindow:
    """The runs whose as_of lies after ``since`` and not after ``until``."""

    since: datetime
    until: datetime

    def holds(self, run: RunSummary) -> bool:
        """Tell whether a run belongs to the night."""
        return naming.as_of_stamp(self.since) < run.as_of <= naming.as_of_stamp(self.until)


@dataclass(frozen=True)
class Group:
    """Cities to which the same happened for the same cause.

    :param cause: a sentence; ``…`` and ``<city>`` stand for what differs from city to city.
    :param cities: sorted.
    """

    cause: str
    cities: tuple[str, ...]


@dataclass(frozen=True)
class NightDigest:
    """What there is to say about a night.

    :param at: when it was said.
    :param outcomes: by outcome of the runs the cities, grouped by cause, the largest group first.
    :param without_result: cities that should have run and left no record.
    :param waiting: cities with a version that waits for approval.
    :param old: cities that are served by a model older than it should be, the oldest first.
    :param broken: cities with broken settings or pointer; ``removed``: not in the fleet file and served.
    :param seconds: billable seconds of the runs by instance type.
    """

    fleet: str
    environment: str
    night: DigestWindow
    at: datetime
    outcomes: Mapping[str, tuple[Group, ...]]
    without_result: tuple[str, ...]
    waiting: tuple[CityStatus, ...]
    old: tuple[CityStatus, ...]
    broken: tuple[CityStatus, ...]
    removed: tuple[CityStatus, ...]
    seconds: Mapping[str, int]

    @property
    def counts(self) -> dict[str, int]:
        """Return how many cities there are of each kind; outcomes by their names."""
        found = {
            outcome: sum(len(group.cities) for group in groups) for outcome, groups in self.outcomes.items()
        }
        kinds = ("without_result", "waiting", "old", "broken", "removed")
        return {**found, **{kind: len(getattr(self, kind)) for kind in kinds}}

    @property
    def is_empty(self) -> bool:
        """Tell whether the night had no run and should have had none."""
        return not self.outcomes and not self.without_result

    def to_dict(self) -> dict[str, Any]:
        """Return the digest as plain JSON types."""
        return {
            "fleet": self.fleet,
            "environment": self.environment,
            "since": naming.as_of_stamp(self.night.since),
            "until": naming.as_of_stamp(self.night.until),
            "at": clock.iso(self.at),
            "counts": self.counts,
            "outcomes": {
                outcome: [{"cause": group.cause, "cities": list(group.cities)} for group in groups]
                for outcome, groups in self.outcomes.items()
            },
            "without_result": list(self.without_result),
            **{
                kind: [city.to_dict() for city in getattr(self, kind)]
                for kind in ("waiting", "old", "broken", "removed")
            },
            "seconds": dict(self.seconds),
        }


def night_of(moment: datetime, schedule: str | None) -> DigestWindow:
    """Return the night a moment belongs to: the time between two ticks of the digest's schedule.

    :param schedule: of the digest; None for nights from noon to noon.
    """
    schedule = schedule or NOON
    before = ticks.last_tick(schedule, moment - timedelta(microseconds=1))
    until = ticks.next_tick(schedule, moment - timedelta(microseconds=1))
    return DigestWindow(before or moment, until)


def last_night(index: Index, schedule: str | None) -> DigestWindow | None:
    """Return the newest night that has a run; None when there is no run at all."""
    newest = max((run.as_of for entry in index.cities.values() for run in entry.runs), default=None)
    return None if newest is None else night_of(naming.parse_as_of(newest), schedule)


def runs_of(index: Index, night: DigestWindow) -> tuple[dict[str, RunSummary], list[str]]:
    """Return the night's last run of each city, and the cities whose runs of that night the index may have dropped."""
    found, forgotten = {}, []
    for city, entry in index.cities.items():
        runs = [run for run in entry.runs if night.holds(run)]
        if runs:
            found[city] = max(runs, key=lambda run: (run.as_of, run.finished_at))
        elif sum(run.as_of > naming.as_of_stamp(night.until) for run in entry.runs) >= KEPT_RUNS:
            forgotten.append(city)
    return found, sorted(forgotten)


def compose(
    fleet: Fleet, snapshot: FleetSnapshot, night: DigestWindow, runs: Mapping[str, RunSummary]
) -> NightDigest:
    """Say what a night came to.

    :param runs: the night's run of each city that has one.
    """
    grouped: dict[str, dict[str, list[str]]] = {}
    seconds: Counter[str] = Counter()
    for city, run in runs.items():
        grouped.setdefault(run.outcome, {}).setdefault(cause_of(city, run), []).append(city)
        seconds.update(dict(run.seconds))
    outcomes = {
        outcome: tuple(
            Group(cause, tuple(sorted(cities)))
            for cause, cities in sorted(causes.items(), key=lambda item: (-len(item[1]), item[0]))
        )
        for outcome, causes in sorted(grouped.items(), key=lambda item: (item[0] != Outcome.LIVE, item[0]))
    }
    old = [city for city in snapshot.cities if city.state is CityState.STALE]
    return NightDigest(
        fleet=snapshot.fleet,
        environment=snapshot.environment,
        night=night,
        at=snapshot.at,
        outcomes=outcomes,
        without_result=tuple(slug for slug in sorted(_expected(fleet, night)) if slug not in runs),
        waiting=tuple(city for city in snapshot.cities if city.waiting),
        old=tuple(sorted(old, key=lambda city: (-(city.age or timedelta()), city.city))),
        broken=tuple(city for city in snapshot.cities if city.state is CityState.BROKEN),
        removed=tuple(city for city in snapshot.cities if city.state is CityState.REMOVED_BUT_SERVING),
        seconds=dict(sorted(seconds.items())),
    )


def _expected(fleet: Fleet, night: DigestWindow) -> Iterable[str]:
    """Yield the cities whose schedule has a tick in the night that starts a run before its end."""
    for slug, city in fleet.cities.items():
        spread = timedelta(minutes=city.spread_minutes)
        tick = ticks.last_tick(
            city.schedule, night.until - spread, first_day=city.start_date, last_day=city.end_date
        )
        if tick is not None and tick > night.since:
            yield slug


def cause_of(city: str, run: RunSummary) -> str:
    """Return why a run ended as it did, in words that are the same for all cities with the same cause."""
    if run.outcome == Outcome.LIVE:
        return ""
    text = run.reasons[0] if run.reasons else "no reason given"
    for name in {city, city.replace("_", "-"), city.replace("_", " ").title()}:
        text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", "<city>", text)
    return _DOTS.sub("…", _VARYING.sub("…", text))


def names(cities: Sequence[str], most: int) -> str:
    """Return names of cities, not more than fit."""
    rest = len(cities) - most
    return ", ".join(cities[:most]) + (f" and {rest} more" if rest > 0 else "")
