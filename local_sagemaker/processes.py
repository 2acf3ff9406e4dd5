"""Starts commands under the supervisor and hands their output on line by line."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

SUPERVISOR = Path(__file__).with_name("supervisor.py")
LONGEST_LINE_BYTES = 200_000  # longer lines are cut into several; CloudWatch takes 256 KB per event
LAST_OUTPUT_SECONDS = 5.0


class SupervisedProcess:
    """A running command. Everything it started ends with it, and with this server at the latest.

    :param command: program and arguments.
    :param environment: its whole environment.
    :param cwd: its working directory.
    :param hidden: a folder it shall not see, and the one below it that it shall; None = it sees everything.
    :param on_line: called in a thread of its own with each line of stdout and stderr, without the line end.
    :param on_end: called once, after the last line, when the command has ended.
    """

    def __init__(
        self,
        command: list[str],
        *,
        environment: Mapping[str, str],
        cwd: Path,
        hidden: tuple[Path, Path] | None = None,
        on_line: Callable[[str], None],
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        words = [f"--hide={hidden[0]}", f"--keep={hidden[1]}"] if hidden else []
        # -I and -S: the supervisor needs nothing but the standard library, and starts in a few milliseconds.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(SUPERVISOR), *words, "--", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=cwd,
            start_new_session=True,  # an interrupt in the server's terminal is for the server alone
        )
        self._on_line = on_line
        self._on_end = on_end
        self._reader = threading.Thread(target=self._read, name=f"output-{self._process.pid}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Process id of the supervisor."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Exit code of the command, None while it runs."""
        return self._process.poll()

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
        code = self._process.wait(timeout_seconds)
        self._reader.join(LAST_OUTPUT_SECONDS)
        with contextlib.suppress(OSError):
            if self._process.stdin:
                self._process.stdin.close()
        return code if code >= 0 else 128 - code  # somebody killed the supervisor, and so the command

    def stop(self, grace_seconds: float) -> int:
        """SIGTERM, a time of grace, SIGKILL.

        :param grace_seconds: between the two.
        :return: the exit code.
        """
        self.terminate()
        try:
            return self.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return self.wait()

    def _order(self, order: bytes) -> None:
        assert self._process.stdin is not None  # noqa: S101
        with contextlib.suppress(OSError, ValueError):  # it has ended
            self._process.stdin.write(order)
            self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101
        with self._process.stdout as stream:
            for line in iter(lambda: stream.readline(LONGEST_LINE_BYTES), b""):
                self._on_line(line.decode("utf-8", "replace").rstrip("\r\n"))
        self._process.wait()
        self._on_end()
