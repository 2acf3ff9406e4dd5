"""The faults that are on: which requests, jobs and endpoints they apply to, and what happens to those.

Every fault has a random sequence of its own, drawn from once for each request, job, model server or model that
it could meet. So with the same seed the same sequence of events meets the same faults, whatever else is on.
"""

from __future__ import annotations

import fnmatch
import json
import math
import random
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from local.sagemaker.faults.fault_specs import SEED, FaultError, FaultSpec, read_plan
from local.sagemaker.processes.processes import Supervised
from local.sagemaker.reach import RunningJob

#: What DescribeTrainingJob answers of a job that found no instance.
NO_CAPACITY = (
    "CapacityError: Unable to provision requested ML compute capacity. Please retry using a different ML instance"
    " type."
)


@dataclass
class Fault:
    """One fault that is on.

    :param number: its id in /_local/faults; never used twice.
    :param draws: the random numbers that decide whether it happens.
    """

    number: int
    spec: FaultSpec
    draws: random.Random
    since: float = field(default_factory=time.monotonic)
    seen: int = 0
    injected: int = 0
    tokens: dict[str, tuple[float, float]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The fault, and how often it could happen and did."""
        return {"id": self.number, **self.spec.to_json(), "seen": self.seen, "injected": self.injected}

    def fires(self, subject: str) -> bool:
        """Decide whether the fault happens at an event that it applies to.

        :param subject: for a rate limit, the operation whose requests are counted.
        """
        self.seen += 1
        drawn = self.draws.random()  # always, so that the sequence does not depend on the clock
        spec, age = self.spec, time.monotonic() - self.since
        end = spec.window["end_seconds"]
        hit = (
            self.seen > spec.skip
            and (spec.count is None or self.injected < spec.count)
            and spec.window["start_seconds"] <= age < (math.inf if end is None else end)
            and drawn < spec.probability
            and (spec.kind != "rate_limit" or self._too_fast(subject, age))
        )
        self.injected += hit
        return hit

    def _too_fast(self, subject: str, moment: float) -> bool:
        """Whether requests come faster than allowed: a token bucket per operation, as AWS's APIs have."""
        left, last = self.tokens.get(subject, (float(self.spec.burst), moment))
        left = min(float(self.spec.burst), left + (moment - last) * self.spec.rate_per_second)
        self.tokens[subject] = (left - 1 if left >= 1 else left, moment)
        return left < 1

    def delay_seconds(self) -> float:
        """By how much a latency fault delays an answer."""
        spec, draws = self.spec, self.draws
        if spec.distribution == "uniform":
            return draws.uniform(spec.low_seconds, spec.high_seconds)
        if spec.distribution == "exponential":
            return draws.expovariate(1 / spec.mean_seconds) if spec.mean_seconds else 0.0
        if spec.distribution == "lognormal":
            return float(spec.median_seconds * math.exp(draws.gauss(0, spec.sigma)))
        return float(spec.seconds)


class Faults:
    """The faults of one server. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._faults: list[Fault] = []
        self._seed = SEED
        self._numbers = 0
        self._running: list[tuple[RunningJob, Supervised]] = []
        self._serving: list[tuple[str, Supervised]] = []
        self._capacity: dict[str, float] = {}

    # What is on

    def load(self, path: Path) -> None:
        """Turn on what a file describes.

        :raises FaultError: if it can't be read, or something in it is wrong.
        """
        try:
            self.replace(json.loads(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise FaultError(f"{path}: {error.strerror}") from None
        except FaultError as error:
            raise FaultError(f"{path}: {error}") from None
        except ValueError as error:
            raise FaultError(f"{path} is not JSON: {error}") from None

    def add(self, document: Any) -> list[Fault]:
        """Turn more faults on; jobs and model servers that run can meet them too.

        :raises FaultError: if something is wrong with one of them; none is on then.
        """
        seed, specs = read_plan(document)
        with self._lock:
            if seed is not None:
                self._seed = seed
            added = []
            for spec in specs:
                self._numbers += 1
                draws = random.Random(f"{self._seed}/{len(self._faults)}")  # noqa: S311  # no secret
                added.append(Fault(self._numbers, spec, draws))
                self._faults.append(added[-1])
            self._running = [each for each in self._running if each[1].exit_code is None]
            self._serving = [each for each in self._serving if each[1].exit_code is None]
            for run, process in self._running:
                self._meet_job(run, process, added)
            for endpoint, process in self._serving:
                self._meet_model_server(endpoint, process, added)
        return added

    def replace(self, document: Any) -> list[Fault]:
        """Turn on these faults and no others; the random numbers start again.

        :raises FaultError: if something is wrong with one of them; nothing has changed then.
        """
        read_plan(document)
        with self._lock:
            self.clear()
            return self.add(document)

    def clear(self, number: int | None = None) -> bool:
        """Turn faults off.

        :param number: which; None = all of them, and the random numbers start again.
        :returns: whether it was there.
        """
        with self._lock:
            kept = [] if number is None else [fault for fault in self._faults if fault.number != number]
            found = len(kept) < len(self._faults)
            self._faults = kept
            if number is None:
                self._seed = SEED
                self._capacity.clear()
            return found

    def to_json(self) -> dict[str, Any]:
        """The faults that are on, and how often each could happen and did."""
        with self._lock:
            return {"seed": self._seed, "faults": [fault.to_json() for fault in self._faults]}

    def summary(self) -> list[str]:
        """The faults that are on, one line each."""
        with self._lock:
            return [f"{fault.number}: {fault.spec}" for fault in self._faults]

    def tell(self) -> None:
        """Print the faults that are on."""
        lines = self.summary()
        print(
            "\n  ".join([f"Faults that are on (seed {self._seed}):", *lines]) if lines else "No faults are on"
        )
        sys.stdout.flush()

    @property
    def any_on(self) -> bool:
        """Whether there are faults that a request could meet."""
        return bool(self._faults)

    # What meets them

    def meet_request(
        self, service: str, operation: str, name: str, conditional: bool
    ) -> tuple[float, FaultSpec | None]:
        """Decide what happens to a request.

        :param name: what it is about: a bucket and key, a job, an endpoint; empty if that can't be told.
        :param conditional: whether it is a write with a condition.
        :returns: seconds that the answer takes longer, and the fault that it ends with.
        """
        delay = 0.0
        call = f"{service}:{operation}"
        with self._lock:
            for fault in self._faults:
                spec = fault.spec
                if "operation" not in spec.members or not fnmatch.fnmatchcase(name, spec.name):
                    continue
                if not fnmatch.fnmatchcase(call if ":" in spec.operation else operation, spec.operation):
                    continue
                if spec.kind == "conditional_conflict" and not conditional:
                    continue
                if not fault.fires(call):
                    continue
                if spec.kind != "latency":
                    return delay, spec
                delay += fault.delay_seconds()
        return delay, None

    def job_started(self, run: RunningJob, process: Supervised) -> None:
        """Called when a job's container has been started."""
        with self._lock:
            self._running = [each for each in self._running if each[1].exit_code is None]
            self._running.append((run, process))
            self._meet_job(run, process, self._faults)

    def capacity_error(self, name: str) -> tuple[float, str] | None:
        """Whether AWS has no instance for a job on demand; None if it has.

        :param name: name of the job.
        :returns: after how many seconds it gives up, and the FailureReason then.
        """
        spec = self._first("capacity_error", name)
        return None if spec is None else (spec.after_seconds, spec.reason or NO_CAPACITY)

    def capacity_delay_seconds(self, name: str) -> float:
        """How long it takes until there is an instance for a training job that has lost its own.

        :param name: name of the job.
        """
        with self._lock:
            return self._capacity.pop(name, 0.0)

    def model_server_started(self, endpoint: str, process: Supervised) -> None:
        """Called when an endpoint's model server has been started."""
        with self._lock:
            self._serving = [each for each in self._serving if each[1].exit_code is None]
            self._serving.append((endpoint, process))
            self._meet_model_server(endpoint, process, self._faults)

    def endpoint_failure(self, endpoint: str, variant: str) -> str | None:
        """Why the model server of an endpoint does not come up; None if it may."""
        spec = self._first("endpoint_failure", endpoint)
        if spec is None:
            return None
        return spec.reason or (
            f"The primary container for production variant {variant} did not pass the ping health check. "
            "Please check CloudWatch logs for this endpoint."
        )

    def model_load_failure(self, endpoint: str, target: str) -> str | None:
        """What the container says when it can't load a model; None if it can.

        :param target: the TargetModel; a fault's name is matched with ``<endpoint>/<TargetModel>``.
        """
        spec = self._first("model_load_failure", f"{endpoint}/{target}")
        return None if spec is None else spec.reason or f"Failed to load model {target}"

    def model_load_seconds(self, endpoint: str, target: str) -> float:
        """How much longer it takes to load a model.

        :param target: the TargetModel, or what a container with one model is called; a fault's name is matched with
            ``<endpoint>/<target>``.
        """
        name = f"{endpoint}/{target}"
        with self._lock:
            return sum(
                fault.delay_seconds()
                for fault in self._faults
                if fault.spec.kind == "model_load_latency"
                and fnmatch.fnmatchcase(name, fault.spec.name)
                and fault.fires(name)
            )

    def _first(self, kind: str, name: str) -> FaultSpec | None:
        with self._lock:
            for fault in self._faults:
                if (
                    fault.spec.kind == kind
                    and fnmatch.fnmatchcase(name, fault.spec.name)
                    and fault.fires(name)
                ):
                    return fault.spec
        return None

    def _meet_job(self, run: RunningJob, process: Supervised, faults: list[Fault]) -> None:
        for fault in faults:
            spec = fault.spec
            spot = spec.kind == "spot_interruption" and run.document.get("EnableManagedSpotTraining")
            if not (spot or spec.kind == "job_crash") or not fnmatch.fnmatchcase(run.name, spec.name):
                continue
            if fault.fires(run.name):
                self._later(spec, process, partial(self._end_job, run, process, spec))

    def _end_job(self, run: RunningJob, process: Supervised, spec: FaultSpec) -> None:
        if spec.kind == "job_crash":
            process.kill()
            return
        seconds = spec.capacity_after_seconds
        with self._lock:
            self._capacity[run.name] = math.inf if seconds is None else seconds
        run.request_interruption()

    def _meet_model_server(self, endpoint: str, process: Supervised, faults: list[Fault]) -> None:
        for fault in faults:
            spec = fault.spec
            meets = spec.kind == "model_server_crash" and fnmatch.fnmatchcase(endpoint, spec.name)
            if meets and fault.fires(endpoint):
                self._later(spec, process, process.kill)

    def _later(self, spec: FaultSpec, process: Supervised, act: Callable[[], None]) -> None:
        def work() -> None:
            if process.exit_code is None:
                act()

        timer = threading.Timer(spec.after_seconds, work)
        timer.daemon = True
        timer.start()
