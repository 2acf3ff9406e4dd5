"""Tasks that wait for jobs: how often they ask SageMaker, and how soon they learn of a job's end.

Our JobTrigger and the provider's SageMakerTrigger wait in turns, in one process, at stand-ins of their own, with the
same period. Each has as many waiting tasks, and each task's jobs take equally long, one after the other. The jobs
themselves do nothing: they wait for an instance, and are stopped when their time is over. Every request is counted at
the stand-in.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import random
import re
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from airflow.providers.amazon.aws.triggers.sagemaker import SageMakerTrigger
from airflow.triggers.base import BaseTrigger
from stand_in import IMAGE, StandIn, running

from city_fleet.orchestration.city_tasks.job_triggers import JobTrigger

#: One at a time may run and its instance takes a day to come up: jobs stay in progress and cost nothing.
IDLE = ("--max-running-jobs", "1", "--start-delay-seconds", "86399", "--no-data-check")
ROOM = ("--quota", "ml.m5.large for training job usage=100000")
SAMPLE_SECONDS = 0.1
OURS, STOCK = "city-fleet", "stock"


@dataclass
class Settings:
    """What is measured.

    :param tasks: waiting tasks of each kind.
    :param minutes: how long, once all wait.
    :param poll_seconds: the period of both.
    :param job_seconds: how long a job takes.
    """

    tasks: int
    minutes: float
    poll_seconds: int
    job_seconds: float


@dataclass
class Watch:
    """The counters of the stand-in, read all the time.

    :param rows: moments and what had been counted by then.
    """

    server: StandIn
    rows: list[tuple[float, list[int]]] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Read until :meth:`stop`."""
        while not self._stop.is_set():
            counted = self.server.counted()
            self.rows.append((time.monotonic(), counted))
            self._stop.wait(SAMPLE_SECONDS)

    def stop(self) -> None:
        """Read no more."""
        self._stop.set()

    def between(self, begin: float, end: float) -> list[tuple[float, list[int]]]:
        """What was read in a time."""
        return [row for row in self.rows if begin <= row[0] <= end]


def most_in_a_second(rows: list[tuple[float, list[int]]], column: int) -> int:
    """The most requests between two readings that are at most a second apart."""
    most, first = 0, 0
    for moment, counted in rows:
        while moment - rows[first][0] > 1.0:
            first += 1
        most = max(most, counted[column] - rows[first][1][column])
    return most


def ours(job: str, since: datetime, settings: Settings) -> BaseTrigger:
    """The trigger our operators wait with."""
    return JobTrigger(
        job_name=job,
        kind="Training",
        since=since.isoformat(),
        deadline=(since + timedelta(days=1)).isoformat(),
        poll_seconds=settings.poll_seconds,
        region_name="us-east-1",
    )


def stock(job: str, since: datetime, settings: Settings) -> BaseTrigger:
    """The trigger the provider's operators wait with."""
    return SageMakerTrigger(
        job_name=job,
        job_type="Training",
        waiter_delay=settings.poll_seconds,
        waiter_max_attempts=100_000,
        region_name="us-east-1",
    )


class Tasks:
    """Tasks of one kind that wait for one job after the other.

    :param name: begins the names of their jobs.
    :param trigger: makes a trigger for a job.
    """

    def __init__(
        self,
        name: str,
        trigger: Callable[[str, datetime, Settings], BaseTrigger],
        server: StandIn,
        role: str,
        settings: Settings,
    ) -> None:
        self.name, self._trigger, self._server, self._role = name, trigger, server, role
        self._settings = settings
        self._pool = concurrent.futures.ThreadPoolExecutor(2)
        self.waiting = 0
        self.ended: dict[str, float] = {}
        self.late_seconds: list[tuple[float, float]] = []

    async def wait(self, number: int) -> None:
        """One task. Its first job is somewhere in the middle of its time."""
        loop = asyncio.get_running_loop()
        seconds = random.Random(number).uniform(0.1, 1.0) * self._settings.job_seconds  # noqa: S311
        for turn in range(1_000_000):
            job = f"{self.name}-{number:04}-{turn}"
            since = datetime.now(UTC)
            await loop.run_in_executor(self._pool, self.create, job)
            loop.call_later(seconds, partial(loop.run_in_executor, self._pool, self._end, job))
            seconds = self._settings.job_seconds
            waited = self._trigger(job, since, self._settings).run()
            self.waiting += 1
            async for _ in waited:
                break
            self.waiting -= 1
            await waited.aclose()  # type: ignore[attr-defined]
            now = time.monotonic()
            self.late_seconds.append((now, now - self.ended.pop(job)))

    def create(self, job: str) -> None:
        """Start a job that waits for an instance."""
        self._server.client("sagemaker").create_training_job(
            TrainingJobName=job,
            RoleArn=self._role,
            AlgorithmSpecification={
                "TrainingImage": f"683313688378.dkr.ecr.us-east-1.amazonaws.com/{IMAGE}",
                "TrainingInputMode": "File",
                "ContainerEntrypoint": ["python3", "-c", "pass"],
            },
            OutputDataConfig={"S3OutputPath": "s3://bench/out"},
            ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5},
            StoppingCondition={"MaxRuntimeInSeconds": 86400},
        )

    def _end(self, job: str) -> None:
        self._server.client("sagemaker").stop_training_job(TrainingJobName=job)
        self.ended[job] = time.monotonic()


