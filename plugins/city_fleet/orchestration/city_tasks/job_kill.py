"""Airflow asks a worker's task to end: is its job still wanted?

``on_kill`` says that the process is to end and not why: a person marked the task failed or cleared it, the
scheduler took the task for lost and will try it again, or the worker is being replaced during a deploy. Only the
state of the task instance tells them apart, and only the first is a reason to stop the job. A worker that is asked too
late leaves it to the task's next try and to the reaper. A job that another DAG run about the same may come for goes on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from city_fleet.errors import JobError, list_names
from city_fleet.jobs.orphans import ENDED, GONE, RESTARTING, may_come, name_of, state_of
from city_fleet.jobs.sagemaker_jobs import JobKind


class WorkerKill:
    """What a worker's process does about a kill while it starts or collects a job.

    :param ti: the running task instance.
    :param others: returns the ids of the other DAG runs that work on the same run.
    :param hook: the provider's hook; its client is made when it is needed.
    :param log: the task's logger.
    """

    def __init__(
        self, ti: Any, kind: JobKind, hook: Any, log: Any, *, others: Callable[[], list[str]]
    ) -> None:
        self._ti = ti
        self._others = others
        self._kind = kind
        self._hook = hook
        self._log = log
        self._unwanted = threading.Event()
        #: The job that a kill has to stop; None as long as none has been asked for.
        self.job: str | None = None

    def hint(self) -> None:
        """Look into it, in a thread: inside a signal handler nothing may wait for the connection to Airflow."""
        threading.Thread(target=self._look, name="on-kill", daemon=True).start()

    def check(self) -> None:
        """Leave, and stop the job, if a person wants it stopped; the answer may have come during a call.

        :raises JobError: the job is not wanted any more.
        """
        if self._unwanted.is_set():
            self._stop()
            raise JobError(f"Job {self.job} is not wanted any more: a person has ended or cleared its task")

    def _look(self) -> None:
        state = self._state()
        if state not in ENDED | {GONE, RESTARTING}:
            self._log.info("The worker's process is to end and the task is %s: its job goes on", state)
            return
        if waiting := self.waiting(self._others()):
            self._log.info("The task is %s, and its job goes on for %s", state, list_names(waiting))
            return
        self._unwanted.set()
        self._stop()

    def waiting(self, run_ids: list[str]) -> list[str]:
        """Return those of some other DAG runs that may still come for the job that they share with the task."""
        return may_come(self._states(run_ids), run_ids, self._name) if run_ids else []

    def _state(self) -> str | None:
        ti = self._ti
        return state_of(self._states([ti.run_id]), ti.run_id, self._name)

    @property
    def _name(self) -> str:
        return name_of(self._ti.task_id, getattr(self._ti, "map_index", -1))

    def _states(self, run_ids: list[str]) -> Any:
        ti = self._ti
        return ti.get_task_states(dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=run_ids)

    def _stop(self) -> None:
        if self.job is None:
            return
        try:
            if self._kind.stop(self._hook.conn, self.job):
                self._log.info("Stopped %s: a person has ended or cleared its task", self.job)
        except (ClientError, BotoCoreError) as error:
            self._log.warning("%s could not be stopped, the reaper will do it: %s", self.job, error)
