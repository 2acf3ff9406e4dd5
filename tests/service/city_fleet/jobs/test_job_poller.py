"""Many waiting tasks, one poller: against a real local SageMaker, whose requests are counted there."""

from __future__ import annotations

import asyncio
import http.server
import json
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from aiobotocore.session import get_session
from botocore.config import Config

from city_fleet.jobs import job_poller
from city_fleet.jobs.job_poller import wait_for_job
from city_fleet.jobs.poll_rules import JobSource, PollRules
from city_fleet.jobs.sagemaker_jobs import PROCESSING
from city_fleet.jobs.waiting_jobs import DEADLINE, ERROR, OVER, WaitEnd
from tests.support.idle_jobs import IdleJobs, idle_jobs
from tests.support.waiting import until

QUICK = PollRules(
    calls_per_second=10, gather_seconds=0.1, first_backoff_seconds=0.1, last_backoff_seconds=0.3
)
LIST, DESCRIBE = "ListProcessingJobs", "DescribeProcessingJob"
GIVE_UP_SECONDS = 60


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IdleJobs]:
    with idle_jobs(tmp_path_factory.mktemp("idle")) as server:
        yield server


@pytest.fixture(autouse=True)
def _no_faults(jobs: IdleJobs) -> Iterator[None]:
    yield
    jobs.faults()


@dataclass
class Waits:
    """Waits for jobs at one server, and remembers what its clients have sent."""

    url: str
    rules: PollRules = QUICK
    source: JobSource = field(default_factory=lambda: JobSource("aws_default", "us-east-1", PROCESSING))
    sent: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    dates: list[str] = field(default_factory=list)
    opened: int = 0
    closed: int = 0

    def wait(self, job: str, *, since: timedelta = timedelta(0), deadline: float = GIVE_UP_SECONDS) -> Any:
        now = datetime.now(UTC)
        return wait_for_job(
            replace(self.source, rules=self.rules),
            self.connect,
            job,
            since=now + since,
            deadline=now + timedelta(seconds=deadline),
            poll_seconds=0.2,
        )

    async def connect(self) -> AbstractAsyncContextManager[Any]:
        return self.client()

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Any]:
        creator = get_session().create_client(
            "sagemaker",
            region_name="us-east-1",
            endpoint_url=self.url,
            aws_access_key_id="local",
            aws_secret_access_key="local",
            config=Config(retries={"total_max_attempts": 1}, proxies={}),
        )
        async with creator as client:
            client.meta.events.register("before-parameter-build.sagemaker", self._send)
            client.meta.events.register("after-call.sagemaker", self._receive)
            self.opened += 1
            try:
                yield client
            finally:
                self.closed += 1

    def _send(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        self.sent.append((model.name, dict(params)))

    def _receive(self, parsed: dict[str, Any], **_: Any) -> None:
        self.dates.append(parsed["ResponseMetadata"]["HTTPHeaders"]["date"])

    def lists(self) -> list[dict[str, Any]]:
        return [params for name, params in self.sent if name == LIST]


def play(scenario: Coroutine[Any, Any, Any]) -> Any:
    """Run a scenario; in the end no poller is left."""

    async def whole() -> Any:
        async with asyncio.timeout(GIVE_UP_SECONDS):
            result = await scenario
            await until(lambda: not job_poller._POLLERS.get(asyncio.get_running_loop()))
        return result

    return asyncio.run(whole())


def names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}-{number:03}" for number in range(count)]


def test_a_few_lists_settle_many_jobs(jobs: IdleJobs) -> None:
    many, waits = names("many", 150), Waits(jobs.server.url)
    jobs.create(*many)
    jobs.count("List*", "Describe*")

    async def scenario() -> list[WaitEnd]:
        tasks = [asyncio.create_task(waits.wait(job, since=timedelta(minutes=-1))) for job in many]
        await until(lambda: len(waits.dates) >= 2)  # the first list has seen them all unfinished
        await asyncio.to_thread(jobs.end, *many)
        described.append(jobs.counted()["Describe*"])
        jobs.count("List*", "Describe*")
        return await asyncio.gather(*tasks)

    described: list[int] = []
    assert play(scenario()) == [WaitEnd(OVER)] * 150
    counted = jobs.counted()
    assert (described, counted["Describe*"]) == ([0], 0)
    assert counted["List*"] <= 4  # the pass that was under way and the next one, of two pages each
    assert all(params["NameContains"] == "many-" for params in waits.lists()[:1])
    assert {params["MaxResults"] for params in waits.lists()} == {100}
    assert sum("NextToken" in params for params in waits.lists()) >= 1
    assert (waits.opened, waits.closed) == (1, 1)


