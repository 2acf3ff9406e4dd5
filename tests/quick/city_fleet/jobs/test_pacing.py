"""A pace: in order, never faster than allowed, and nobody who has gone holds the others up."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from city_fleet.jobs.pacing import Turns, pace


def test_turns_come_in_order_and_no_faster_than_the_rate() -> None:
    async def scenario() -> list[tuple[int, float]]:
        one, clock, turns = Turns(), asyncio.get_running_loop().time, []

        async def take(number: int) -> None:
            async with one.turn(per_second=50):
                turns.append((number, clock()))
                await asyncio.sleep(0.01)

        await asyncio.gather(*(take(number) for number in range(10)))
        return turns

    turns = asyncio.run(scenario())
    assert [number for number, _ in turns] == list(range(10))
    gaps = [after - before for (_, before), (_, after) in itertools.pairwise(turns)]
    assert min(gaps) >= 0.029  # 0.01 s of work and 0.02 s of rest; a timer may be a clock's grain early


def test_a_cancelled_waiter_uses_no_turn_up() -> None:
    async def scenario() -> float:
        one, clock = Turns(), asyncio.get_running_loop().time

        async def take() -> None:
            async with one.turn(per_second=5):
                pass

        await take()
        begin = clock()
        gone = [asyncio.create_task(take()) for _ in range(20)]
        last = asyncio.create_task(take())
        await asyncio.sleep(0)
        for task in gone:
            task.cancel()
        await last
        return clock() - begin

    assert asyncio.run(scenario()) < 1  # 21 turns would take 4 seconds


def test_lanes_are_shared_by_name_and_do_not_outlive_their_loop() -> None:
    async def scenario() -> Turns:
        assert pace("a") is pace("a")
        assert pace("a") is not pace("b")
        return pace("a")

    assert asyncio.run(scenario()) is not asyncio.run(scenario())


def test_a_rate_of_nothing_is_refused() -> None:
    async def scenario() -> None:
        async with Turns().turn(0):
            pass

    with pytest.raises(ValueError, match="per_second: got 0; allowed: a number above 0"):
        asyncio.run(scenario())
