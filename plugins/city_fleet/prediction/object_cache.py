"""One small object of the bucket, as an application reads it: kept for a while, then asked for with If-None-Match.

Some things are said once for a whole installation, such as which endpoints serve. What was read is believed for
``ttl_seconds``, then confirmed by one conditional GET; so however many cities are asked for, a process reads it once in
that time. It never stands in the way of an answer: where S3 does not answer, what is known goes on. The Lambda function
carries this module.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from city_fleet.errors import NotReady, OtherInstallation, PlatformError
from city_fleet.prediction.deadline import Deadline
from city_fleet.prediction.live_cache import TTL_SECONDS
from city_fleet.state.objects import UNCHANGED, ObjectStore

Value = TypeVar("Value")

# S3 is left alone for a moment after it did not answer.
_PAUSE_SECONDS = 5.0


@dataclass(frozen=True)
class _Known(Generic[Value]):
    value: Value
    etag: str | None = None
    believed_until: float = 0.0


class ObjectCache(Generic[Value]):
    """What one object says. Safe to use from many threads.

    :param missing: what holds where there is no such object, and before it was read.
    :param parse: reads its bytes. Raises PlatformError or OtherInstallation.
    :param instead: is told why the object could not be read, logs it, and returns what holds until it is asked for
        again; None for what is known, which is confirmed as soon as S3 was left alone for a moment.
    :param most_bytes: how large it may be.
    :param seconds: how long S3 is asked at most; the rest of the time belongs to the endpoint.
    :param ttl_seconds: how long what was read is believed without asking; 0 asks every time.
    :param clock: seconds that never go back.
    """

    def __init__(
        self,
        store: ObjectStore,
        key: str,
        *,
        missing: Value,
        parse: Callable[[bytes], Value],
        instead: Callable[[Exception], Value | None],
        most_bytes: int,
        seconds: float,
        ttl_seconds: float = TTL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._key = key
        self._missing = missing
        self._parse = parse
        self._instead = instead
        self._most_bytes = most_bytes
        self._seconds = seconds
        self._ttl_seconds = ttl_seconds
        self._clock = clock
        self._known = _Known(missing)
        self._lock = threading.Lock()

    def get(self, deadline: Deadline, *, ask: bool = False) -> Value:
        """Return what the object says; it raises nothing.

        :param ask: ask S3 even if what is known was confirmed a moment ago.
        """
        known = self._known
        if ask or self._clock() >= known.believed_until:
            # One asks, and the others go on with what is known; but nothing is known before the first answer.
            first = known.believed_until == 0.0
            if self._lock.acquire(blocking=first or ask):
                try:
                    # Another may have asked while this one waited.
                    if self._known is known:
                        self._known = self._read(known, deadline)
                finally:
                    self._lock.release()
        return self._known.value

    def _read(self, known: _Known[Value], deadline: Deadline) -> _Known[Value]:
        believed_until = self._clock() + self._ttl_seconds

        def get() -> _Known[Value]:
            if known.etag is None:
                found = self._store.get(self._key, self._most_bytes)
            else:
                changed = self._store.get_changed(self._key, known.etag, self._most_bytes)
                if changed is UNCHANGED:
                    return _Known(known.value, known.etag, believed_until)
                found = changed
            if found is None:
                return _Known(self._missing, None, believed_until)
            return _Known(self._parse(found.body), found.etag, believed_until)

        try:
            return deadline.at_most(self._seconds).call(f"S3 ({self._store.uri(self._key)})", get)
        except (NotReady, PlatformError, OtherInstallation, ClientError, BotoCoreError) as error:
            instead = self._instead(error)
            if instead is not None:
                return _Known(instead, None, believed_until)
            pause = min(self._ttl_seconds, _PAUSE_SECONDS)
            return _Known(known.value, known.etag, self._clock() + pause)
