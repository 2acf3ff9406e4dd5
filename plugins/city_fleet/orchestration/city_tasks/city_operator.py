"""Bases of the tasks of a city's DAG."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperator

from city_fleet.champions.planned_city import PlannedCity
from city_fleet.orchestration.patience import Patient
from city_fleet.orchestration.task_clients import TaskClients
from city_fleet.plan import CityPlan


class PatientTask(Patient):
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
