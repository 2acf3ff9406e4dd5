"""The morning's message: the results of a night's runs, what needs a person, and cities with an old model. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
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
#: An interval that is so many times as wide as that of the city's model before is worth a line.
LESS_SURE = 1.25
_DOTS = re.compile(r"…(?:[-.,:+/ ]*…)+")


@dataclass(frozen=True)
class DigestWindow:
    """The runs whose as_of lies after ``since`` and not after ``until``."""

    since: datetime
    until: datetime

    def holds(self, run: RunSummary) -> bool:
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
class LessSure:
    """A city whose new model is less sure of the next period than the one before.

    :param doubt: how far its 80 % interval reaches, as a share of the forecast; ``before`` that of the model before.
    """

    city: str
    doubt: float
    before: float


@dataclass(frozen=True)
class NightDigest:
    """The results of a night.

    :param at: when they were put together.
    :param outcomes: by outcome of the runs the cities, grouped by cause, the largest group first.
    :param without_result: cities that should have run and left no record.
    :param waiting: cities with a version that waits for approval.
    :param old: cities that are served by a model older than it should be, the oldest first.
    :param by_parent: cities that their parent answers for.
    :param less_sure: cities whose new model is less sure than the one before, the most changed first.
    :param broken: cities with broken settings or pointer; ``removed``: not in the fleet file and served.
    :param seconds: billable seconds of the runs by instance type.
    :param budget: a sentence about a budget that keeps runs waiting, or that nobody could judge; else empty.
    :param owner: whose cities alone it is about, by owner or tag; empty: about all.
    """

    fleet: str
    environment: str
    night: DigestWindow
    at: datetime
    outcomes: Mapping[str, tuple[Group, ...]]
    without_result: tuple[str, ...]
    waiting: tuple[CityStatus, ...]
    old: tuple[CityStatus, ...]
    by_parent: tuple[CityStatus, ...]
    broken: tuple[CityStatus, ...]
    removed: tuple[CityStatus, ...]
    less_sure: tuple[LessSure, ...]
    seconds: Mapping[str, int]
    budget: str = ""
    owner: str = ""

    @property
    def counts(self) -> dict[str, int]:
        """Return how many cities there are of each kind; outcomes by their names."""
        found = {name: sum(len(group.cities) for group in groups) for name, groups in self.outcomes.items()}
        kinds = ("without_result", "waiting", "old", "by_parent", "broken", "removed", "less_sure")
        return found | {kind: len(getattr(self, kind)) for kind in kinds}

    @property
    def is_empty(self) -> bool:
        """Tell whether the night had no run and should have had none, and no run waits."""
        return not self.outcomes and not self.without_result and not self.budget

    def to_dict(self) -> dict[str, Any]:
        kinds = ("waiting", "old", "by_parent", "broken", "removed")
        return {
            "fleet": self.fleet,
            "environment": self.environment,
            **({"owner": self.owner} if self.owner else {}),
            "since": naming.as_of_stamp(self.night.since),
            "until": naming.as_of_stamp(self.night.until),
            "at": clock.iso(self.at),
            "counts": self.counts,
            "outcomes": {name: [asdict(group) for group in groups] for name, groups in self.outcomes.items()},
            "without_result": list(self.without_result),
            **{kind: [city.to_dict() for city in getattr(self, kind)] for kind in kinds},
            "less_sure": [asdict(each) for each in self.less_sure],
            "seconds": dict(self.seconds),
            "budget": self.budget,
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


def less_sure(index: Index, runs: Mapping[str, RunSummary]) -> tuple[LessSure, ...]:
    """Return the cities whose new model is less sure of the next period than the one before, the most changed first.

    :param runs: the night's run of each city; the model before is that of the newest run before it that went live, as
        far as the index remembers.
    """
    found = []
    for city, run in runs.items():
        entry = index.cities.get(city)
        if run.outcome != Outcome.LIVE or run.doubt is None or entry is None:
            continue
        lives = [each for each in entry.runs if each.outcome == Outcome.LIVE and each.as_of < run.as_of]
        before = max(lives, key=lambda each: (each.as_of, each.finished_at), default=None)
        if before is not None and before.doubt and run.doubt > LESS_SURE * before.doubt:
            found.append(LessSure(city, run.doubt, before.doubt))
    return tuple(sorted(found, key=lambda each: (-each.doubt / each.before, each.city)))


def compose(
    fleet: Fleet,
    snapshot: FleetSnapshot,
    night: DigestWindow,
    runs: Mapping[str, RunSummary],
    doubts: Sequence[LessSure] = (),
    *,
    owner: str = "",
) -> NightDigest:
    """Put the results of a night together.

    :param runs: the night's run of each city that has one.
    :param doubts: of :func:`less_sure`.
    :param owner: leave out all but the cities that have this owner, or this tag; empty: leave out none.
    """
    expected: Iterable[str] = {
        slug for slug, city in fleet.cities.items() if city.is_due_in(night.since, night.until)
    }
    if owner:
        theirs = frozenset(fleet.cities_of_owner(owner))
        snapshot = replace(snapshot, cities=tuple(city for city in snapshot.cities if city.city in theirs))
        runs = {city: run for city, run in runs.items() if city in theirs}
        doubts = [each for each in doubts if each.city in theirs]
        expected = theirs.intersection(expected)
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
        without_result=tuple(slug for slug in sorted(expected) if slug not in runs),
        waiting=tuple(city for city in snapshot.cities if city.waiting),
        old=tuple(sorted(old, key=lambda city: (-(city.age or timedelta()), city.city))),
        by_parent=tuple(city for city in snapshot.cities if city.by_parent),
        broken=tuple(city for city in snapshot.cities if city.state is CityState.BROKEN),
        removed=tuple(city for city in snapshot.cities if city.state is CityState.REMOVED_BUT_SERVING),
        less_sure=tuple(doubts),
        seconds=dict(sorted(seconds.items())),
        owner=owner,
    )


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
