"""Simulates nights, task by task and job by job, with simpy: what does not fit on this machine.

A task stands in line for a slot of the pool, the scheduler, a slot of the executor and, on a laptop, a processor; a job
for its turn to be created, its quota, and its instance; its end is seen at the next look of the poller. Times vary
around the means of :mod:`city_fleet.night.measured`, by a seed. Airflow prefers the earlier tasks of a DAG, and so does
this. Of the closed form of ``./fleet plan`` it takes the workload, and nothing of how that reckons.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import simpy

from city_fleet.night.measured import Measured
from city_fleet.night.service_quotas import PROCESSING
from city_fleet.night.workload import JobKind, RunKind, Workload

#: Of a city's DAG after its jobs: decide, register, gate, publish or keep, record. The heaviest calls AWS 20 times.
TASKS_AFTER = (0.15, 0.2, 0.0, 0.5, 0.15)
#: How far a job's own seconds vary around their mean.
SPREAD_OF_WORK = 0.3
_NEVER = 10**9


@dataclass(frozen=True)
class Site:
    """Where a night runs.

    :param parallelism: slots of the executor.
    :param pool: slots of the pool of jobs; None for no limit.
    :param quotas: instances by the quota's name; one that is missing is no limit.
    :param processors: of a laptop on which Airflow's tasks and the jobs themselves share them; None on AWS.
    :param start_cpu: processor seconds of a task's start there, and ``job_cpu`` of a job beside its script.
    """

    parallelism: int = 32
    pool: int | None = None
    quotas: Mapping[str, int] = field(default_factory=dict)
    processors: int | None = None
    start_cpu: float = 0.0
    job_cpu: float = 0.0


@dataclass
class Simulated:
    """What a simulated night came to.

    :param seconds: from its tick to the last record.
    :param peak: instances at a time, by the quota's name.
    :param starts: pieces of tasks that were started.
    :param billed: seconds of instances by the quota's name.
    """

    seconds: float = 0.0
    peak: dict[str, int] = field(default_factory=dict)
    starts: int = 0
    jobs: int = 0
    billed: dict[str, float] = field(default_factory=dict)
    running: list[tuple[float, int]] = field(default_factory=list)


Process = Iterator[Any]


class Line:
    """A line at some counters; whoever has the lowest priority number is next, and of equals who came first.

    simpy's own resource sorts its line whenever somebody joins it, which a line of 100,000 can't stand.
    """

    def __init__(self, world: simpy.Environment, counters: int) -> None:
        self._world, self._free = world, counters
        self._waiting: list[tuple[int, int, simpy.Event]] = []
        self._came = itertools.count()

    def turn(self, priority: int = 0) -> simpy.Event:
        """Return what happens when it is one's turn; :meth:`leave` ends it."""
        event = self._world.event()
        if self._free:
            self._free -= 1
            event.succeed()
        else:
            heapq.heappush(self._waiting, (priority, next(self._came), event))
        return event

    def leave(self) -> None:
        """Let the next one have its turn."""
        if self._waiting:
            heapq.heappop(self._waiting)[2].succeed()
        else:
            self._free += 1


