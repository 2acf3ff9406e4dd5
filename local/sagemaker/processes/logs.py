"""Log lines on their way to CloudWatch Logs, in batches, while the container runs."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

FLUSH_SECONDS = 0.5
BATCH_EVENTS = 5_000
BATCH_BYTES = 900_000  # PutLogEvents takes 1 MiB, counting 26 bytes per event
EVENT_OVERHEAD_BYTES = 26
CLOSE_SECONDS = 30.0
MAX_WAITING_EVENTS = 200_000

log = logging.getLogger(__name__)


class LogStream:
    """One log stream. Lines may come from any thread; a thread of its own sends them.

    :param logs: boto3 client of CloudWatch Logs.
    :param group: log group; made when missing.
    :param stream: log stream; made in the background.
    """

    def __init__(self, logs: Any, group: str, stream: str) -> None:
        self.group = group
        self.stream = stream
        self._logs = logs
        self._events: deque[dict[str, Any]] = deque(maxlen=MAX_WAITING_EVENTS)
        self._tail: deque[str] = deque(maxlen=50)
        self._changed = threading.Condition()
        self._closing = False
        self._last_timestamp = 0
        self._exists = False
        self._thread = threading.Thread(target=self._run, name=f"logs-{stream}", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Add a line; empty ones are left out, as CloudWatch takes none.

        :param line: without its line end.
        """
        if not line.strip():
            return
        with self._changed:
            # Never backwards, whatever the clock does: readers page by time.
            self._last_timestamp = max(self._last_timestamp, time.time_ns() // 1_000_000)
            self._events.append({"timestamp": self._last_timestamp, "message": line})
            self._tail.append(line)

    def tail(self, lines: int) -> list[str]:
        """The last lines written.

        :param lines: how many, at most 50.
        """
        with self._changed:
            return list(self._tail)[-lines:]

    def close(self) -> None:
        """Send what is left; returns when it can be read."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        # At once, while the container is coming up; if it fails, the first batch tries again and says so.
        with contextlib.suppress(ClientError, BotoCoreError):
            self._make()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing, FLUSH_SECONDS)
                closing = self._closing
            while batch := self._next_batch():
                try:
                    self._send(batch)
                except (ClientError, BotoCoreError) as error:
                    # A job must never fail for its log; the lines are lost, and the server says so.
                    log.warning("log lines of %s/%s were lost: %s", self.group, self.stream, error)
            if closing:
                return

    def _next_batch(self) -> list[dict[str, Any]]:
        batch: list[dict[str, Any]] = []
        size = 0
        with self._changed:
            while self._events and len(batch) < BATCH_EVENTS:
                size += len(self._events[0]["message"].encode()) + EVENT_OVERHEAD_BYTES
                if batch and size > BATCH_BYTES:
                    break
                batch.append(self._events.popleft())
        return batch

    def _send(self, batch: list[dict[str, Any]]) -> None:
        self._make()
        self._logs.put_log_events(logGroupName=self.group, logStreamName=self.stream, logEvents=batch)

    def _make(self) -> None:
        """Create the log stream, and its log group if that does not exist yet."""
        if self._exists:
            return
        names = {"logGroupName": self.group, "logStreamName": self.stream}
        try:
            _unless_there(self._logs.create_log_stream, **names)
        except self._logs.exceptions.ResourceNotFoundException:
            _unless_there(self._logs.create_log_group, logGroupName=self.group)
            _unless_there(self._logs.create_log_stream, **names)
        self._exists = True


def _unless_there(create: Callable[..., Any], **names: str) -> None:
    try:
        create(**names)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceAlreadyExistsException":
            raise
