"""Large bodies take turns: one at a time is evaluated, so that all others find the interpreter free."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import time
from collections.abc import AsyncIterator

#: About what one second evaluates. A body counts as having come that much later for each such part of its size.
BYTES_A_SECOND = 1_000_000


class Turns:
    """One turn at a time; a smaller body overtakes larger ones that have come shortly before it.

    Nobody waits for ever: who comes late enough comes behind, however small. Only in the event loop's thread.
    """

    def __init__(self) -> None:
        self._taken = False
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    @contextlib.asynccontextmanager
    async def turn(self, size_bytes: int) -> AsyncIterator[None]:
        """Wait for a turn, and keep it.

        :param size_bytes: of the body that is to be evaluated.
        """
        if self._taken:
            mine = asyncio.get_running_loop().create_future()
            when = time.monotonic() + size_bytes / BYTES_A_SECOND
            heapq.heappush(self._waiting, (when, next(self._numbers), mine))
            try:
                await mine
            except asyncio.CancelledError:
                if mine.done() and not mine.cancelled():
                    self._next()  # it was given to a request that is gone
                raise
        self._taken = True
        try:
            yield
        finally:
            self._next()

    def _next(self) -> None:
        while self._waiting:
            mine = heapq.heappop(self._waiting)[2]
            if not mine.done():
                mine.set_result(None)  # the turn passes on: nobody else can take it in between
                return
        self._taken = False
