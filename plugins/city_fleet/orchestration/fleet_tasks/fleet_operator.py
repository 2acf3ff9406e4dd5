"""Base of the tasks that look after a whole fleet."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from airflow.sdk import BaseOperator
from botocore.config import Config

from city_fleet.config import Fleet
from city_fleet.orchestration.aws_hooks import AwsHook
from city_fleet.orchestration.patience import Patient
from city_fleet.orchestration.task_clients import CLIENT_CONFIG
from city_fleet.state.encryption import encrypting


class PatientTask(Patient):
    """A task of a fleet that waits as long as ``defaults.capacity_wait_seconds``."""

    fleet: Fleet
    task_id: str

    @property
    def patience_seconds(self) -> float:
        return self.fleet.defaults.capacity_wait_seconds

    @property
    def where(self) -> str:
        return f"Fleet {self.fleet.fleet!r}, task {self.task_id}"


class FleetOperator(PatientTask, BaseOperator):
    """A task that looks after a whole fleet.

    :param aws_conn_id: Airflow connection for AWS; its endpoint URL is the only thing a laptop changes.
    """

    def __init__(self, *, fleet: Fleet, aws_conn_id: str | None = "aws_default", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fleet = fleet
        self.aws_conn_id = aws_conn_id

    def client(self, service: str, config: Config) -> Any:
        """Return a boto3 client of the task's connection.

        :param config: settings beside those of the connection.
        """
        hook = AwsHook(aws_conn_id=self.aws_conn_id, client_type=service, region_name=self.fleet.region)
        made = hook.get_client_type(config=CLIENT_CONFIG.merge(hook.config).merge(config))
        return encrypting(made, self.fleet.kms_key) if service == "s3" else made


def within(seconds: float) -> Callable[[], bool]:
    """Return a function that is true for some seconds."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() < end
