"""Run records: one immutable object per ended run, and the event that announces it. A boto3 client is passed in.

Records stand by city (``state/runs/<city>/<as_of>-<run key>.json``), so those of one city are found by one List.
S3 lists by key and not by time; the events (``state/events/<moment>/<city>/<as_of>-<run key>.json``, empty objects)
tell what is new without a look at every city.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from city_fleet import naming
from city_fleet.naming import Keys

_TAKEN = frozenset({"PreconditionFailed", "412"})
#: Of one and the same end, only this differs from try to try.
_MOMENT = "finished_at"


def write(s3: Any, keys: Keys, record: Mapping[str, Any], *, as_of: datetime, key_of_run: str) -> str:
    """Write a run's record, once. A run that was cleared and ended in another way gets another one beside the first.

    A retry of the task, or of a put whose answer was lost, finds the record there and leaves it.

    The event goes first: whoever dies between the two leaves an event without a record, which a reader passes
    over, and never a record that nobody hears of.

    :param s3: a boto3 S3 client.
    :param record: ``city`` and whatever else there is to say.
    :return: the record's key.
    """
    body = json.dumps(record, indent=2).encode()
    first = keys.record(str(record["city"]), as_of, key_of_run)
    # The name follows from the end, so a retry meets its own record here too.
    again = f"{first.removesuffix('.json')}-{naming.digest(_end(json.loads(body)), 8)}.json"
    for key in (first, again):
        s3.put_object(Bucket=keys.bucket, Key=keys.event(datetime.now(UTC), key), Body=b"")
        try:
            s3.put_object(
                Bucket=keys.bucket, Key=key, Body=body, ContentType="application/json", IfNoneMatch="*"
            )
        except ClientError as error:
            if error.response["Error"]["Code"] not in _TAKEN:
                raise
            kept = json.loads(s3.get_object(Bucket=keys.bucket, Key=key)["Body"].read())
            if _end(kept) != _end(json.loads(body)):
                continue
        return key
    return again


def _end(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a record says but for the moment it was written."""
    return {name: value for name, value in record.items() if name != _MOMENT}
