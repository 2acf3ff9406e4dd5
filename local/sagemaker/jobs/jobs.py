"""Runs jobs, each in a thread of its own, up to a maximum at a time; the other jobs wait their turn."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from local.sagemaker.jobs.processing_run import ProcessingRun
from local.sagemaker.jobs.runner import INTERNAL_ERROR, JobRun
from local.sagemaker.jobs.training_run import TrainingRun
from local.sagemaker.processes.archives import remove_tree
from local.sagemaker.reach import Server

SHUTDOWN_GRACE_SECONDS = 10.0
RUNS: dict[str, type[JobRun]] = {run.kind: run for run in (TrainingRun, ProcessingRun)}


@dataclass
class _Submitted:
    """A job that has not ended: it waits for its instance, then for its turn, then it runs."""

    run: JobRun
    instance: threading.Timer | None = None
    turn: Future[None] | None = None


class JobManager:
    """Runs jobs in the order in which their instances are there.

    :param server: the server they belong to.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._pool = ThreadPoolExecutor(server.settings.max_running_jobs, thread_name_prefix="job")
        self._lock = threading.Lock()
        self._jobs: dict[tuple[str, str], _Submitted] = {}
        self._closed = False
        remove_tree(server.data_dir / "jobs")  # what a server that was killed has left

    @property
    def running(self) -> int:
        """How many jobs have not ended, those that wait included."""
        return len(self._jobs)

    def submit(self, kind: str, name: str) -> None:
        """Run a job whose document is in the store; returns at once.

        :param kind: ``training-job`` or ``processing-job``.
        :param name: name of the job.
        """
        run = RUNS[kind](self._server, name)
        seconds = run.seconds_to_instance()
        with self._lock:
            if self._closed:
                raise RuntimeError("the server is shutting down")
            job = self._jobs[kind, name] = _Submitted(run)
            if seconds:
                job.instance = threading.Timer(seconds, self._take_turn, ((kind, name),))
                job.instance.daemon = True
                job.instance.start()
        if not seconds:
            self._take_turn((kind, name))

    def _take_turn(self, key: tuple[str, str]) -> None:
        """The job's instance is there: it runs as soon as fewer than the maximum do."""
        with self._lock:
            job = self._jobs.get(key)
            if job is None:  # it has been stopped
                return
            job.instance = None
            turn = job.turn = self._pool.submit(job.run.run)
        turn.add_done_callback(lambda _: self._jobs.pop(key, None))

    def stop(self, kind: str, name: str) -> None:
        """Stop a job; returns at once. A job that has ended is left alone.

        :param kind: ``training-job`` or ``processing-job``.
        :param name: name of the job.
        """
        with self._lock:
            job = self._jobs.get((kind, name))
            if job is None:
                return
            job.run.request_stop()
            waits = job.turn is None
            if waits:
                del self._jobs[kind, name]
        if job.instance is not None:
            job.instance.cancel()
        # One that has not begun need not wait for its turn to be stopped.
        if waits or (job.turn is not None and job.turn.cancel()):
            job.run.end(*job.run.end_of_stop())

    def recover(self) -> None:
        """Let the jobs fail that an earlier server has left unfinished, as jobs on AWS that lose their instance."""
        for kind, run in RUNS.items():
            for name, document in self._server.store.items(kind):
                if document[run.status_member] in ("InProgress", "Stopping"):
                    run(self._server, name).finish("Failed", INTERNAL_ERROR)

    def shutdown(self) -> None:
        """Stop all jobs and wait for them, for at most :data:`SHUTDOWN_GRACE_SECONDS`."""
        with self._lock:
            self._closed = True
            jobs = dict(self._jobs)
        for (kind, name), job in jobs.items():
            job.run.lose()
            self.stop(kind, name)
        turns = {job.turn: job.run for job in jobs.values() if job.turn is not None}
        wait(turns, SHUTDOWN_GRACE_SECONDS)
        for turn, run in turns.items():
            if not turn.done():
                run.kill()
        self._pool.shutdown(wait=True)
