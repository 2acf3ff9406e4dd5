"""Starts commands under the supervisor and hands their output on line by line."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from local.sagemaker.processes.supervisor import LENGTH

SUPERVISOR = Path(__file__).with_name("supervisor.py")
LONGEST_LINE_BYTES = 200_000  # longer lines are cut into several; CloudWatch takes 256 KB per event
LAST_OUTPUT_SECONDS = 5.0
#: The supervisor's: what a job sets for itself, it must not set for the process that fences it in.
CLEAN_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}


@dataclass(frozen=True)
class Hidden:
    """What a command must not see.

    :param folders: absolute paths.
    :param kept: the folder that it may see, also below one of them.
    :param opt_ml: whether the ``opt/ml`` in the kept folder is the command's ``/opt/ml``; only where
        :func:`can_mount_opt_ml`.
    """

    folders: tuple[Path, ...]
    kept: Path
    opt_ml: bool = False

    def on_host(self, path: str) -> Path:
        """Where a path of the command's lies on this machine.

        :param path: an absolute path.
        """
        inside = self.opt_ml and f"{path}/".startswith("/opt/ml/")
        return Path(f"{self.kept}{path}") if inside else Path(path)

    def words(self) -> list[str]:
        """The supervisor's options."""
        hide = [f"--hide={folder}" for folder in self.folders]
        return [*hide, f"--keep={self.kept}", *(["--opt-ml"] if self.opt_ml else [])]


class Supervised(ABC):
    """A running command. Everything it started ends with it, and with this server at the latest.

    :param leash: pipe that carries orders to the supervisor; when it is closed, the command is killed.
    :param output: its stdout and stderr.
    :param on_line: called in a thread of its own with each line of the output, without the line end.
    :param on_end: called once, after the last line, when the command has ended.
    """

    def __init__(
        self, leash: IO[bytes], output: IO[bytes], on_line: Callable[[str], None], on_end: Callable[[], None]
    ) -> None:
        self._leash = leash
        self._output = output
        self._on_line = on_line
        self._on_end = on_end
        self._reader = threading.Thread(target=self._read, name=f"output-{self.pid}", daemon=True)
        self._reader.start()

    @property
    @abstractmethod
    def pid(self) -> int:
        """Process id of the supervisor."""

    @property
    @abstractmethod
    def exit_code(self) -> int | None:
        """Exit code of the command, None while it runs."""

    @abstractmethod
    def wait_for_end(self, timeout_seconds: float | None) -> int:
        """Wait for the supervisor's end.

        :return: the exit code.
        :raises subprocess.TimeoutExpired: when it still runs.
        """

    def terminate(self) -> None:
        """Send SIGTERM to the command's process group."""
        self._order(b"T")

    def kill(self) -> None:
        """Send SIGKILL to the command's process group."""
        self._order(b"K")

    def wait(self, timeout_seconds: float | None = None) -> int:
        """Wait for the end and the last line.

        :param timeout_seconds: how long at most; None = for ever.
        :return: the exit code; 128 + n when signal n ended the command.
        :raises subprocess.TimeoutExpired: when it still runs.
        """
        code = self.wait_for_end(timeout_seconds)
        self._reader.join(LAST_OUTPUT_SECONDS)
        with contextlib.suppress(OSError):
            self._leash.close()
        return code if code >= 0 else 128 - code  # the supervisor was killed, and with it the command

    def stop(self, grace_seconds: float) -> int:
        """Stop the command: SIGTERM, a grace period, SIGKILL.

        :param grace_seconds: time between the two signals.
        :return: the exit code.
        """
        self.terminate()
        try:
            return self.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return self.wait()

    def _order(self, order: bytes) -> None:
        with contextlib.suppress(OSError, ValueError):  # it has ended
            self._leash.write(order)
            self._leash.flush()

    def _read(self) -> None:
        with self._output as stream:
            for line in iter(lambda: stream.readline(LONGEST_LINE_BYTES), b""):
                self._on_line(line.decode("utf-8", "replace").rstrip("\r\n"))
        self.wait_for_end(None)
        self._on_end()


class SupervisedProcess(Supervised):
    """A command under a supervisor of its own.

    :param command: program and arguments.
    :param environment: its whole environment.
    :param cwd: its working directory.
    :param hidden: what the command must not see; None = it sees all.
    """

    def __init__(
        self,
        command: list[str],
        *,
        environment: Mapping[str, str],
        cwd: Path,
        hidden: Hidden | None = None,
        on_line: Callable[[str], None],
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        words = hidden.words() if hidden else []
        # -I and -S: the supervisor needs nothing but the standard library, and starts in a few milliseconds.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(SUPERVISOR), *words, "--", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=CLEAN_ENVIRONMENT,
            cwd=cwd,
            start_new_session=True,  # an interrupt in the server's terminal is for the server alone
        )
        assert self._process.stdin is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        with contextlib.suppress(OSError):  # it has died already: its end is noticed like any other
            whole = json.dumps(dict(environment)).encode()
            self._process.stdin.write(LENGTH.pack(len(whole)) + whole)
            self._process.stdin.flush()
        super().__init__(self._process.stdin, self._process.stdout, on_line, on_end)

    @property
    def pid(self) -> int:
        """Process id of the supervisor."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Exit code of the command, None while it runs."""
        return self._process.poll()

    def wait_for_end(self, timeout_seconds: float | None) -> int:
        """Wait for the supervisor's end."""
        return self._process.wait(timeout_seconds)


def can_mount_opt_ml(folder: Path) -> bool:
    """Whether a command can have an ``/opt/ml`` of its own here: Linux that lets this user make user and mount
    namespaces, and an ``/opt``.

    :param folder: where to try, with a command that looks for a file.
    """
    if sys.platform != "linux":
        return False
    with tempfile.TemporaryDirectory(dir=folder) as made:
        kept = Path(made).resolve()
        (kept / "opt/ml").mkdir(parents=True)
        (kept / "opt/ml/here").touch()
        process = SupervisedProcess(
            ["test", "-e", "/opt/ml/here"],
            environment=CLEAN_ENVIRONMENT,
            cwd=kept,
            hidden=Hidden((), kept, opt_ml=True),
            on_line=lambda _: None,
        )
        return process.wait() == 0
