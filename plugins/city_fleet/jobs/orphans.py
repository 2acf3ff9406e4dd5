"""Which jobs no task waits for any more. Pure.

A task waits for its job in many states: while a worker runs it, while it is deferred, between two tries. Only a
state that a task does not leave by itself says that its job has become an orphan.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

#: States in which a task instance may still come back for its job.
WAITING = frozenset(
    {"running", "deferred", "queued", "scheduled", "up_for_retry", "up_for_reschedule", "restarting"}
)
#: States that a task instance leaves only when a person clears it.
ENDED = frozenset({"success", "failed", "upstream_failed", "skipped", "removed"})
#: A person cleared the task while a worker was running it; its next try starts a job of its own.
RESTARTING = "restarting"
#: Stands for the state of a task instance that does not exist any more: its DAG or its run was deleted.
GONE = "gone"


def state_of(states: Mapping[str, Mapping[str, Any]], run_id: str, task_id: str) -> str | None:
    """Return a task instance's state out of Airflow's answer about many.

    :param states: run id → task id → state, as ``get_task_states`` answers.
    :return: the state; None for one that was cleared and not scheduled yet; ``GONE`` where there is none.
    """
    state = states.get(run_id, {}).get(task_id, GONE)
    return None if state is None else str(getattr(state, "value", state))


def may_come(states: Mapping[str, Mapping[str, Any]], run_ids: Iterable[str], task_id: str) -> list[str]:
    """Return those of some DAG runs whose task may still come for the job that they share.

    :param states: run id → task id → state, as ``get_task_states`` answers.
    """
    return [run_id for run_id in run_ids if state_of(states, run_id, task_id) not in ENDED | {GONE}]
