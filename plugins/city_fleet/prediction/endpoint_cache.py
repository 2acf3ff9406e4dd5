"""Which SageMaker endpoint serves for each shared endpoint, as an application reads it: kept for a while.

An endpoint changes once in weeks, and no request may fail while it does. So where S3 does not answer, or may not be
asked, what was read is believed on, and where nothing was ever read a shared endpoint is the SageMaker endpoint of its
name. A boto3 S3 client is passed in; the Lambda function carries this module.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from city_fleet import clock as calendar
from city_fleet import naming, outgoing_text
from city_fleet.errors import NotReady
from city_fleet.prediction.deadline import Deadline
from city_fleet.prediction.live_cache import TTL_SECONDS
from city_fleet.prediction.object_cache import ObjectCache
from city_fleet.state import shared_endpoints
from city_fleet.state.live_pointer import ServedModel
from city_fleet.state.model_address import Address, address_of
from city_fleet.state.objects import ObjectStore
from city_fleet.state.shared_endpoints import SharedEndpoints

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

log = outgoing_text.logger(__name__)

_SECONDS = 2.0


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
        store, key = ObjectStore(s3, keys.bucket), keys.shared_endpoints()
        where, missing = store.uri(key), dict[str, shared_endpoints.SharedEndpoint]()
        self._shared: ObjectCache[SharedEndpoints] = ObjectCache(
            store,
            key,
            missing=missing,
            parse=lambda body: shared_endpoints.parse(body, where),
            instead=_what_is_known,
            most_bytes=shared_endpoints.MOST_BYTES,
            seconds=_SECONDS,
            ttl_seconds=ttl_seconds,
            clock=clock,
        )

    def address_of(self, model: ServedModel, deadline: Deadline, *, ask: bool = False) -> Address:
        """Return where a model answers. That S3 does not answer is no failure.

        :param ask: ask S3 even if what is known was confirmed a moment ago.
        :raises NotReady: nothing answers until the shared endpoint opens, by ``endpoint.hours``.
        """
        shared = self._shared.get(deadline, ask=ask)
        self._refuse_closed(model.endpoint or self.own, shared)
        return address_of(model, shared, self.own)

    def _refuse_closed(self, name: str, shared: SharedEndpoints) -> None:
        """Refuse while the endpoint is closed. One that ought to have opened is asked: it may have, unnoted."""
        closed = shared[name].closed if name in shared else None
        left = 0.0 if closed is None else closed.seconds_left(calendar.utc_now())
        if closed is not None and left > 0:
            raise NotReady(f"{closed.sentence(name)}.", retry_after_seconds=math.ceil(left), attempts=0)


def _what_is_known(error: Exception) -> None:
    log.warning("Which endpoints serve can't be read; what is known stays. %s", error)