def test_lists_are_never_asked_for_faster_than_sagemaker_allows(jobs: IdleJobs) -> None:
    waits = Waits(jobs.server.url, rules=replace(QUICK, calls_per_second=PollRules().calls_per_second))
    hasty = names("hasty", 120)
    jobs.create(*hasty)
    jobs.faults({"kind": "rate_limit", "operation": "List*", "rate_per_second": 2, "burst": 2})

    async def scenario() -> int:
        # Every pass has two pages, and the next one is due before the last is answered.
        other = Waits(jobs.server.url, waits.rules, replace(waits.source, options="another client"))
        tasks = [asyncio.create_task(waits.wait(job, since=timedelta(minutes=-1))) for job in hasty[1:]]
        tasks.append(asyncio.create_task(other.wait(hasty[0], since=timedelta(minutes=-1))))
        await until(lambda: len(waits.dates) >= 4 and len(other.dates) >= 3)
        for task in tasks:
            task.cancel()
        return len(waits.sent) + len(other.sent)

    assert play(scenario()) >= 7
    assert jobs.injected() == [0]


def test_a_list_reaches_back_before_the_last_one_by_the_overlap(jobs: IdleJobs) -> None:
    waits = Waits(jobs.server.url, rules=replace(QUICK, overlap_seconds=90))
    jobs.create("window-a")

    async def scenario() -> None:
        task = asyncio.create_task(waits.wait("window-a", since=timedelta(hours=-1)))
        await until(lambda: len(waits.dates) >= 2)
        late = asyncio.create_task(waits.wait("window-b", since=timedelta(hours=-2)))
        await until(lambda: len(waits.dates) >= 5)
        for each in (task, late):
            each.cancel()

    began = datetime.now(UTC)
    play(scenario())
    windows = [params["LastModifiedTimeAfter"] for params in waits.lists()]
    answers = [parsedate_to_datetime(date) for date in waits.dates]
    overlap = timedelta(seconds=90)
    assert abs(windows[0] - (began - timedelta(hours=1) - overlap)) < timedelta(seconds=30)
    newcomer = next(number for number, window in enumerate(windows) if window < windows[0])
    assert abs(windows[newcomer] - (began - timedelta(hours=2) - overlap)) < timedelta(seconds=30)
    for number in range(1, newcomer + 2):
        if number != newcomer:
            assert windows[number] == answers[number - 1] - overlap
    assert [params["NameContains"] for params in waits.lists()][newcomer - 1 : newcomer + 2] == [
        "window-a",
        "window-",
        "window-",
    ]


def test_a_wait_whose_clock_is_ahead_misses_nothing(jobs: IdleJobs) -> None:
    waits = Waits(jobs.server.url)
    jobs.create("ahead")
    jobs.end("ahead")
    assert play(waits.wait("ahead", since=timedelta(seconds=30))) == WaitEnd(OVER)


def test_jobs_without_a_common_prefix_are_listed_without_a_filter(jobs: IdleJobs) -> None:
    waits = Waits(jobs.server.url)
    jobs.create("austin-x", "waco-x")
    jobs.end("austin-x", "waco-x")

    async def scenario() -> list[WaitEnd]:
        return await asyncio.gather(waits.wait("austin-x"), waits.wait("waco-x"))

    assert play(scenario()) == [WaitEnd(OVER), WaitEnd(OVER)]
    assert "NameContains" not in waits.lists()[0]


