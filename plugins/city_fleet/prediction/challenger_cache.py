"""Which challengers are on trial, as an application reads it: one object for the whole fleet, kept for a while.

What was read is believed for ``ttl_seconds``, then confirmed by one conditional GET; so a city without a trial costs no
request. A trial never stands in the way of an answer: where S3 does not answer what is known goes on until it ends by
itself, and where the object can't be read there are no trials. A boto3 S3 client is passed in; the Lambda carries this
module.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from city_fleet import aws_errors, naming, outgoing_text
from city_fleet import clock as calendar
from city_fleet.errors import NotReady, OtherInstallation, PlatformError
from city_fleet.prediction.deadline import Deadline
from city_fleet.prediction.live_cache import TTL_SECONDS
from city_fleet.state import challengers
from city_fleet.state.challengers import Challenger, Challengers
from city_fleet.state.live_pointer import LivePointer
from city_fleet.state.objects import UNCHANGED, ObjectStore

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

log = outgoing_text.logger(__name__)

# The rest of the time belongs to the endpoint; and S3 is left alone for a moment.
_SECONDS = 1.0
_PAUSE_SECONDS = 5.0


@dataclass(frozen=True)
class _Known:
    found: Challengers = field(default_factory=Challengers)
    etag: str | None = None
    believed_until: float = 0.0


class Trials:
    """The challengers of one installation. Safe to use from many threads.

    :param s3: a boto3 S3 client without retries of its own (:meth:`Deadline.call` does them).
    :param ttl_seconds: how long what was read is believed without asking; 0 asks every time.
    :param clock: seconds that never go back.
    """

    def __init__(
        self,
        s3: S3Client,
        keys: naming.Keys,
        *,
        ttl_seconds: float = TTL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = ObjectStore(s3, keys.bucket)
        self._keys = keys
        self._ttl_seconds = ttl_seconds
        self._clock = clock
        self._known = _Known()
        self._lock = threading.Lock()

    def of(self, champion: LivePointer, deadline: Deadline) -> Challenger | None:
        """Return what is tried against a champion now; None where nothing is. It raises nothing."""
        known = self._known
        if self._clock() >= known.believed_until and self._lock.acquire(blocking=known.believed_until == 0.0):
            # One asks, and the others go on with what is known; but nothing is known before the first answer.
            try:
                if self._known is known:
                    self._known = self._read(known, deadline)
            finally:
                self._lock.release()
        trial = self._known.found.running.get(champion.city)
        return None if trial is None or trial.over(champion, calendar.utc_now()) is not None else trial

    def _read(self, known: _Known, deadline: Deadline) -> _Known:
        key, limit = self._keys.challengers(), challengers.MOST_BYTES
        where = self._store.uri(key)
        believed_until = self._clock() + self._ttl_seconds

        def get() -> _Known:
            if known.etag is None:
                found = self._store.get(key, limit)
            else:
                changed = self._store.get_changed(key, known.etag, limit)
                if changed is UNCHANGED:
                    return _Known(known.found, known.etag, believed_until)
                found = changed
            if found is None:
                return _Known(believed_until=believed_until)
            return _Known(challengers.parse(found.body, self._keys), found.etag, believed_until)

        try:
            return deadline.at_most(_SECONDS).call(f"S3 ({where})", get)
        except (PlatformError, OtherInstallation) as error:
            log.warning("No challenger is asked: %s", error)
            return _Known(believed_until=believed_until)
        except (NotReady, ClientError, BotoCoreError) as error:
            if isinstance(error, ClientError) and aws_errors.is_denied(error) and not self._is_there():
                return _Known(believed_until=believed_until)
            log.warning("Which challengers are on trial can't be read; what is known stays. %s", error)
            pause = min(self._ttl_seconds, _PAUSE_SECONDS)
            return _Known(known.found, known.etag, self._clock() + pause)

    def _is_there(self) -> bool:
        """Tell whether the object is there although it may not be read: S3 answers "denied" about one that is missing
        when listing is not allowed to whoever reads it."""
        key = self._keys.challengers()
        try:
            return any(item.key == key for item in self._store.items(key, limit=1))
        except (ClientError, BotoCoreError):
            return True  # it can't be told
