"""Keeps a sample of predictions in the bucket, a few of a city in one object, without standing in an answer's way.

What is kept waits in memory until it is written: by a thread of its own in a server, at the end of a call in a Lambda
function, which is frozen between calls. Lines are made of several predictions at once: made between two requests, when
the processor has other things in its caches, each takes some four times as long. Memory is bounded; what a bucket
refuses is tried again, and once there is no room any more the newest goes, counted. A boto3 client is passed in.
"""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from city_fleet import aws_errors, outgoing_text
from city_fleet.naming import Keys
from city_fleet.prediction.reported_outcomes import place
from city_fleet.state.captured_line import is_kept, to_line
from city_fleet.state.objects import ObjectStore
from city_fleet.state.observed import Observed
from city_fleet.traffic_rules import CaptureRule

log = outgoing_text.logger(__name__)

CONTENT_TYPE = "application/x-ndjson"
#: What waits in memory at most, and when it is written before its time.
MOST_BYTES, MANY_BYTES, MANY_LINES = 8 << 20, 1 << 20, 1000
#: Of how many predictions lines are made at once, and from how many characters on of fewer.
GROUP, GROUP_CHARACTERS = 32, 1 << 18
#: The end of a call waits no longer for what is written.
PATIENCE_SECONDS = 2.0
_WRITERS = 8
_SHORT = frozenset({int, float, bool, type(None)})
_SECONDS_BETWEEN_WARNINGS = 60.0


@dataclass
class _Batch:
    """Predictions of a city, and a day, for one object: its key stays when a write is tried again."""

    key: str
    lines: list[str] = field(default_factory=list)
    size_bytes: int = 0


