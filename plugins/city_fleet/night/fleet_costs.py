"""What a fleet has cost in some windows of time: its jobs by their records, and what is paid beside them, estimated.

A boto3 S3 client is passed in.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from city_fleet import clock
from city_fleet.config import Fleet
from city_fleet.night.costs import NOT_COUNTED, Around, Cost, Serving, around, grouped, sum_known, together
from city_fleet.night.measured import MEASURED
from city_fleet.night.prices import Prices
from city_fleet.state import cost_ledger, index, shared_endpoints
from city_fleet.state.cost_ledger import PaidJob
from city_fleet.state.objects import ObjectStore
from city_fleet.state.shared_endpoints import SharedEndpoint

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

#: What jobs can be summed up by.
GROUPS = ("night", "month", "city", "step", "owner")
#: Stands for the owner of a city that is no longer in the fleet file.
NO_OWNER = "(not in the fleet file)"


@dataclass(frozen=True)
class Window:
    """Time from ``since`` to before ``until``."""

    name: str
    since: datetime
    until: datetime

    def among(self, jobs: Iterable[PaidJob]) -> list[PaidJob]:
        """Return those of some jobs that have ended in it."""
        since, until = _iso(self.since), _iso(self.until)
        return [job for job in jobs if since <= job.ended_at < until]


@dataclass(frozen=True)
class WindowCost:
    """What a window has cost.

    :param steps: of the jobs, by step of the run.
    """

    window: Window
    jobs: Cost
    steps: Mapping[str, Cost]
    around: Around

    @property
    def dollars(self) -> float:
        """Return the sum of what is known; :attr:`lacking` says what is not in it."""
        return self.jobs.dollars + sum_known(self._beside)[0]

    @property
    def lacking(self) -> tuple[str, ...]:
        """Return sentences about what has no price and is not in the sum."""
        jobs = [f"{seconds:,} seconds of {name}" for name, seconds in sorted(self.jobs.unknown.items())]
        endpoints = [f"endpoints on {kind}" for kind in self.around.unknown]
        others = [name for name in sum_known(self._beside)[1] if name != "the endpoints"]
        return (*jobs, *endpoints, *others)

    @property
    def not_counted(self) -> tuple[str, ...]:
        """Return what is paid for and in no sum."""
        return (f"volumes of jobs ({self.jobs.volume_gb_months:,.4f} GB-months)", *NOT_COUNTED)

    @property
    def _beside(self) -> dict[str, float | None]:
        beside = self.around
        return {"the endpoints": beside.endpoints, "S3": beside.s3, "CloudWatch logs": beside.logs}

    def to_dict(self) -> dict[str, Any]:
        per_run = self.jobs.dollars / len(self.jobs.runs) if self.jobs.runs else None
        return {
            "name": self.window.name,
            "since": _iso(self.window.since),
            "until": _iso(self.window.until),
            "dollars": round(self.dollars, 6),
            "lacking": list(self.lacking),
            "not_counted": list(self.not_counted),
            "jobs": self.jobs.to_dict(),
            "steps": {name: cost.to_dict() for name, cost in sorted(self.steps.items())},
            "estimated": self.around.to_dict(),
            "dollars_per_city_and_night": None if per_run is None else round(per_run, 6),
        }


@dataclass(frozen=True)
class FleetFacts:
    """What is known of a fleet beside its jobs.

    :param jobs: all that have ended in the time that was asked about.
    :param models: cities that have a model that serves.
    :param problems: sentences: what could not be looked at or kept.
    """

    jobs: tuple[PaidJob, ...]
    serving: tuple[Serving, ...]
    models: int
    problems: tuple[str, ...] = ()


def look(
    fleet: Fleet,
    s3: S3Client,
    since: datetime,
    until: datetime,
    *,
    now: datetime,
    say: Callable[[str], None] = lambda text: None,
) -> FleetFacts:
    """Read what a fleet's jobs have been billed for, and what serves.

    :param say: is told about work that takes long.
    :raises PlatformError: S3 can't be asked.
    """
    keys = fleet.keys
    ledger = cost_ledger.read(s3, keys, since, until, now=now, say=say)
    shared = shared_endpoints.read(ObjectStore(s3, keys.bucket), keys)
    known, _ = index.load(s3, keys)
    models = len(fleet.cities)
    if known is not None:
        models = sum(entry.champion is not None for entry in known.cities.values())
    return FleetFacts(ledger.jobs, _serving(fleet, shared), models, ledger.problems)


def cost_in(window: Window, facts: FleetFacts, prices: Prices, now: datetime) -> WindowCost:
    """Return what a window has cost until now."""
    jobs = window.among(facts.jobs)
    steps = grouped(jobs, prices, lambda job: job.step or "?")
    cost = together(steps.values())
    passed = (window.since, min(window.until, now))
    beside = around(cost, facts.serving, passed, prices=prices, measured=MEASURED, models=facts.models)
    return WindowCost(window, cost, steps, beside)


def by_group(
    group: str, fleet: Fleet, jobs: Sequence[PaidJob], prices: Prices, nights: Sequence[datetime]
) -> dict[str, Cost]:
    """Return what jobs have cost by one of :data:`GROUPS`.

    :param nights: the ends of the nights, in their order; a night's name is the day on which it ends.
    """
    ends = [_iso(each) for each in nights]

    def night(job: PaidJob) -> str:
        place = bisect_right(ends, job.ended_at)
        return ends[place][:10] if place < len(ends) else "later"

    def owner(job: PaidJob) -> str:
        city = fleet.cities.get(job.city)
        return NO_OWNER if city is None else city.owner

    keys: dict[str, Callable[[PaidJob], str]] = {
        "night": night,
        "month": lambda job: job.ended_at[:7],
        "city": lambda job: job.city,
        "step": lambda job: job.step or "?",
        "owner": owner,
    }
    return dict(sorted(grouped(jobs, prices, keys[group]).items()))


def _serving(fleet: Fleet, shared: Mapping[str, SharedEndpoint]) -> tuple[Serving, ...]:
    """Return the shared endpoints that have been made, as the fleet file and state/endpoints.json have them."""
    found = []
    for name in fleet.endpoint_names:
        settings, said = fleet.endpoint_settings(name), shared.get(fleet.endpoint_name(name))
        if said is None:
            continue
        # What was there before the one that serves was paid for as well.
        young = said.serving.since if not said.replaced and settings.hours is None else ""
        since = clock.parse(young) if young else None
        found.append(
            Serving(
                fleet.endpoint_name(name),
                settings.instance_type,
                settings.instance_count,
                settings.hours,
                since,
            )
        )
    return tuple(found)


def _iso(moment: datetime) -> str:
    return clock.iso(moment.astimezone(UTC))
