"""Run records: one immutable object per ended run, and the event that announces it. A boto3 client is passed in.

Records stand by city (``state/runs/<city>/<as_of>-<run key>.json``), so those of one city are found by one List.
S3 lists by key and not by time; the events (``state/events/<moment>/<city>/<as_of>-<run key>.json``, empty objects)
tell what is new without a look at every city.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from city_fleet import naming
from city_fleet.naming import Keys
from city_fleet.state.objects import BYTES, ObjectStore, json_of

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

#: Of one and the same end, only this differs from try to try.
_MOMENT = "finished_at"


def write(s3: S3Client, keys: Keys, record: Mapping[str, Any], *, as_of: datetime, key_of_run: str) -> str:
    """Write a run's record, once. A run that was cleared and ended in another way gets another one beside the first.

    A retry of the task, or of a put whose answer was lost, finds the record there and leaves it.

    The event goes first: a process that dies between the two leaves an event without a record, which readers
    pass over, and never a record that no view learns of.

    :param record: ``city`` and whatever else there is to say.
    :return: the record's key.
    :raises PlatformError: other writes of the same record got in the way for a minute.
    """
    body = json.dumps(record, indent=2).encode()
    first = keys.record(str(record["city"]), as_of, key_of_run)
    # The name follows from the end, so a retry meets its own record here too.
    again = f"{first.removesuffix('.json')}-{naming.digest(_end(json_of(body)), 8)}.json"
    store = ObjectStore(s3, keys.bucket)
    for key in (first, again):
        store.put(keys.event(datetime.now(UTC), key), b"", BYTES)
        if store.create(key, body) is not None:
            return key
        kept = store.get(key)
        if kept is not None and _end(json_of(kept.body)) == _end(json_of(body)):
            return key
    return again


def _end(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a record says but for the moment it was written."""
    return {name: value for name, value in record.items() if name != _MOMENT}
