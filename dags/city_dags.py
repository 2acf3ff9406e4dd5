"""One DAG per city of every fleet file in include/fleets (or the folder CITY_FLEET_FLEETS names)."""

import os
from pathlib import Path

from airflow.sdk import get_parsing_context

from city_fleet.dag_builder import city_dags

FLEETS = Path(os.environ.get("CITY_FLEET_FLEETS") or Path(__file__).parents[1] / "include" / "fleets")

for dag in city_dags(FLEETS, only=get_parsing_context().dag_id):
    globals()[dag.dag_id] = dag