class Night:
    """One night.

    :param seed: two nights of one seed are equal.
    """

    def __init__(self, work: Workload, measured: Measured, site: Site, seed: int = 0) -> None:
        self._work, self._measured, self._site = work, measured, site
        self._random = random.Random(seed)  # noqa: S311
        self._world = simpy.Environment()
        self._scheduler = Line(self._world, 1)
        self._slots = Line(self._world, site.parallelism)
        self._pool = Line(self._world, site.pool or _NEVER)
        self._processors = Line(self._world, site.processors) if site.processors else None
        self._creates: dict[bool, Line] = {}
        self._quotas: dict[str, Line] = {}
        self._busy: Counter[str] = Counter()
        self._billed: Counter[str] = Counter()
        self._kept: Counter[str] = Counter()
        self.found = Simulated()

    def run(self) -> Simulated:
        """Let the night pass."""
        for kind in self._work.runs:
            for _ in range(kind.count):
                self._world.process(self._dag_run(kind))
        self._world.run()
        self.found.seconds = self._world.now
        self.found.billed = dict(self._billed)
        return self.found

    def _dag_run(self, kind: RunKind) -> Process:
        if self._work.spread_seconds:
            yield self._world.timeout(self._random.uniform(0, self._work.spread_seconds))
        if kind.is_cohort:
            yield from self._cohort(kind)
            return
        for number, job in enumerate(kind.jobs):
            yield from self._job(job, kind, priority=number)
        for number, share in enumerate(TASKS_AFTER):
            seconds = share * self._measured.city_task_seconds
            yield from self._start(10 + number, seconds)
        # `recorded` is the scheduler's own.
        yield from self._scheduled(20)

    def _cohort(self, kind: RunKind) -> Process:
        yield from self._start(0, self._measured.city_task_seconds)
        yield from self._job(kind.jobs[0], kind, priority=1)
        limit = Line(self._world, self._measured.cohort_task_limit)
        cities = [self._world.process(self._of_cohort(limit)) for _ in range(kind.cities)]
        yield self._world.all_of(cities)
        yield from self._start(20, 0.5)

    def _of_cohort(self, limit: Line) -> Process:
        yield limit.turn()
        # It may have to start a job of its own, so it is in the pool.
        yield self._pool.turn(10)
        yield from self._start(10, self._measured.city_task_seconds)
        self._pool.leave()
        limit.leave()

    def _job(self, job: JobKind, kind: RunKind, priority: int) -> Process:
        """A task that starts a job, waits deferred, and comes back."""
        yield self._pool.turn(priority)
        yield from self._start(priority, 0.5)
        yield from self._created(job)
        self.found.jobs += 1
        yield from self._on_aws(job, kind.cities)
        period = self._work.poll_seconds
        yield self._world.timeout(period - self._world.now % period)
        yield from self._start(priority, 0.5)
        self._pool.leave()

    def _created(self, job: JobKind) -> Process:
        """Wait for the turn of a Create; of a kind there is one pace."""
        pace = self._creates.setdefault(job.usage == PROCESSING, Line(self._world, 1))
        yield pace.turn()
        yield self._world.timeout(1 / self._measured.creates_per_second)
        pace.leave()

    def _on_aws(self, job: JobKind, cities: int) -> Process:
        quota = self._quotas.get(job.quota)
        if quota is None:
            capacity = self._site.quotas.get(job.quota, _NEVER)
            quota = self._quotas[job.quota] = Line(self._world, capacity)
        yield quota.turn()
        self._count(job, 1)
        self.found.peak[job.quota] = max(self.found.peak.get(job.quota, 0), self._busy[job.quota])
        warm = job.keep_alive_seconds > 0 and self._kept[job.quota] > 0
        if warm:
            self._kept[job.quota] -= 1
        start = self._measured.warm_start_seconds if warm else self._measured.start_up_seconds
        # As the public logs have it: from a tenth less to half as much again.
        yield self._world.timeout(start * self._random.triangular(0.9, 1.5, 0.9) / 1.1)
        began = self._world.now
        yield self._world.timeout(self._measured.download_seconds)
        # Of many cities in one job, some take longer and some less.
        spread = SPREAD_OF_WORK / math.sqrt(cities)
        varied = self._random.lognormvariate(-(spread**2) / 2, spread)
        yield from self._computing(job.work_seconds * varied + self._site.job_cpu)
        yield self._world.timeout(self._measured.upload_seconds)
        self._billed[job.quota] += self._world.now - began
        self._count(job, -1)
        if job.keep_alive_seconds:
            self._kept[job.quota] += 1
        quota.leave()

    def _count(self, job: JobKind, change: int) -> None:
        self._busy[job.quota] += change
        self.found.running.append((self._world.now, sum(self._busy.values())))

    def _start(self, priority: int, seconds: float) -> Process:
        """A piece of a task on a worker: scheduled, started, and doing what it does."""
        yield self._slots.turn(priority)
        yield from self._scheduled(priority)
        if self._processors is None:
            yield self._world.timeout(self._measured.start_latency)
        else:
            yield from self._computing(self._site.start_cpu)
        if seconds:
            yield self._world.timeout(seconds)
        self._slots.leave()

    def _scheduled(self, priority: int) -> Process:
        yield self._scheduler.turn(priority)
        self.found.starts += 1
        yield self._world.timeout(1 / self._measured.starts_per_second)
        self._scheduler.leave()

    def _computing(self, seconds: float) -> Process:
        """Compute: on an instance of one's own, or on the laptop's processors, in pieces as the kernel does."""
        if self._processors is None:
            yield self._world.timeout(seconds)
            return
        left = seconds
        while left > 0:
            piece = min(left, 0.5)
            yield self._processors.turn()
            yield self._world.timeout(piece)
            self._processors.leave()
            left -= piece


def simulate(work: Workload, measured: Measured, site: Site | None = None, seed: int = 0) -> Simulated:
    """Simulate a night."""
    return Night(work, measured, site or Site(), seed).run()
