"""Runs one command and makes sure that no process of it outlives the server.

A program of its own: ``python -I -S supervisor.py [--hide=FOLDER… --keep=FOLDER [--opt-ml]] -- COMMAND…``, standard
input being a pipe from the server. Over it comes first the command's environment (a length, then JSON): this process
has a clean one, so that nothing a job sets (LD_PRELOAD, PYTHONPATH …) takes effect before what it must not see is
hidden. After that the pipe is the leash: ``T`` sends SIGTERM to the command's process group, ``K`` SIGKILL, and its
end, which comes however the server dies, kills everything. On Linux the command also gets SIGKILL when the supervisor
dies (PR_SET_PDEATHSIG), and what the command left behind in other sessions falls to the supervisor
(PR_SET_CHILD_SUBREAPER) and is killed. What the command must not see is hidden first: isolation.py.
Single-threaded on purpose, so that code may run between fork and exec.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from importlib import util
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
SWEEP_SECONDS = 5.0
COULD_NOT_START = 127
LENGTH = struct.Struct("!I")

# By path: run as a program, this file belongs to no package.
_spec = util.spec_from_file_location("isolation", Path(__file__).with_name("isolation.py"))
assert _spec is not None  # noqa: S101
assert _spec.loader is not None  # noqa: S101
isolation = util.module_from_spec(_spec)
_spec.loader.exec_module(isolation)


def main(arguments: list[str]) -> int:
    """Run a command until it ends or the server does.

    :param arguments: options, ``--``, program and arguments.
    :return: its exit code; 128 + n when signal n ended it, as a container runtime reports it.
    """
    at = arguments.index("--")
    hide = [option.removeprefix("--hide=") for option in arguments[:at] if option.startswith("--hide=")]
    keep = [option.removeprefix("--keep=") for option in arguments[:at] if option.startswith("--keep=")]
    command = arguments[at + 1 :]
    environment = json.loads(read(LENGTH.unpack(read(LENGTH.size))[0]))
    fence = (hide, keep[0], "--opt-ml" in arguments[:at]) if keep else None
    return supervise(lambda: execute(command, environment), fence)


def read(length: int) -> bytes:
    """Read from the server.

    :param length: how many bytes.
    :raises EOFError: when the server is gone.
    """
    data = b""
    while len(data) < length:
        chunk = os.read(0, length - len(data))
        if not chunk:
            raise EOFError("the server is gone")
        data += chunk
    return data


#: Folders that a child must not see, the one that it may see, and whether its ``/opt/ml`` is in there.
Fence = tuple[Sequence[str], str, bool]


def supervise(work: Callable[[], None], fence: Fence | None) -> int:
    """Run something in a child until it ends or the server does; see :func:`main`.

    :param work: what the child does; it must not return.
    :param fence: what the child must not see; None = it sees all.
    """
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    os.set_blocking(wake_read, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    control_process(PR_SET_CHILD_SUBREAPER, 1)
    child = start(work, fence, (wake_read, wake_write))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)  # the log ends when the command's own copies are closed
    os.dup2(null, 2)
    while True:
        ready, _, _ = select.select([0, wake_read], [], [])
        if 0 in ready:
            order = os.read(0, 1)
            if not order:
                sweep(child)
                return 128 + signal.SIGKILL
            send(child, signal.SIGTERM if order == b"T" else signal.SIGKILL)
        if wake_read in ready:
            os.read(wake_read, 4096)
            code = reap(child)
            if code is not None:
                sweep(child)
                return code


def send(child: int, number: int) -> None:
    """Send a signal to the child's process group.

    :param child: its process id.
    :param number: number of the signal.
    """
    try:
        os.killpg(child, number)
    except ProcessLookupError:  # it is about to lead its group: an order may come sooner than that
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(child, number)
    except PermissionError:
        pass


def start(work: Callable[[], None], fence: Fence | None, unwanted: tuple[int, ...]) -> int:
    """Fork the child; a second one without namespaces where the system does not allow the first its own.

    :param unwanted: descriptors that are closed in the child.
    :return: its process id.
    """
    if fence is not None and sys.platform == "linux":
        child, hidden = fork(work, unwanted, fence)
        # A command that was told of /opt/ml must not run where that is another folder.
        if hidden or fence[2]:
            return child
        os.waitpid(child, 0)
    return fork(work, unwanted, None)[0]


def fork(work: Callable[[], None], unwanted: tuple[int, ...], fence: Fence | None) -> tuple[int, bool]:
    """Fork a child that does the work in a session of its own.

    :return: its process id, and whether the folders are hidden from it as asked for.
    """
    supervisor = os.getpid()
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        ours.close()
        for descriptor in unwanted:
            os.close(descriptor)
        if fence is not None and not isolation.enter(theirs, *fence):
            if fence[2]:
                os.write(
                    2, b"Could not start: the system no longer lets a container have an /opt/ml of its own\n"
                )
            os._exit(COULD_NOT_START)
        theirs.close()
        become(supervisor)
        work()
        os._exit(COULD_NOT_START)
    theirs.close()
    with ours:
        return child, fence is not None and isolation.let_in(ours, child)


def become(supervisor: int) -> None:
    """In the forked child: a session of its own, and the signals as a new process has them.

    :param supervisor: process id of the parent.
    """
    os.setsid()
    control_process(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != supervisor:  # it died before the line above
        os._exit(COULD_NOT_START)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def execute(command: list[str], environment: dict[str, str]) -> None:
    """Replace this process by the command.

    :param command: program and arguments.
    :param environment: its whole environment.
    """
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execvpe(command[0], command, environment)  # noqa: S606
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        os.write(2, f"Could not start {command[0]}: {reason}\n".encode())
    os._exit(COULD_NOT_START)


def reap(child: int) -> int | None:
    """Collect children that ended.

    :param child: the command's process.
    :return: its exit code when it was among them.
    """
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            code = 128 - code if code < 0 else code


def sweep(child: int) -> None:
    """Kill the command's process group, then whatever else has become our child.

    :param child: the command's process, which leads the group.
    """
    deadline = time.monotonic() + SWEEP_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)
        for pid in own_children():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                select.select([], [], [], 0.005)
        except ChildProcessError:
            return


def own_children() -> list[int]:
    """Process ids of our children; empty where the system does not tell."""
    pid = os.getpid()
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as listing:
            return [int(text) for text in listing.read().split()]
    except (OSError, ValueError):
        return []


def control_process(option: int, value: int) -> None:
    """Call prctl(2) where there is one.

    :param option: what to set.
    :param value: the option's new value.
    """
    if sys.platform != "linux":
        return
    import ctypes  # noqa: PLC0415  # not everywhere, and only here needed

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
