"""One DAG per city of every fleet file in include/fleets (or the folder CITY_FLEET_FLEETS names)."""

from airflow.sdk import get_parsing_context

from city_fleet.config.places import fleets_folder
from city_fleet.orchestration.city_dags import city_dags
from city_fleet.orchestration.shared_forms import shared_form

for dag in city_dags(fleets_folder(), only=get_parsing_context().dag_id, fetch=shared_form):
    globals()[dag.dag_id] = dag
