"""Trigger of the approve task: it ends with an answer in Airflow, a decision in the registry, or the deadline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from airflow.providers.standard.triggers.hitl import HITLTrigger
from airflow.sdk.execution_time.hitl import update_hitl_detail_response
from airflow.triggers.base import TriggerEvent
from botocore.exceptions import BotoCoreError, ClientError

from city_fleet import naming
from city_fleet.orchestration.task_clients import TaskClients
from city_fleet.orchestration.task_log import PrintableLog
from city_fleet.state import registry, registry_search
from city_fleet.state.registry import APPROVED, PENDING

if TYPE_CHECKING:
    from types_boto3_sagemaker import SageMakerClient

DECIDED = "decided"
EXPIRED = "expired"
#: Member of every event: the ARN of the version that it is about.
ABOUT = "package_arn"
#: The answers that the form offers.
OPTIONS = (_APPROVE, _REJECT) = ("Approve", "Reject")


class ApprovalTrigger(PrintableLog, HITLTrigger):
    """Wait until a person has answered in Airflow, or a decision about the version stands in the registry.

    Airflow itself resumes the task after an answer; the trigger looks at that once only, in case the answer
    came before the task was waiting. It lists the versions that wait for approval, in one request for all tasks of
    this triggerer that wait for the same fleet, and describes its own version when that is no longer among them. It
    then answers the form itself: a task can't, and else the form would ask on.

    Its event is an answer as of Airflow's trigger, ``{"decided": True}`` or ``{"expired": True}``, each with the
    version that it is about: SQLite gives a new trigger the number of one that was deleted a moment ago, and the old
    one, while it still runs, would end the wait of another city with its own city's answer.

    :param name_part: what the names of the fleet's package groups hold.
    :param expires_at: stamp of the deadline; restarts of the triggerer do not move it.
    :param poll_seconds: pause between two looks.
    :param aws_conn_id: Airflow connection; ``region_name``: None for that of the connection.
    :param hitl: as of Airflow's trigger: ``ti_id``, ``options``, ``params`` …
    """

    def __init__(
        self,
        *,
        package_arn: str,
        name_part: str,
        expires_at: str,
        poll_seconds: float,
        aws_conn_id: str | None,
        region_name: str | None,
        **hitl: Any,
    ) -> None:
        super().__init__(**{"timeout_datetime": None, **hitl})
        self.package_arn = package_arn
        self.name_part = name_part
        self.expires_at = expires_at
        self.poll_seconds = poll_seconds
        self.aws_conn_id = aws_conn_id
        self.region_name = region_name

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.{type(self).__qualname__}", {
            **super().serialize()[1],
            "package_arn": self.package_arn,
            "name_part": self.name_part,
            "expires_at": self.expires_at,
            "poll_seconds": self.poll_seconds,
            "aws_conn_id": self.aws_conn_id,
            "region_name": self.region_name,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        answer = await self._handle_response()
        if answer is not None:
            yield self._about(answer.payload)
            return
        self.log.info("Waiting for a decision about %s until %s", self.package_arn, self.expires_at)
        looks = _LOOKS.setdefault(asyncio.get_running_loop(), {})
        look = looks.setdefault((self.aws_conn_id, self.region_name, self.name_part), SharedLook())
        deadline = naming.parse_as_of(self.expires_at)
        while datetime.now(UTC) < deadline:
            try:
                status = await look.status(
                    self._client, self.package_arn, self.name_part, self.poll_seconds / 2
                )
            except (ClientError, BotoCoreError, OSError) as error:
                # The person's answer still ends the wait, and so does the deadline.
                self.log.warning("The registry can't be asked, trying again: %s", error)
            else:
                if status != PENDING:
                    await self._answer(_APPROVE if status == APPROVED else _REJECT, "decided in the registry")
                    yield self._about({DECIDED: True})
                    return
            left = (deadline - datetime.now(UTC)).total_seconds()
            await asyncio.sleep(max(0.0, min(self.poll_seconds, left)))
        await self._answer(_REJECT, "expired")
        yield self._about({EXPIRED: True})

    def _about(self, event: dict[str, Any]) -> TriggerEvent:
        return TriggerEvent({**event, ABOUT: self.package_arn})

    async def _answer(self, option: str, note: str) -> None:
        """Answer the form that is no longer needed; of two answers the first counts, and either will do."""
        try:
            await asyncio.to_thread(
                update_hitl_detail_response,
                ti_id=self.ti_id,
                chosen_options=[option],
                params_input=dict.fromkeys(self.params, note),
            )
        except Exception as error:
            self.log.info("The form stays as it is: %s", error)

    def _client(self) -> SageMakerClient:
        return TaskClients(self.aws_conn_id, self.region_name).sagemaker


class SharedLook:
    """What one look at the registry has seen, for all tasks that wait for the same fleet.

    boto3 in threads, and not aiobotocore: one client lives as long as the triggerer, and a look is two calls a minute.
    """

    def __init__(self) -> None:
        self._one_at_a_time = asyncio.Lock()
        self._seen_at = -float("inf")
        self._waiting: frozenset[str] = frozenset()
        self._client: SageMakerClient | None = None

    async def status(
        self, connect: Callable[[], SageMakerClient], package_arn: str, name_part: str, fresh_seconds: float
    ) -> str:
        """Return a version's approval status.

        :param connect: makes a client.
        :param name_part: what the names of the fleet's package groups hold.
        :param fresh_seconds: a list that is younger is as good as a new one.
        """
        async with self._one_at_a_time:
            clock = asyncio.get_running_loop().time
            try:
                if self._client is None:
                    self._client = await asyncio.to_thread(connect)
                if clock() - self._seen_at > fresh_seconds:
                    self._waiting = await asyncio.to_thread(registry_search.waiting, self._client, name_part)
                    self._seen_at = clock()
                if package_arn in self._waiting:
                    return PENDING
                found = await asyncio.to_thread(registry.describe, self._client, package_arn)
            except Exception:
                self._client = None  # the connection may have been changed since
                raise
        return found.status if found else "deleted"


_LOOKS: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str | None, str | None, str], SharedLook]] = (
    WeakKeyDictionary()
)
