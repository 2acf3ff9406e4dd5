"""What a night is made of: which DAG runs, with which jobs one after the other, and how many tasks beside them.

A workload is made of a fleet as it is, or of a fleet's settings and any number of cities. The closed form
(:mod:`night_model`) and the simulation in bench/ take the same one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from city_fleet.config import City, Fleet
from city_fleet.config.settings import Defaults, JobSettings, TrainingSettings
from city_fleet.night.measured import Measured
from city_fleet.night.service_quotas import PROCESSING, SPOT_TRAINING, TRAINING, quota_name

#: Cities of a cohort where neither the fleet file nor anybody says how many.
USUAL_COHORT = 50
#: Pieces of tasks of a city's own DAG that a worker starts: each of three jobs twice, and the five tasks after them,
#: with one for the scheduler's own.
STARTS_OF_A_CITY = 12
#: Of a cohort's DAG: begin, train twice, and one at the end; beside one for each city.
STARTS_OF_A_COHORT = 4


@dataclass(frozen=True)
class JobKind:
    """A job of each run of a kind.

    :param step: ``preprocess``, ``train``, ``evaluate`` or ``cohort``.
    :param usage: as Service Quotas has it, such as ``training job``.
    :param work_seconds: what the scripts take.
    :param keep_alive_seconds: how long its instance is kept afterwards; 0 for not at all.
    """

    step: str
    usage: str
    instance_type: str
    work_seconds: float
    keep_alive_seconds: int = 0

    @property
    def quota(self) -> str:
        return quota_name(self.instance_type, self.usage)

    @property
    def spot(self) -> bool:
        return self.usage == SPOT_TRAINING


@dataclass(frozen=True)
class RunKind:
    """DAG runs that are alike.

    :param count: how many.
    :param cities: of each: 1, or a cohort's.
    :param jobs: of each run, one after the other.
    """

    count: int
    cities: int
    jobs: tuple[JobKind, ...]

    @property
    def is_cohort(self) -> bool:
        return len(self.jobs) == 1 and self.jobs[0].step == "cohort"

    @property
    def starts(self) -> int:
        """Return how many pieces of tasks workers start for a run."""
        return STARTS_OF_A_COHORT + self.cities if self.is_cohort else STARTS_OF_A_CITY


@dataclass(frozen=True)
class Workload:
    """The runs of one night.

    :param spread_seconds: runs begin at any moment of so long a window.
    :param poll_seconds: between two looks at running jobs.
    """

    runs: tuple[RunKind, ...]
    spread_seconds: float = 0.0
    poll_seconds: float = 30.0

    @property
    def cities(self) -> int:
        return sum(kind.count * kind.cities for kind in self.runs)

    @property
    def cohorts(self) -> int:
        return sum(kind.count for kind in self.runs if kind.is_cohort)

    @property
    def in_cohorts(self) -> int:
        return sum(kind.count * kind.cities for kind in self.runs if kind.is_cohort)

    @property
    def dag_runs(self) -> int:
        return sum(kind.count for kind in self.runs)

    @property
    def starts(self) -> int:
        return sum(kind.count * kind.starts for kind in self.runs)

    @property
    def jobs(self) -> int:
        return sum(kind.count * len(kind.jobs) for kind in self.runs)


def even_sizes(cities: int, size: int) -> list[int]:
    """Return the sizes of cohorts: as many as are needed, as equal as they can be."""
    if cities <= 0:
        return []
    cohorts = math.ceil(cities / size)
    least, more = divmod(cities, cohorts)
    return [least + 1] * more + [least] * (cohorts - more)


def imagined(
    fleet: Fleet, cities: int, measured: Measured, *, cohort: int | None, spread_minutes: int | None = None
) -> Workload:
    """Return the night of a fleet with so many cities that set nothing of their own.

    :param cohort: cities of a cohort; None for a DAG each.
    :param spread_minutes: instead of the fleet's own.
    """
    defaults, window = fleet.defaults, fleet.spread_minutes if spread_minutes is None else spread_minutes
    if cohort is None:
        runs = [RunKind(cities, 1, _own_jobs(defaults, measured))]
    else:
        sizes = Counter(even_sizes(cities, cohort))
        runs = [RunKind(count, size, _cohort_job(defaults, measured, size)) for size, count in sizes.items()]
    return Workload(tuple(runs), window * 60.0, float(defaults.waiter_delay_seconds))


def of_fleet(fleet: Fleet, measured: Measured, *, cohorts: Mapping[str, Sequence[str]]) -> Workload:
    """Return the night of a fleet as it is.

    :param cohorts: slugs by name of the cohort; cities that are in none have a DAG of their own.
    """
    grouped = {slug for slugs in cohorts.values() for slug in slugs}
    own: Counter[tuple[JobKind, ...]] = Counter()
    spread = 0
    for slug, city in fleet.cities.items():
        spread = max(spread, city.spread_minutes)
        if slug not in grouped:
            own[_own_jobs(city, measured)] += 1
    runs = [RunKind(count, 1, jobs) for jobs, count in own.items()]
    sizes = Counter(len(slugs) for slugs in cohorts.values() if slugs)
    runs += [
        RunKind(count, size, _cohort_job(fleet.defaults, measured, size)) for size, count in sizes.items()
    ]
    return Workload(tuple(runs), spread * 60.0, float(fleet.defaults.waiter_delay_seconds))


def _own_jobs(settings: Defaults | City, measured: Measured) -> tuple[JobKind, ...]:
    interpreter = measured.interpreter_seconds
    return (
        _processing("preprocess", settings.processing, interpreter + measured.preprocess_seconds),
        _training("train", settings.training, interpreter + measured.train_seconds),
        _processing("evaluate", settings.processing, interpreter + measured.evaluate_seconds),
    )


def _cohort_job(settings: Defaults | City, measured: Measured, cities: int) -> tuple[JobKind, ...]:
    work = measured.interpreter_seconds + cities * measured.city_seconds
    return (_training("cohort", settings.training, work),)


def _processing(step: str, settings: JobSettings, work: float) -> JobKind:
    return JobKind(step, PROCESSING, settings.instance_type, work)


def _training(step: str, settings: TrainingSettings, work: float) -> JobKind:
    usage = SPOT_TRAINING if settings.spot else TRAINING
    return JobKind(step, usage, settings.instance_type, work, settings.keep_alive_seconds or 0)
