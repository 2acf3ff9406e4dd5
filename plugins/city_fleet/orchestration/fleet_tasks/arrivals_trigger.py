"""Trigger behind the asset of a fleet's queue: it receives what has arrived, and deletes nothing of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any

from airflow.providers.amazon.aws.hooks.sqs import SqsHook
from airflow.triggers.base import BaseEventTrigger, TriggerEvent
from botocore.config import Config

from city_fleet.arrivals import messages
from city_fleet.arrivals.gathering import Burst, Received
from city_fleet.jobs.thread_client import ThreadClient
from city_fleet.orchestration.task_clients import AIOBOTOCORE_IS_INSTALLED
from city_fleet.orchestration.task_log import PrintableLog

#: Kind of the trigger's events.
ABOUT = "city_fleet.arrivals"
#: How long others do not see what is being gathered; asked for anew while it is. Who dies leaves it to others then.
_GATHERING_SECONDS = 120
#: How long they do not see what was handed on to a task.
HANDED_ON_SECONDS = 300
_BATCH = 10  # of SQS
_LONG_POLL_SECONDS = 20
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 2.0, 30.0


class ArrivalsTrigger(PrintableLog, BaseEventTrigger):
    """Wait for messages of raw data that have arrived, and tell each burst of them.

    An event is ``{"about": "city_fleet.arrivals", "messages": [{"receipt", "cities", "as_of"}, …]}``, of
    ``gathering.MAX_MESSAGES`` at the most. Its messages stay in the queue, out of sight: a task that comes of it
    deletes them. What dies before, here or there, leaves them to be received again.

    :param queue: name of the SQS queue.
    :param bucket: of the fleet, :param fleet: its slug: whose raw data count.
    :param elsewhere: where else raw data lie, as ``messages.read`` takes it.
    :param region_name: the queue's.
    """

    def __init__(
        self,
        *,
        queue: str,
        bucket: str,
        fleet: str,
        region_name: str,
        quiet_seconds: float,
        longest_seconds: float,
        aws_conn_id: str | None = "aws_default",
        elsewhere: dict[str, dict[str, str]] | None = None,
    ) -> None:
        super().__init__()
        self.queue = queue
        self.bucket = bucket
        self.fleet = fleet
        self.region_name = region_name
        self.quiet_seconds = quiet_seconds
        self.longest_seconds = longest_seconds
        self.aws_conn_id = aws_conn_id
        self.elsewhere = elsewhere or {}
        self._burst = Burst(quiet_seconds, longest_seconds)
        self._unseen_until = 0.0

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.{type(self).__qualname__}", {
            "queue": self.queue,
            "bucket": self.bucket,
            "fleet": self.fleet,
            "region_name": self.region_name,
            "quiet_seconds": self.quiet_seconds,
            "longest_seconds": self.longest_seconds,
            "aws_conn_id": self.aws_conn_id,
            "elsewhere": self.elsewhere,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        pause = _FIRST_PAUSE_SECONDS
        while True:
            # Airflow starts no trigger of an asset again that has ended.
            try:
                async with await asyncio.to_thread(self._client) as sqs:
                    url = (await sqs.get_queue_url(QueueName=self.queue))["QueueUrl"]
                    self.log.info("Waiting for raw data of fleet %s at queue %s", self.fleet, self.queue)
                    while True:
                        await self._receive(sqs, url)
                        pause = _FIRST_PAUSE_SECONDS
                        if self._burst.seconds_left(time.monotonic()) == 0.0:
                            await self._hide(sqs, url, HANDED_ON_SECONDS)
                            yield self._told(self._burst.take())
            except Exception as error:
                self.log.warning(
                    "Queue %s in %s can't be read, trying again in %d seconds: %s. Raw data that arrive meanwhile "
                    "wait there, if there is one (docs/events.md)",
                    self.queue,
                    self.region_name,
                    pause,
                    error,
                )
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    async def _receive(self, sqs: Any, url: str) -> None:
        """Take in what comes until the burst may have ended, or for one long poll."""
        left = self._burst.seconds_left(time.monotonic())
        answer = await sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=_BATCH,
            WaitTimeSeconds=int(
                min(_LONG_POLL_SECONDS, _LONG_POLL_SECONDS if left is None else max(left, 1))
            ),
            VisibilityTimeout=_GATHERING_SECONDS,
            AttributeNames=["SentTimestamp"],
        )
        idle = []
        for message in answer.get("Messages", ()):
            try:
                arrivals = messages.read(
                    message,
                    bucket=self.bucket,
                    fleet=self.fleet,
                    now=datetime.now(UTC),
                    elsewhere=self.elsewhere,
                )
            except messages.Refused as error:
                # Received again and again, it ends among the dead letters, where a person finds it.
                self.log.error("Queue %s, message %s: %s", self.queue, message["MessageId"], error)
                continue
            if arrivals:
                received = Received.of(message["ReceiptHandle"], arrivals)
                self._burst.add(message["MessageId"], received, time.monotonic())
            else:
                idle.append(message["ReceiptHandle"])
        if idle:
            await sqs.delete_message_batch(QueueUrl=url, Entries=entries(idle))
        if len(self._burst) and time.monotonic() > self._unseen_until:
            await self._hide(sqs, url, _GATHERING_SECONDS)

    async def _hide(self, sqs: Any, url: str, seconds: int) -> None:
        """Keep the burst's messages out of others' sight from now on."""
        self._unseen_until = time.monotonic() + seconds / 2
        receipts = self._burst.receipts()
        for first in range(0, len(receipts), _BATCH):
            batch = entries(receipts[first : first + _BATCH], VisibilityTimeout=seconds)
            await sqs.change_message_visibility_batch(QueueUrl=url, Entries=batch)

    def _told(self, taken: list[Received]) -> TriggerEvent:
        self.log.info("%d messages have arrived", len(taken))
        return TriggerEvent({"about": ABOUT, "messages": [received.to_dict() for received in taken]})

    async def cleanup(self) -> None:
        """Leave what was being gathered to whoever comes next, at once. Airflow calls this whenever it ends."""
        if not len(self._burst):
            return
        try:
            async with await asyncio.to_thread(self._client) as sqs:
                url = (await sqs.get_queue_url(QueueName=self.queue))["QueueUrl"]
                await self._hide(sqs, url, 0)
        except Exception as error:
            self.log.warning("%d messages are seen again after a while: %s", len(self._burst), error)

    def _client(self) -> AbstractAsyncContextManager[Any]:
        hook = SqsHook(aws_conn_id=self.aws_conn_id, region_name=self.region_name)
        config = hook.config.merge(Config(retries={"total_max_attempts": 1}))
        if not AIOBOTOCORE_IS_INSTALLED:
            return ThreadClient(hook.get_client_type(region_name=hook.region_name, config=config))
        hook.get_session(region_name=hook.region_name, deferrable=True).warm_up_loader_caches("sqs")
        client: AbstractAsyncContextManager[Any] = hook.get_client_type(
            region_name=hook.region_name, config=config, deferrable=True
        )
        return client


def entries(receipts: Iterable[str], **more: Any) -> list[dict[str, Any]]:
    """Return the entries of a batch request about some messages."""
    return [{"Id": str(index), "ReceiptHandle": receipt, **more} for index, receipt in enumerate(receipts)]
