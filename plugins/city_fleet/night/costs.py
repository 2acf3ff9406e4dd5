"""What jobs have cost: billable seconds by what instances cost, grouped, with what was paid for in vain. Pure.

Nothing without a price counts as nothing: its seconds are kept beside the sum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from city_fleet.config.hours_section import Hours
from city_fleet.night import night_calls
from city_fleet.night.measured import Measured
from city_fleet.night.prices import HOSTING, Prices
from city_fleet.serving.office_hours import share_open
from city_fleet.state.cost_ledger import PaidJob
from city_fleet.state.outcomes import Outcome

HOURS_A_MONTH = 730
#: What is paid for as well, and in no sum; volumes of jobs come first, with how much there was of them.
NOT_COUNTED = (
    "volumes of endpoints",
    "idle time of warm pools",
    "the predict function and its API",
    "data transfer",
    "KMS",
    "taxes",
)


@dataclass
class Cost:
    """What some jobs have cost, in US dollars; of what has no price the instance-seconds.

    :param seconds: billable, of all instances.
    :param waste: dollars of jobs paid for in vain, by kind; they are in ``dollars`` too.
    :param held: dollars of runs whose model the gate held: work, and no waste.
    :param saved: dollars that spare capacity (spot) has saved of the price on demand.
    :param unknown: instance-seconds without a price, by use and instance type: ``Training ml.p5.48xlarge``.
    :param runs: (city, key) of the runs that the jobs are of.
    :param volume_gb_seconds: of their volumes, which are paid for too and have no price here.
    """

    jobs: int = 0
    seconds: int = 0
    dollars: float = 0.0
    waste: dict[str, float] = field(default_factory=dict)
    wasted_jobs: int = 0
    held: float = 0.0
    saved: float = 0.0
    unknown: dict[str, int] = field(default_factory=dict)
    runs: set[tuple[str, str]] = field(default_factory=set)
    volume_gb_seconds: int = 0

    @property
    def cities(self) -> int:
        return len({city for city, _ in self.runs})

    @property
    def volume_gb_months(self) -> float:
        """Return what the volumes of the jobs come to, in the unit of AWS's prices: gigabytes for 730 hours."""
        return self.volume_gb_seconds / 3600 / HOURS_A_MONTH

    def add(self, other: Cost) -> None:
        """Add what other jobs have cost."""
        self.jobs += other.jobs
        self.seconds += other.seconds
        self.dollars += other.dollars
        self.wasted_jobs += other.wasted_jobs
        self.held += other.held
        self.saved += other.saved
        self.runs |= other.runs
        self.volume_gb_seconds += other.volume_gb_seconds
        for kind, dollars in other.waste.items():
            self.waste[kind] = self.waste.get(kind, 0.0) + dollars
        for name, seconds in other.unknown.items():
            self.unknown[name] = self.unknown.get(name, 0) + seconds

    def to_dict(self) -> dict[str, Any]:
        return {
            "jobs": self.jobs,
            "runs": len(self.runs),
            "cities": self.cities,
            "billable_seconds": self.seconds,
            "dollars": round(self.dollars, 6),
            "in_vain": {kind: round(value, 6) for kind, value in sorted(self.waste.items())},
            "jobs_in_vain": self.wasted_jobs,
            "of_held_models": round(self.held, 6),
            "saved_by_spot": round(self.saved, 6),
            "seconds_without_price": dict(sorted(self.unknown.items())),
            "volume_gb_months": round(self.volume_gb_months, 6),
        }


def together(costs: Iterable[Cost]) -> Cost:
    """Return what several groups of jobs have cost together."""
    found = Cost()
    for each in costs:
        found.add(each)
    return found


