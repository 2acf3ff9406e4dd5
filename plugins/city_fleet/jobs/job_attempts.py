"""Which attempt of a job a task may adopt, and which it has to start anew. Pure.

A job's name follows from its request and the number of the attempt, and SageMaker takes a name once. So it is
SageMaker that guarantees that an attempt is paid once; what is decided here is only when a task moves on to the
next attempt.

What a first try finds under the names of its step was paid for by another DAG run about the same, perhaps before
Airflow's database was lost; it takes up the newest attempt, as its predecessor would have.

An automatic retry and a person's clear look alike to the task but for one number: a clear raises ``max_tries``
(Airflow 3.3.2, ``clear_task_instances``). So the number is remembered at submission, where it survives both.
A clear of a task that a worker is running does not raise it; there, the worker's own ``on_kill`` sees the state
``restarting`` and stops the job, and a job that was stopped is not adopted either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from city_fleet.jobs.sagemaker_jobs import COMPLETED, IN_PROGRESS, STOPPING
from city_fleet.plan import FixedChampion

MAX_ATTEMPTS = 100


@dataclass(frozen=True)
class Memory:
    """What a task remembers of its job from one try to the next.

    :param name: the job.
    :param attempt: its number, 1 for the first.
    :param max_tries: the task instance's own, when the job was submitted.
    :param on_demand: the job was submitted without spot, because spare capacity had not been enough.
    :param key: of the run that the job is a step of.
    :param champion: what the job judges against, if it judges.
    :param before: the bills of jobs that the task has paid for in vain.
    """

    name: str
    attempt: int
    max_tries: int
    on_demand: bool = False
    key: str = ""
    champion: FixedChampion | None = None
    before: tuple[Mapping[str, Any], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it: Airflow's state store refuses a tuple."""
        return {**asdict(self), "before": list(self.before)}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any] | None) -> Memory | None:
        """Read what :meth:`to_dict` wrote; None where nothing was remembered."""
        if not value:
            return None
        known = {name: value[name] for name in cls.__dataclass_fields__ if name in value}
        known["before"] = tuple(known.get("before") or ())
        return cls(**known | {"champion": value.get("champion") and FixedChampion(**value["champion"])})


@dataclass(frozen=True)
class Start:
    """Where a try begins.

    :param attempt: the first attempt it may use.
    :param abandoned: a job that no task waits for any more and that has to be over before another one starts.
    :param adopts: whether a job that exists under an attempt's name may be adopted.
    :param joins: take up the newest attempt that exists: it is not known yet which one that is.
    """

    attempt: int
    abandoned: str | None
    adopts: bool
    joins: bool = False


def start_of_try(memory: Memory | None, max_tries: int, key: str, name_of: Callable[[int], str]) -> Start:
    """Return where a try begins.

    :param memory: what the tries before have left.
    :param max_tries: the task instance's own now.
    :param key: of the run that the task works on now.
    :param name_of: attempt → name of the job, for the request as it is now.
    """
    if memory is None:
        return Start(1, None, adopts=True, joins=True)
    same_request = memory.name == name_of(memory.attempt)
    # With another run the clear, if there was one, is counted already: that run is the repetition.
    if memory.max_tries != max_tries and memory.key == key:
        return Start(memory.attempt + 1 if same_request else 1, memory.name, adopts=False)
    if not same_request:
        # The inputs have changed since: a result of the old job would be a result of something else.
        return Start(1, memory.name, adopts=True, joins=True)
    return Start(memory.attempt, None, adopts=True)


class AttemptAction(Enum):
    """What is to be done about a job that exists under an attempt's name."""

    ADOPT = "adopt"
    WAIT_UNTIL_OVER = "wait until over"
    NEXT_ATTEMPT = "next attempt"


def finding(status: str, *, output_exists: Callable[[], bool]) -> AttemptAction:
    """Return what is to be done about a job of this name.

    :param output_exists: only asked for a completed job, whose output may have been deleted.
    """
    if status == IN_PROGRESS:
        return AttemptAction.ADOPT
    if status == STOPPING:
        return AttemptAction.WAIT_UNTIL_OVER
    if status == COMPLETED and output_exists():
        return AttemptAction.ADOPT
    return AttemptAction.NEXT_ATTEMPT
