"""Airflow's LocalExecutor, changed so that it recognises a task that goes on after a deferral.

A deferrable task runs in two pieces with the same key: up to the deferral, and after its trigger has fired. On a
laptop a job takes a second or two, so the second piece may be queued before the scheduler has read that the first
one ended. It then finds an ended task in state "queued" that its executor does not know, takes it for killed and
fails the try (Airflow 3.3.2: ``SchedulerJobRunner.process_executor_events`` asks ``has_task``, and LocalExecutor
forgets a task as soon as it hands it to a worker). On AWS, where jobs take minutes, this does not happen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from airflow.executors.local_executor import LocalExecutor
from airflow.utils.state import TaskInstanceState

_ENDED = frozenset({TaskInstanceState.SUCCESS, TaskInstanceState.FAILED})


class ResumeSafeLocalExecutor(LocalExecutor):
    """A LocalExecutor whose ``has_task`` is true from handing a piece of work out until its end is reported."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._handed_out: Counter[Any] = Counter()

    def _process_workloads(self, workload_list: Sequence[Any]) -> None:
        self._handed_out.update(workload.key for workload in workload_list)
        super()._process_workloads(workload_list)

    def change_state(self, key: Any, state: Any, info: Any = None, remove_running: bool = True) -> None:
        """Count the end of a piece of work, and buffer the event as before."""
        if state in _ENDED:
            self._handed_out[key] -= 1
            if self._handed_out[key] <= 0:
                del self._handed_out[key]
        super().change_state(key, state, info, remove_running)

    def has_task(self, task_instance: Any) -> bool:
        """Tell whether a piece of this task's work is queued or out with a worker."""
        return super().has_task(task_instance) or self._handed_out[task_instance.key] > 0
