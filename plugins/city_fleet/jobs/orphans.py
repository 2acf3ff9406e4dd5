"""Which jobs no task waits for any more. Pure.

A task waits for its job in many states: while a worker runs it, while it is deferred, between two tries. Only a
state that a task does not leave by itself says that its job has become an orphan.
"""

from __future__ import annotations

import re
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


def name_of(task_id: str, map_index: int | None) -> str:
    """Return what Airflow calls a task instance in its answer about many: a mapped one has its index at the end."""
    return task_id if map_index is None or map_index < 0 else f"{task_id}_{map_index}"


def asked_by(name: str) -> str:
    """Return the id of the task by which Airflow is asked about an instance that it calls so."""
    return re.sub(r"_\d+$", "", name)


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
