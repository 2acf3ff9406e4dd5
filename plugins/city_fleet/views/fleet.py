"""The status of a fleet: its fleet file joined with its index. Pure; command line and digest read nothing else.

Every city has one state, the first of :class:`CityState` that applies, and beside it what is known of its champion, its
last run and what waits for a person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from city_fleet import naming
from city_fleet.config import City, Fleet
from city_fleet.config.series import Series
from city_fleet.errors import display_path
from city_fleet.plan import CityPlan
from city_fleet.state.index_state import Champion, Index, IndexEntry, RunSummary
from city_fleet.state.known_values import periods_between
from city_fleet.state.monitored import CityHealth
from city_fleet.state.outcomes import Outcome
from city_fleet.views.trial_standing import CityTrial


class CityState(StrEnum):
    """The state of a city, the most urgent first."""

    BROKEN = "BROKEN"
    """Its settings have a mistake, or its live pointer can't be read."""
    REMOVED_BUT_SERVING = "REMOVED_BUT_SERVING"
    """It is not in the fleet file any more, and its model serves on."""
    NOT_DEPLOYED = "NOT_DEPLOYED"
    """No model of it serves."""
    STALE = "STALE"
    """Its model has not seen the data of a tick of the schedule whose model should serve by now."""
    OUT_OF_DATE = "OUT_OF_DATE"
    """Its model was made by other settings or other scripts than those of now."""
    UP_TO_DATE = "UP_TO_DATE"
    """Its model serves as it should."""


@dataclass(frozen=True)
class Waiting:
    """A version that waits for a person's approval.

    :param since: when it was registered, or its night stopped by the breaker.
    """

    package_arn: str
    version: int
    since: datetime


