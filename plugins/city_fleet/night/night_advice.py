"""What follows from a night's plan: quotas to ask for, and lines to paste."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from city_fleet import naming
from city_fleet.config import Fleet
from city_fleet.config.endpoint_section import MULTI_CONTAINER
from city_fleet.night.measured import Measured
from city_fleet.night.night_model import NightModel, billed_seconds, city_slot_seconds, held_seconds
from city_fleet.night.prices import Prices
from city_fleet.night.service_quotas import ENDPOINT, SPOT_TRAINING, WARM_POOL, Quotas, quota_name
from city_fleet.night.workload import JobKind, Workload

#: Instances asked for beyond what is reckoned: a job may take longer than the mean.
HEADROOM = 1.15
#: Longer than two jobs of one instance are apart, and short beside what a start takes.
KEEP_ALIVE_SECONDS = 300
#: An instance that has fewer jobs than this is not worth keeping between them.
WORTH_KEEPING = 3
#: From so many runs on they should not all begin at the same moment.
MANY_RUNS = 200
#: A spot job waits so long for capacity before it trains on demand.
SPOT_WAIT_SECONDS = 3600


@dataclass(frozen=True)
class Need:
    """What a night needs of a quota.

    :param needed: instances at a time, so that the night ends in time.
    :param have: of the account; None where nobody has said.
    :param code: Service Quotas' ``L-…``; None where it is not known here.
    """

    name: str
    needed: int
    have: int | None
    code: str | None

    @property
    def fits(self) -> bool | None:
        """Return whether the quota is large enough; None where nobody knows."""
        return None if self.have is None else self.have >= self.needed


def needs(
    work: Workload,
    night: NightModel,
    measured: Measured,
    *,
    within_seconds: float,
    quotas: Quotas,
    fleet: Fleet,
) -> list[Need]:
    """Return what a night needs of each quota to end in time, the endpoint's too.

    :param within_seconds: from the tick to the last record.
    """
    room = max(within_seconds - night.chain_seconds, 1.0)
    total: dict[str, float] = defaultdict(float)
    warm: dict[str, str] = {}
    for kind in work.runs:
        for job in kind.jobs:
            total[job.quota] += kind.count * held_seconds(job, measured)
            if job.keep_alive_seconds:
                warm[job.quota] = quota_name(job.instance_type, WARM_POOL)
    found = []
    for name, seconds in sorted(total.items()):
        # One after the other on so many instances, and never more than run at a time with nothing in the way.
        number = min(max(1, math.ceil(seconds / room * HEADROOM)), night.peak[name])
        found.append(_need(name, number, quotas))
        if name in warm:
            found.append(_need(warm[name], number, quotas))
    serving: dict[str, int] = defaultdict(int)
    for each in map(fleet.endpoint_settings, fleet.endpoint_names):
        # Where each model has a container, another endpoint is made beside the one that serves.
        beside = 2 if each.kind == MULTI_CONTAINER else 1
        serving[quota_name(each.instance_type, ENDPOINT)] += beside * each.most_instances
    found += [_need(name, number, quotas) for name, number in serving.items()]
    return found


def _need(name: str, number: int, quotas: Quotas) -> Need:
    return Need(name, number, quotas.instances.get(name), quotas.code(name))


def commands(needed: list[Need]) -> Iterator[str]:
    """Yield what to type to have a quota that does not fit, or that nobody has looked at."""
    for need in needed:
        if need.fits:
            continue
        code = need.code or "L-…"
        yield f"# {need.name}"
        yield "aws service-quotas request-service-quota-increase --service-code sagemaker \\"
        yield f"  --quota-code {code} --desired-value {need.needed}"


def settings(
    work: Workload,
    night: NightModel,
    measured: Measured,
    prices: Prices,
    *,
    needed: list[Need],
    fleet: Fleet,
    cohort: int | None,
) -> Iterator[str]:
    """Yield lines to paste: the pool, and of the fleet file `cohort`, `spread_minutes`, `training`.

    :param needed: instances at a time, as :func:`needs` has them.
    :param cohort: cities of a cohort; None for a DAG each.
    """
    number = {need.name: need.have if need.fits is False else need.needed for need in needed}
    jobs = {job.quota: job for kind in work.runs for job in kind.jobs}
    slots = pool_slots(work, measured, number)
    pool = fleet.pools.jobs or naming.jobs_pool(fleet.environment)
    yield f"airflow pools set {pool} {slots} 'SageMaker jobs at a time' --include-deferred"
    if cohort is not None and fleet.defaults.cohort != cohort:
        yield f"defaults: {{cohort: {cohort}}}"
    if (minutes := _spread(work, measured, number)) and minutes != round(work.spread_seconds / 60):
        yield "# runs begin as fast as instances become free:"
        yield f"spread_minutes: {minutes}"
    for job in jobs.values():
        yield from _training(work, job, measured, prices, instances=number[job.quota] or 1)


def pool_slots(work: Workload, measured: Measured, number: Mapping[str, int | None]) -> int:
    """Return how many tasks the pool has to let wait or run at a time.

    :param number: instances at a time by the quota's name.
    """
    slots = sum(number[name] or 1 for name in {job.quota for kind in work.runs for job in kind.jobs})
    if work.cohorts:
        # The tasks of their cities are in it too, as many as Airflow can start.
        at_a_time = measured.starts_per_second * city_slot_seconds(measured)
        slots += min(work.in_cohorts, math.ceil(at_a_time))
    return slots


def _spread(work: Workload, measured: Measured, number: dict[str, int | None]) -> int:
    """Return over how many minutes runs should begin, so that none waits for an instance; 0 where all may at once."""
    longest = 0.0
    total: dict[str, float] = defaultdict(float)
    for kind in work.runs:
        for job in kind.jobs:
            total[job.quota] += kind.count * held_seconds(job, measured)
    for name, seconds in total.items():
        longest = max(longest, seconds / (number[name] or 1))
    runs = max((kind.count for kind in work.runs), default=0)
    # A few runs may as well stand in the pool's line.
    return 0 if runs < MANY_RUNS else min(1439, math.floor(longest / 60))


def _training(
    work: Workload, job: JobKind, measured: Measured, prices: Prices, *, instances: int
) -> Iterator[str]:
    """Yield what is worth setting of a training job: a warm pool where an instance has many jobs, or spot."""
    if not job.usage.endswith("training job"):
        return
    count = sum(kind.count for kind in work.runs for each in kind.jobs if each.quota == job.quota)
    saved = measured.start_up_seconds - measured.warm_start_seconds
    idle = prices.instance_seconds(job.instance_type, instances * KEEP_ALIVE_SECONDS)
    if not job.spot and not job.keep_alive_seconds and count >= WORTH_KEEPING * instances:
        costs = "" if idle is None else f", for {idle:.2f} dollars a night"
        yield f"# {count - instances:,} of {count:,} jobs start {saved:.0f} s sooner{costs}:"
        yield f"training: {{keep_alive_seconds: {KEEP_ALIVE_SECONDS}}}"
    if job.usage != SPOT_TRAINING:
        full = prices.instance_seconds(job.instance_type, count * billed_seconds(job, measured))
        if full is not None and (less := full * (1 - prices.spot_share)) >= 1:
            yield f"# or, instead of a warm pool, about {less:.2f} dollars a night less:"
            yield f"training: {{spot: true, max_wait_seconds: {SPOT_WAIT_SECONDS}, on_demand_fallback: true}}"
