"""What moto's S3 lacks: conditional writes that are atomic, and that CopyObject honours.

S3 guarantees that of two writers with the same If-Match only one wins. moto checks the condition and writes
without a lock in between, and ignores the conditions of CopyObject; so writes to one key are let through one
at a time here, and their conditions are checked while the key is held.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

import regex
from moto.backends import get_backend
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.exceptions import ServiceException
from starlette.requests import Request
from starlette.responses import Response

_DELETED_KEY = regex.compile(rb"<Key>([^<]*)</Key>")
_VIRTUAL_HOST = regex.compile(r"(?P<bucket>.+)\.(localhost|s3[.-].*amazonaws\.com)(:\d+)?")
#: Query parameters of a PUT that writes something else than the object itself.
_OTHER_WRITES = frozenset({"acl", "tagging", "retention", "legal-hold", "partNumber"})


@dataclass(frozen=True)
class Write:
    """A request that may write objects.

    :param names: the objects, as ``bucket/key``.
    :param conditional: whether If-Match and If-None-Match are about the object (the only one of ``names``).
    """

    names: list[str]
    conditional: bool = False
    if_match: str | None = None
    if_none_match: str | None = None


def read_write(request: Request, body: bytes) -> Write | None:
    """What an S3 request may write; None for one that writes no object."""
    host = _VIRTUAL_HOST.fullmatch(request.headers.get("host", ""))
    path = request.scope["path"].removeprefix("/")
    bucket, _, key = f"{host['bucket']}/{path}".partition("/") if host else path.partition("/")
    query = parse_qs(request.url.query, keep_blank_values=True)
    if request.method not in {"PUT", "POST", "DELETE"} or not bucket:
        return None
    if not key:
        if request.method == "POST" and "delete" in query:
            return Write(
                [f"{bucket}/{found.decode('utf-8', 'replace')}" for found in _DELETED_KEY.findall(body)]
            )
        return None
    puts_object = request.method == "PUT" and not _OTHER_WRITES & query.keys()
    completes_upload = request.method == "POST" and "uploadId" in query
    return Write(
        [f"{bucket}/{key}"],
        puts_object or completes_upload,
        request.headers.get("if-match"),
        request.headers.get("if-none-match"),
    )


def check_conditions(write: Write) -> Response | None:
    """Check If-Match and If-None-Match of a write whose key is held.

    :returns: S3's refusal, or None if the write may go on (moto answers for buckets that do not exist).
    """
    if not write.conditional or not (write.if_match or write.if_none_match):
        return None
    bucket, _, key = write.names[0].partition("/")
    try:
        found = get_backend("s3")[DEFAULT_ACCOUNT_ID]["aws"].get_object(bucket, key)
    except ServiceException:
        return None
    if write.if_none_match == "*" and found is not None:
        return _refuse(412, "PreconditionFailed", "If-None-Match", key)
    if write.if_match and found is None:
        return _refuse(404, "NoSuchKey", "If-Match", key)
    if write.if_match and write.if_match != "*" and write.if_match.strip('"') != found.etag.strip('"'):
        return _refuse(412, "PreconditionFailed", "If-Match", key)
    return None


def _refuse(status: int, code: str, condition: str, key: str) -> Response:
    if status == 412:
        detail = "<Message>At least one of the pre-conditions you specified did not hold</Message>"
        detail += f"<Condition>{condition}</Condition>"
    else:
        detail = f"<Message>The specified key does not exist.</Message><Key>{escape(key)}</Key>"
    xml = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code>{detail}</Error>'
    return Response(xml, status, media_type="application/xml")


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
