"""Who comes next when large bodies wait."""

from __future__ import annotations

import asyncio
import contextlib

from model_server.turns import Turns


def order(*sizes: int, gone: int | None = None) -> list[int]:
    """In which order bodies of these sizes have their turn; all come while the first one has its own."""

    async def run() -> list[int]:
        turns, had, first = Turns(), [], asyncio.Event()

        async def one(size: int) -> None:
            async with turns.turn(size):
                if not had:
                    had.append(size)
                    await first.wait()
                else:
                    had.append(size)

        tasks = []
        for size in sizes:
            tasks.append(asyncio.create_task(one(size)))
            await asyncio.sleep(0)
        if gone is not None:
            tasks[gone].cancel()
        first.set()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        return had

    return asyncio.run(run())


def test_smaller_ones_come_first_and_none_interrupts() -> None:
    assert order(3_000_000, 6_000_000, 100_000, 2_000_000) == [3_000_000, 100_000, 2_000_000, 6_000_000]


def test_one_that_is_gone_keeps_nobody_waiting() -> None:
    assert order(1, 2_000_000, 3_000_000, gone=1) == [1, 3_000_000]
    assert order(1, 2_000_000, 3_000_000, gone=0) == [1, 2_000_000, 3_000_000]


def test_who_has_waited_long_enough_is_not_overtaken() -> None:
    async def run() -> list[str]:
        turns, had = Turns(), []

        async def one(name: str, size: int, seconds: float = 0.0) -> None:
            async with turns.turn(size):
                had.append(name)
                await asyncio.sleep(seconds)

        first = asyncio.create_task(one("first", 1, 0.3))
        await asyncio.sleep(0)
        large = asyncio.create_task(one("large", 200_000))
        await asyncio.sleep(0.25)
        small = asyncio.create_task(one("small", 1))
        await asyncio.gather(first, large, small)
        return had

    assert asyncio.run(run()) == ["first", "large", "small"]
