"""Run records: one immutable object per ended run, and the event that announces it. A boto3 client is passed in.

Records stand by city (``state/runs/<city>/<as_of>-<run key>.json``), so those of one city are found by one List.
S3 lists by key and not by time; the events (``state/events/<moment>/<city>/<as_of>-<run key>.json``, empty objects)
tell what is new without a look at every city.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from city_fleet import naming
from city_fleet.naming import Keys
from city_fleet.state.objects import BYTES, ObjectStore, json_of

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

#: Of one and the same end, only this differs from try to try.
_MOMENT = "finished_at"
#: Of two DAG runs that work on one run, these tell whether they came to the same end.
_RUN_ID, _SAME_END = "run_id", ("outcome", "failed_task")


def write(s3: S3Client, keys: Keys, record: Mapping[str, Any], *, as_of: datetime, key_of_run: str) -> str:
    """Write a run's record, unless the newest one says already how the run has ended.

    A retry of the task, or of a put whose answer was lost, finds it there; so does another DAG run that has joined the
    run and comes to the same end. A run that was cleared and ended in another way gets another one beside the first.

    The event goes first: a process that dies between the two leaves an event without a record, which readers
    pass over, and never a record that no view learns of.

    :param record: ``city`` and whatever else there is to say.
    :return: the key of the record that says it.
    :raises PlatformError: other writes of the same record got in the way for a minute.
    """
    body = json.dumps(record, indent=2).encode()
    first = keys.record(str(record["city"]), as_of, key_of_run)
    store = ObjectStore(s3, keys.bucket)
    store.put(keys.event(datetime.now(UTC), first), b"", BYTES)
    if store.create(first, body) is not None:
        return first
    newest = _newest(store, first)
    if newest is not None and _is_same(newest[1], json.loads(body)):
        if newest[0] != first:
            store.put(keys.event(datetime.now(UTC), newest[0]), b"", BYTES)
        return newest[0]
    again = f"{first.removesuffix('.json')}-{naming.digest(json.loads(body), 8)}.json"
    store.put(keys.event(datetime.now(UTC), again), b"", BYTES)
    store.create(again, body)
    return again


def of_run(s3: S3Client, keys: Keys, city: str, run_id: str) -> dict[str, Any] | None:
    """Return the newest record that a run of Airflow has left of a city; None where there is none.

    :raises PlatformError: S3 can't be asked.
    """
    return next((record for record in newest_first(s3, keys, city) if record.get(_RUN_ID) == run_id), None)


def newest_first(s3: S3Client, keys: Keys, city: str) -> Iterator[dict[str, Any]]:
    """Yield a city's records, those written last first: a run that has just ended is found at once.

    :raises PlatformError: S3 can't be asked.
    """
    store = ObjectStore(s3, keys.bucket)
    for item in sorted(store.items(keys.city_records(city)), key=lambda each: each.modified, reverse=True):
        body = store.get(item.key)
        if body is not None:
            yield dict(json_of(body.body))


def _newest(store: ObjectStore, first: str) -> tuple[str, dict[str, Any]] | None:
    """Return the key of the newest record of a run, and what it says.

    :param first: the key of the first one.
    """
    bodies = ((item.key, store.get(item.key)) for item in store.items(first.removesuffix(".json")))
    found = [(key, dict(json_of(body.body))) for key, body in bodies if body]
    return max(found, key=lambda each: str(each[1].get(_MOMENT, "")), default=None)


def _is_same(kept: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Tell whether a record says already how a run has ended."""
    if kept.get(_RUN_ID) != new.get(_RUN_ID):
        return all(kept.get(name) == new.get(name) for name in _SAME_END)
    return _end(kept) == _end(new)


def _end(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a record says but for the moment it was written."""
    return {name: value for name, value in record.items() if name != _MOMENT}
