"""Base of the tasks of a city's DAG that start no job."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperator

from city_fleet.champions.planned_city import PlannedCity
from city_fleet.orchestration.task_clients import TaskClients
from city_fleet.orchestration.task_log import PrintableLog
from city_fleet.plan import CityPlan


class CityOperator(PrintableLog, BaseOperator):
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
    return PlannedCity.of(TaskClients(aws_conn_id, plan.fleet.region), plan)
