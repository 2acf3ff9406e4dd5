"""ReceiveMessage that waits for a message, without keeping anybody else waiting.

moto waits inside the request, with its thread and the lock of the whole service. Here the request asks moto without a
wait, again and again until something is there or the time is over.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

from moto.backends import get_backend
from moto.core import DEFAULT_ACCOUNT_ID

from local.sagemaker.services.called import Call

#: Pause between two looks.
LOOK_SECONDS = 0.1
#: SQS allows no longer wait; moto refuses one.
_LONGEST_SECONDS = 20


@dataclass(frozen=True)
class LongPoll:
    """A request that waits.

    :param body: its body, without the wait.
    :param seconds: for how long it would wait; 0 of every other request.
    :param queue: the name of its queue; ``region``: where that is.
    """

    body: bytes
    seconds: float = 0.0
    queue: str = ""
    region: str = ""

    def has_message(self) -> bool:
        """Tell whether there is something to receive, or no such queue any more."""
        queue = _queue(self.queue, self.region)
        return queue is None or bool(queue.messages)


def read_poll(call: Call, region: str, body: bytes) -> LongPoll:
    """Return for how long a request would wait, and its body without the wait.

    :param region: region of the request.
    """
    if (call.service, call.operation) != ("sqs", "ReceiveMessage"):
        return LongPoll(body)
    text = body.decode("utf-8", "replace")
    is_json = text.lstrip().startswith("{")
    try:
        members: dict[str, Any] = (
            json.loads(text) if is_json else dict(parse_qsl(text, keep_blank_values=True))
        )
        name = str(members["QueueUrl"]).rstrip("/").rpartition("/")[2]
        queue = _queue(name, region)
        usual = queue.receive_message_wait_time_seconds if queue is not None else 0
        seconds = float(members.get("WaitTimeSeconds", usual))
    except (ValueError, TypeError, KeyError):
        return LongPoll(body)
    if not 0 < seconds <= _LONGEST_SECONDS:
        return LongPoll(body)
    members["WaitTimeSeconds"] = 0
    return LongPoll((json.dumps(members) if is_json else urlencode(members)).encode(), seconds, name, region)


def received(answer: bytes) -> bool:
    """Tell whether an answer of ReceiveMessage holds a message."""
    return b"ReceiptHandle" in answer


def _queue(name: str, region: str) -> Any:
    return get_backend("sqs")[DEFAULT_ACCOUNT_ID][region].queues.get(name)
