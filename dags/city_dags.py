"""One DAG per city of every fleet file in include/fleets (or the folder CITY_FLEET_FLEETS names).

More cities than one file can hold stand in city_dags_01.py and so on.
"""

import airflow.providers.amazon.aws.operators.sagemaker  # noqa: F401 - the DAG processor imports it once, before it forks
from airflow.sdk import get_parsing_context

from city_fleet.orchestration.dag_shards import shard_dags

asked = get_parsing_context()
globals().update(shard_dags(0, only=asked.dag_id, starts=asked.task_id is not None))