async def _wait(server: StandIn, kind: str, settings: Settings) -> dict[str, Any]:
    server.client("s3").create_bucket(Bucket="bench")
    kinds = {OURS: ours, STOCK: stock}
    waits = Tasks(kind, kinds[kind], server, server.create_role("bench"), settings)
    waits.create("first")  # holds the one instance for good
    server.count({"operation": "ListTrainingJobs"}, {"operation": "DescribeTrainingJob"})
    watch = Watch(server)
    watcher = asyncio.create_task(asyncio.to_thread(watch.run))
    before = _memory_mb()
    tasks = [asyncio.create_task(waits.wait(number)) for number in range(settings.tasks)]
    while waits.waiting < 0.95 * settings.tasks:
        await asyncio.sleep(0.5)
        _raise_first(tasks)
    await asyncio.sleep(settings.poll_seconds)  # until their clients are open
    begin = time.monotonic()
    while time.monotonic() < begin + settings.minutes * 60:
        await asyncio.sleep(1)
        _raise_first(tasks)
    end, memory = time.monotonic(), _memory_mb() - before
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    watch.stop()
    await watcher
    rows = watch.between(begin, end)
    minutes = (rows[-1][0] - rows[0][0]) / 60
    lists, described = (rows[-1][1][column] - rows[0][1][column] for column in range(2))
    return {
        "calls_per_minute": round((lists + described) / minutes, 1),
        "ListTrainingJobs_per_minute": round(lists / minutes, 1),
        "DescribeTrainingJob_per_minute": round(described / minutes, 1),
        "most_ListTrainingJobs_in_a_second": most_in_a_second(watch.rows, 0),
        "most_DescribeTrainingJob_in_a_second": most_in_a_second(watch.rows, 1),
        "memory_mb": round(memory),
        **_late(waits, begin, end),
    }


def _late(kind: Tasks, begin: float, end: float) -> dict[str, Any]:
    seconds = [late for moment, late in kind.late_seconds if begin <= moment <= end]
    return {
        "ends_noticed": len(seconds),
        "noticed_after_seconds_median": round(statistics.median(seconds), 1) if seconds else None,
        "noticed_after_seconds_worst": round(max(seconds), 1) if seconds else None,
    }


def _memory_mb() -> float:
    """Memory of this process (Linux)."""
    found = re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found.group(1)) / 1024 if found else float("nan")


def _raise_first(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        if task.done():
            task.result()
            raise AssertionError("a task has stopped waiting")


def measure(settings: Settings) -> dict[str, Any]:
    """Let both kinds of tasks wait, one after the other, and count."""
    found = {}
    for kind in (OURS, STOCK):
        with running(*IDLE, *ROOM) as server:
            server.connect_airflow()
            found[kind] = asyncio.run(_wait(server, kind, settings))
            gc.collect()
    peer, own = found[STOCK]["calls_per_minute"], found[OURS]["calls_per_minute"]
    return {
        "ours: JobTrigger": found[OURS],
        "peer: SageMakerTrigger": found[STOCK],
        "peer / ours": round(peer / own, 1) if own else None,
    }