def grouped(jobs: Iterable[PaidJob], prices: Prices, by: Callable[[PaidJob], str]) -> dict[str, Cost]:
    """Return what jobs have cost by a group of each."""
    # Of a million jobs: seconds first, by all that decides about dollars, and dollars of those sums.
    sums: dict[tuple[str, str, str, str, bool], list[int]] = {}
    runs: dict[str, set[tuple[str, str]]] = {}
    for job in jobs:
        group = by(job)
        of = (group, job.kind, job.instance_type, job.waste, job.outcome == Outcome.HELD)
        if (sum_ := sums.get(of)) is None:
            sum_ = sums[of] = [0, 0, 0, 0]
            runs.setdefault(group, set())
        instances = job.instances
        sum_[0] += 1
        sum_[1] += job.seconds * instances
        sum_[2] += job.saved * instances
        sum_[3] += job.seconds * instances * job.volume_gb
        runs[group].add((job.city, job.run))
    found = {group: Cost(runs=of_group) for group, of_group in runs.items()}
    for (group, kind, instance_type, waste, held), (count, seconds, saved, gigabytes) in sums.items():
        cost, hour = found[group], prices.hour(kind, instance_type)
        cost.jobs += count
        cost.seconds += seconds
        cost.volume_gb_seconds += gigabytes
        cost.wasted_jobs += count if waste else 0
        if hour is None:
            if seconds:
                name = f"{kind} {instance_type}"
                cost.unknown[name] = cost.unknown.get(name, 0) + seconds
            continue
        dollars = hour * seconds / 3600
        cost.dollars += dollars
        cost.saved += hour * saved / 3600
        if waste:
            cost.waste[waste] = cost.waste.get(waste, 0.0) + dollars
        elif held:
            cost.held += dollars
    return found


@dataclass(frozen=True)
class Serving:
    """A shared endpoint as far as its cost goes.

    :param hours: when it is open; None where it never closes.
    :param since: from when on it is counted: what is known of its age. None where it may be older than anything asked.
    """

    name: str
    instance_type: str
    count: int
    hours: Hours | None = None
    since: datetime | None = None

    def hours_in(self, since: datetime, until: datetime) -> float:
        """Return for how many hours of a window one of its instances is there: an estimate, by the hours of a week."""
        begin = max(since, self.since) if self.since is not None else since
        return max(0.0, (until - begin).total_seconds() / 3600) * share_open(self.hours)


@dataclass(frozen=True)
class Around:
    """What is paid beside jobs, in US dollars: estimated. None where a price is not known.

    :param endpoints: the shared endpoints, and ``endpoint_hours`` of their instances.
    :param s3: requests of the runs, and a month of what they keep; ``logs`` what their jobs write.
    :param one_each: one endpoint of one instance per city that has a model, in the same hours.
    :param unknown: instance types of endpoints without a price.
    """

    endpoints: float | None
    endpoint_hours: float
    s3: float | None
    logs: float | None
    one_each: float | None
    unknown: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        members = ("endpoints", "endpoint_hours", "s3", "logs", "one_each")
        values = {name: getattr(self, name) for name in members}
        return {name: value if value is None else round(value, 6) for name, value in values.items()}


def around(
    cost: Cost,
    serving: Iterable[Serving],
    window: tuple[datetime, datetime],
    *,
    prices: Prices,
    measured: Measured,
    models: int,
) -> Around:
    """Return what is paid beside jobs in a window.

    :param models: cities that have a model that serves.
    """
    serving = list(serving)
    each = [(one, one.hours_in(*window), prices.hour(HOSTING, one.instance_type)) for one in serving]
    unknown = tuple(sorted({one.instance_type for one, hours, price in each if price is None and hours}))
    endpoints = None if unknown else sum(hours * one.count * (price or 0) for one, hours, price in each)
    runs = len(cost.runs)
    s3 = logs = None
    if prices.has_others:
        calls = night_calls.OF_A_CITY
        gets = runs * (calls["s3:GetObject"] + calls["s3:HeadObject"])
        puts = runs * (calls["s3:PutObject"] + calls["s3:ListObjectsV2"])
        s3 = gets / 1000 * prices.s3_get_per_1000 + puts / 1000 * prices.s3_put_or_list_per_1000
        s3 += runs * measured.kept_megabytes / 1024 * prices.s3_gb_month
        logs = cost.jobs * measured.log_kilobytes / 1024**2 * prices.logs_gb_ingested
    first = each[0] if each else None
    one_each = first[1] * first[2] * models if first and first[2] is not None else None
    return Around(endpoints, sum(hours * one.count for one, hours, _ in each), s3, logs, one_each, unknown)


def forecast(so_far: float, window: tuple[datetime, datetime], end: datetime) -> float | None:
    """Return what something comes to at the end, if it goes on as it has; None where a day has not passed yet."""
    passed = (window[1] - window[0]).total_seconds()
    if passed < 24 * 3600:
        return None
    return so_far * (end - window[0]).total_seconds() / passed


def sum_known(values: Mapping[str, float | None]) -> tuple[float, tuple[str, ...]]:
    """Return the sum of what is known, and the names of what is not."""
    return (
        sum(value for value in values.values() if value is not None),
        tuple(name for name, value in values.items() if value is None),
    )
