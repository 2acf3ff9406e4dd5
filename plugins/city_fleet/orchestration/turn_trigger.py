"""Trigger of a task that AWS could not serve: it waits for a moment, and then for the task's turn to call again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from city_fleet import clock
from city_fleet.jobs.pacing import pace
from city_fleet.orchestration.fleet_metrics import TriggererWaits
from city_fleet.orchestration.task_log import PrintableLog

#: No pause is longer. It bounds the wait where the triggerer's clock is behind that of the worker.
LONGEST_SECONDS = 900.0


class TurnTrigger(PrintableLog, BaseTrigger):
    """Wait for a task's turn to call AWS again, so that tasks that were refused together do not come back together.

    :param lane: the lane that the turns are counted for, in this triggerer.
    :param per_second: how many turns a second it has.
    :param not_before: ISO instant before which it is nobody's turn.
    """

    def __init__(self, *, lane: str, per_second: float, not_before: str) -> None:
        super().__init__()
        self.lane = lane
        self.per_second = per_second
        self.not_before = not_before

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.{type(self).__qualname__}", {
            "lane": self.lane,
            "per_second": self.per_second,
            "not_before": self.not_before,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        self.log.info("Waiting for a turn: %s, not before %s", self.lane, self.not_before)
        what = self.lane.rsplit("/", 1)[-1]
        with TriggererWaits(lane=what).counted("tasks_waiting_for_a_turn"):
            await self._wait()
        self.log.info("Calling AWS again: %s", self.lane)
        yield TriggerEvent({"turn": True})

    async def _wait(self) -> None:
        left = (clock.parse(self.not_before) - datetime.now(UTC)).total_seconds()
        await asyncio.sleep(min(max(left, 0.0), LONGEST_SECONDS))
        async with pace(self.lane).turn(self.per_second):
            pass
