"""A pace: calls of one kind come one after the other, never faster than so many a second.

For threads, :func:`keep_pace` slows one client down. For asyncio, :func:`pace` has one pace per name and event loop, so
it holds for all triggers of one triggerer process. Two triggerers have a pace each: divide the rate by their number.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from botocore.config import Config

if TYPE_CHECKING:
    from types_boto3_sagemaker import SageMakerClient

#: What SageMaker's List operations stand, per account (not published; seen to throttle above it).
REQUESTS_PER_SECOND = 2.0
#: botocore waits longer and longer between attempts, up to 20 s; in adaptive mode it slows down the next calls too.
RETRIES = Config(retries={"mode": "adaptive", "total_max_attempts": 6})

_PACES: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Turns]] = WeakKeyDictionary()


class Turns:
    """Turns in the order in which they were asked for: a bucket that holds one token.

    Saving turns up while no call is made would allow a burst, which is what throttles.
    """

    def __init__(self) -> None:
        self._first = asyncio.Lock()  # fair: wakes its waiters in order, and a cancelled one makes room
        self._free_at = 0.0

    @asynccontextmanager
    async def turn(self, per_second: float) -> AsyncIterator[None]:
        """Wait for a turn, and hold it while the body calls. A waiter that is cancelled uses none up.

        The next turn comes after the body's end: a request that was held up on its way does not meet the next one.

        :param per_second: how many such turns a second may have; the next one comes ``1 / per_second`` seconds
            after the end of this one.
        :raises ValueError: per_second is not above 0.
        """
        if per_second <= 0:
            raise ValueError(f"per_second: got {per_second}; allowed: a number above 0")
        clock = asyncio.get_running_loop().time
        async with self._first:
            while (left := self._free_at - clock()) > 0:
                await asyncio.sleep(left)
            try:
                yield
            finally:
                self._free_at = clock() + 1 / per_second


def pace(lane: str) -> Turns:
    """Return the pace of a lane in the running event loop.

    :param lane: what is paced, for example ``aws_default/us-east-1/CreateTrainingJob``.
    """
    return _PACES.setdefault(asyncio.get_running_loop(), {}).setdefault(lane, Turns())


@dataclass
class RequestPace:
    """At most so many requests a second, one after the other, whatever thread they come from.

    :param per_second: the pace.
    :param clock: seconds that only go forward.
    :param sleep: waits for seconds.
    """

    per_second: float = REQUESTS_PER_SECOND
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _next: float = field(default=float("-inf"), init=False)
    _turn: threading.Lock = field(default_factory=threading.Lock, init=False)

    def wait(self, **_: object) -> None:
        """Wait for the next turn. Takes the arguments of a botocore event and leaves them alone."""
        with self._turn:
            now = self.clock()
            if now < self._next:
                self.sleep(self._next - now)
            self._next = max(now, self._next) + 1 / self.per_second


def keep_pace(client: SageMakerClient, pace: RequestPace) -> SageMakerClient:
    """Make every request of a client wait its turn, also those that botocore sends again."""
    client.meta.events.register("before-send.sagemaker", pace.wait)
    return client
