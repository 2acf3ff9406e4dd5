"""The city DAGs of shard 9: none, and no work for Airflow, while the fleets are small."""

import airflow.providers.amazon.aws.operators.sagemaker  # noqa: F401 - the DAG processor imports it once, before it forks
from airflow.sdk import get_parsing_context

from city_fleet.orchestration.dag_shards import shard_dags

asked = get_parsing_context()
globals().update(shard_dags(9, only=asked.dag_id, starts=asked.task_id is not None))
