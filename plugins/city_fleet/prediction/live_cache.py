"""Live pointers as an application reads them: kept for a while, then asked for with If-None-Match.

A pointer moves once a night, an application asks many times a second. So a pointer is believed for
``ttl_seconds``; after that one conditional GET confirms it, mostly without a body. A boto3 S3 client is passed
in; the Lambda function carries this module.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from city_fleet import aws_errors, naming, outgoing_text
from city_fleet.errors import NotReady, PublishError, ServingError, UnknownCity, nearest_match
from city_fleet.prediction.city_cache import CityCache
from city_fleet.prediction.deadline import Deadline
from city_fleet.state import live
from city_fleet.state.objects import ObjectStore

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

log = outgoing_text.logger(__name__)

TTL_SECONDS = 30.0
MAX_CITIES = 10_000
# How long a pointer may serve that S3 does not confirm because S3 itself is not to be reached. An artifact that was
# replaced is kept for much longer than that.
MAX_STALE_SECONDS = 900.0
# With a pointer at hand, the rest of the time belongs to the endpoint; and S3 is left alone for a moment.
_CONFIRM_SECONDS = 2.0
_PAUSE_SECONDS = 5.0
_SUGGESTION_SECONDS = 2.0
MAX_CITY_LENGTH = 100


@dataclass(frozen=True)
class _Known:
    found: live.Versioned
    confirmed: float
    believed_until: float


class LivePointers:
    """The live pointers of one fleet. Safe to use from many threads.

    :param s3: a boto3 S3 client without retries of its own (:meth:`Deadline.call` does them).
    :param ttl_seconds: how long a pointer is believed without asking; 0 asks every time. A model that goes live
        answers at the latest after so long.
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
        self._known: CityCache[_Known] = CityCache(max_cities)

    def get(self, city: str, deadline: Deadline, *, ask: bool = False) -> live.LivePointer:
        """Return the pointer of a city.

        :param ask: ask S3 even if the pointer was confirmed a moment ago.
        :raises UnknownCity: no model of the city is live.
        :raises NotReady: S3 did not answer before the deadline, and the pointer was not confirmed for long.
        :raises ServingError: the pointer cannot be read.
        """
        # Anything else cannot be the key of a pointer, so S3 is not asked.
        if not naming.is_slug(city) or len(city) > MAX_CITY_LENGTH:
            raise self._unknown(city, deadline)
        known = self._known.get(city)
        now = self._clock()
        if known is not None and not ask and now < known.believed_until:
            return known.found.pointer
        try:
            found = self._read(city, known, deadline)
        except NotReady as error:
            if known is None or now - known.confirmed > MAX_STALE_SECONDS:
                raise
            log.warning("%s The pointer confirmed %.0f s ago serves on.", error, now - known.confirmed)
            pause = min(self._ttl_seconds, _PAUSE_SECONDS)
            self._known.keep(city, replace(known, believed_until=now + pause))
            return known.found.pointer
        self._known.keep(city, _Known(found, now, now + self._ttl_seconds) if found else None)
        if found is None:
            raise self._unknown(city, deadline)
        return found.pointer

    def _read(self, city: str, known: _Known | None, deadline: Deadline) -> live.Versioned | None:
        where = self._keys.uri(self._keys.live(city))
        before = known.found if known else None
        limit = deadline if known is None else deadline.at_most(_CONFIRM_SECONDS)
        try:
            return limit.call(f"S3 ({where})", lambda: live.read(self._s3, self._keys, city, before))
        except PublishError as error:
            raise ServingError(str(error), city=city) from error
        except ClientError as error:
            if aws_errors.is_denied(error) and not self._exists(city):
                return None
            raise ServingError(f"{where}: S3 refuses: {error}", city=city) from error
        except BotoCoreError as error:
            raise ServingError(f"{where}: S3 cannot be asked: {error}", city=city) from error

    def _exists(self, city: str) -> bool:
        """Tell whether a pointer that may not be read is there: S3 answers "denied" about a missing object when
        listing is not allowed."""
        key = self._keys.live(city)
        try:
            return any(item.key == key for item in self._objects.items(key, limit=1))
        except (ClientError, BotoCoreError):
            return True  # it can't be told; what S3 said first stands

    def _unknown(self, city: str, deadline: Deadline) -> UnknownCity:
        nearest = self._nearest(city) if deadline.left() > _SUGGESTION_SECONDS else None
        text = f"fleet {self._keys.fleet!r} has no live model of city {_shortened(city)!r}."
        if nearest is not None:
            text += f" Did you mean {nearest!r}?"
        return UnknownCity(text, city=_shortened(city), nearest=nearest)

    def _nearest(self, city: str) -> str | None:
        """Return the most similar city with the same first letter, of the first 1,000 of those: one request."""
        if len(city) > MAX_CITY_LENGTH:
            return None
        try:
            wanted = naming.slug(city)
            prefix = self._keys.live(wanted[0]).removesuffix(".json")
            names = [item.key.rpartition("/")[2] for item in self._objects.items(prefix, limit=1000)]
        except (ValueError, ClientError, BotoCoreError):
            return None
        return nearest_match(wanted, [name.removesuffix(".json") for name in names])


def _shortened(city: str) -> str:
    return city if len(city) <= MAX_CITY_LENGTH else f"{city[:MAX_CITY_LENGTH]}…"
