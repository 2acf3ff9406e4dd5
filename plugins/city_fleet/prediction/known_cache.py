"""What is known of cities as an application's forecasts need it: the newest copy, kept for a while.

Copies are written once a night and never change, so after ``ttl_seconds`` one List says whether there is a newer one. A
forecast does without them rather than fail: the model's artifact holds what was known when it was trained, and the
answer says until when that reaches. A boto3 S3 client is passed in; the Lambda function carries this module.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from city_fleet import aws_errors, naming, outgoing_text
from city_fleet.errors import BrokenKnown, NotReady
from city_fleet.prediction.city_cache import CityCache
from city_fleet.prediction.deadline import Deadline
from city_fleet.prediction.live_cache import TTL_SECONDS
from city_fleet.state import known_values
from city_fleet.state.known_values import KnownValues
from city_fleet.state.objects import Item, ObjectStore

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

log = outgoing_text.logger(__name__)

#: A copy takes up to 256 KiB.
MAX_CITIES = 500
# The rest of the time belongs to the endpoint, which can answer without.
_SECONDS = 2.0
_PAUSE_SECONDS = 5.0
#: Of copies that can't be believed, so many are passed over.
_MOST_TRIED = 3


@dataclass(frozen=True)
class Newest:
    """The newest copy of a city.

    :param values: None where there is none, or none that can be read.
    :param problem: why an older copy or none stands in for the newest, as a sentence without its full stop.
    """

    values: KnownValues | None = None
    problem: str | None = None


@dataclass(frozen=True)
class _Kept:
    newest: Newest
    key: str | None
    believed_until: float


class KnownCopies:
    """The known values of one fleet's cities. Safe to use from many threads.

    :param s3: a boto3 S3 client without retries of its own.
    :param ttl_seconds: how long a copy counts as the newest; 0 asks every time.
    :param clock: seconds that never go back.
    """

    def __init__(
        self,
        s3: S3Client,
        keys: naming.Keys,
        *,
        ttl_seconds: float = TTL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        max_cities: int = MAX_CITIES,
    ) -> None:
        self._s3 = s3
        self._objects = ObjectStore(s3, keys.bucket)
        self._keys = keys
        self._ttl_seconds = ttl_seconds
        self._clock = clock
        self._kept: CityCache[_Kept] = CityCache(max_cities)

    def newest(self, city: str, deadline: Deadline) -> Newest:
        """Return what is known of a city; never fails.

        :param city: the slug of a city that has a live pointer.
        """
        before = self._kept.get(city)
        now = self._clock()
        if before is not None and now < before.believed_until:
            return before.newest
        where, ttl = self._keys.uri(self._keys.known_prefix(city)), self._ttl_seconds
        try:
            newest, key = deadline.at_most(_SECONDS).call(f"S3 ({where})", lambda: self._look(city, before))
        except (NotReady, ClientError, BotoCoreError) as error:
            why = aws_errors.message_of(error) if isinstance(error, ClientError) else str(error)
            log.warning("%s: what is known can't be read: %s", where, why)
            problem = "the newest known values could not be read"
            values, key = (before.newest.values, before.key) if before else (None, None)
            newest, ttl = Newest(values, problem), min(ttl, _PAUSE_SECONDS)
        self._kept.keep(city, _Kept(newest, key, now + ttl))
        return newest

    def _look(self, city: str, before: _Kept | None) -> tuple[Newest, str | None]:
        """Find the newest copy that can be believed; one that is at hand is not read again."""
        problem = None
        for item in known_values.copies(self._objects, self._keys, city)[:_MOST_TRIED]:
            if before is not None and item.key == before.key:
                return Newest(before.newest.values, problem), item.key
            values, problem = self._read(city, item, problem)
            if values is not None:
                return Newest(values, problem), item.key
        return Newest(None, problem), None

    def _read(self, city: str, item: Item, problem: str | None) -> tuple[KnownValues | None, str | None]:
        try:
            return known_values.read_copy(self._s3, self._keys, city, item), problem
        except BrokenKnown as error:
            log.warning("%s", error)
            return None, "the newest known values can't be believed"