class Capture:
    """An observer that keeps predictions. Safe to use from many threads.

    :param store: of the fleet's bucket; its client writes with the fleet's key, and without retries of its own.
    :param draw: a number from 0 to 1, for a prediction without an id.
    :param seconds: that never go back.
    """

    def __init__(
        self,
        rule: CaptureRule,
        store: ObjectStore,
        keys: Keys,
        *,
        draw: Callable[[], float] = random.random,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rule, self._store, self._keys = rule, store, keys
        self._draw, self._seconds = draw, seconds
        self._lock = threading.Lock()
        self._wakes = threading.Condition(self._lock)
        self._waiting: dict[tuple[str, str], _Batch] = {}
        self._fresh: list[Observed] = []  # what is no line yet
        self._fresh_characters = 0
        self._bytes = self._lines = self._lost = self._errors = 0
        self._due: float | None = None  # by then what waits in a server is to be written
        self._last: float | None = None  # when a call has written last
        self._warned: float | None = None
        self._paused: float | None = (
            None  # until then nothing is much: what has just failed is not tried again at once
        )
        self._thread: threading.Thread | None = None
        self._closing = False

    def __call__(self, observed: Observed) -> None:
        rule = self._rule
        if not is_kept(observed) or (rule.cities and observed.city not in rule.cities):
            return
        if rule.share < 1 and self._place(observed) >= rule.share:
            return
        characters = _characters(observed.asked)
        with self._lock:
            self._fresh.append(observed)
            self._fresh_characters += characters
            if len(self._fresh) >= GROUP or self._fresh_characters >= GROUP_CHARACTERS:
                self._make_lines()
            if self._due is None:
                self._due = self._seconds() + rule.flush_seconds
                self._wakes.notify()
            elif self._is_much():
                self._wakes.notify()

    @property
    def has_thread(self) -> bool:
        return self._thread is not None

    def taken_errors(self) -> int:
        """Return how many writes have failed since the last time, and predictions been lost for want of room."""
        if not (self._errors or self._lost):
            return 0  # without the lock: every call of a function asks
        with self._lock:
            found, self._errors, self._lost = self._errors + self._lost, 0, 0
        return found

    def end_of_call(self, seconds: Callable[[], float]) -> None:
        """Write what waits if that is much, or if nothing was written for a while: a call that comes alone keeps its
        prediction at once, since nobody knows whether another one follows.

        :param seconds: tells what is left of the call; what is not written by then waits for another.
        """
        with self._lock:
            now = self._seconds()
            recent = self._last is not None and now - self._last < self._rule.flush_seconds
            if not (self._lines or self._fresh) or (recent and not self._is_much()):
                return
            self._last = now
        self.flush(min(seconds(), PATIENCE_SECONDS))

    def start(self) -> Capture:
        """Write from a thread of its own from now on, until :meth:`close`."""
        self._thread = threading.Thread(target=self._work, name="capture", daemon=True)
        self._thread.start()
        return self

    def close(self, seconds: float = 5.0) -> None:
        """Write what waits, and stop the thread.

        :param seconds: it is waited for no longer.
        """
        with self._lock:
            self._closing = True
            self._wakes.notify()
        if self._thread is not None:
            self._thread.join(seconds)
        else:
            self.flush(seconds)

    def flush(self, seconds: float) -> None:
        """Write what waits, and return after so many seconds at the latest; whatever goes on then does so by itself."""
        with self._lock:
            self._make_lines()
            batches, self._waiting = list(self._waiting.values()), {}
            self._due = None
        if not batches or seconds <= 0:
            self._put_back(batches)
            return
        left = iter(batches)
        end = time.monotonic() + seconds

        def work() -> None:
            while True:
                with self._lock:
                    batch = next(left, None) if time.monotonic() < end else None
                if batch is None:
                    return
                self._write(batch)

        workers = [threading.Thread(target=work, daemon=True) for _ in range(min(_WRITERS, len(batches)))]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(max(0.0, end - time.monotonic()))
        with self._lock:
            rest = list(left)
            if rest or any(worker.is_alive() for worker in workers):
                self._paused = self._seconds() + self._rule.flush_seconds
        self._put_back(rest)

    def _work(self) -> None:
        while True:
            with self._wakes:
                while not self._closing and not self._is_due():
                    due = None if self._due is None else max(0.0, self._due - self._seconds())
                    self._wakes.wait(due)
                closing = self._closing
            self.flush(PATIENCE_SECONDS if closing else 60.0)
            if closing:
                return

    def _is_due(self) -> bool:
        return self._due is not None and (self._seconds() >= self._due or self._is_much())

    def _is_much(self) -> bool:
        if self._paused is not None and self._seconds() < self._paused:
            return False
        return self._bytes >= MANY_BYTES or self._lines + len(self._fresh) >= MANY_LINES

    def _place(self, observed: Observed) -> float:
        """Return where between 0 and 1 a prediction stands: who shadows a champion is kept where the champion is."""
        return place(observed.prediction_id) if observed.prediction_id else self._draw()

    def _make_lines(self) -> None:
        """Make lines of what is none yet; the lock is held."""
        rule = self._rule
        fresh, self._fresh, self._fresh_characters = self._fresh, [], 0
        for observed in fresh:
            try:
                line = to_line(observed, rule.mask, answers=rule.mask_answers)
            except Exception:  # one prediction's matter, whatever it is: the others are kept
                log.exception("A prediction was made, and no line could be made of it")
                self._lost += 1
                continue
            size = len(line)  # ASCII
            if self._bytes + size > MOST_BYTES:
                self._lost += 1
                continue
            batch = self._batch(observed)
            batch.lines.append(line)
            batch.size_bytes += size
            self._bytes += size
            self._lines += 1

    def _batch(self, observed: Observed) -> _Batch:
        name = (observed.city, observed.at.date().isoformat())
        if name not in self._waiting:
            self._waiting[name] = _Batch(self._keys.capture(observed.city, observed.at, secrets.token_hex(6)))
        return self._waiting[name]

    def _write(self, batch: _Batch) -> None:
        try:
            self._store.put(batch.key, "".join(batch.lines).encode(), CONTENT_TYPE)
        except (ClientError, BotoCoreError) as error:
            self._put_back([batch])
            self._say(error)
        else:
            self._forget(batch)

    def _forget(self, batch: _Batch) -> None:
        with self._lock:
            self._bytes -= batch.size_bytes
            self._lines -= len(batch.lines)

    def _put_back(self, batches: list[_Batch]) -> None:
        """Let batches wait for another try, as objects of their own: one may be there although its answer was lost."""
        with self._lock:
            for batch in batches:
                self._waiting["", batch.key] = batch
            if batches and self._due is None:
                self._due = self._seconds() + self._rule.flush_seconds

    def _say(self, error: Exception) -> None:
        with self._lock:
            self._errors += 1
            now = self._seconds()
            self._paused = now + self._rule.flush_seconds
            if self._warned is not None and now - self._warned < _SECONDS_BETWEEN_WARNINGS:
                return
            self._warned, lines, lost = now, self._lines, self._lost
        cure = "try again later"
        if isinstance(error, ClientError) and aws_errors.is_denied(error):
            cure = "give the role s3:PutObject there (./fleet deploy does), or set capture.share: 0"
        where = self._store.uri(self._keys.capture_prefix())
        log.warning(
            "Captured predictions can't be written below %s: %s. Predictions go on; %s lines wait in memory, %s were "
            "lost. What to do: %s.", where, error, lines, lost, cure,
        )  # fmt: skip


def _characters(value: Any) -> int:
    """Return about how many characters a caller's values take as text: ten for what is none."""
    found, waiting = 0, [value]
    while waiting:  # not by recursion: it is a caller who says how deep
        each = waiting.pop()
        if isinstance(each, str):
            found += len(each)
        elif isinstance(each, Mapping):
            found += sum(map(len, map(str, each)))
            if _SHORT.issuperset(map(type, each.values())):
                found += 10 * len(each)
            else:
                waiting.extend(each.values())
        elif isinstance(each, list | tuple):
            waiting.extend(each)
        else:
            found += 10
    return found
