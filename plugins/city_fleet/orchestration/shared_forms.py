"""Last good forms of fleet files from S3, asked through Airflow's connection while a file can't be used."""

from __future__ import annotations

import logging

from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
from botocore.config import Config

from city_fleet.config.top_lines import TopLines
from city_fleet.config.usable_fleets import Shared
from city_fleet.naming import Keys
from city_fleet.state import form_store
from city_fleet.state.objects import ObjectStore

# A DAG file has 30 seconds in all.
_QUICK = Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 2})
_log = logging.getLogger(__name__)


def shared_form(lines: TopLines) -> Shared | None:
    """Return the last good form of the fleet that a broken file names, or None; whatever fails, nothing is raised."""
    keys = Keys(lines.bucket, lines.fleet, lines.environment)
    try:
        hook = AwsBaseHook(aws_conn_id="aws_default", client_type="s3", region_name=lines.region)
        client = hook.get_client_type(config=hook.config.merge(_QUICK))
        return form_store.last_good(ObjectStore(client, lines.bucket), keys)
    except Exception as error:
        _log.warning("%s can't be asked for the last good form: %s", keys.uri(keys.compiled_current()), error)
        return None
