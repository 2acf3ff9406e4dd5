"""Airflow operator of the fleet's ``_reconcile`` DAG: tell by assets which live pointers people have moved."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from city_fleet.champions.moves import cities_moved_since
from city_fleet.errors import CityFleetError
from city_fleet.orchestration import assets
from city_fleet.orchestration.fleet_tasks.fleet_operator import FleetOperator
from city_fleet.orchestration.patience import patient
from city_fleet.orchestration.task_clients import TaskClients
from city_fleet.state import live

if TYPE_CHECKING:
    from airflow.sdk import Context

ANNOUNCE = "announce"


class AnnounceMovesOperator(FleetOperator):
    """Update the asset of each live pointer that has moved since the last look, but for what cities' runs publish.

    Those say so themselves, at once. A command or a decision in the registry is told here, within one look of this
    DAG, wherever it was made: no command needs to reach Airflow. Returns the cities.
    """

    @patient
    def execute(self, context: Context) -> list[str]:
        clients, keys = TaskClients(self.aws_conn_id, self.fleet.region, self.fleet.kms_key), self.fleet.keys
        run = context["dag_run"]
        since: datetime | None = context.get("prev_start_date_success") or run.start_date or run.run_after
        told = []
        for city in cities_moved_since(clients.s3, keys, since) if since else ():
            try:
                found = live.read(clients.s3, keys, city)
            except CityFleetError as error:
                self.log.warning("%s: %s", city, error)
                continue
            if found is None or found.pointer.moved_by.startswith(f"{self.fleet.fleet}.{city}/"):
                continue
            assets.tell_moved(context, self.fleet, found.pointer)
            self.log.info("%s: %s by %s", city, found.pointer.move, found.pointer.moved_by)
            told.append(city)
        return told
