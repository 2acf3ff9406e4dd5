"""Runs jobs, each in a thread of its own, up to a maximum at a time; the other jobs wait their turn."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait

from local.sagemaker.jobs.processing_run import ProcessingRun
from local.sagemaker.jobs.runner import INTERNAL_ERROR, JobRun
from local.sagemaker.jobs.training_run import TrainingRun
from local.sagemaker.processes.archives import remove_tree
from local.sagemaker.reach import Server

SHUTDOWN_GRACE_SECONDS = 10.0
RUNS: dict[str, type[JobRun]] = {run.kind: run for run in (TrainingRun, ProcessingRun)}


class JobManager:
    """Runs jobs in the order in which they were submitted.

    :param server: the server they belong to.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._pool = ThreadPoolExecutor(server.settings.max_running_jobs, thread_name_prefix="job")
        self._lock = threading.Lock()
        self._runs: dict[tuple[str, str], tuple[JobRun, Future[None]]] = {}
        self._closed = False
        remove_tree(server.data_dir / "jobs")  # what a server that was killed has left

    @property
    def running(self) -> int:
        """How many jobs have not ended, those that wait included."""
        return len(self._runs)

    def submit(self, kind: str, name: str) -> None:
        """Run a job whose document is in the store; returns at once.

        :param kind: ``training-job`` or ``processing-job``.
        :param name: name of the job.
        """
        with self._lock:
            if self._closed:
                raise RuntimeError("the server is shutting down")
            run = RUNS[kind](self._server, name)
            future = self._pool.submit(run.run)
            self._runs[kind, name] = (run, future)
        future.add_done_callback(lambda _: self._runs.pop((kind, name), None))

    def stop(self, kind: str, name: str) -> None:
        """Stop a job; returns at once. A job that has ended is left alone.

        :param kind: ``training-job`` or ``processing-job``.
        :param name: name of the job.
        """
        entry = self._runs.get((kind, name))
        if entry is None:
            return
        run, future = entry
        run.request_stop()
        if future.cancel():  # it has not begun: it need not wait for its turn to be stopped
            run.end(*run.end_of_stop())

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
            runs = dict(self._runs)
        for (kind, name), (run, _) in runs.items():
            run.lose()
            self.stop(kind, name)
        wait([future for _, future in runs.values()], SHUTDOWN_GRACE_SECONDS)
        for run, future in runs.values():
            if not future.done():
                run.kill()
        self._pool.shutdown(wait=True)
