"""Bases of the tasks of a city's DAG."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.sdk import BaseOperator

from city_fleet.champions.planned_city import PlannedCity
from city_fleet.orchestration.lineage import Lineage
from city_fleet.orchestration.patience import Patient
from city_fleet.orchestration.run_context import author_of, name_of, run_of, upstream
from city_fleet.orchestration.task_clients import TaskClients
from city_fleet.plan import CityPlan
from city_fleet.run_steps.step_input import CityRun

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context

Task = TypeVar("Task", bound=BaseOperator)


class OfCity:
    """A task that is about a city."""

    plan: Any
    #: Says what the task has read and made, once it knows; asked where OpenLineage is on alone.
    lineage: Callable[[], Lineage] | None = None

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage:
        """Return what Airflow's OpenLineage provider asks for when the task has ended, well or not."""
        # The provider is there, for it has asked; and where it is not, nothing of it is imported.
        from city_fleet.orchestration import openlineage_facets  # noqa: PLC0415

        return openlineage_facets.told(self.lineage() if self.lineage else None)

    def take(self, plan: CityPlan) -> None:
        """Become another city's: set what this class's ``__init__`` has taken from a plan."""
        self.plan = plan


class PatientTask(OfCity, Patient):
    """A task of a city that waits as long as its ``capacity_wait_seconds``."""

    plan: CityPlan
    task_id: str

    @property
    def patience_seconds(self) -> float:
        return self.plan.city.capacity_wait_seconds

    @property
    def where(self) -> str:
        return f"City {self.plan.city.slug!r}, task {self.task_id}"


class CityOperator(PatientTask, BaseOperator):
    """A task of a city's DAG that starts no job.

    :param aws_conn_id: Airflow connection for AWS; its endpoint URL is the only thing a laptop changes.
    """

    def __init__(self, *, plan: CityPlan, aws_conn_id: str | None = "aws_default", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.aws_conn_id = aws_conn_id

    def city(self) -> PlannedCity:
        return city_of(self.plan, self.aws_conn_id)


def city_of(plan: CityPlan, aws_conn_id: str | None) -> PlannedCity:
    """Return the city of a plan, with the clients of an Airflow connection."""
    return PlannedCity.of(TaskClients(aws_conn_id, plan.fleet.region, plan.fleet.kms_key), plan)


def city_run_of(city: PlannedCity, context: Context) -> CityRun:
    """Return the run that a task of a city's own DAG belongs to, as its steps see it."""
    plan, dag_run = city.plan, context["dag_run"]
    return CityRun(
        city,
        run_of(plan, context),
        name_of(plan, context),
        author_of(plan, context),
        lambda: dag_run.start_date or dag_run.run_after,
        partial(upstream, context),
    )


def copy_of(task: Task, plan: CityPlan) -> Task:
    """Return a task like another that is in no DAG yet, for another city.

    As Airflow itself copies operators: without their ``__init__``, which takes most of the time that a DAG takes to
    build. What can be changed is copied, so that a change of one city's task (a cluster policy makes some) is not
    another's.
    """
    found = object.__new__(type(task))
    found.__dict__.update(
        {
            name: value.copy()
            if type(value) in (dict, list, set)
            else copy(value)
            if name == "params"
            else value
            for name, value in task.__dict__.items()
        }
    )
    if isinstance(found, OfCity):
        found.take(plan)
    return found
