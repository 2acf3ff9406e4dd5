"""Last good forms of fleet files from S3, asked through Airflow's connection while a file can't be used.

Airflow gives a DAG file 30 seconds, for all fleets together. So an S3 that is slow or not to be reached costs a process
a few of them in all, and the fleets whose files are right are built all the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
from botocore.config import Config

from city_fleet import outgoing_text
from city_fleet.config.top_lines import TopLines
from city_fleet.config.usable_fleets import Shared
from city_fleet.errors import PlatformError
from city_fleet.naming import Keys
from city_fleet.state import form_store
from city_fleet.state.objects import ObjectStore

T = TypeVar("T")
_QUICK = Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 1})
_log = outgoing_text.logger(__name__)


class _Patience:
    """How long a process waits for S3, over all its questions."""

    def __init__(self, seconds: float) -> None:
        self.left = seconds

    def asked(self, question: Callable[[], T]) -> T:
        """Return the answer.

        :raises PlatformError: the time was used up before.
        """
        if self.left <= 0:
            raise PlatformError("S3 was too slow before; it is asked again at the next look")
        start = time.monotonic()
        try:
            return question()
        finally:
            self.left -= time.monotonic() - start


# Each look at a DAG file, and each task, is a process of its own.
_patience = _Patience(8)


def shared_form(lines: TopLines) -> Shared | None:
    """Return the last good form of the fleet that a broken file names, or None; whatever fails, nothing is raised."""
    keys = Keys(lines.bucket, lines.fleet, lines.environment)

    def ask() -> Shared | None:
        hook = AwsBaseHook(aws_conn_id="aws_default", client_type="s3", region_name=lines.region)
        client = hook.get_client_type(config=hook.config.merge(_QUICK))
        return form_store.last_good(ObjectStore(client, lines.bucket), keys)

    try:
        found = _patience.asked(ask)
    except Exception as error:
        # One that can't be reached is not asked for the next fleet.
        _patience.left = 0
        _log.warning("%s can't be asked for the last good form: %s", keys.uri(keys.compiled_current()), error)
        return None
    if found is None:
        return None
    manifest, shard = found
    return manifest, lambda digest: _patience.asked(lambda: shard(digest))
