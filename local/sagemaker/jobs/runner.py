"""What training and processing jobs have in common: one run of one job, from its sandbox to its end state."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar

from local.sagemaker import disk
from local.sagemaker.errors import FAILURE_REASON_LENGTH, shorten
from local.sagemaker.jobs.job_checks import MANIFEST_FILE
from local.sagemaker.moments import now
from local.sagemaker.processes.images import UnknownImage, find_interpreter
from local.sagemaker.processes.logs import LogStream
from local.sagemaker.processes.outputs import OutputRefused
from local.sagemaker.processes.processes import Supervised
from local.sagemaker.processes.s3_transfer import (
    StorageFailed,
    TransferError,
    download_manifest,
    download_prefix,
)
from local.sagemaker.processes.sandbox import NOT_OWN, Sandbox
from local.sagemaker.reach import Server
from local.sagemaker.store import Document

END_AGAIN_SECONDS = 1.0
INTERNAL_ERROR = "InternalServerError: We encountered an internal error. Please try again."

log = logging.getLogger(__name__)


class JobFailed(Exception):
    """The job ends as Failed; the message is its FailureReason."""


class JobStopped(Exception):
    """The job was stopped before its container ran."""


class End(Enum):
    """Why a container ended."""

    EXITED = "exited"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"
    OUT_OF_TIME = "out of time"


@dataclass(frozen=True)
class ContainerEnd:
    """How a container ended.

    :param why: by itself, stopped, interrupted, or out of time.
    :param exit_code: 128 + n when signal n ended it.
    """

    why: End
    exit_code: int


class JobRun(ABC):
    """One run of one job; its thread is the only one that ends the job.

    :param server: the server that runs it.
    :param name: the job's name; its document is in the store.
    """

    kind: ClassVar[str]  # of the document in the store, and in the ARN
    status_member: ClassVar[str]
    log_group: ClassVar[str]
    #: Whether it needs an instance that nobody can take away, and that does not wait for it in a warm pool.
    on_demand = True

    def __init__(self, server: Server, name: str) -> None:
        document = server.store.get(self.kind, name)
        if document is None:
            raise LookupError(f"{self.kind} {name} is not in the store")
        self.server = server
        self.name = name
        self.document = document
        self.region: str = document["_region"]
        self.s3 = server.aws.client("s3", self.region)
        self.logs: LogStream | None = None
        self._process: Supervised | None = None
        self._stop = threading.Event()
        self._interrupt = threading.Event()
        self._ended = threading.Event()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._lost = False

    def request_stop(self) -> None:
        """Have the job stopped; returns at once."""
        self._stop.set()
        self._wake.set()

    def request_interruption(self) -> None:  # noqa: B027  # most jobs have nothing to do here
        """Take the job's spot instance away; returns at once. A job on demand goes on."""

    def lose(self) -> None:
        """The server shuts down: unless a stop was asked for, the job ends as one that has lost its instance."""
        self._lost = not self._stop.is_set()
        self._closing.set()

    def end_of_stop(self) -> tuple[str, str | None]:
        """End state and reason of a job that was stopped."""
        return ("Failed", INTERNAL_ERROR) if self._lost else ("Stopped", None)

    def kill(self) -> None:
        """End the grace period of a stop: kill the container now."""
        if self._process is not None:
            self._process.kill()

    def run(self) -> None:
        """Run the job to its end state. Never raises: whatever goes wrong is the job's failure."""
        try:
            sandbox = Sandbox(self.server.data_dir / "jobs", self.name, own_opt_ml=self.server.own_opt_ml)
        except OSError as error:
            self.end("Failed", f"{INTERNAL_ERROR} ({self._what_went_wrong(error)})")
            return
        try:
            ending = self._run_in(sandbox)
            if ending[0] == "Stopped":
                ending = self.end_of_stop()
        except JobStopped:
            ending = self.end_of_stop()
        except (JobFailed, UnknownImage) as error:
            prefix = "ClientError: " if isinstance(error, UnknownImage) else ""
            room = disk.has_room(sandbox.root)
            known = sandbox.hint() if room else f" ({disk.full(self.server.data_dir)})"
            ending = ("Failed", f"{prefix}{shorten(str(error), len(prefix) + len(known))}{known}")
        except StorageFailed as error:  # not the request's fault: it is asked for again
            log.error("%s %s: %s", self.kind, self.name, error)
            ending = ("Failed", f"{INTERNAL_ERROR} ({shorten(str(error), len(INTERNAL_ERROR) + 3)})")
        except Exception as error:
            if not disk.is_full(error):
                log.exception("%s %s", self.kind, self.name)
            ending = ("Failed", f"{INTERNAL_ERROR} ({self._what_went_wrong(error)})")
        # Before the end state: a caller who sees that finds all lines in the log, and no sandbox.
        if self.logs:
            self.logs.close()
        sandbox.remove()
        self.end(*ending)

    def end(self, status: str, reason: str | None) -> None:
        """Release the instances, then write the end state: a caller who sees it can start the next job.

        :param status: Completed, Failed or Stopped.
        :param reason: the job's FailureReason, if it has one.
        """
        self.server.quotas.release((self.kind, self.name))
        told = False
        while True:
            try:
                self.finish(status, reason)
            except OSError as error:
                # The job has ended, and nobody else can say so: until there is room, or an earlier end that the next
                # server finds, it goes on being InProgress.
                if not told:
                    log.error(
                        "the end of %s %s waits: %s", self.kind, self.name, self._what_went_wrong(error)
                    )
                told = True
                if self._lost or self._closing.wait(END_AGAIN_SECONDS):
                    return
            else:
                return

    def _what_went_wrong(self, error: Exception) -> str:
        full = disk.is_full(error)
        return disk.full(self.server.data_dir) if full else f"{type(error).__name__}: {error}"

    def seconds_to_instance(self) -> float:
        """Ask for the job's instance: how long it takes to come up. The job takes no turn of others meanwhile."""
        return self.server.settings.job_start_seconds

    def _run_in(self, sandbox: Sandbox) -> tuple[str, str | None]:
        self.check_stop()
        lacking = self.server.faults.capacity_error(self.name) if self.on_demand else None
        if lacking is not None:
            seconds, reason = lacking
            self._stop.wait(seconds)
            self.check_stop()
            raise JobFailed(reason)
        interpreter = find_interpreter(self.server.settings, self.image())
        return self.work(sandbox, interpreter)

    @abstractmethod
    def image(self) -> str:
        """URI of the job's image."""

    @abstractmethod
    def work(self, sandbox: Sandbox, interpreter: Path) -> tuple[str, str | None]:
        """Download the inputs, run the container, upload the results.

        :param sandbox: stands for ``/opt/ml``.
        :param interpreter: stands for the image.
        :return: end state (Completed or Stopped) and reason.
        :raises JobFailed: when it failed.
        :raises JobStopped: when it was stopped before the container ran.
        """

    @abstractmethod
    def finish(self, status: str, reason: str | None) -> None:
        """Write the end state.

        :param status: Completed, Failed or Stopped.
        :param reason: the job's FailureReason, if it has one.
        """

    def check_stop(self) -> None:
        """Give up when a stop was asked for.

        :raises JobStopped: if one was.
        """
        if self._stop.is_set():
            raise JobStopped

    def update(self, **members: Any) -> None:
        """Change members of the job's document.

        :param members: the new values, by name of the member.
        """

        def change(document: Document) -> None:
            document.update(members, LastModifiedTime=now())

        self.server.store.update(self.kind, self.name, change)

    def write_log(self, line: str) -> None:
        """Write a line into the job's log stream.

        :param line: the line, without its line end.
        """
        self.open_log().write(line)

    def open_log(self) -> LogStream:
        """The job's log stream, which is made in the background."""
        if self.logs is None:
            self.logs = LogStream(
                self.server.aws.client("logs", self.region),
                self.log_group,
                f"{self.name}/algo-1-{int(time.time())}",
            )
        return self.logs

    def download(self, source: dict[str, Any], folder: Path) -> None:
        """Download an input.

        :param source: ``S3Uri`` and ``S3DataType`` of a request.
        :param folder: the folder to download into.
        :raises JobFailed: when that is not possible.
        """
        try:
            by_manifest = source["S3DataType"] == MANIFEST_FILE
            (download_manifest if by_manifest else download_prefix)(self.s3, source["S3Uri"], folder)
        except TransferError as error:
            raise JobFailed(f"ClientError: Data download failed: {error}") from error

    def execute(
        self,
        sandbox: Sandbox,
        command: list[str],
        environment: Mapping[str, str],
        cwd: Path,
        limit_seconds: float,
    ) -> ContainerEnd:
        """Run the container.

        :param sandbox: its file system.
        :param command: program and arguments.
        :param environment: its whole environment.
        :param cwd: its working directory.
        :param limit_seconds: how long it may run.
        :raises JobFailed: when results lie where nobody would look for them.
        """
        self._ended.clear()
        self.open_log()
        process = self._process = self.server.runner.start(
            command,
            environment=environment,
            cwd=cwd,
            hidden=self.server.hidden(sandbox.root),
            on_line=lambda line: self.write_log(sandbox.to_container(line)),
            on_end=self._container_ended,
        )
        self.server.faults.job_started(self, process)
        deadline = time.monotonic() + limit_seconds
        grace = self.server.settings.stop_grace_seconds
        while not self._ended.is_set():
            self._wake.wait(max(0.0, deadline - time.monotonic()))
            self._wake.clear()
            if self._ended.is_set():
                break
            if self._stop.is_set():
                return ContainerEnd(End.STOPPED, process.stop(grace))
            if self._interrupt.is_set():
                return ContainerEnd(End.INTERRUPTED, process.stop(grace))
            if time.monotonic() >= deadline:
                self.out_of_time()
                return ContainerEnd(End.OUT_OF_TIME, process.stop(grace))
        end = ContainerEnd(End.EXITED, process.wait())
        if end.exit_code == 0 and (path := sandbox.strayed()):
            raise JobFailed(f"ClientError: {path} was written while the job ran, and {NOT_OWN}")
        return end

    def out_of_time(self) -> None:
        """Called when the container has run as long as it may, before it is stopped."""
        self.update(**{self.status_member: "Stopping"})

    def _container_ended(self) -> None:
        self._ended.set()
        self._wake.set()


def read_message(sandbox: Sandbox, path: Path, limit: int = FAILURE_REASON_LENGTH) -> str | None:
    """The message that a script has left in a file for its caller, as the caller reads it; None when there is none.

    :param sandbox: the script's.
    :param path: the file, which may be missing; of one that must not be read, the message says why.
    :param limit: longer texts are cut.
    """
    try:
        content = sandbox.outputs.read(path, 4 * limit)
    except OutputRefused as error:
        return f"The message of the script is not read: {error}"
    text = (content or b"").decode("utf-8", "replace").strip()
    return sandbox.to_container(text)[:limit] or None