@pytest.mark.parametrize("kind", ["throttling", "internal_error", "dropped_connection"])
def test_load_and_outages_are_waited_out(jobs: IdleJobs, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    waits, job = Waits(jobs.server.url), f"outage-{kind.replace('_', '-')}"
    jobs.create(job)
    jobs.faults({"kind": kind, "operation": "List*", "count": 4})
    jobs.end(job)
    assert play(waits.wait(job)) == WaitEnd(OVER)
    assert jobs.injected() == [4]
    assert waits.opened == 1
    warnings = [record for record in caplog.records if record.name == job_poller.__name__]
    assert len(warnings) == 1  # once in a while, not for every failure
    assert "1 tasks go on waiting" in warnings[0].getMessage()


def test_an_outage_does_not_move_the_deadline(jobs: IdleJobs) -> None:
    waits = Waits(jobs.server.url, rules=replace(QUICK, first_backoff_seconds=30, last_backoff_seconds=30))
    jobs.create("outage-deadline")
    jobs.faults({"kind": "throttling", "operation": "List*"})
    assert play(waits.wait("outage-deadline", deadline=1)) == WaitEnd(DEADLINE)


def test_a_deadline_is_absolute(jobs: IdleJobs) -> None:
    waits = Waits(jobs.server.url)
    jobs.create("late", "later")

    async def scenario() -> list[WaitEnd]:
        later = asyncio.create_task(waits.wait("later"))
        assert await waits.wait("late", deadline=0.5) == WaitEnd(DEADLINE)
        assert await waits.wait("late", deadline=-5) == WaitEnd(DEADLINE)
        await asyncio.to_thread(jobs.end, "later")
        return await later

    assert play(scenario()) == WaitEnd(OVER)


def test_who_leaves_or_has_a_bad_name_does_not_trouble_the_others(jobs: IdleJobs) -> None:
    waits = Waits(jobs.server.url)
    jobs.create("stays", "stays-not")

    async def scenario() -> WaitEnd:
        stays = asyncio.create_task(waits.wait("stays"))
        twin = asyncio.create_task(waits.wait("stays"))
        leaves = asyncio.create_task(waits.wait("stays-not"))
        bad = await waits.wait("no_such-name")
        assert bad.status == ERROR
        assert "'no_such-name'" in bad.message
        await until(lambda: waits.sent)
        leaves.cancel()  # in the middle of a request
        await asyncio.to_thread(jobs.end, "stays")
        assert await twin == WaitEnd(OVER)
        assert leaves.cancelled()
        return await stays

    assert play(scenario()) == WaitEnd(OVER)
    assert all("_" not in params.get("NameContains", "") for params in waits.lists())


def test_the_last_to_leave_closes_the_client_and_the_next_opens_one(jobs: IdleJobs) -> None:
    waits = Waits(jobs.server.url)
    jobs.create("comes-and-goes")

    async def scenario() -> None:
        for round_ in (1, 2):
            task = asyncio.create_task(waits.wait("comes-and-goes", since=timedelta(minutes=-1)))
            await until(lambda: len(waits.dates) >= 2 * round_)  # noqa: B023
            assert waits.opened == round_
            task.cancel()
            await until(lambda: waits.closed == round_)  # noqa: B023

    play(scenario())


def test_a_new_process_takes_old_waits_over(jobs: IdleJobs) -> None:
    before, after = names("before", 3), names("after", 3)
    jobs.create(*before, *after)
    since = datetime.now(UTC)

    async def cut_off(waits: Waits) -> None:
        tasks = [asyncio.create_task(waits.wait(job)) for job in before + after]
        await until(lambda: waits.dates)
        for task in tasks:
            task.cancel()

    play(cut_off(Waits(jobs.server.url)))
    jobs.end(*before)  # while nobody looks

    async def again(waits: Waits) -> list[WaitEnd]:
        ago = since - datetime.now(UTC)
        tasks = [asyncio.create_task(waits.wait(job, since=ago)) for job in before + after]
        done = await asyncio.gather(*tasks[:3])
        await asyncio.to_thread(jobs.end, *after)
        return done + await asyncio.gather(*tasks[3:])

    assert (
        play(again(Waits(jobs.server.url, rules=replace(QUICK, overlap_seconds=0.5)))) == [WaitEnd(OVER)] * 6
    )


def test_a_silent_job_is_described(jobs: IdleJobs) -> None:
    """A clock that is wrong by more than the overlap hides an end from every list."""
    waits = Waits(jobs.server.url, rules=replace(QUICK, overlap_seconds=0, doubt_seconds=0.5))
    jobs.create("hidden-over", "hidden-not")
    jobs.end("hidden-over")
    jobs.count("List*", "Describe*")

    async def scenario() -> WaitEnd:
        hours = timedelta(hours=1)
        slow = asyncio.create_task(waits.wait("hidden-not", since=hours))
        lost = asyncio.create_task(waits.wait("hidden-never-was", since=hours))
        over = await waits.wait("hidden-over", since=hours)
        gone = await lost
        assert gone == WaitEnd(ERROR, "Processing job hidden-never-was does not exist any more")
        assert not slow.done()
        slow.cancel()
        return over

    assert play(scenario()) == WaitEnd(OVER)
    assert jobs.counted()["Describe*"] <= 6


def test_many_silent_jobs_are_settled_by_one_list_of_those_in_progress(jobs: IdleJobs) -> None:
    rules = replace(QUICK, overlap_seconds=0, doubt_seconds=1.0, describes_per_pass=2)
    waits, silent = Waits(jobs.server.url, rules=rules), names("silent", 110)
    jobs.create(*silent)
    jobs.end(*silent[:3])
    jobs.count("List*", "Describe*")

    async def scenario() -> list[WaitEnd]:
        tasks = [asyncio.create_task(waits.wait(job, since=timedelta(hours=1))) for job in silent]
        over = await asyncio.gather(*tasks[:3])
        for task in tasks:
            task.cancel()
        return over

    assert play(scenario()) == [WaitEnd(OVER)] * 3
    audits = [params for params in waits.lists() if params.get("StatusEquals") == "InProgress"]
    assert len(audits) >= 2  # two pages
    assert all("LastModifiedTimeAfter" not in params for params in audits)
    described = [params["ProcessingJobName"] for name, params in waits.sent if name == DESCRIBE]
    assert set(described) >= set(silent[:3])
    assert len(described) < 20


@pytest.fixture
def refusing() -> Iterator[Callable[[dict[str, str]], str]]:
    """Starts an HTTP server that answers every operation with an error of its own."""
    servers: list[http.server.ThreadingHTTPServer] = []

    def start(codes: dict[str, str]) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                operation = self.headers["X-Amz-Target"].partition(".")[2]
                code = codes.get(operation)
                body = (
                    {"ProcessingJobSummaries": []} if code is None else {"__type": code, "message": "refused"}
                )
                data = json.dumps(body).encode()
                self.send_response(200 if code is None else 400)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *arguments: Any) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_missing_permission_is_named(refusing: Callable[[dict[str, str]], str]) -> None:
    waits = Waits(refusing({LIST: "AccessDeniedException"}))

    async def scenario() -> list[WaitEnd]:
        return await asyncio.gather(waits.wait("denied-a"), waits.wait("denied-b"))

    outcomes = play(scenario())
    assert {outcome.status for outcome in outcomes} == {ERROR}
    message = outcomes[0].message
    assert "sagemaker:ListProcessingJobs failed (connection aws_default, region us-east-1)" in message
    assert "Allow sagemaker:ListProcessingJobs" in message
    assert waits.opened == 2  # with fresh credentials, once more
    assert len(waits.sent) == 2


