"""A disk that is full for a while, without one: no process that is to meet it can write to a file.

The system refuses the writes itself (EFBIG: the largest file has 0 bytes), wherever they are made; no mount, and so no
root, is needed. Linux alone lets this be set from outside.
"""

from __future__ import annotations

import contextlib
import resource
import threading
import time

import psutil

from local.stack.stack import Stack

LOOK_SECONDS = 0.05
_STAND_IN = "sagemaker"


def fill(process: psutil.Process) -> None:
    """Let a process write to no file.

    :raises OSError: it has ended, or this system can't.
    """
    _limit(process, 0)


def make_room(process: psutil.Process) -> None:
    """Let a process write again; one that has ended is left alone."""
    with contextlib.suppress(OSError):
        _limit(process, None)


def fill_stand_in(stack: Stack, seconds: float) -> None:
    """Fill the disk on which the local SageMaker has S3, its registry and its jobs, for a while; it returns at once.

    A server that is started meanwhile meets the full disk, too. In AWS the containers of jobs and endpoints write to
    volumes of their own; so they go on writing here: what they inherit is taken from them before Python has come up.

    :raises OSError: no such server runs, or this system can't.
    """
    server = _stand_in(stack)
    if server is None:
        raise ProcessLookupError("the local SageMaker does not run")
    fill(server)
    threading.Thread(target=_keep_full, args=(stack, seconds), daemon=True).start()


def _keep_full(stack: Stack, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        server = _stand_in(stack)
        if server is not None:
            with contextlib.suppress(OSError):
                fill(server)
            _leave_containers_alone(server)
        time.sleep(LOOK_SECONDS)
    server = _stand_in(stack)
    if server is not None:
        make_room(server)
        _leave_containers_alone(server)


def _leave_containers_alone(server: psutil.Process) -> None:
    with contextlib.suppress(psutil.Error):
        for container in server.children(recursive=True):
            make_room(container)


def _stand_in(stack: Stack) -> psutil.Process | None:
    return next((record.find() for record in stack.records if record.name == _STAND_IN), None)


def _limit(process: psutil.Process, size: int | None) -> None:
    """Set the largest file that a process may write, in bytes; None = as large as it may be."""
    if not hasattr(resource, "prlimit"):
        raise OSError("this system does not let the limits of another process be set")
    soft, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    wanted = hard if size is None else size
    if soft != wanted:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (wanted, hard))
