"""The plan of a cohort: cities that are trained by one job, and run by one DAG. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from city_fleet import naming
from city_fleet.config import City, Fleet, JobSettings
from city_fleet.config.settings import TRAINING_MAX_SECONDS, TrainingSettings
from city_fleet.plan import CityPlan, plan_city

#: The tasks of a cohort's DAG: fix each city's run; the job of all; a task per city, mapped; what they came to.
BEGIN, TRAIN_COHORT, CITY, RECORD_COHORT = "begin", "train", "city", "record"

#: How much longer the job may take for each city but one: three times what a city of Texas takes (docs/scaling.md).
SECONDS_FOR_EACH = 6


@dataclass(frozen=True, repr=False)
class CohortPlan:
    """Everything about a cohort that is known without a run.

    :param fleet: with the cohort's cities at least.
    :param name: ``cohort_007``.
    :param slugs: its cities without a mistake, sorted.
    """

    fleet: Fleet
    name: str
    slugs: tuple[str, ...]

    @property
    def dag_id(self) -> str:
        return naming.cohort_dag_id(self.fleet.fleet, self.name)

    def __repr__(self) -> str:
        # Airflow stores what a mapped task is made of as text: short, and the same at every look.
        return f"<cohort {self.fleet.fleet}.{self.name}>"

    @property
    def who(self) -> str:
        """Return whose the jobs are, in names and keys: ``_cohort_007``, where else a city's slug stands."""
        return naming.cohort_home(self.name)

    @property
    def whose(self) -> str:
        """Return what errors about the jobs begin with."""
        return f"Cohort {self.name!r}"

    @property
    def keys(self) -> naming.Keys:
        return self.fleet.keys

    def settings(self, step: str) -> JobSettings:
        """Return instance, volume and time limits of the job."""
        return self.training

    @property
    def training(self) -> TrainingSettings:
        """Return those of one city's training, and for each other city some seconds more."""
        settings = self.city.training
        more = SECONDS_FOR_EACH * (len(self.slugs) - 1)
        limits = {"max_runtime_seconds": settings.max_runtime_seconds}
        if settings.max_wait_seconds is not None:
            limits["max_wait_seconds"] = settings.max_wait_seconds
        longer = {name: min(limit + more, TRAINING_MAX_SECONDS) for name, limit in limits.items()}
        return settings.model_copy(update=longer)

    @property
    def any(self) -> CityPlan:
        """Return the plan of one of its cities: all have the schedule, the scripts and the job's settings in common."""
        return plan_city(self.fleet, self.slugs[0])

    @property
    def city(self) -> City:
        return self.any.city

    @property
    def delay_seconds(self) -> int:
        """Return how long after a tick of the schedule the cohort's run starts."""
        return naming.spread_seconds(self.fleet.fleet, self.who, self.city.spread_minutes * 60)

    def plan_of(self, slug: str) -> CityPlan:
        """Return the plan of one of its cities.

        :raises KeyError: it is none of them.
        """
        return plan_city(self.fleet, slug)

    def plans(self) -> Iterator[CityPlan]:
        """Yield the plans of its cities."""
        return map(self.plan_of, self.slugs)


def plan_cohort(fleet: Fleet, name: str) -> CohortPlan:
    """Return the plan of a cohort.

    :raises KeyError: the fleet has no such cohort, or none of its cities can be used.
    """
    slugs = tuple(slug for slug in fleet.members[name] if slug in fleet.cities)
    if not slugs:
        raise KeyError(name)
    return CohortPlan(fleet, name, slugs)
