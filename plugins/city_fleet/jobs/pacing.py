"""A pace: calls of one kind come one after the other, never faster than so many a second.

For asyncio; one pace per name and event loop, so it holds for all triggers of one triggerer process. Two triggerers
have a pace each: divide the rate by their number.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

_PACES: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Turns]] = WeakKeyDictionary()


class Turns:
    """Turns in the order in which they were asked for: a bucket that holds one token.

    Saving turns up while nobody calls would allow a burst, which is what throttles.
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
