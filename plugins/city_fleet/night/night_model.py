"""A night in closed form: jobs, instances, calls, wall time and cost of a workload. Pure, and made in milliseconds.

Wall time is the longest chain of one run, and what the scarcest thing makes the last run wait: each of Airflow's
starts, the pool, a quota and the pace of Create is a line at a counter, and the longest one decides. A simulation of
every single task in bench/ is held against it, and docs/scaling.md says how far they are apart.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from city_fleet.night import night_calls
from city_fleet.night.measured import Measured
from city_fleet.night.prices import Prices
from city_fleet.night.service_quotas import PROCESSING
from city_fleet.night.workload import JobKind, RunKind, Workload

#: What the items of a night's cost begin with that are jobs.
JOBS = "jobs: "
#: A twelfth of a year.
DAYS_A_MONTH = 365 / 12
_ENDPOINT, _ENDPOINTS = "the endpoint, a day", "the endpoints, a day"


@dataclass(frozen=True)
class Limits:
    """What a night may use at a time.

    :param pool: slots of Airflow's pool of jobs; None for no limit.
    :param quotas: instances by the quota's name; a quota that is missing is no limit.
    """

    pool: int | None = None
    quotas: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class NightModel:
    """What a night comes to.

    :param seconds: from its tick to the last record.
    :param bounded_by: what makes it so long, in words.
    :param peak: instances at a time by the quota's name, where nothing holds them back but the given limits.
    :param calls: of AWS by operation.
    :param billable_seconds: of instances, by their quota's name.
    :param cost: US dollars by item; an item whose price is not in the table is None.
    :param chain_seconds: the longest chain of a single run.
    """

    cities: int
    cohorts: int
    dag_runs: int
    jobs: int
    starts: int
    seconds: float
    bounded_by: str
    chain_seconds: float
    peak: dict[str, int]
    calls: dict[str, int]
    billable_seconds: dict[str, float]
    cost: dict[str, float | None]

    @property
    def calls_of_sagemaker(self) -> int:
        """Return the calls of SageMaker's control plane, polls included."""
        return sum(count for name, count in self.calls.items() if name.startswith("sagemaker:"))

    @property
    def dollars(self) -> float:
        """Return what the night costs, as far as prices are known."""
        return sum(value for value in self.cost.values() if value is not None)

    @property
    def lacking(self) -> tuple[str, ...]:
        """Return the items of the cost that have no price, and are not in the sum."""
        return tuple(item for item, value in self.cost.items() if value is None)

    def dollars_a_month(self, nights: float) -> float:
        """Return what a month costs, as far as prices are known: so many such nights, and endpoints on all its days.

        :param nights: of a month.
        """
        return sum(
            value * (DAYS_A_MONTH if item in (_ENDPOINT, _ENDPOINTS) else nights)
            for item, value in self.cost.items()
            if value is not None
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {
            "calls_of_sagemaker": self.calls_of_sagemaker,
            "dollars": round(self.dollars, 2),
        }


def predict(
    work: Workload,
    measured: Measured,
    prices: Prices,
    limits: Limits | None = None,
    *,
    endpoints: Sequence[tuple[str, float]] = (),
) -> NightModel:
    """Return what a night comes to.

    :param endpoints: instance type and count of each shared endpoint, the count times the part of the week in
        which it is open.
    """
    limits = limits or Limits()
    waits = dict(_waits(work, measured, limits))
    longest = max(waits, key=lambda name: waits[name], default="")
    chain = max((chain_seconds(kind, work, measured) for kind in work.runs), default=0.0)
    delayed = waits.get(longest, 0.0)
    peak = _peak(work, measured, limits)
    billable: dict[str, float] = defaultdict(float)
    for kind, job in _jobs(work):
        billable[job.quota] += kind.count * billed_seconds(job, measured)
    seconds = chain + delayed
    calls = night_calls.calls_of(work.dag_runs - work.cohorts, work.cohorts, work.in_cohorts)
    calls += _polls(work, measured, seconds)
    return NightModel(
        cities=work.cities,
        cohorts=work.cohorts,
        dag_runs=work.dag_runs,
        jobs=work.jobs,
        starts=work.starts,
        seconds=seconds,
        bounded_by=longest if delayed > chain / 2 else "one run's own jobs",
        chain_seconds=chain,
        peak=peak,
        calls=dict(sorted(calls.items())),
        billable_seconds=dict(billable),
        cost=_cost(work, measured, prices, calls=calls, peak=peak, endpoints=endpoints),
    )


def held_seconds(job: JobKind, measured: Measured, *, warm: bool = False) -> float:
    """Return how long a job holds an instance of its quota: from Create to its end.

    :param warm: it takes over an instance that a warm pool has kept.
    """
    start = measured.warm_start_seconds if warm else measured.start_up_seconds
    return start + billed_seconds(job, measured)


def billed_seconds(job: JobKind, measured: Measured) -> float:
    """Return what AWS bills of a job: from the download of image and data to the end of the upload."""
    return measured.download_seconds + job.work_seconds + measured.upload_seconds


def slot_seconds(job: JobKind, work: Workload, measured: Measured) -> float:
    """Return how long a task holds its slot of the pool: until somebody has seen that the job has ended."""
    return held_seconds(job, measured) + work.poll_seconds / 2 + 2 * measured.start_latency


def city_slot_seconds(measured: Measured) -> float:
    """Return how long the task of a cohort's city holds its slot of the pool."""
    return measured.start_latency + measured.city_task_seconds


def chain_seconds(kind: RunKind, work: Workload, measured: Measured) -> float:
    """Return how long one run of a kind takes, alone on an idle Airflow."""
    jobs = sum(slot_seconds(job, work, measured) for job in kind.jobs)
    if not kind.is_cohort:
        return jobs + 5 * measured.start_latency + measured.city_task_seconds
    rounds = math.ceil(kind.cities / measured.cohort_task_limit)
    # So many of its cities at a time, as fast as they can be started.
    own = max(
        rounds * city_slot_seconds(measured),
        kind.cities / measured.starts_per_second,
    )
    return jobs + 2 * measured.start_latency + own


@dataclass
class _Demand:
    """What a night asks of one thing that only so many may have at a time.

    :param total: of all jobs together, in seconds (of Create: in calls).
    :param each: the longest job's.
    :param own: the most that the jobs of one run take, one after the other; it is in that run's chain.
    """

    total: float = 0.0
    each: float = 0.0
    own: float = 0.0

    def add(self, runs: int, of_jobs: list[float]) -> None:
        """Add runs whose jobs take so long each."""
        self.total += runs * sum(of_jobs)
        self.each = max([self.each, *of_jobs])
        self.own = max(self.own, sum(of_jobs))

    def wait(self, at_a_time: int) -> float:
        """Return how long the last run is kept waiting, where so many may have the thing at a time."""
        if at_a_time < 1:
            return math.inf if self.total else 0.0
        if not self.each:
            return 0.0
        rounds = math.ceil(round(self.total / self.each / at_a_time, 6))
        return max(0.0, self.each * rounds - self.own)


def _waits(work: Workload, measured: Measured, limits: Limits) -> Iterator[tuple[str, float]]:
    """Yield how long the last run is kept waiting by what, if it were the only thing that is scarce."""
    yield "spread_minutes", work.spread_seconds
    largest = max((kind.starts for kind in work.runs), default=0)
    yield "starts in Airflow", max(0, work.starts - largest) / measured.starts_per_second
    creates: dict[str, _Demand] = defaultdict(_Demand)
    quotas: dict[str, _Demand] = defaultdict(_Demand)
    pool = _Demand()
    for kind in work.runs:
        for operation in {_operation(job) for job in kind.jobs}:
            calls = sum(_operation(job) == operation for job in kind.jobs)
            creates[operation].add(kind.count, [1 / measured.creates_per_second] * calls)
        for name in {job.quota for job in kind.jobs}:
            held = [
                held_seconds(job, measured, warm=job.keep_alive_seconds > 0)
                for job in kind.jobs
                if job.quota == name
            ]
            quotas[name].add(kind.count, held)
        pool.add(kind.count, [slot_seconds(job, work, measured) for job in kind.jobs])
        if kind.is_cohort:
            # Its cities' tasks hold a slot each: one that is cleared starts a job of its own.
            of_cities = kind.cities * city_slot_seconds(measured)
            pool.total += kind.count * of_cities
            pool.own = max(
                pool.own, slot_seconds(kind.jobs[0], work, measured) + of_cities / measured.cohort_task_limit
            )
    for name, demand in creates.items():
        yield f"the pace of Create{name}Job", demand.wait(1)
    for name, demand in quotas.items():
        if (have := limits.quotas.get(name)) is not None:
            yield f"the quota {name!r}", demand.wait(have)
    if limits.pool is not None:
        yield "the pool of jobs", pool.wait(limits.pool)


def _operation(job: JobKind) -> str:
    return "Processing" if job.usage == PROCESSING else "Training"


def _peak(work: Workload, measured: Measured, limits: Limits) -> dict[str, int]:
    """Return the most instances at a time, by quota: as many as are created before the first of them ends."""
    most: dict[str, float] = defaultdict(float)
    longest: dict[str, float] = defaultdict(float)
    # A run waits for one job at a time, so jobs of one quota that follow each other share the runs there are.
    runs: dict[str, int] = defaultdict(int)
    for kind in work.runs:
        for name in {job.quota for job in kind.jobs}:
            runs[name] += kind.count
        for job in kind.jobs:
            held = held_seconds(job, measured)
            spread = kind.count / work.spread_seconds if work.spread_seconds else math.inf
            most[job.quota] += min(kind.count, spread * held)
            longest[job.quota] = max(longest[job.quota], held)
    pace = min(measured.creates_per_second, measured.starts_per_second)
    found = {}
    for name, number in most.items():
        bounds = [
            math.ceil(min(number, pace * longest[name])),
            runs[name],
            limits.quotas.get(name),
            limits.pool,
        ]
        found[name] = min(bound for bound in bounds if bound is not None)
    return found


def _polls(work: Workload, measured: Measured, seconds: float) -> Counter[str]:
    found: Counter[str] = Counter()
    waits: dict[str, float] = defaultdict(float)
    for kind, job in _jobs(work):
        waits[f"sagemaker:List{_operation(job)}Jobs"] += kind.count * held_seconds(job, measured)
    for name, total in waits.items():
        found[name] += night_calls.polls(seconds, total / seconds, work.poll_seconds)
    return found


def _cost(
    work: Workload,
    measured: Measured,
    prices: Prices,
    *,
    calls: Mapping[str, int],
    peak: Mapping[str, int],
    endpoints: Sequence[tuple[str, float]],
) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for kind, job in _jobs(work):
        item = f"{JOBS}{job.quota.removesuffix(' usage')}"
        seconds = kind.count * billed_seconds(job, measured)
        price = prices.instance_seconds(job.instance_type, seconds, spot=job.spot)
        before = found.get(item, 0.0)
        found[item] = None if price is None or before is None else before + price
    for quota, (instance_type, kept) in _kept_warm(work).items():
        idle = prices.instance_seconds(instance_type, peak[quota] * kept)
        found[f"warm pools, idle: {instance_type}"] = idle
    gets = sum(calls.get(f"s3:{name}", 0) for name in ("GetObject", "HeadObject"))
    puts = sum(calls.get(f"s3:{name}", 0) for name in ("PutObject", "ListObjectsV2"))
    gigabytes = work.cities * measured.kept_megabytes / 1024
    found["S3"] = found["CloudWatch: logs"] = None
    if prices.has_others:
        found["S3"] = (
            gets / 1000 * prices.s3_get_per_1000
            + puts / 1000 * prices.s3_put_or_list_per_1000
            + gigabytes * prices.s3_gb_month
        )
        # A cohort's job says of each city what three jobs would.
        logs = 3 * work.cities * measured.log_kilobytes / 1024**2
        found["CloudWatch: logs"] = logs * prices.logs_gb_ingested
    if endpoints:
        days = [prices.instance_seconds(kind, 24 * 3600) for kind, _ in endpoints]
        what = _ENDPOINT if len(endpoints) == 1 else _ENDPOINTS
        each = [day * count for day, (_, count) in zip(days, endpoints, strict=True) if day is not None]
        found[what] = sum(each) if len(each) == len(endpoints) else None
    return found


def _kept_warm(work: Workload) -> dict[str, tuple[str, int]]:
    """Return instance type and seconds of what is kept warm, by quota."""
    return {
        job.quota: (job.instance_type, job.keep_alive_seconds)
        for _, job in _jobs(work)
        if job.keep_alive_seconds
    }


def _jobs(work: Workload) -> Iterator[tuple[RunKind, JobKind]]:
    for kind in work.runs:
        for job in kind.jobs:
            yield kind, job
