"""Jobs that tasks wait for: one List request about all of them, and which waits its answer ends. No I/O.

A List answer names every job that was modified in a window of time. The window reaches back from the last answer by
an overlap, because lists may lag behind and clocks differ. All times in it are SageMaker's own.
"""

from __future__ import annotations

import os
import re
from asyncio import Future
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from city_fleet.jobs.sagemaker_jobs import IN_PROGRESS, JobKind, answered_at

OVER = "over"
DEADLINE = "deadline"
ERROR = "error"

#: The largest page of ListTrainingJobs and ListProcessingJobs (API reference: MaxResults).
PAGE = 100
# Shorter ones are hardly a filter.
_SHORTEST_PREFIX = 4
# API reference: TrainingJobName, ProcessingJobName.
_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")


@dataclass(frozen=True)
class WaitEnd:
    """How a wait ended.

    :param status: ``over``, ``deadline`` or ``error``.
    :param message: what went wrong; of an error only.
    """

    status: str
    message: str = ""


@dataclass(eq=False)
class WaitingJob:
    """One job that one task waits for.

    :param seen_to: no change of the job up to this instant is unknown.
    :param named_at: when an answer named it last, or its wait began; seconds of the event loop's clock.
    :param outcome: resolved when the wait is settled.
    :param missed: a list of all jobs in progress has not named it.
    """

    name: str
    seen_to: datetime
    poll_seconds: float
    named_at: float
    outcome: Future[WaitEnd]
    missed: bool = False

    def settle(self, outcome: WaitEnd) -> None:
        """End the wait; a wait that has ended stays as it is."""
        if not self.outcome.done():
            self.outcome.set_result(outcome)


def is_job_name(text: str) -> bool:
    """Tell whether SageMaker could have a job of that name."""
    return _NAME.fullmatch(text) is not None


def list_changes(jobs: Collection[WaitingJob], overlap_seconds: float) -> dict[str, Any]:
    """Return the List request for everything that has happened to jobs (at least one) since the last answers."""
    since = min(job.seen_to for job in jobs) - timedelta(seconds=overlap_seconds)
    return {"LastModifiedTimeAfter": since, **_listing(jobs)}


def list_unfinished(jobs: Collection[WaitingJob]) -> dict[str, Any]:
    """Return the List request for all jobs in progress (at least one), however long they have not changed."""
    return {"StatusEquals": IN_PROGRESS, **_listing(jobs)}


def _listing(jobs: Collection[WaitingJob]) -> dict[str, Any]:
    prefix = os.path.commonprefix([job.name for job in jobs])  # noqa: RUF071  # by character is what is wanted
    # The newest first: the jobs that tasks wait for are among them.
    request = {"MaxResults": PAGE, "SortBy": "CreationTime", "SortOrder": "Descending"}
    return request | ({"NameContains": prefix} if len(prefix) >= _SHORTEST_PREFIX else {})


def read_page(
    kind: JobKind, answer: Mapping[str, Any], jobs: Mapping[str, Iterable[WaitingJob]], now: float
) -> set[str]:
    """Settle what a page of a List answer settles.

    :param jobs: by name.
    :param now: seconds of the event loop's clock.
    :return: the names in it.
    """
    names = set()
    for summary in answer[kind.summaries_key]:
        names.add(summary[kind.name_key])
        for job in jobs.get(summary[kind.name_key], ()):
            job.named_at, job.missed = now, False
            if kind.is_over(summary):
                job.settle(WaitEnd(OVER))
    return names


def time_of(kind: JobKind, answer: Mapping[str, Any]) -> datetime | None:
    """Return an instant of SageMaker's clock that is not after the answer; None if nothing tells one."""
    last_change = max(
        (summary["LastModifiedTime"] for summary in answer.get(kind.summaries_key, ())), default=None
    )
    return answered_at(answer) or last_change
