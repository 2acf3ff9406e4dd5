"""Start, watch and end the stack's processes, so that none of them outlives its stack.

Each process leads a session of its own, so that Ctrl-C in the terminal reaches only us and we end the others
in order. Ending goes by process group and by descendants (Airflow's workers and the jobs' scripts are our
grandchildren), first with SIGTERM, then with SIGKILL. A recorded process is known by its number and its start
time together: a number alone may belong to another process by now.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil

from local import ROOT
from local.stack.environment import MARKER

TERM_GRACE_SECONDS = 6.0
KILL_GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class Recorded:
    """A process as it is written down: enough to find it again and to be sure that it is the same one.

    :param started_at: seconds since 1970, as the system says
    :param stop_signal: what makes it end in order
    """

    name: str
    pid: int
    started_at: float
    log: str
    stop_signal: int = signal.SIGTERM

    def find(self) -> psutil.Process | None:
        """Return the running process, or None where it ended or its number now belongs to another."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started_at) < 1.0
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None

    def to_dict(self) -> dict[str, object]:
        """Return the plain form for the state file."""
        return asdict(self)


def spawn(
    name: str,
    command: list[str],
    environment: Mapping[str, str],
    log: Path,
    folder: Path,
    *,
    options: Mapping[str, Any] = MappingProxyType({}),
    stop_signal: int = signal.SIGTERM,
) -> Recorded:
    """Start one process of the stack, detached from the terminal, its output in `log`.

    :param name: name of the process, as people see it
    :param folder: its working directory
    :param options: further arguments of subprocess: another user, inherited files
    :return: its record
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        child = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=folder,
            **options,
        )
    _children[child.pid] = child
    return Recorded(name, child.pid, psutil.Process(child.pid).create_time(), str(log), stop_signal)


# Kept so that ended children are reaped (and their exit codes known) for as long as we are their parent.
_children: dict[int, subprocess.Popen[bytes]] = {}


def exit_code(record: Recorded) -> int | None:
    """Return how a process of ours ended; None while it runs or where it isn't our child."""
    child = _children.get(record.pid)
    return child.poll() if child else None


def forget(record: Recorded) -> None:
    """Reap a process of ours that has ended, and remember it no more."""
    exit_code(record)
    _children.pop(record.pid, None)


def tail(path: Path | str, lines: int = 30) -> str:
    """Return the last lines of a log file; a sentence where there are none."""
    try:
        with Path(path).open("rb") as handle:
            handle.seek(max(0, os.path.getsize(path) - 64_000))
            text = handle.read().decode("utf-8", "replace").splitlines()[-lines:]
    except OSError:
        text = []
    return "\n".join(text) if text else "(the log is empty)"


def family(roots: Iterable[psutil.Process]) -> dict[int, psutil.Process]:
    """Return the processes, and all that descend from them, by number."""
    found: dict[int, psutil.Process] = {}
    for root in roots:
        with contextlib.suppress(psutil.Error):
            found[root.pid] = root
            found.update({child.pid: child for child in root.children(recursive=True)})
    return found


def marked(state_dir: Path | str) -> list[psutil.Process]:
    """Return every process that carries this stack's marker, whatever its parent is by now, except this process."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(MARKER) == str(state_dir):
                found.append(process)
    return found


def end(records: Iterable[Recorded], state_dir: Path | str, *, spare: Iterable[Recorded] = ()) -> list[str]:
    """End the recorded processes and all that descend from them.

    :param state_dir: the marker of strays: processes that left their group and lost their parent
    :param spare: these are no strays, and what descends from them is none
    :return: names of those that had to be killed
    """
    records, spare = list(records), list(spare)
    roots = {record.name: process for record in records if (process := record.find())}
    everyone = family(roots.values())
    for record in records:
        if record.name in roots:
            _signal_group(record.pid, record.stop_signal)
    for pid, stray in _strays(state_dir, spare).items():
        if pid not in everyone:
            everyone[pid] = stray
            _signal_one(stray, signal.SIGTERM)
    _wait(everyone, TERM_GRACE_SECONDS)
    stubborn = [name for name, process in roots.items() if _alive(process)]
    everyone.update(family(process for process in everyone.values() if _alive(process)))
    everyone.update(_strays(state_dir, spare))
    for process in everyone.values():
        if _alive(process):
            _signal_one(process, signal.SIGKILL)
    _wait(everyone, KILL_GRACE_SECONDS)
    for record in records:
        forget(record)
    return stubborn


def _strays(state_dir: Path | str, spare: Iterable[Recorded]) -> dict[int, psutil.Process]:
    """Return what carries the stack's marker, and what descends from it, less the families of some."""
    found = family(marked(state_dir))
    # Afterwards: a server's child that has just been born is a child by now.
    spared = family(process for record in spare if (process := record.find()))
    return {pid: process for pid, process in found.items() if pid not in spared}


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _signal_group(pid: int, number: int) -> None:
    # Each of our processes leads its group, so its number is the group's.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _signal_one(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.Error):
        process.send_signal(number)


def _wait(processes: Mapping[int, psutil.Process], seconds: float) -> None:
    """Wait until all have ended or the time is up, reaping our own children on the way."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for child in _children.values():
            child.poll()
        if not any(_alive(process) for process in processes.values()):
            return
        time.sleep(0.05)


def memory_mib(state_dir: Path | str) -> float:
    """Return the memory that all processes of a stack hold together, in MiB.

    Shared pages count once among their sharers where the system tells (Linux: PSS), else per process (RSS).
    """
    # A server's processes may have overwritten what marks them by a title.
    return memory_of(family(marked(state_dir)).values())


def memory_of(processes: Iterable[psutil.Process]) -> float:
    """Return the memory that processes hold together, in MiB; counted as :func:`memory_mib` does."""
    total = 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            full = process.memory_full_info()
            total += getattr(full, "pss", 0) or full.rss
    return total / 2**20


def start_keeper(state_dir: Path) -> subprocess.Popen[bytes]:
    """Start the process that ends the stack when we die without a chance to do it ourselves (kill -9).

    It reads from a pipe whose only writing end is ours: the pipe closes with us, however we end.
    """
    code = "import sys; from local.stack.processes import keep; keep(sys.argv[1])"
    return subprocess.Popen(
        [sys.executable, "-c", code, str(state_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd=ROOT,
    )


def keep(state_dir: str) -> None:
    """Wait for the pipe on standard input to close, then end everything that carries the stack's marker."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while sys.stdin.buffer.read(1):
        pass
    # Roots first: the marker is in every process, so each is its own root here.
    for process in marked(state_dir):
        _signal_one(process, signal.SIGTERM)
    end([], state_dir)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Ignore Ctrl-C, SIGTERM and SIGHUP while the block runs. In other threads than the main one it does nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