@dataclass(frozen=True)
class CityStatus:
    """One city.

    :param age: how old the data are that its champion has seen.
    :param due: the newest tick of the schedule whose model should serve by now; None without a schedule.
    :param changed: which of ``settings`` and ``code`` are not those that made the champion.
    :param waiting: versions that wait for approval, oldest first.
    :param problem: what is broken.
    :param health: what the last look at its live scores has found; None where nobody looks.
    :param served_by: the city whose model answers for it by its name: its own slug, or its parent's; None where none.
    :param trial: what is tried beside its champion; None where nothing is.
    """

    city: str
    name: str
    state: CityState
    champion: Champion | None = None
    last_run: RunSummary | None = None
    age: timedelta | None = None
    due: datetime | None = None
    changed: tuple[str, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    problem: str | None = None
    served_by: str | None = None
    health: CityHealth | None = None
    trial: CityTrial | None = None

    @property
    def by_parent(self) -> bool:
        """Tell whether its parent answers for it."""
        return self.served_by not in (None, self.city)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Return remarks beside the state, as short sentences."""
        found = [self.problem] if self.problem else []
        champion, run = self.champion, self.last_run
        if champion and champion.pinned:
            found.append("pinned" + (f": {champion.reason}" if champion.reason else ""))
        if self.health is not None:
            found += self.health.remarks
        if self.changed:
            found.append(f"{' and '.join(self.changed)} changed")
        if self.by_parent:
            found.append(f"served by {self.served_by}")
        found += [f"version {each.version} waits for approval" for each in self.waiting]
        if self.trial is not None:
            found.append(self.trial.remark)
        told = self.trial is not None and run is not None and run.outcome == Outcome.ON_TRIAL
        if run is not None and run.outcome != Outcome.LIVE and not told:
            found.append(f"{run.outcome}: {run.reasons[0]}" if run.reasons else run.outcome)
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        return {
            "city": self.city,
            "name": self.name,
            "state": self.state.value,
            "champion": asdict(self.champion) if self.champion else None,
            "last_run": asdict(self.last_run) | {"seconds": dict(self.last_run.seconds)}
            if self.last_run
            else None,
            "age_seconds": int(self.age.total_seconds()) if self.age is not None else None,
            "due": naming.as_of_stamp(self.due) if self.due else None,
            "changed": list(self.changed),
            "waiting": [{**asdict(each), "since": each.since.isoformat()} for each in self.waiting],
            "problem": self.problem,
            "served_by": self.served_by,
            "remarks": list(self.remarks),
            **({"live": asdict(self.health)} if self.health is not None else {}),
            **({"trial": self.trial.to_dict()} if self.trial is not None else {}),
        }


@dataclass(frozen=True)
class FleetSnapshot:
    """A fleet at one moment.

    :param cities: sorted by slug.
    """

    fleet: str
    environment: str
    at: datetime
    cities: tuple[CityStatus, ...]

    @property
    def counts(self) -> dict[CityState, int]:
        """Return how many cities are in each state, also in those no city is in."""
        found = dict.fromkeys(CityState, 0)
        for city in self.cities:
            found[city.state] += 1
        return found


def take(
    fleet: Fleet,
    index: Index,
    at: datetime,
    *,
    code_digests: Mapping[str, str],
    waiting: Mapping[str, Sequence[Waiting]] | None = None,
) -> FleetSnapshot:
    """Join a fleet file with its index.

    :param code_digests: by what stands for a city's scripts (``City.code_name``); what can't be read is left out.
    :param waiting: versions that wait for approval, by model package group.
    """
    digests: dict[tuple[int, int, str], str] = {}
    found = []
    for slug in {*fleet.cities, *fleet.broken, *index.cities}:
        entry = index.cities.get(slug, IndexEntry())
        city = fleet.cities.get(slug)
        group = naming.package_group(fleet.fleet, fleet.environment, slug)
        of_city = tuple(sorted((waiting or {}).get(group, ()), key=lambda each: each.since))
        if city is not None:
            # Shared by cities that override nothing; a parent's model is made of its cities too.
            key = (id(city.dataset), id(city.algorithm), slug if slug in fleet.children else "")
            if key not in digests:
                digests[key] = CityPlan(fleet, city).settings_digest
            made_by = {"settings": digests[key], "code": code_digests.get(city.code_name)}
            parent = index.cities.get(city.parent or "", IndexEntry()).champion
            found.append(_of_city(city, entry, at, made_by, waiting=of_city, parent=parent))
        elif slug in fleet.broken or entry.champion is not None:
            state, problem = CityState.REMOVED_BUT_SERVING, f"not in {display_path(fleet.path)} any more"
            if slug in fleet.broken:
                state, problem = CityState.BROKEN, str(fleet.broken[slug])
            found.append(_status(slug, slug, state, entry, at, waiting=of_city, problem=problem))
    cities = tuple(sorted(found, key=lambda status: status.city))
    return FleetSnapshot(fleet.fleet, fleet.environment, at, cities)


def due_tick(city: City, at: datetime) -> datetime | None:
    """Return the newest tick of a city's schedule whose model should serve by now."""
    slack = timedelta(minutes=city.spread_minutes, hours=city.stale_after_hours)
    return city.last_tick(at - slack)


def _of_city(
    city: City,
    entry: IndexEntry,
    at: datetime,
    made_by: Mapping[str, str | None],
    *,
    waiting: tuple[Waiting, ...],
    parent: Champion | None,
) -> CityStatus:
    champion, due = entry.champion, due_tick(city, at)
    changed: tuple[str, ...] = ()
    problem = None
    if champion is None:
        state = CityState.NOT_DEPLOYED
    elif champion.problem:
        state, problem = CityState.BROKEN, champion.problem
    else:
        theirs = {"settings": champion.settings_digest, "code": champion.code_digest}
        changed = tuple(what for what, mine in made_by.items() if mine and theirs[what] not in (None, mine))
        if due is not None and naming.parse_as_of(champion.as_of) < due:
            state = CityState.STALE
        else:
            state = CityState.OUT_OF_DATE if changed else CityState.UP_TO_DATE
    return _status(
        city.slug,
        city.shown_name,
        state,
        entry,
        at,
        waiting=waiting,
        problem=problem,
        due=due,
        changed=changed,
        served_by=_served_by(city, entry, parent),
    )


def _served_by(city: City, entry: IndexEntry, parent: Champion | None) -> str | None:
    """Return whose model answers for a city by its name, as predictions find it out."""
    champion, run = entry.champion, entry.last_run
    stands_in = city.parent if parent is not None and not parent.problem else None
    if champion is None or champion.problem:
        return stands_in if champion is None else None
    if stands_in and run is not None and run.beaten == champion.target_model:
        return stands_in
    known = run.data_until if run is not None else None
    if stands_in and city.stale_periods is not None and champion.data_until and known:
        frequency = str(city.dataset.grid) if isinstance(city.dataset, Series) else ""
        if periods_between(champion.data_until, known, frequency) > city.stale_periods:
            return stands_in
    return city.slug


def _status(
    slug: str, name: str, state: CityState, entry: IndexEntry, at: datetime, **more: Any
) -> CityStatus:
    champion = entry.champion
    age = at - naming.parse_as_of(champion.as_of) if champion and champion.as_of else None
    return CityStatus(slug, name, state, champion, entry.last_run, age, **more)
