"""A chaos run: cities are trained on a real stack while its processes are struck, and what is left is judged.

What a supervisor does in a deployment (systemd, Kubernetes) is done here: a component that has died is started again
after a moment. Everything else has to come right by itself.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx

from city_fleet import naming
from city_fleet.config import Fleet, load_fleet
from city_fleet.plan import ENDPOINT_PURPOSE, CityPlan, plan_city
from local.stack.environment import fleet_variables
from local.stack.errors import StackError
from local.stack.layout import Layout, free_port
from local.stack.runs import DAG_TIMEOUT_SECONDS, start_run, wait_for_dags, wait_for_run
from local.stack.seed import seed as seed_stack
from local.stack.stack import Stack
from tests.e2e.chaos import evidence, judgement, settings
from tests.e2e.chaos.bad_day import BadDay
from tests.e2e.chaos.blows import DATABASE, KILL, STAND_IN, Blow
from tests.e2e.chaos.strikes import STRIKES
from tests.e2e.chaos.targets import Targets

POLL_SECONDS = 0.3
# A blow whose target does not exist waits so long for one, then it is counted as missed.
MISS_AFTER_SECONDS = 45.0
FIRST_AS_OF = datetime(2012, 1, 1, tzinfo=UTC)
ENDED = ("success", "failed")
T = TypeVar("T")


@dataclass
class Result:
    """What a chaos run has shown.

    :param clock_offset_seconds: by how much AWS's clock was ahead of Airflow's.
    :param findings: what is not as it should be, sentences by what they are about.
    :param started: (city, run id) → the stamp of its as_of.
    :param dealt: the blows, each with what it has struck.
    """

    seed: int
    clock_offset_seconds: int
    findings: dict[str, list[str]]
    started: dict[tuple[str, str], str]
    evidence: judgement.Evidence
    dealt: list[dict[str, Any]]
    missed: int
    restarts: dict[str, int]
    faults: dict[str, int]
    seconds: float
    logs: str = ""

    @property
    def wrong(self) -> list[str]:
        """Return all that is not as it should be."""
        return [sentence for found in self.findings.values() for sentence in found]

    def to_dict(self) -> dict[str, Any]:
        """Return the summary that `make chaos` prints."""
        found = self.evidence
        tries = [count for run in found.runs for count in run.tries.values()]
        return {
            "seed": self.seed,
            "clock_offset_seconds": self.clock_offset_seconds,
            "ok": not self.wrong,
            **{about: len(found) for about, found in self.findings.items()},
            "wrong": self.wrong,
            "seconds": round(self.seconds, 1),
            "blows": len(self.dealt),
            "blows_missed": self.missed,
            "blows_by_kind": dict(
                sorted(Counter(f"{each['action']} {each['target']}" for each in self.dealt).items())
            ),
            "restarts": self.restarts,
            "faults_injected": self.faults,
            "runs": len(found.runs),
            "outcomes": dict(Counter(str(run.outcome) for run in found.runs)),
            "tries_beyond_the_first": sum(tries) - len(tries),
            "jobs_needed": judgement.jobs_needed(found),
            "jobs_created": len(found.jobs),
            "jobs_lost_by_outages": sum(job.lost for job in found.jobs),
            "jobs_by_status": dict(Counter(job.status for job in found.jobs)),
            "artifacts": len({job.artifact_sha256 for job in found.jobs if job.artifact_sha256}),
            "versions": sum(len(versions) for versions in found.versions.values()),
            "logs": self.logs,
        }


@contextlib.contextmanager
def chaos_stack(
    folder: Path,
    cities: tuple[str, ...],
    say: Callable[[str], None],
    *,
    start_delay_seconds: float,
    clock_offset_seconds: int = 0,
    notices_soon: bool = True,
) -> Iterator[Stack]:
    """Start a stack with two triggerers, a fleet of some cities, its data and its endpoint.

    :param start_delay_seconds: see :func:`settings.sagemaker_options`.
    :param clock_offset_seconds: by how much its AWS's clock is ahead.
    :param notices_soon: Airflow notices a loss within seconds. On a busy machine it then takes for lost what is slow.
    """
    path = settings.write_fleet(folder / "fleets", cities)
    layout = Layout(
        state_dir=folder / "state",
        ui_port=free_port(),
        sagemaker_port=free_port(),
        fleets_dir=path.parent,
        parse_interval_seconds=600,
        triggerers=2,
        airflow_settings=settings.AIRFLOW if notices_soon else {},
        sagemaker_options=settings.sagemaker_options(start_delay_seconds, clock_offset_seconds),
        sagemaker_module=settings.SAGEMAKER_MODULE,
    )
    with Stack(layout, say=say) as stack:
        seed_stack(stack, [path])
        endpoint = naming.fleet_dag_id(settings.FLEET, ENDPOINT_PURPOSE)
        wait_for_dags(stack, {endpoint, *(naming.city_dag_id(settings.FLEET, city) for city in cities)})
        start_run(stack, endpoint, "chaos__endpoint", {})
        wait_for_run(stack, endpoint, "chaos__endpoint")
        yield stack


def fleet_of(stack: Stack) -> Fleet:
    """Return the fleet of a chaos stack."""
    return load_fleet(stack.layout.fleets_dir / f"{settings.FLEET}.yaml", fleet_variables(stack.layout))


class ChaosRun:
    """One run of blows over a stack.

    :param cities: those that are trained; each starts its next run when the last has ended, while blows are left.
    :param timeout_seconds: how long the runs may take after the last blow.
    :param clock_offset_seconds: of the stack's AWS; for the report.
    :param long: with what takes its time: see :func:`settings.faults`.
    """

    def __init__(
        self,
        stack: Stack,
        cities: tuple[str, ...],
        blows: list[Blow],
        *,
        seed: int,
        timeout_seconds: float,
        clock_offset_seconds: int = 0,
        long: bool = False,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        fleet = fleet_of(stack)
        self._stack = stack
        self._plans = [plan_city(fleet, city) for city in cities]
        self._blows = list(blows)
        self._seed = seed
        self._clock_offset = clock_offset_seconds
        self._timeout = timeout_seconds
        self._say = say
        self._targets = Targets(stack)
        self._bad_day = BadDay(stack, settings.faults(seed, long=long))
        self._runs: dict[str, str] = {}  # city → its run that has not ended
        self._started: dict[tuple[str, str], str] = {}
        self._rounds: Counter[str] = Counter()
        self._remembered = evidence.Remembered()
        self._lost_databases = 0
        self._dealt: list[dict[str, Any]] = []
        self._missed = 0
        self._restarts: Counter[str] = Counter()
        self._dead_since: dict[str, float] = {}
        self._restart_after = 0.0

    def run(self) -> Result:
        """Deal all blows, wait until every run has ended, and judge."""
        began = time.monotonic()
        try:
            self._deal(began)
        finally:
            self._targets.wake_all()
        self._come_to_rest()
        faults = self._bad_day.end()
        found = evidence.collect(self._stack, self._plans, self._started, self._remembered)
        return Result(
            seed=self._seed,
            clock_offset_seconds=self._clock_offset,
            findings=judgement.judge(found),
            started=dict(self._started),
            evidence=found,
            dealt=self._dealt,
            missed=self._missed,
            restarts=dict(self._restarts),
            faults=faults,
            seconds=time.monotonic() - began,
            logs=str(self._stack.layout.logs_dir),
        )

    def _come_to_rest(self) -> None:
        """Wait until everything runs that has been struck."""
        end = time.monotonic() + MISS_AFTER_SECONDS
        while self._stack.dead() or self._stack.unhealthy():
            self._mend()
            if time.monotonic() > end:
                raise StackError(f"these do not come up again: {', '.join(self._stack.unhealthy())}")
            time.sleep(POLL_SECONDS)

    def _deal(self, began: float) -> None:
        next_blow = began + (self._blows[0].pause_seconds if self._blows else 0)
        last = began
        while True:
            self._mend()
            self._follow_runs()
            now = time.monotonic()
            late = now > next_blow + MISS_AFTER_SECONDS
            struck = bool(self._blows) and now >= next_blow and self._strike(self._blows[0])
            if struck or (self._blows and late):
                blow = self._blows.pop(0)
                if not struck:
                    self._missed += 1
                    self._say(f"missed: {blow.action} {blow.target}")
                last = time.monotonic()  # a database is not lost in a moment
                next_blow = last + (self._blows[0].pause_seconds if self._blows else 0)
            if not self._blows and not self._runs:
                return
            if now - last > self._timeout + MISS_AFTER_SECONDS:
                return  # the judgement tells which runs have not ended
            time.sleep(POLL_SECONDS)

    def _mend(self) -> None:
        """Start what has died again, after the moment that a supervisor takes."""
        now = time.monotonic()
        for record in self._stack.dead():
            since = self._dead_since.setdefault(record.name, now)
            if now - since >= self._restart_after:
                self._stack.restart(record.name)
                self._restarts[record.name] += 1
                del self._dead_since[record.name]
        self._bad_day.keep()
        self._targets.end_idle_orphans()

    def _follow_runs(self) -> None:
        for plan in self._plans:
            city = plan.city.slug
            run_id = self._runs.get(city)
            if run_id is not None:
                state = _patiently(lambda p=plan, r=run_id: self._stack.airflow.run(p.dag_id, r))["state"]
                if state in ENDED:
                    tries = _patiently(lambda p=plan, r=run_id: evidence.tries(self._stack, p.dag_id, r))
                    self._say(f"{city} {run_id} ended")
                    self._remembered.ended[city, run_id] = state, tries
                    del self._runs[city]
            elif self._blows or not self._rounds[city]:
                self._start(plan)

    def _start(self, plan: CityPlan) -> None:
        city = plan.city.slug
        as_of = naming.as_of_stamp(FIRST_AS_OF + timedelta(days=7 * self._rounds[city]))
        self._rounds[city] += 1
        self._start_as(plan, f"chaos__{as_of}", as_of)

    def _start_as(self, plan: CityPlan, run_id: str, as_of: str) -> None:
        _patiently(lambda: start_run(self._stack, plan.dag_id, run_id, {"as_of": as_of}))
        self._runs[plan.city.slug] = run_id
        self._started[plan.city.slug, run_id] = as_of

    def _start_again(self) -> None:
        """Do what a person does whose Airflow has lost its database: start again what was under way (docs/runbook.md).

        The ids are others.
        """
        self._lost_databases += 1
        wanted = {plan.dag_id for plan in self._plans}
        end = time.monotonic() + DAG_TIMEOUT_SECONDS
        while not wanted <= _patiently(self._stack.airflow.dag_ids):
            self._mend()
            if time.monotonic() > end:
                raise StackError(f"Airflow's new database shows no DAGs: {', '.join(sorted(wanted))}")
            time.sleep(POLL_SECONDS)
        for plan in self._plans:
            city = plan.city.slug
            if (before := self._runs.get(city)) is not None:
                as_of = self._started.pop((city, before))
                again = f"again_{self._lost_databases}__{as_of}"
                self._remembered.renamed[city, before] = again
                self._start_as(plan, again, as_of)
        self._say(f"started again: {', '.join(sorted(self._runs))}")

    def _strike(self, blow: Blow) -> bool:
        name = self._struck_by(blow)
        if name is None:
            return False
        self._restart_after = blow.restart_seconds
        self._dealt.append({**blow.to_dict(), "struck": name})
        self._say(f"{blow.action} {name}" + (f" {blow.freeze_seconds} s" if blow.freeze_seconds else ""))
        return True

    def _struck_by(self, blow: Blow) -> str | None:
        """Deal a blow; return the name of what was struck, None where there is nothing at the moment."""
        if blow.target in STRIKES:
            try:
                name = STRIKES[blow.target](self._stack, blow)
            except (httpx.HTTPError, OSError):
                return None
            if blow.target == DATABASE:
                self._start_again()
            return name
        victim = self._targets.find(blow, self._running())
        if victim is None:
            return None
        kills = blow.target == STAND_IN and blow.action == KILL
        if kills:
            self._bad_day.count()
        self._targets.strike(blow, victim)
        if kills:
            self._bad_day.forgotten()
        return victim.name

    def _running(self) -> Collection[str]:
        """Return the ids of the task instances that run and have a try left.

        Tries are as many as by default, and nothing but a try survives the loss of a worker: one after the other on the
        same task would prove that three are too many for three.
        """
        found = _patiently(
            lambda: self._stack.airflow.request(
                "GET", "/dags/~/dagRuns/~/taskInstances", params={"state": "running", "limit": 100}
            )
        )
        return {task["id"] for task in found["task_instances"] if task["try_number"] <= task["max_tries"]}


def _patiently(ask: Callable[[], T]) -> T:
    """Ask Airflow again when it doesn't answer: a frozen process may hold SQLite's lock for a while."""
    for _ in range(4):
        with contextlib.suppress(StackError):
            return ask()
        time.sleep(2)
    return ask()
