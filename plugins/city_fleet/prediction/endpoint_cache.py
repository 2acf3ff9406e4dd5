"""Which SageMaker endpoint serves for each shared endpoint, as an application reads it: kept for a while.

An endpoint changes once in weeks, and no request may fail while it does. So what was read is believed for
``ttl_seconds``, then confirmed by one conditional GET; where S3 does not answer, or may not be asked, it is believed
on, and where nothing was ever read a shared endpoint is the SageMaker endpoint of its name. A boto3 S3 client is
passed in; the Lambda function carries this module.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from city_fleet import clock as calendar
from city_fleet import naming, outgoing_text
from city_fleet.errors import NotReady, PlatformError
from city_fleet.prediction.deadline import Deadline
from city_fleet.prediction.live_cache import TTL_SECONDS
from city_fleet.state import shared_endpoints
from city_fleet.state.live_pointer import ServedModel
from city_fleet.state.model_address import Address, address_of
from city_fleet.state.objects import UNCHANGED, ObjectStore
from city_fleet.state.shared_endpoints import SharedEndpoints

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

log = outgoing_text.logger(__name__)

# The rest of the time belongs to the endpoint; and S3 is left alone for a moment.
_SECONDS = 2.0
_PAUSE_SECONDS = 5.0


@dataclass(frozen=True)
class _Known:
    shared: SharedEndpoints = field(default_factory=dict)
    etag: str | None = None
    believed_until: float = 0.0


class Endpoints:
    """The shared endpoints of one installation. Safe to use from many threads.

    :param s3: a boto3 S3 client without retries of its own (:meth:`Deadline.call` does them).
    :param own: name of the fleet's own shared endpoint, which models without another one are on.
    :param ttl_seconds: how long what was read is believed without asking; 0 asks every time.
    :param clock: seconds that never go back.
    """

    def __init__(
        self,
        s3: S3Client,
        keys: naming.Keys,
        own: str,
        *,
        ttl_seconds: float = TTL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.own = own
        self._store = ObjectStore(s3, keys.bucket)
        self._key = keys.shared_endpoints()
        self._ttl_seconds = ttl_seconds
        self._clock = clock
        self._known = _Known()
        self._lock = threading.Lock()

    def address_of(self, model: ServedModel, deadline: Deadline, *, ask: bool = False) -> Address:
        """Return where a model answers. That S3 does not answer is no failure.

        :param ask: ask S3 even if what is known was confirmed a moment ago.
        :raises NotReady: nothing answers until the shared endpoint opens, by ``endpoint.hours``.
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
            known = self._known
        self._refuse_closed(model.endpoint or self.own, known.shared)
        return address_of(model, known.shared, self.own)

    def _refuse_closed(self, name: str, shared: SharedEndpoints) -> None:
        """Refuse while the endpoint is closed. One that ought to have opened is asked: it may have, unnoted."""
        closed = shared[name].closed if name in shared else None
        left = 0.0 if closed is None else closed.seconds_left(calendar.utc_now())
        if closed is not None and left > 0:
            raise NotReady(f"{closed.sentence(name)}.", retry_after_seconds=math.ceil(left), attempts=0)

    def _read(self, known: _Known, deadline: Deadline) -> _Known:
        where = self._store.uri(self._key)
        believed_until = self._clock() + self._ttl_seconds
        limit = shared_endpoints.MOST_BYTES

        def get() -> _Known:
            if known.etag is None:
                found = self._store.get(self._key, limit)
            else:
                changed = self._store.get_changed(self._key, known.etag, limit)
                if changed is UNCHANGED:
                    return _Known(known.shared, known.etag, believed_until)
                found = changed
            if found is None:
                return _Known(believed_until=believed_until)
            return _Known(shared_endpoints.parse(found.body, where), found.etag, believed_until)

        try:
            return deadline.at_most(_SECONDS).call(f"S3 ({where})", get)
        except (NotReady, PlatformError, ClientError, BotoCoreError) as error:
            log.warning("Which endpoints serve can't be read; what is known stays. %s", error)
            pause = min(self._ttl_seconds, _PAUSE_SECONDS)
            return _Known(known.shared, known.etag, self._clock() + pause)
