"""S3's event notifications as S3 sends them. moto sends them too, with differences that a reader would trip over:

an upload in parts is told twice, as Put and as CompleteMultipartUpload; a message lacks half of its members; and a
queue that is not there, or that S3 may not write to, is taken for a destination. Put right in moto itself, once.
"""

from __future__ import annotations

import fnmatch
import itertools
import json
import time
import uuid
from typing import Any
from urllib.parse import quote_plus

from moto.backends import get_backend
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.utils import iso_8601_datetime_with_milliseconds
from moto.s3 import notifications as moto_notifications
from moto.s3.exceptions import S3ClientError
from moto.s3.models import FakeBucket
from moto.s3.notifications import S3NotificationEvent

_send_event = moto_notifications.send_event
_set_configuration = FakeBucket.set_notification_configuration
_sequence = itertools.count()


class _NoDestination(S3ClientError):
    code = 400

    def __init__(self) -> None:
        super().__init__("InvalidArgument", "Unable to validate the following destination configurations")


def install() -> None:
    """Put moto's notifications right, in this process. Doing it twice changes nothing."""
    moto_notifications.send_event = _send_once
    moto_notifications._get_s3_event = _event
    FakeBucket.set_notification_configuration = _set_checked


def notifies(bucket: str) -> bool:
    """Tell whether somebody is notified of what happens in a bucket."""
    found = get_backend("s3")[DEFAULT_ACCOUNT_ID]["aws"].buckets.get(bucket)
    return found is not None and found.notification_configuration is not None


def _send_once(account_id: str, event_name: S3NotificationEvent, bucket: Any, key: Any) -> None:
    # Of an upload in parts moto tells both; the other one follows.
    if event_name != S3NotificationEvent.OBJECT_CREATED_PUT_EVENT or key.multipart is None:
        _send_event(account_id, event_name, bucket, key)


def _event(event_name: str, bucket: Any, key: Any, notification_id: str) -> dict[str, Any]:
    """A message of S3, as "Event message structure" in its User Guide has it."""
    item = {
        "key": quote_plus(key.name, safe="/*"),
        "size": key.size,
        "eTag": key.etag.strip('"'),
        "sequencer": f"{time.time_ns() // 1000:014X}{next(_sequence) % 256:02X}",
    }
    if bucket.is_versioned:
        item["versionId"] = key.version_id
    record = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": bucket.region_name,
        "eventTime": iso_8601_datetime_with_milliseconds(),
        "eventName": event_name.removeprefix("s3:"),
        "userIdentity": {"principalId": f"AWS:{DEFAULT_ACCOUNT_ID}"},
        "requestParameters": {"sourceIPAddress": "127.0.0.1"},
        "responseElements": {
            "x-amz-request-id": uuid.uuid4().hex[:16].upper(),
            "x-amz-id-2": uuid.uuid4().hex,
        },
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": notification_id,
            "bucket": {
                "name": bucket.name,
                "ownerIdentity": {"principalId": DEFAULT_ACCOUNT_ID},
                "arn": bucket.arn,
            },
            "object": item,
        },
    }
    return {"Records": [record]}


def _set_checked(bucket: FakeBucket, configuration: dict[str, Any] | None) -> None:
    for each in (configuration or {}).get("QueueConfiguration") or ():
        if not _may_send(bucket.arn, each["Queue"]):
            raise _NoDestination
    _set_configuration(bucket, configuration)


def _may_send(bucket_arn: str, queue_arn: str) -> bool:
    """Tell whether a queue is there, and its policy lets S3 send it what happens in a bucket."""
    _, _, _, region, account, name = queue_arn.split(":", 5)
    queue = get_backend("sqs")[account][region].queues.get(name)
    policy = json.loads(queue.policy) if queue is not None and queue.policy else {}
    return any(_allows(statement, bucket_arn, queue_arn) for statement in _listed(policy.get("Statement")))


def _allows(statement: dict[str, Any], bucket_arn: str, queue_arn: str) -> bool:
    principal = statement.get("Principal", {})
    services = _listed(principal.get("Service")) if isinstance(principal, dict) else [principal]
    actions = [action.lower() for action in _listed(statement.get("Action"))]
    sources = [
        source
        for operator, tests in statement.get("Condition", {}).items()
        if operator.removesuffix("IfExists") in ("ArnEquals", "ArnLike", "StringEquals", "StringLike")
        for name, values in tests.items()
        if name.lower() == "aws:sourcearn"
        for source in _listed(values)
    ]
    return (
        statement.get("Effect") == "Allow"
        and bool({"s3.amazonaws.com", "*"} & {*services, *_listed(_aws(principal))})
        and any(fnmatch.fnmatchcase("sqs:sendmessage", action) for action in actions)
        and any(fnmatch.fnmatchcase(queue_arn, resource) for resource in _listed(statement.get("Resource")))
        and (not sources or any(fnmatch.fnmatchcase(bucket_arn, source) for source in sources))
    )


def _aws(principal: Any) -> Any:
    return principal.get("AWS") if isinstance(principal, dict) else None


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
