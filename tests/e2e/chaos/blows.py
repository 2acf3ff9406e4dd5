"""The plan of a chaos run: which process is struck, how, and when. Pure: the same seed gives the same plan."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, replace
from typing import Any

KILL = "kill"
FREEZE = "freeze"
DRAIN = "drain"
STORM = "storm"
FILL = "fill"
LOSE = "lose"
#: Killed, and killed again as soon as it has come up, three times in all; a plan holds three kills in its place.
THRICE = "kill thrice"

WORKER = "worker"
TASK = "task"
NODE = "node"
TRIGGERER = "triggerer"
TRIGGER_RUNNER = "trigger_runner"
SCHEDULER = "scheduler"
STAND_IN = "sagemaker"
S3 = "s3"
DISK = "disk"
DATABASE = "database"

#: What can be struck, and how. A worker is the process that watches over one task and sends its heartbeats; the task
#: is its child; a node is both. A trigger runner is the child of a triggerer in which the triggers wait. The stand-in
#: is the local SageMaker, S3 and all: killed it is an outage that ends its jobs, frozen one without an answer; its disk
#: can be full. A worker whose disk is full can't write its task's log. The database is Airflow's: lost, all of Airflow
#: goes down with it. What is no process, such as a storm of S3, is struck by a function of strikes.py; a new kind gets
#: its line here and there.
KINDS = (
    (WORKER, KILL),
    (TRIGGERER, FREEZE),
    (SCHEDULER, KILL),
    (NODE, FREEZE),
    (TRIGGERER, KILL),
    (TASK, KILL),
    (TRIGGER_RUNNER, FREEZE),
    (WORKER, DRAIN),
    (WORKER, FREEZE),
    (TRIGGER_RUNNER, KILL),
    (SCHEDULER, FREEZE),
    (TRIGGERER, DRAIN),
    (STAND_IN, KILL),
    (S3, STORM),
    (STAND_IN, THRICE),
    (STAND_IN, FREEZE),
    (DISK, FILL),
    (WORKER, FILL),
    (DATABASE, LOSE),
)
#: Detection times of the stack (see settings.AIRFLOW): a process that is frozen for longer counts as lost.
TASK_HEARTBEAT_TIMEOUT_SECONDS = 10
TRIGGERER_THRESHOLD_SECONDS = 6
SCHEDULER_THRESHOLD_SECONDS = 8
_LOST_AFTER = {
    WORKER: TASK_HEARTBEAT_TIMEOUT_SECONDS,
    NODE: TASK_HEARTBEAT_TIMEOUT_SECONDS,
    TRIGGERER: TRIGGERER_THRESHOLD_SECONDS,
    TRIGGER_RUNNER: TRIGGERER_THRESHOLD_SECONDS,
    SCHEDULER: SCHEDULER_THRESHOLD_SECONDS,
    # As long as an outage may take; nothing in Airflow counts it as lost.
    STAND_IN: 20,
    S3: 20,
    DISK: 20,
}
LASTS = (FREEZE, STORM, FILL)


@dataclass(frozen=True)
class Blow:
    """One blow.

    :param pause_seconds: since the blow before.
    :param target: what is struck.
    :param action: ``kill`` (SIGKILL), ``drain`` (SIGTERM), ``freeze`` (SIGSTOP, and SIGCONT later), ``storm``, ``fill``
        (no file can be written to) or ``lose``.
    :param freeze_seconds: how long it is frozen or full, or the storm lasts; 0 for the other actions.
    :param pick: from 0 to 1, which of several candidates it is.
    :param restart_seconds: how long a supervisor takes to start a component again that has died.
    """

    pause_seconds: float
    target: str
    action: str
    freeze_seconds: float
    pick: float
    restart_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form for the summary."""
        return asdict(self)


def plan(seed: int, count: int, *, mean_pause_seconds: float) -> list[Blow]:
    """Return the blows of a seed. Every kind comes once before any comes again.

    :param count: how many; what strikes thrice counts once.
    :param mean_pause_seconds: the pauses are spread evenly from a half to one and a half of it.
    """
    draws = random.Random(f"blows/{seed}")
    kinds: list[tuple[str, str]] = []
    while len(kinds) < count:
        kinds += draws.sample(KINDS, len(KINDS))
    planned: list[Blow] = []
    for target, action in kinds[:count]:
        blow = _blow(draws, target, action, mean_pause_seconds)
        again = 3 if action == THRICE else 1
        planned += [replace(blow, action=KILL if again > 1 else action)] * again
    return planned


def _blow(draws: random.Random, target: str, action: str, mean_pause_seconds: float) -> Blow:
    # Some frozen processes come back before anybody has missed them, most of them after.
    freeze = _LOST_AFTER[target] * draws.uniform(0.7, 2.2) if action in LASTS else 0.0
    longest_restart = 15.0 if target == STAND_IN else 3.0
    return Blow(
        pause_seconds=round(mean_pause_seconds * draws.uniform(0.5, 1.5), 2),
        target=target,
        action=action,
        freeze_seconds=round(freeze, 2),
        pick=round(draws.random(), 4),
        restart_seconds=round(draws.uniform(0.0, longest_restart), 2),
    )
