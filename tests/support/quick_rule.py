"""The rule of tests/quick: a test stays within its process. It starts no program and opens no connection.

Python tells an audit hook of both before they happen. The hook refuses, and remembers, in case the refusal is caught.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

FORBIDDEN = {
    **dict.fromkeys(
        ("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn"),
        "starts a process",
    ),
    **dict.fromkeys(
        ("socket.bind", "socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"),
        "opens a socket",
    ),
}


class NotQuick(AssertionError):
    """A test of tests/quick that needs more than its own process."""


class _Watch:
    def __init__(self, test: str) -> None:
        self.test = test
        self.first: NotQuick | None = None


_watches: list[_Watch] = []


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watches or event not in FORBIDDEN:
        return
    watch = _watches[-1]
    refusal = NotQuick(
        f"{watch.test} {FORBIDDEN[event]} ({event}: {str(arguments[:2])[:200]}). Tests in tests/quick need nothing but "
        "their own process; move it to tests/service."
    )
    watch.first = watch.first or refusal
    raise refusal


sys.addaudithook(_refuse)


def watched() -> str | None:
    """Return the test that is being watched."""
    return _watches[-1].test if _watches else None


@contextmanager
def within_this_process(test: str) -> Iterator[None]:
    """Hold a test to the rule.

    :param test: its name.
    :raises NotQuick: what it tried first, also when the test has caught the refusal.
    """
    watch = _Watch(test)
    _watches.append(watch)
    try:
        yield
    finally:
        _watches.remove(watch)
    if watch.first is not None:
        raise watch.first
