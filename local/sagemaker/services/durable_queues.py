"""SQS that survives its server: queues and messages, received ones too, with their receipt handles.

A message is a row of its own, written when it is sent and again when it is received, so that after a restart it is as
visible as before, counts its receptions on, and can be deleted by whoever holds its handle.
"""

from __future__ import annotations

import logging
from typing import Any

from moto.backends import get_backend
from moto.core import DEFAULT_ACCOUNT_ID
from moto.sqs.models import Message, Queue

from local.sagemaker.services.moto_state import Changes, UnknownState, pack, unpack
from local.sagemaker.store import Store

QUEUE, MESSAGE = "sqs-queue", "sqs-message"
#: Operations that change nothing that is kept.
READING = ("Get", "List")
_NOT_KEPT = {
    "_messages",
    "_pending_messages",
    "_messages_lock",
    "deleted_messages",
    "dead_letter_queue",
    "lambda_event_source_mappings",
}

log = logging.getLogger(__name__)


class DurableQueues:
    """Keeps SQS. Calls must come one at a time.

    :param store: where it is kept.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._backends = get_backend("sqs")[DEFAULT_ACCOUNT_ID]
        self._changes = Changes(_new_queue("new", "us-east-1"), _NOT_KEPT)
        self._queues: dict[str, Any] = {}  # row → what is kept
        self._messages: dict[str, tuple[Any, ...]] = {}  # row → what changes of a message that is kept

    def save(self) -> None:
        """Write what has changed since the last time.

        :raises OSError: when it can't be written; what was changed is undone then.
        """
        try:
            with self._store.transaction():
                self._save()
        except OSError:
            self.load(anew=True)
            raise

    def _save(self) -> None:
        queues: dict[str, Any] = {}
        messages: dict[str, tuple[Any, ...]] = {}
        for region, backend in self._backends.items():
            for name, queue in backend.queues.items():
                row = f"{region}:{name}"  # neither may hold a colon
                queues[row] = self._changes.of(queue)
                if queues[row] != self._queues.get(row):
                    self._store.put(QUEUE, row, {"state": queues[row]})
                for message in list(queue._messages):
                    messages[f"{row}:{message.id}"] = state = _changing(message)
                    if state != self._messages.get(f"{row}:{message.id}"):
                        self._store.put(MESSAGE, f"{row}:{message.id}", {"state": pack(message)})
        for row in self._queues.keys() - queues.keys():
            self._store.delete(QUEUE, row)
        for row in self._messages.keys() - messages.keys():
            self._store.delete(MESSAGE, row)
        self._queues, self._messages = queues, messages

    def load(self, anew: bool = False) -> None:
        """Load what was kept into moto. What can't be read is logged, never raised.

        :param anew: forget first what is there and was not kept.
        """
        if anew:
            for backend in self._backends.values():
                backend.queues.clear()
        self._queues, self._messages = {}, {}
        for row, document in self._store.items(QUEUE):
            region, _, name = row.partition(":")
            try:
                queue = _new_queue(name, region)
                for member, packed in document["state"].items():
                    setattr(queue, member, unpack(packed))
            except (UnknownState, AttributeError, KeyError, TypeError) as error:
                log.warning("The queue %s can't be read from the data folder: %s", name, error)
                continue
            self._backends[region].queues[name] = queue
            self._queues[row] = self._changes.of(queue)
        for backend in self._backends.values():
            for queue in backend.queues.values():
                if queue.redrive_policy:
                    target = queue.redrive_policy["deadLetterTargetArn"].rpartition(":")[2]
                    queue.dead_letter_queue = backend.queues.get(target)
        self._load_messages()

    def _load_messages(self) -> None:
        found: dict[str, list[Message]] = {}
        for row, document in self._store.items(MESSAGE):
            queue_row = row.rpartition(":")[0]
            if queue_row not in self._queues:
                continue
            try:
                message = unpack(document["state"])
            except (UnknownState, AttributeError, KeyError, TypeError) as error:
                log.warning("The message %s can't be read from the data folder: %s", row, error)
                continue
            found.setdefault(queue_row, []).append(message)
            self._messages[row] = _changing(message)
        for queue_row, messages in found.items():
            region, _, name = queue_row.partition(":")
            queue = self._backends[region].queues[name]
            queue._messages = sorted(messages, key=lambda each: each.sent_timestamp)
            queue._pending_messages = {each for each in messages if not each.visible}


def _new_queue(name: str, region: str) -> Queue:
    return Queue(name, region, DEFAULT_ACCOUNT_ID)


def _changing(message: Message) -> tuple[Any, ...]:
    return (
        message.receipt_handle,
        message.approximate_receive_count,
        message.visible_at,
        message.delayed_until,
    )
