"""The fleet-wide DAGs of every fleet file: the shared endpoint, the reaper, retiring."""

import airflow.providers.amazon.aws.operators.sagemaker  # noqa: F401 - the DAG processor imports it once, before it forks
from airflow.sdk import get_parsing_context

from city_fleet.config.places import fleets_folder
from city_fleet.orchestration.fleet_dags import fleet_dags
from city_fleet.orchestration.shared_forms import shared_form

for dag in fleet_dags(fleets_folder(), only=get_parsing_context().dag_id, fetch=shared_form):
    globals()[dag.dag_id] = dag
