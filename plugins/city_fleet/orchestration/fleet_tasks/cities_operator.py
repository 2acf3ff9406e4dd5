"""Airflow operator of the fleet's ``_cities`` DAG: bring its list of cities up to date."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from airflow.configuration import conf
from airflow.sdk.exceptions import AirflowFailException
from botocore.config import Config

from city_fleet.data import city_lists
from city_fleet.errors import ConfigError, DataError
from city_fleet.orchestration.fleet_tasks.fleet_operator import FleetOperator
from city_fleet.orchestration.patience import patient
from city_fleet.outgoing_text import printable

if TYPE_CHECKING:
    from airflow.sdk import Context

PULL = "pull"


class PullCitiesOperator(FleetOperator):
    """Copy the list of cities from S3 into the CSV beside the fleet file, where that is this machine's to write.

    With the LocalExecutor a task runs where DAG files are read. Workers elsewhere have a copy of the fleet files that
    nobody else reads: there the task fails when the list has changed, and says who is to bring it in.

    Returns the number of cities, and how many are new and gone.
    """

    @patient
    def execute(self, context: Context) -> dict[str, int]:
        even_so = bool(context["params"].get("yes"))
        try:
            pulled = city_lists.pull(self.fleet, self.client("s3", Config()), os.environ, even_so=even_so)
        except (ConfigError, DataError) as error:
            # The same list is as wrong at the next try.
            raise AirflowFailException(printable(str(error))) from error
        self.log.info("%s", pulled.sentence)
        if not pulled.unchanged:
            self._write(pulled)
        return {
            "cities": pulled.before + len(pulled.added) - len(pulled.removed),
            "added": len(pulled.added),
            "removed": len(pulled.removed),
        }

    def _write(self, pulled: city_lists.Pulled) -> None:
        why = "tasks do not run where DAG files are read"
        if "LocalExecutor" in str(conf.get("core", "executor")):
            try:
                pulled.write()
                return
            except OSError as error:
                why = f"it can't be written here ({error.strerror})"
        raise AirflowFailException(
            printable(
                f"{pulled.sentence} It is not brought in: {why}. Run `./fleet cities --pull --fleet "
                f"{self.fleet.fleet}` where the fleet file is kept, and deploy it"
            )
        )
