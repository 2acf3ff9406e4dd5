"""Waiting for what happens elsewhere: polled, with a deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

_POLL_SECONDS = 0.02


def wait_until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Poll until a condition is true.

    :param condition: what is asked, until its answer is true.
    :param what: what is waited for, in case it does not happen.
    :return: the condition's answer.
    """
    end = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(_POLL_SECONDS)


async def until(condition: Callable[[], Any], seconds: float = 60) -> None:
    """As :func:`wait_until`, while other coroutines go on."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(_POLL_SECONDS / 2)
