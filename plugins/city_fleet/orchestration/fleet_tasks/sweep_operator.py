"""Airflow operator of the fleet's ``_reaper`` DAG: delete the SageMaker endpoints that another one has replaced."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airflow.sdk.exceptions import AirflowException
from botocore.exceptions import ClientError

from city_fleet import aws_errors
from city_fleet.jobs import pacing
from city_fleet.orchestration.fleet_tasks.fleet_operator import FleetOperator
from city_fleet.orchestration.patience import patient
from city_fleet.outgoing_text import printable
from city_fleet.plan import endpoint_name
from city_fleet.serving import endpoint_sweep
from city_fleet.state.objects import ObjectStore

if TYPE_CHECKING:
    from airflow.sdk import Context

SWEEP = "sweep_endpoints"


class SweepEndpointsOperator(FleetOperator):
    """Delete endpoints that another one has replaced, once every caller knows, and say which.

    Returns their names; with the DAG's param ``dry_run`` nothing is deleted.
    """

    @patient
    def execute(self, context: Context) -> list[str]:
        dry_run = bool(context["params"]["dry_run"])
        store = ObjectStore(self.client("s3", pacing.RETRIES), self.fleet.bucket)
        sagemaker = self.client("sagemaker", pacing.RETRIES)
        try:
            swept = endpoint_sweep.sweep(
                sagemaker,
                store,
                self.fleet.keys,
                endpoint_name(self.fleet),
                datetime.now(UTC),
                dry_run=dry_run,
            )
        except ClientError as error:
            if not aws_errors.is_no_bucket(error):
                raise
            self.log.info("There is no bucket %s yet, and so no endpoint", self.fleet.bucket)
            return []
        for name in swept.deleted:
            self.log.info(
                "%s %s, which another endpoint has replaced", "Would delete" if dry_run else "Deleted", name
            )
        for said in swept.left:
            self.log.warning("Left to the next look: %s", printable(said))
        if not (swept.deleted or swept.left or swept.problems):
            self.log.info("No endpoint was replaced long enough ago to be deleted")
        if swept.problems:
            raise AirflowException(
                f"{len(swept.problems)} endpoints could not be deleted: {printable(' '.join(swept.problems))}"
            )
        return swept.deleted
