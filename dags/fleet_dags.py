"""The fleet-wide DAGs of every fleet file: the shared endpoint, the reaper, the reconciler, the digest, retiring."""

import airflow.providers.amazon.aws.operators.sagemaker  # noqa: F401 - the DAG processor imports it once, before it forks
from airflow.sdk import get_parsing_context

from city_fleet.orchestration.dag_shards import fleet_wide_dags

globals().update(fleet_wide_dags(only=get_parsing_context().dag_id))
