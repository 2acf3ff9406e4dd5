"""One poller for all the jobs of a kind that the tasks of a triggerer process wait for.

A Describe per waiting task and 30 seconds throttles an account with a few hundred jobs. Here all waiting tasks of one
connection, region and kind share one list of what has changed, see :mod:`city_fleet.jobs.waiting_jobs`; a Describe only
settles a doubt. The first wait starts the poller, the last one ends it.

Nothing here knows Airflow: a poller is given a way to connect.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import random
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

from botocore.exceptions import ClientError

from city_fleet import aws_errors, outgoing_text
from city_fleet.jobs import waiting_jobs
from city_fleet.jobs.pacing import pace
from city_fleet.jobs.poll_rules import JobSource
from city_fleet.jobs.waiting_jobs import DEADLINE, ERROR, OVER, WaitEnd, WaitingJob

if TYPE_CHECKING:
    from aiobotocore.client import AioBaseClient

log = outgoing_text.logger(__name__)

#: Makes a context manager that opens an aiobotocore client. The client must not repeat requests by itself.
Connect = Callable[[], Awaitable[AbstractAsyncContextManager["AioBaseClient"]]]


class Observer(Protocol):
    """Whoever counts what a poller does. It must return at once, and raise nothing."""

    def waiting(self, jobs: int) -> None:
        """Hear how many tasks wait for a job of the source now."""

    def asked(self, operation: str, *, answered: bool) -> None:
        """Hear that SageMaker was asked, by an operation such as ``ListTrainingJobs``, and whether it has answered."""


# A wait looks at the clock on the wall at least so often: the loop's own stands still while a machine sleeps.
_LONGEST_NAP_SECONDS = 60.0


async def wait_for_job(
    source: JobSource,
    connect: Connect,
    job: str,
    *,
    since: datetime,
    deadline: datetime,
    poll_seconds: float,
    observer: Observer | None = None,
) -> WaitEnd:
    """Wait until a job is over, together with all others that wait for jobs of that source.

    :param connect: how to open a client; the poller uses that of its first wait, and its observer.
    :param job: the job's name.
    :param since: the job was seen unfinished then, or later; by SageMaker's clock.
    :param deadline: when to give up, whatever happened meanwhile.
    :param poll_seconds: a poller asks as often as the most impatient of its waits wants it to.
    :return: over, deadline, or an error that waiting will not heal. Throttling, errors of AWS and of the network are
        none: they are waited out.
    """
    if not waiting_jobs.is_job_name(job):
        return WaitEnd(ERROR, f"No job can have the name {job!r}")
    pollers = _POLLERS.setdefault(asyncio.get_running_loop(), {})
    poller = pollers.get(source) or pollers.setdefault(source, JobPoller(source, connect, observer))
    waiting = poller.join(job, since, poll_seconds)
    try:
        while (left := (deadline - datetime.now(UTC)).total_seconds()) > 0:
            await asyncio.wait({waiting.outcome}, timeout=min(left, _LONGEST_NAP_SECONDS))
            if waiting.outcome.done():
                return waiting.outcome.result()
        return WaitEnd(DEADLINE)
    finally:
        poller.leave(waiting)


class JobPoller:
    """Asks for all waits of one source; lives while there are any.

    :param source: where.
    :param connect: how to open a client.
    :param observer: is told what it does.
    """

    def __init__(self, source: JobSource, connect: Connect, observer: Observer | None = None) -> None:
        self._source = source
        self._observer = observer
        self._kind = source.kind
        self._connect = connect
        self._rules = source.rules
        self._loop = asyncio.get_running_loop()
        self._waiting: set[WaitingJob] = set()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._last_pass = 0.0
        self._stretch = 1.0
        self._last_warning = -float("inf")

    def join(self, name: str, since: datetime, poll_seconds: float) -> WaitingJob:
        waiting = WaitingJob(name, since, poll_seconds, self._loop.time(), self._loop.create_future())
        self._waiting.add(waiting)
        self._changed.set()
        if self._task is None:
            first_pass = self._loop.time() + min(self._rules.gather_seconds, poll_seconds)
            self._last_pass = first_pass - self._period()
            # In a context of its own: what the poller logs is not about the task that happened to come first.
            self._task = self._loop.create_task(
                self._run(), name=f"poll {self._source.lane('list')}", context=contextvars.Context()
            )
        return waiting

    def leave(self, waiting: WaitingJob) -> None:
        """End a wait, settled or not."""
        self._waiting.discard(waiting)
        self._changed.set()

    async def _run(self) -> None:
        failures = 0
        try:
            while self._waiting:
                try:
                    async with await self._connect() as client:
                        while self._waiting:
                            await self._sleep(self._until_next_pass)
                            await self._pass(client)
                            failures = 0
                except _NoWaits:
                    continue
                except Exception as error:
                    failures += 1
                    self._refused(error, failures)
                    if self._waiting:
                        await self._nap(self._rules.backoff_seconds(failures))
        finally:
            self._task = None
            self._tell_waiting()
            _POLLERS.get(self._loop, {}).pop(self._source, None)

    def _refused(self, error: Exception, failures: int) -> None:
        """Fail all waits when an error has come back often enough that waiting will not heal it."""
        allowed = self._rules.refusals if isinstance(error, ClientError) else self._rules.failures
        if aws_errors.is_transient(error) or failures < allowed:
            self._warn(error)
            return
        outcome = WaitEnd(ERROR, self._source.explain(error))
        log.error("%d tasks wait no longer: %s", len(self._waiting), outcome.message)
        for job in self._waiting:
            job.settle(outcome)
        self._waiting.clear()

    # One pass

    async def _pass(self, client: AioBaseClient) -> None:
        """Ask what has changed, and about what is in doubt."""
        self._last_pass, self._stretch = self._loop.time(), random.uniform(0.9, 1.1)  # noqa: S311
        jobs = set(self._waiting)
        self._tell_waiting()
        if not jobs:
            return
        request = waiting_jobs.list_changes(jobs, self._rules.overlap_seconds)
        moment, _ = await self._list(client, jobs, request)
        for job in jobs:
            job.seen_to = max(job.seen_to, moment or job.seen_to)
        await self._settle_doubts(client)

    async def _settle_doubts(self, client: AioBaseClient) -> None:
        """Ask about jobs that have not been named for long: nearly all of them simply take long."""
        long_ago = self._loop.time() - self._rules.doubt_seconds
        silent = {job for job in self._waiting if job.named_at <= long_ago and not job.missed}
        if len(silent) > self._rules.describes_per_pass:
            _, unnamed = await self._list(client, silent, waiting_jobs.list_unfinished(silent))
            for job in silent:
                job.missed = job.name in unnamed
            silent = set()
        doubted = silent | {job for job in self._waiting if job.missed}
        for job in sorted(doubted, key=lambda each: each.named_at)[: self._rules.describes_per_pass]:
            await self._describe(client, job)
        self._drop_settled()

    async def _list(
        self, client: AioBaseClient, jobs: set[WaitingJob], request: dict[str, Any]
    ) -> tuple[datetime | None, set[str]]:
        """Read the pages of a list, as long as they may name one of the jobs that none has named yet.

        :return: an instant of SageMaker's clock that is not after the first page; the names that no page held.
        """
        by_name = defaultdict(list)
        for job in jobs:
            by_name[job.name].append(job)
        unnamed, moment = set(by_name), None
        async with contextlib.aclosing(self._pages(client, request)) as pages:
            async for page in pages:
                moment = moment or waiting_jobs.time_of(self._kind, page)
                unnamed -= waiting_jobs.read_page(self._kind, page, by_name, self._loop.time())
                self._drop_settled()
                if not unnamed:
                    break
        return moment, unnamed

    async def _pages(
        self, client: AioBaseClient, request: dict[str, Any]
    ) -> AsyncGenerator[dict[str, Any], None]:
        token: dict[str, str] = {}
        while True:
            answer = await self._call(client, "list", **request, **token)
            yield answer
            if not answer.get("NextToken"):
                return
            token = {"NextToken": answer["NextToken"]}

    async def _describe(self, client: AioBaseClient, job: WaitingJob) -> None:
        """Settle the doubt about one job. An error of it settles this job alone."""
        try:
            answer = await self._call(client, "describe", **{self._kind.name_key: job.name})
        except ClientError as error:
            gone = f"{self._kind.name} job {job.name} does not exist any more"
            job.settle(WaitEnd(ERROR, gone if aws_errors.is_missing(error) else self._source.explain(error)))
            return
        job.named_at, job.missed = self._loop.time(), False
        if self._kind.is_over(answer):
            job.settle(WaitEnd(OVER))

    async def _call(self, client: AioBaseClient, verb: str, **request: Any) -> dict[str, Any]:
        """Call SageMaker at the source's pace; wait out load, errors of AWS and of the network.

        :raises _NoWaits: all waits ended meanwhile.
        """
        failures = 0
        while True:
            try:
                async with pace(self._source.lane(verb)).turn(self._rules.calls_per_second):
                    if not self._waiting:
                        raise _NoWaits
                    answer: dict[str, Any] = await getattr(client, self._kind.method(verb))(**request)
                    self._tell_asked(verb, answered=True)
                    return answer
            except _NoWaits:
                raise
            except Exception as error:
                self._tell_asked(verb, answered=False)
                if not aws_errors.is_transient(error):
                    raise
                failures += 1
                self._warn(error)
                await self._nap(self._rules.backoff_seconds(failures))

    # Waiting and telling

    def _period(self) -> float:
        return min((job.poll_seconds for job in self._waiting), default=0.0)

    def _until_next_pass(self) -> float:
        return self._last_pass + self._period() * self._stretch - self._loop.time()

    async def _nap(self, seconds: float) -> None:
        end = self._loop.time() + seconds
        await self._sleep(lambda: end - self._loop.time())

    async def _sleep(self, left: Callable[[], float]) -> None:
        """Sleep while there is time left and a task waits.

        :param left: seconds; asked again whenever a wait has begun or ended.
        """
        while self._waiting and (seconds := left()) > 0:
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._changed.wait()

    def _drop_settled(self) -> None:
        self._waiting = {job for job in self._waiting if not job.outcome.done()}

    def _tell_waiting(self) -> None:
        if self._observer is not None:
            self._observer.waiting(len(self._waiting))

    def _tell_asked(self, verb: str, *, answered: bool) -> None:
        if self._observer is not None:
            self._observer.asked(self._source.operation(verb), answered=answered)

    def _warn(self, error: Exception) -> None:
        now = self._loop.time()
        if now - self._last_warning >= self._rules.warning_seconds:
            self._last_warning = now
            log.warning("%d tasks go on waiting: %s", len(self._waiting), self._source.explain(error))


class _NoWaits(Exception):
    """The last wait has ended in the middle of a pass."""


_POLLERS: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[JobSource, JobPoller]] = WeakKeyDictionary()
