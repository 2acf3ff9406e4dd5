"""Which challengers are on trial, as an application reads it: one object for the whole fleet, kept for a while.

A city without a trial costs no request. A trial never stands in the way of an answer: where S3 does not answer what is
known goes on until it ends by itself, and where the object can't be read there are no trials. A boto3 S3 client is
passed in; the Lambda carries this module.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from city_fleet import aws_errors, naming, outgoing_text
from city_fleet import clock as calendar
from city_fleet.errors import OtherInstallation, PlatformError
from city_fleet.prediction.deadline import Deadline
from city_fleet.prediction.live_cache import TTL_SECONDS
from city_fleet.prediction.object_cache import ObjectCache
from city_fleet.state import challengers
from city_fleet.state.challengers import Challenger, Challengers
from city_fleet.state.live_pointer import LivePointer
from city_fleet.state.objects import ObjectStore

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

log = outgoing_text.logger(__name__)

_SECONDS = 1.0


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
        self._key = keys.challengers()
        self._found: ObjectCache[Challengers] = ObjectCache(
            self._store,
            self._key,
            missing=Challengers(),
            parse=lambda body: challengers.parse(body, keys),
            instead=self._instead,
            most_bytes=challengers.MOST_BYTES,
            seconds=_SECONDS,
            ttl_seconds=ttl_seconds,
            clock=clock,
        )

    def of(self, champion: LivePointer, deadline: Deadline) -> Challenger | None:
        """Return what is tried against a champion now; None where nothing is. It raises nothing."""
        trial = self._found.get(deadline).running.get(champion.city)
        return None if trial is None or trial.over(champion, calendar.utc_now()) is not None else trial

    def _instead(self, error: Exception) -> Challengers | None:
        """Return no trials where the object says nothing that could be believed, or is not there."""
        if isinstance(error, PlatformError | OtherInstallation):
            log.warning("No challenger is asked: %s", error)
            return Challengers()
        if isinstance(error, ClientError) and aws_errors.is_denied(error) and not self._is_there():
            return Challengers()
        log.warning("Which challengers are on trial can't be read; what is known stays. %s", error)
        return None

    def _is_there(self) -> bool:
        """Tell whether the object is there although it may not be read: S3 answers "denied" about one that is missing
        when listing is not allowed to whoever reads it."""
        try:
            return any(item.key == self._key for item in self._store.items(self._key, limit=1))
        except (ClientError, BotoCoreError):
            return True  # it can't be told
