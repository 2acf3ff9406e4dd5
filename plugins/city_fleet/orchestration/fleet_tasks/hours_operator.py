"""Airflow operator of the fleet's ``_hours`` DAG: shared endpoints close and open by their hours."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowException
from botocore.exceptions import ClientError

from city_fleet import aws_errors
from city_fleet.errors import CityFleetError
from city_fleet.jobs import pacing
from city_fleet.orchestration.fleet_tasks.fleet_operator import FleetOperator
from city_fleet.orchestration.patience import patient
from city_fleet.outgoing_text import printable
from city_fleet.plan import endpoint_name
from city_fleet.serving import endpoint_hours, endpoint_scaling
from city_fleet.state.objects import ObjectStore

if TYPE_CHECKING:
    from airflow.sdk import Context

KEEP_HOURS = "keep_hours"


class KeepHoursOperator(FleetOperator):
    """Do what the hours of each shared endpoint ask for now, and say it.

    Returns what was done: name of the shared endpoint → a word of ``serving/office_hours.py``. One that can't be
    opened or closed does not hold the others up; the task fails and names it.
    """

    @patient
    def execute(self, context: Context) -> dict[str, str]:
        store = ObjectStore(self.client("s3", pacing.RETRIES), self.fleet.bucket)
        sagemaker = self.client("sagemaker", pacing.RETRIES)
        done: dict[str, str] = {}
        problems: list[str] = []
        for name in self.fleet.endpoint_names:
            try:
                looked = endpoint_hours.look(
                    sagemaker,
                    store,
                    self.fleet,
                    name,
                    datetime.now(UTC),
                    ready=partial(self._scale, name),
                )
            except (CityFleetError, ClientError) as error:
                if aws_errors.is_passing(error):
                    raise
                if isinstance(error, ClientError) and aws_errors.is_no_bucket(error):
                    self.log.info("There is no bucket %s yet, and so no endpoint", self.fleet.bucket)
                    return {}
                problems.append(f"{endpoint_name(self.fleet, name)}: {error}")
                continue
            done[endpoint_name(self.fleet, name)] = looked.did.value
            self.log.info("%s", printable(looked.sentence))
        if problems:
            raise AirflowException(printable(". ".join(problems)))
        return done

    def _scale(self, name: str, endpoint: str) -> None:
        """Have an endpoint that is there again scale: what was registered went with the one that was deleted."""
        wanted = self.fleet.endpoint_settings(name).scaling
        if wanted is not None:
            endpoint_scaling.register(
                self.client("application-autoscaling", pacing.RETRIES), endpoint, wanted
            )
