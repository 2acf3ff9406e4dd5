"""Runs job scripts at the desk, and says of one that fails what it says itself, and where in the user's own file."""

from __future__ import annotations

import json
import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from city_fleet.desk import step_runner
from city_fleet.errors import ScriptFailed, display_path

TIMEOUT_SECONDS = 1800.0
_MOST_SAID = 2000
_LINES_SHOWN = 40
_FRAME = re.compile(r'^\s*File "(?P<path>[^"]+)", line (?P<line>\d+), in ', re.MULTILINE)


@dataclass(frozen=True)
class ScriptStep:
    """One run of a script.

    :param name: of the step, for people, such as ``train``.
    :param script: path below the folder of scripts.
    :param message: the file that gets the sentence of a failure.
    :param environment: variables beside PATH and the like.
    """

    name: str
    script: str
    arguments: tuple[str, ...] = ()
    message: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class StepEnd:
    """What a step came to.

    :param log: what it has printed.
    """

    seconds: float
    log: str


def write_scripts(files: Iterable[tuple[str, bytes]], folder: Path) -> Path:
    """Write a bundle's files.

    :param files: path below the folder → content.
    :param folder: is made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def bare_environment() -> dict[str, str]:
    """Return an environment without credentials: scripts may be anybody's."""
    return {"PATH": os.environ.get("PATH", os.defpath), "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}


class ScriptRunner:
    """Runs the scripts of one folder.

    It starts at once: what scripts import is imported while the caller still reads what they need.

    :param python: the interpreter of the image.
    :param code: holds the scripts.
    :param work: gets the logs, and is where scripts run.
    :param origin: tells of a script of ``code``, by its path below the folder, which file it is a copy of, and whether
        that is the user's own.
    """

    def __init__(
        self, python: Path, code: Path, work: Path, origin: Callable[[str], tuple[Path, bool]]
    ) -> None:
        self._code, self._work, self._origin = code, work, origin
        work.mkdir(parents=True, exist_ok=True)
        self._errors = (work / "runner.log").open("wb")
        self._process = subprocess.Popen(
            [str(python), "-B", step_runner.__file__, str(code)],
            env=bare_environment(),
            cwd=work,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )

    @property
    def _pipes(self) -> tuple[IO[str], IO[str]]:
        asks, answers = self._process.stdin, self._process.stdout
        if asks is None or answers is None:  # Popen was asked for both
            raise RuntimeError("no pipes")
        return asks, answers

    def close(self) -> None:
        """End the interpreter, and whatever it runs."""
        with suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (*self._pipes, self._errors):
            with suppress(OSError):
                stream.close()

    def run(self, step: ScriptStep) -> StepEnd:
        """Run a step.

        :raises ScriptFailed: it failed, with its own sentence.
        """
        log, started = self._work / f"{step.name}.log", time.monotonic()
        asked = {
            "script": step.script,
            "arguments": list(step.arguments),
            "environment": dict(step.environment),
            "log": str(log),
        }
        exit_code = self._ask(json.dumps(asked), step.name)
        printed = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
        if exit_code != 0:
            raise self._failed(step, exit_code, printed)
        return StepEnd(time.monotonic() - started, printed)

    def _ask(self, line: str, name: str) -> int:
        asks, answers = self._pipes
        try:
            asks.write(line + "\n")
            asks.flush()
        except OSError:
            raise self._lost(name) from None
        with selectors.DefaultSelector() as waits:
            waits.register(answers, selectors.EVENT_READ)
            if not waits.select(TIMEOUT_SECONDS):
                text = f"{name} was not done after {TIMEOUT_SECONDS:.0f} s at this desk"
                raise ScriptFailed(text, step=name)
        answer = answers.readline()
        if not answer:
            raise self._lost(name)
        return int(json.loads(answer)["exit_code"])

    def _lost(self, name: str) -> ScriptFailed:
        said = (self._work / "runner.log").read_text(encoding="utf-8", errors="replace").strip()
        last = said.splitlines()[-1][:_MOST_SAID] if said else "it said nothing"
        return ScriptFailed(f"{name} could not run here: the image's Python has ended: {last}", step=name)

    def _failed(self, step: ScriptStep, exit_code: int, printed: str) -> ScriptFailed:
        said = ""
        if step.message is not None and step.message.is_file():
            said = step.message.read_text(encoding="utf-8", errors="replace").strip()
        lines = printed.strip().splitlines()
        ended = f"it was ended by signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
        sentence = (said or (lines[-1] if lines else ended))[:_MOST_SAID]
        where = self._place(printed)
        text = f"{step.name}: {sentence}" if where is None else f"{where}: {step.name}: {sentence}"
        return ScriptFailed(text, step=step.name, where=where, log=self._in_origins(lines[-_LINES_SHOWN:]))

    def _place(self, printed: str) -> str | None:
        """Return the innermost line of the last traceback that lies in a script of the user's own."""
        *_, last = ["", *printed.split("Traceback (most recent call last):")[1:]]
        for found in reversed(list(_FRAME.finditer(last))):
            path, is_own = self._of(found["path"])
            if path is not None and is_own:
                return f"{display_path(path)}:{found['line']}"
        return None

    def _of(self, path: str) -> tuple[Path | None, bool]:
        try:
            return self._origin(Path(path).resolve().relative_to(self._code.resolve()).as_posix())
        except ValueError:
            return None, False

    def _in_origins(self, lines: Sequence[str]) -> list[str]:
        def named(found: re.Match[str]) -> str:
            path, _ = self._of(found["path"])
            return found[0] if path is None else found[0].replace(found["path"], display_path(path))

        return [_FRAME.sub(named, line) for line in lines]
