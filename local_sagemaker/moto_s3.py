"""What moto's S3 lacks: conditional writes that are atomic, and that CopyObject honours.

S3 guarantees that of two writers with the same If-Match only one wins. moto checks the condition and writes without a
lock in between, and ignores the conditions of CopyObject; so writes to one key are let through one at a time here.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs

import regex

#: Methods that can change an object. POST is CompleteMultipartUpload, DeleteObjects and form uploads.
WRITES = frozenset({"PUT", "POST", "DELETE"})
_DELETED_KEY = regex.compile(rb"<Key>([^<]*)</Key>")


@dataclass
class _Turn:
    lock: threading.Lock = field(default_factory=threading.Lock)
    waiting: int = 0


class KeyLocks:
    """A lock per name, which exists only while somebody holds it or waits for it."""

    def __init__(self) -> None:
        self._turns: dict[str, _Turn] = {}
        self._lock = threading.Lock()

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Hold the lock of a name."""
        with self._lock:
            turn = self._turns.setdefault(name, _Turn())
            turn.waiting += 1
        try:
            with turn.lock:
                yield
        finally:
            with self._lock:
                turn.waiting -= 1
                if not turn.waiting:
                    del self._turns[name]

    @contextmanager
    def hold_all(self, names: list[str]) -> Iterator[None]:
        """Hold the locks of several names, taken in order so that two callers can't wait for each other."""
        with ExitStack() as stack:
            for name in sorted(set(names)):
                stack.enter_context(self.hold(name))
            yield


def written_keys(method: str, path: str, query: str, body: bytes) -> list[str]:
    """The objects that an S3 request may write, as ``bucket/key``; empty for a request that writes none.

    :param path: the decoded path, ``/bucket/key``.
    """
    bucket, _, key = path.lstrip("/").partition("/")
    if method not in WRITES or not bucket:
        return []
    if key:
        return [f"{bucket}/{key}"]
    if method == "POST" and "delete" in parse_qs(query, keep_blank_values=True):
        return [f"{bucket}/{match.decode('utf-8', 'replace')}" for match in _DELETED_KEY.findall(body)]
    return []