def test_describe_refused_fails_those_in_doubt_alone(refusing: Callable[[dict[str, str]], str]) -> None:
    rules = replace(QUICK, doubt_seconds=0.6)
    waits = Waits(refusing({DESCRIBE: "AccessDeniedException"}), rules=rules)

    async def scenario() -> WaitEnd:
        doubted = asyncio.create_task(waits.wait("doubted"))
        await until(lambda: len(waits.sent) >= 1)
        fresh = asyncio.create_task(waits.wait("fresh"))
        outcome = await doubted
        assert not fresh.done()
        fresh.cancel()
        return outcome

    outcome = play(scenario())
    assert outcome.status == ERROR
    assert "Allow sagemaker:DescribeProcessingJob" in outcome.message


def test_a_connection_that_cannot_be_made_is_an_error_in_the_end() -> None:
    rules = replace(QUICK, failures=3)

    async def connect() -> Any:
        raise LookupError("no connection 'nowhere'")

    async def scenario() -> WaitEnd:
        now = datetime.now(UTC)
        return await wait_for_job(
            JobSource("nowhere", None, PROCESSING, rules=rules),
            connect,
            "a-job",
            since=now,
            deadline=now + timedelta(seconds=GIVE_UP_SECONDS),
            poll_seconds=0.2,
        )

    outcome = play(scenario())
    assert outcome.status == ERROR
    assert "no connection 'nowhere'" in outcome.message
