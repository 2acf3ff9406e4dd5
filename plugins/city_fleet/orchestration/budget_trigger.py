"""Trigger of a task that a night beyond the budget keeps from starting a job: it waits for a person, or for a day."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from weakref import WeakKeyDictionary

from airflow.triggers.base import BaseTrigger, TriggerEvent
from botocore.exceptions import BotoCoreError, ClientError

from city_fleet import clock
from city_fleet.errors import CityFleetError
from city_fleet.jobs.pacing import pace
from city_fleet.naming import Keys
from city_fleet.orchestration.fleet_metrics import TriggererWaits
from city_fleet.orchestration.task_clients import TaskClients
from city_fleet.orchestration.task_log import PrintableLog
from city_fleet.state import budget_question
from city_fleet.state.budget_question import BudgetNight
from city_fleet.state.objects import ObjectStore

#: Answers of the trigger: a person has allowed the night; it is to be asked again; nobody has answered in time.
ALLOWED, AGAIN, EXPIRED = "allowed", "again", "expired"
POLL_SECONDS = 60.0
#: Tasks that start their jobs again per second, in this triggerer.
_TURNS_PER_SECOND = 10.0
# Characters; Airflow keeps a trigger's event in its database, for each of the tasks that wait.
_LONGEST_TOLD = 2000


class BudgetTrigger(PrintableLog, BaseTrigger):
    """Wait until a person allows a night, the question is another one, or it is too late.

    All tasks of a triggerer that wait for the same installation share one Get of the object per look.

    :param night: stamp of the night's end; ``asked_at``: when it was judged, which tells two questions apart.
    :param until: ISO instant at which the wait ends; restarts of the triggerer do not move it.
    :param place: bucket, fleet and environment.
    :param poll_seconds: pause between two looks.
    """

    def __init__(
        self,
        *,
        night: str,
        asked_at: str,
        until: str,
        place: list[str],
        aws_conn_id: str | None,
        region_name: str | None,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        super().__init__()
        self.night = night
        self.asked_at = asked_at
        self.until = until
        self.place = list(place)
        self.aws_conn_id = aws_conn_id
        self.region_name = region_name
        self.poll_seconds = poll_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        names = ("night", "asked_at", "until", "place", "aws_conn_id", "region_name", "poll_seconds")
        return f"{__name__}.{type(self).__qualname__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        self.log.info("Waiting until %s for a person who allows the night %s", self.until, self.night)
        _, fleet, environment = self.place
        with TriggererWaits(fleet=fleet, environment=environment).counted("tasks_waiting_for_budget"):
            said, told = await self._answer()
        # The night too: a triggerer that was frozen may wake another task than the one it waited for. What was told is
        # for the task to log: Airflow (3.3.2) begins a trigger's log anew when the same try waits once more.
        yield TriggerEvent({"budget": said, "night": self.night, "told": told})

    async def _answer(self) -> tuple[str, str]:
        """Return which of the three answers ends the wait, at this task's turn, and what is known of the night."""
        looks = _LOOKS.setdefault(asyncio.get_running_loop(), {})
        look = looks.setdefault((self.aws_conn_id, self.region_name, *self.place), _Look())
        deadline = clock.parse(self.until)
        while True:
            try:
                found = await look.newest(self._client, Keys(*self.place), self.poll_seconds / 2)
            except (ClientError, BotoCoreError, CityFleetError, OSError) as error:
                self.log.warning("The budget can't be asked, trying again: %s", error)
            else:
                if found is None or (found.night, found.at) != (self.night, self.asked_at) or not found.asks:
                    said = ALLOWED if found and found.allowed_by and found.night == self.night else AGAIN
                    async with pace(f"{self.place}/budget").turn(_TURNS_PER_SECOND):
                        pass
                    return said, found.told[:_LONGEST_TOLD] if found else ""
            left = (deadline - datetime.now(UTC)).total_seconds()
            if left <= 0:
                return EXPIRED, ""
            await asyncio.sleep(min(self.poll_seconds, left))

    def _client(self) -> Any:
        return TaskClients(self.aws_conn_id, self.region_name).s3


class _Look:
    """What one Get has seen, for all tasks that wait for the same installation."""

    def __init__(self) -> None:
        self._one_at_a_time = asyncio.Lock()
        self._seen_at = -float("inf")
        self._seen: BudgetNight | None = None
        self._s3: Any = None

    async def newest(self, connect: Any, keys: Keys, fresh_seconds: float) -> BudgetNight | None:
        """Return what is known of the night that was judged last.

        :param connect: makes a client.
        :param fresh_seconds: what is younger is as good as a new look.
        """
        async with self._one_at_a_time:
            time = asyncio.get_running_loop().time
            if time() - self._seen_at <= fresh_seconds:
                return self._seen
            try:
                if self._s3 is None:
                    self._s3 = await asyncio.to_thread(connect)
                store = ObjectStore(self._s3, keys.bucket)
                self._seen = await asyncio.to_thread(budget_question.read, store, keys)
            except Exception:
                self._s3 = None  # the connection may have been changed since
                raise
            self._seen_at = time()
            return self._seen


_LOOKS: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str | None, ...], _Look]] = (
    WeakKeyDictionary()
)
