"""IAM and CloudWatch Logs that survive their server, beside S3 and SQS.

Roles, policies and users are few: all of IAM is one document, written whenever something in it changes. Log
groups and streams are a document each, and every batch of events is another. Not kept: metric and subscription
filters, queries, and what other services of moto hold.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from moto.backends import get_backend
from moto.core import DEFAULT_ACCOUNT_ID
from moto.logs.models import LogEvent, LogGroup

from local.sagemaker.data_dir import open_store, set_aside
from local.sagemaker.services import durable_queues, notifications
from local.sagemaker.services.called import Call
from local.sagemaker.services.durable_queues import DurableQueues
from local.sagemaker.services.durable_s3 import BUCKET, DurableS3
from local.sagemaker.services.moto_state import UnknownState, pack, unpack
from local.sagemaker.store import Store

IAM = "iam"
IAM_MEMBERS = (
    "roles",
    "users",
    "groups",
    "instance_profiles",
    "inline_policies",
    "access_keys",
    "account_aliases",
    "saml_providers",
    "open_id_providers",
    "account_password_policy",
    "tagger",
)
READING = ("Describe", "Filter", "Get", "List", "Simulate", "StartQuery", "Test")
LOG_GROUP, LOG_STREAM, LOG_EVENTS = "log-group", "log-stream", "log-events"

log = logging.getLogger(__name__)


class DurableServices:
    """What is kept of moto's services.

    :param folder: the data folder.
    """

    def __init__(self, folder: Path) -> None:
        self._store = open_store(folder / "services.sqlite3", synced=True)
        objects = folder / "objects"
        if not self._store.names(BUCKET) and any(objects.glob("??/*")):
            # The database was lost, alone: without it nobody knows whose bodies these are, so none is deleted.
            set_aside(objects, "unknown", f"holds bodies of objects that {self._store.path} knows nothing of")
        self._s3 = DurableS3(objects, self._store)
        self._logs = DurableLogs(self._store)
        self._queues = DurableQueues(self._store)
        self._s3.load()
        _load_iam(self._store)
        self._logs.load()
        self._queues.load()

    def save(self, call: Call, region: str, body: bytes) -> None:
        """Write what a request has changed. Requests to one bucket, to IAM and to Logs come one at a time.

        :param region: region of the request.
        :param body: body of the request.
        :raises OSError: when it can't be written; what the request has changed is undone then.
        """
        if call.service == "s3":
            self._s3.save(call, body)
            if call.access is not None and any(map(notifications.notifies, call.access.buckets)):
                # After the object, before the answer: who is told of it finds it, and who was not told tries again.
                self._queues.save()
        elif call.service == "sqs":
            if not call.operation.startswith(durable_queues.READING):
                self._queues.save()
        elif call.operation.startswith(READING):
            return
        elif call.service == "iam":
            try:
                _save_iam(self._store)
            except OSError:
                _load_iam(self._store, anew=True)
                raise
        elif call.service == "logs":
            try:
                with self._store.unsynced():  # every running job writes some twice a second
                    self._logs.save(region, call.operation, json.loads(body))
            except OSError:
                self._logs.load(anew=True)
                raise


def _save_iam(store: Store) -> None:
    backend = get_backend("iam")[DEFAULT_ACCOUNT_ID]["aws"]
    members = {name: getattr(backend, name) for name in IAM_MEMBERS}
    members["managed_policies"] = {
        arn: policy for arn, policy in backend.managed_policies.items() if f":{DEFAULT_ACCOUNT_ID}:" in arn
    }
    try:
        store.put(IAM, IAM, {"state": pack(members)})
    except UnknownState as error:
        log.warning("IAM is not kept in the data folder: %s", error)


def _load_iam(store: Store, anew: bool = False) -> None:
    """Load what was kept into moto.

    :param anew: forget first what is there and was not kept.
    """
    document = store.get(IAM, IAM)
    backend = get_backend("iam")[DEFAULT_ACCOUNT_ID]["aws"]
    if anew:
        backend.reset()
    if document is None:
        return
    try:
        members = unpack(document["state"])
    except (UnknownState, KeyError, TypeError) as error:
        log.warning("IAM can't be read from the data folder: %s", error)
        return
    backend.managed_policies.update(members.pop("managed_policies"))
    vars(backend).update(members)


class DurableLogs:
    """Keeps CloudWatch Logs.

    :param store: where they are kept.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._saved: dict[str, int] = {}  # events per stream

    def save(self, region: str, operation: str, parameters: dict[str, Any]) -> None:
        """Write what an operation has changed; for one that failed, nothing.

        :param parameters: parameters of the request.
        """
        name, stream_name = parameters.get("logGroupName"), parameters.get("logStreamName")
        if name is None:
            return
        group = get_backend("logs")[DEFAULT_ACCOUNT_ID][region].groups.get(name)
        row = f"{region}:{name}"  # neither name may hold a colon
        if group is None:
            self._forget(LOG_GROUP, row, f"{row}:")
        elif stream_name is None:
            document = {"created": group.creation_time, "retention": group.retention_in_days}
            self._store.put(LOG_GROUP, row, document)
        elif stream_name not in group.streams:
            self._forget(LOG_STREAM, f"{row}:{stream_name}", f"{row}:{stream_name}:")
        else:
            self._save_stream(f"{row}:{stream_name}", group.streams[stream_name])

    def _save_stream(self, row: str, stream: Any) -> None:
        if row not in self._saved:
            self._store.put(LOG_STREAM, row, {"created": stream.creation_time})
        saved = self._saved.setdefault(row, 0)
        events = stream.events[saved:]
        if events:
            document = {"events": [[each.timestamp, each.ingestion_time, each.message] for each in events]}
            self._store.put(LOG_EVENTS, f"{row}:{saved}", document)
            self._saved[row] = saved + len(events)

    def _forget(self, kind: str, row: str, prefix: str) -> None:
        if self._store.delete(kind, row):
            for inner in (LOG_STREAM, LOG_EVENTS):
                for name in self._store.names(inner, prefix):
                    self._store.delete(inner, name)
            for name in [name for name in self._saved if name == row or name.startswith(prefix)]:
                del self._saved[name]

    def load(self, anew: bool = False) -> None:
        """Load what was kept into moto.

        :param anew: forget first what is there and was not kept.
        """
        streams: dict[str, Any] = {}
        backends = get_backend("logs")[DEFAULT_ACCOUNT_ID]
        if anew:
            self._saved.clear()
            for backend in backends.values():
                backend.groups.clear()
        for row, document in self._store.items(LOG_GROUP):
            region, _, name = row.partition(":")
            group = LogGroup(DEFAULT_ACCOUNT_ID, region, name, RetentionInDays=document["retention"])
            group.creation_time = document["created"]
            backends[region].groups[name] = group
        for row, document in self._store.items(LOG_STREAM):
            region, name, stream_name = row.split(":", 2)
            group = backends[region].groups[name]
            group.create_log_stream(stream_name)
            streams[row] = group.streams[stream_name]
            streams[row].creation_time = document["created"]
            self._saved[row] = 0
        for row, document in self._store.items(LOG_EVENTS):
            stream = streams[row.rpartition(":")[0]]
            for timestamp, ingested, message in document["events"]:
                stream.events.append(LogEvent(ingested, {"timestamp": timestamp, "message": message}))
                stream.stored_bytes += len(message)
                stream.last_ingestion_time = datetime.fromtimestamp(ingested / 1000, UTC).replace(tzinfo=None)
            stream.upload_sequence_token += 1
            self._saved[row.rpartition(":")[0]] = len(stream.events)
