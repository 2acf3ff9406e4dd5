"""A process that does one thing after another for us, and whose end is not ours.

What it needs is imported once, and what is known stays known; yet memory that runs out, a crash in native code and what
never ends cost only the thing that was being done: the next one gets a new process.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

#: A worker that holds more than this between two things is replaced: what it holds then is nobody's any more.
MOST_IDLE_BYTES = 1 << 30
_LOOK_SECONDS = 0.5
_PIECE_BYTES = 1 << 16
#: A line without an end is cut here.
_LONGEST_LINE_BYTES = 1 << 20

#: Does the thing of a name, and says at times how far it has come; what it returns is JSON.
Work = Callable[[str, Callable[[str], None]], Any]


class WorkerLost(Exception):
    """The process has ended, or was ended, before the thing was done.

    :param reason: how, as a sentence.
    :param said: how far it had come; None where it has said nothing.
    :param late: whether it was ended because its time was over.
    """

    def __init__(self, reason: str, said: str | None, *, late: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.said = said
        self.late = late


class Worker:
    """Starts the process when there is something to do, and again when it is gone.

    It is a fork: whoever makes it has started no threads, and imported nothing that starts some.

    :param work: what it does.
    :param most_idle_bytes: memory beyond which it is replaced.
    """

    def __init__(self, work: Work, most_idle_bytes: int = MOST_IDLE_BYTES) -> None:
        self._work = work
        self._most_idle_bytes = most_idle_bytes
        self._process: int | None = None
        self._status: int | None = None
        self._questions = self._answers = self._lines = -1
        self.started = 0

    def do(self, name: str, seconds: float | None = None) -> Any:
        """Have something done; each line that it prints is printed here, behind its name.

        :param name: one line.
        :param seconds: how long it may take; None for any time.
        :return: what the work returns.
        :raises WorkerLost: the process has not come to the end of it.
        """
        used = self._process is not None
        if not used:
            self._start()
        deadline = None if seconds is None else time.monotonic() + seconds
        printer, said, answers = _Printer(name), None, b""
        with contextlib.suppress(BrokenPipeError):  # it has died since; that is found out below
            os.write(self._questions, f"{name}\n".encode())
        while True:
            ready, _, _ = select.select([self._answers, self._lines], [], [], _LOOK_SECONDS)
            pieces = {pipe: _read(pipe) for pipe in ready}
            printer.print(pieces.get(self._lines, b""))
            answers += pieces.get(self._answers, b"")
            *lines, answers = answers.split(b"\n")
            for answer in map(json.loads, lines):
                said = answer.get("said", said)
                if "done" in answer:
                    self._drain(printer)
                    if answer["last"]:
                        self._end()
                    return answer["done"]
            # What it has started itself may hold its pipes open for longer than it lives.
            if not all(pieces.values()) or (not ready and self._has_ended()):
                self._drain(printer)
                reason = _sentence(self._end())
                # What had ended before it could begin is not this thing's doing.
                if used and said is None:
                    return self.do(name, seconds)
                raise WorkerLost(reason, said)
            if deadline is not None and time.monotonic() >= deadline:
                self._drain(printer)
                self._end()
                raise WorkerLost(
                    f"It took more than {round(seconds or 0, 1):g} seconds, and was ended.", said, late=True
                )

    def close(self) -> None:
        """End the process."""
        self._end()

    def _start(self) -> None:
        ask, self._questions = os.pipe()
        self._answers, answer = os.pipe()
        self._lines, line = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self._process = os.fork()
        if self._process == 0:
            for ours in (self._questions, self._answers, self._lines):
                os.close(ours)
            for number in (1, 2):
                os.dup2(line, number)
            os.close(line)
            self._serve(ask, answer)
        for theirs in (ask, answer, line):
            os.close(theirs)
        for ours in (self._answers, self._lines):
            os.set_blocking(ours, False)
        self.started += 1

    def _serve(self, ask: int, answer: int) -> NoReturn:
        """In the process: do what is asked for, until nobody can ask any more."""

        def say(**what: Any) -> None:
            os.write(answer, json.dumps(what).encode() + b"\n")

        code = 1
        try:
            for name, number in (("stdout", 1), ("stderr", 2)):
                if isinstance(getattr(sys, name), io.TextIOWrapper):
                    # Last words are kept, and in their order; what is no character is shown as what it is. Made anew:
                    # the one there may have been made for a file, and asks a pipe for its place.
                    stream = open(number, "w", 1, "utf-8", "backslashreplace", closefd=False)  # noqa: SIM115
                    setattr(sys, name, stream)
            with contextlib.suppress(OSError):  # of two that need memory it is this one that has to go
                Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
            with os.fdopen(ask, encoding="utf-8") as questions:
                for question in iter(questions.readline, ""):
                    done = self._work(question.rstrip("\n"), lambda how_far: say(said=how_far))
                    gc.collect()
                    sys.stdout.flush()
                    sys.stderr.flush()
                    last = _held_bytes() > self._most_idle_bytes
                    say(done=done, last=last)
            code = 0
        except BaseException:  # also what ends a process: it must not go on as a second one of ours
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)

    def _has_ended(self) -> bool:
        assert self._process is not None  # noqa: S101
        ended, status = os.waitpid(self._process, os.WNOHANG)
        if ended:
            self._status = status
        return bool(ended)

    def _drain(self, printer: _Printer) -> None:
        while piece := _read(self._lines):
            printer.print(piece)
        printer.finish()

    def _end(self) -> int:
        """End the process, unless it has ended, and forget it.

        :return: its exit code, -n when signal n ended it.
        """
        if self._process is None:
            return 0
        process, status = self._process, self._status
        self._process = self._status = None
        if status is None:
            os.kill(process, signal.SIGKILL)  # one that is ending keeps its own exit code
            _, status = os.waitpid(process, 0)
        for ours in (self._questions, self._answers, self._lines):
            os.close(ours)
        return os.waitstatus_to_exitcode(status)


def _sentence(code: int) -> str:
    if code >= 0:
        return f"Its process has ended by itself, with exit code {code}; the job's log has its last lines."
    name = signal.Signals(-code).name
    why = " The usual reason is that the instance has too little memory." if name == "SIGKILL" else ""
    return f"Its process was ended by {name}; the job's log has its last lines.{why}"


def _held_bytes() -> int:
    """Return how much memory this process holds; 0 where nobody says."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * resource.getpagesize()
    except OSError:
        return 0


class _Printer:
    """Prints lines behind a name, unless they begin with it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._rest = b""

    def print(self, piece: bytes) -> None:
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            self._print(line)
        if len(self._rest) > _LONGEST_LINE_BYTES:
            self.finish()

    def finish(self) -> None:
        if self._rest:
            self._print(self._rest)
        self._rest = b""

    def _print(self, line: bytes) -> None:
        text = line.decode("utf-8", "backslashreplace")
        print(text if text.startswith(f"{self._name}: ") else f"{self._name}: {text}", flush=True)


def _read(pipe: int) -> bytes:
    """Read what is there; nothing when there is nothing, or nobody to write any more."""
    try:
        return os.read(pipe, _PIECE_BYTES)
    except BlockingIOError:
        return b""
