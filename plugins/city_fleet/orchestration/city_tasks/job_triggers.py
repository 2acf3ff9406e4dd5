"""Trigger of a job operator: it waits until the job is over, in the one event loop of a triggerer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.amazon.aws.hooks.sagemaker import SageMakerHook
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from airflow.triggers.base import BaseTrigger, TriggerEvent
from botocore.config import Config
from botocore.exceptions import ClientError

from city_fleet import clock, naming
from city_fleet.errors import list_names
from city_fleet.jobs import fixed_run, orphans
from city_fleet.jobs.job_poller import wait_for_job
from city_fleet.jobs.pacing import pace
from city_fleet.jobs.poll_rules import RULES, JobSource
from city_fleet.jobs.sagemaker_jobs import KINDS, is_nothing_to_stop
from city_fleet.jobs.thread_client import ThreadClient
from city_fleet.orchestration.fleet_metrics import TriggererWaits
from city_fleet.orchestration.task_clients import AIOBOTOCORE_IS_INSTALLED
from city_fleet.orchestration.task_log import PrintableLog
from city_fleet.state.objects import ObjectStore

# Tries to learn a task's state, and to stop its job; the pauses between them add up to half a minute.
_TRIES = 5
# asyncio itself keeps weak references to tasks only.
_stops: set[asyncio.Task[None]] = set()


class JobTrigger(PrintableLog, BaseTrigger):
    """Wait until a job is over, together with every other waiting task of this triggerer.

    Its one event is ``{"job_name": …, "outcome": "over" | "deadline" | "error"}``, an error's with a ``message``.
    How the job ended is not in it: the operator describes the job anyway.

    :param kind: ``Processing`` or ``Training``.
    :param since: ISO instant at which, or after which, the job was seen unfinished.
    :param deadline: ISO instant at which the wait ends; restarts of the triggerer do not move it.
    :param poll_seconds: how soon the end of the job should be noticed.
    :param attached: where the DAG runs are marked that may come for the job as well; empty where there are no others.
    :param aws: ``aws_conn_id``, ``region_name``, ``verify`` and ``botocore_config``, as of the provider's operators.
    """

    def __init__(
        self,
        *,
        job_name: str,
        kind: str,
        since: str,
        deadline: str,
        poll_seconds: float = 30,
        attached: str = "",
        **aws: Any,
    ) -> None:
        super().__init__()
        self.job_name = job_name
        self.kind = kind
        self.since = since
        self.deadline = deadline
        self.poll_seconds = poll_seconds
        self.attached = attached
        self.aws = aws

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.{type(self).__qualname__}", {
            "job_name": self.job_name,
            "kind": self.kind,
            "since": self.since,
            "deadline": self.deadline,
            "poll_seconds": self.poll_seconds,
            "attached": self.attached,
            **self.aws,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        self.log.info("Waiting for job %s, until %s at the latest", self.job_name, self.deadline)
        outcome = await wait_for_job(
            self._source(),
            self._connect,
            self.job_name,
            since=clock.parse(self.since),
            deadline=clock.parse(self.deadline),
            poll_seconds=self.poll_seconds,
            observer=TriggererWaits(
                kind=self.kind, connection=self.aws.get("aws_conn_id"), region=self.aws.get("region_name")
            ),
        )
        event = {"job_name": self.job_name, "outcome": outcome.status}
        if outcome.message:
            event["message"] = outcome.message
        self.log.info("The wait for job %s ends: %s", self.job_name, outcome.message or outcome.status)
        yield TriggerEvent(event)

    async def on_kill(self) -> None:
        """Stop the job if no task will come back for it.

        Airflow calls this when a person has ended or cleared the task, but also when a triggerer that was frozen
        wakes up and another one has taken its triggers over; and it cancels it after about a second, again and
        again. So the work is done in a task of its own, which asks what has become of the task first.
        """
        task = asyncio.get_running_loop().create_task(self._stop_orphan(), name=f"stop {self.job_name}")
        _stops.add(task)
        task.add_done_callback(_stops.discard)
        # Airflow keeps the task's log open as long as this takes.
        await asyncio.shield(task)

    async def _stop_orphan(self) -> None:
        for failures in range(1, _TRIES + 1):
            try:
                state = await self._task_state()
                if state not in orphans.ENDED | {orphans.GONE}:
                    self.log.info("Job %s goes on: its task is %s", self.job_name, state or "cleared")
                    return
                if waiting := await self._others_waiting():
                    self.log.info("Job %s goes on for %s", self.job_name, list_names(waiting))
                    return
                stopped = await self._stop()
                end = "is stopped" if stopped else "was over already"
                self.log.info("Job %s %s: its task is %s", self.job_name, end, state)
                return
            except Exception as error:
                last = failures == _TRIES
                rest = "the reaper will see to it" if last else "trying again"
                self.log.warning("Job %s of a killed task may go on, %s: %s", self.job_name, rest, error)
                if not last:
                    await asyncio.sleep(RULES.backoff_seconds(failures))

    async def _task_state(self) -> str | None:
        """Return the state of the task instance, None if it was cleared, ``gone`` if there is none any more."""
        ti = self._own_task()
        states = await self._states([ti.run_id], map_index=ti.map_index)
        return orphans.state_of(states, ti.run_id, orphans.name_of(ti.task_id, ti.map_index))

    async def _others_waiting(self) -> list[str]:
        """Return the ids of the other DAG runs that may still come for the job."""
        ti = self._own_task()
        run_ids = [each for each in await asyncio.to_thread(self._attached) if each != ti.run_id]
        name = orphans.name_of(ti.task_id, ti.map_index)
        return orphans.may_come(await self._states(run_ids), run_ids, name) if run_ids else []

    def _attached(self) -> list[str]:
        if not self.attached:
            return []
        bucket, prefix = naming.split_uri(self.attached)
        aws = {name: self.aws[name] for name in ("aws_conn_id", "region_name", "verify") if name in self.aws}
        return fixed_run.attached(ObjectStore(S3Hook(**aws).conn, bucket), prefix)

    def _own_task(self) -> Any:
        if self.task_instance is None:
            raise RuntimeError("the trigger belongs to no task")
        return self.task_instance

    async def _states(self, run_ids: list[str], **which: Any) -> dict[str, Any]:
        """Return the states of this task in DAG runs."""
        ti = self._own_task()
        # In a thread: it waits for the supervisor's answer.
        return await asyncio.to_thread(
            RuntimeTaskInstance.get_task_states,
            dag_id=ti.dag_id,
            task_ids=[ti.task_id],
            run_ids=run_ids,
            **which,
        )

    async def _stop(self) -> bool:
        """Ask SageMaker to stop the job; False when there was nothing to stop."""
        kind, source = KINDS[self.kind], self._source()
        async with await self._connect() as client, pace(source.lane("stop")).turn(RULES.calls_per_second):
            try:
                await getattr(client, kind.method("stop"))(**{kind.name_key: self.job_name})
            except ClientError as error:
                if is_nothing_to_stop(error):
                    return False
                raise
        return True

    def _source(self) -> JobSource:
        rest = {name: value for name, value in self.aws.items() if name not in ("aws_conn_id", "region_name")}
        options = json.dumps(rest, sort_keys=True, default=str)
        connection = self.aws.get("aws_conn_id", "aws_default") or "of the environment"
        return JobSource(connection, self.aws.get("region_name"), KINDS[self.kind], options)

    async def _connect(self) -> AbstractAsyncContextManager[Any]:
        # In a thread: looking up the connection and reading botocore's service model take their time.
        return await asyncio.to_thread(self._client)

    def _client(self) -> AbstractAsyncContextManager[Any]:
        config = self.aws.get("botocore_config")
        hook = SageMakerHook(
            **{name: value for name, value in self.aws.items() if name != "botocore_config"}, config=config
        )
        # The poller repeats at its own pace; a client that repeats by itself would outrun it.
        config = hook.config.merge(Config(retries={"total_max_attempts": 1}))
        if not AIOBOTOCORE_IS_INSTALLED:
            return ThreadClient(hook.get_client_type(region_name=hook.region_name, config=config))
        # The hook's sessions share their caches: with them filled, opening the client hardly holds up the loop.
        hook.get_session(region_name=hook.region_name, deferrable=True).warm_up_loader_caches("sagemaker")
        client: AbstractAsyncContextManager[Any] = hook.get_client_type(
            region_name=hook.region_name, config=config, deferrable=True
        )
        return client
