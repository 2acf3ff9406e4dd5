"""The fleet-wide DAGs of every fleet file: the shared endpoint."""

import os
from pathlib import Path

from airflow.sdk import get_parsing_context

from city_fleet.dag_builder import fleet_dags

FLEETS = Path(os.environ.get("CITY_FLEET_FLEETS") or Path(__file__).parents[1] / "include" / "fleets")

for dag in fleet_dags(FLEETS, only=get_parsing_context().dag_id):
    globals()[dag.dag_id] = dag
