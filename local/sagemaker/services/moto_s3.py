"""What a request does to S3, and a lock per bucket.

S3 guarantees that of two writers with the same If-Match only one wins. moto checks the condition and writes
without a lock in between. It also closes the buffer of an object that is overwritten while another request reads it
(status 500), and two threads that ask for a new object's ETag at once share one file position. So requests to one
bucket are let through one at a time; that is even faster, since moto's work holds the interpreter's lock anyway.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote

import regex
from starlette.requests import Request

_VIRTUAL_HOST = regex.compile(r"(?P<bucket>.+)\.(localhost|s3[.-].*amazonaws\.com)(:\d+)?")
#: Query parameters of a PUT that writes something else than the object itself.
_OTHER_WRITES = frozenset({"acl", "tagging", "retention", "legal-hold", "partNumber"})


@dataclass(frozen=True)
class ObjectAccess:
    """What a request does to S3.

    :param buckets: the buckets it touches: its own, and that of a copy's source.
    :param key: the object; empty for a request to the bucket itself.
    :param query: the parameters of its URL.
    :param writes: whether it writes or deletes the object, so that If-Match and If-None-Match are about it.
    :param deletes: whether it deletes it.
    """

    buckets: tuple[str, ...]
    key: str
    query: dict[str, list[str]]
    writes: bool
    deletes: bool
    if_match: str | None
    if_none_match: str | None


def read_access(request: Request) -> ObjectAccess | None:
    """What an S3 request touches; None if it names no bucket."""
    host = _VIRTUAL_HOST.fullmatch(request.headers.get("host", ""))
    path = request.scope["path"].removeprefix("/")
    bucket, _, key = f"{host['bucket']}/{path}".partition("/") if host else path.partition("/")
    if not bucket:
        return None
    query = parse_qs(request.url.query, keep_blank_values=True)
    puts_object = request.method == "PUT" and not _OTHER_WRITES & query.keys()
    completes_upload = request.method == "POST" and "uploadId" in query
    deletes_object = request.method == "DELETE" and not {"tagging", "uploadId"} & query.keys()
    source = unquote(request.headers.get("x-amz-copy-source", "")).lstrip("/").partition("/")[0]
    return ObjectAccess(
        buckets=(bucket, source) if source else (bucket,),
        key=key,
        query=query,
        writes=bool(key) and (puts_object or completes_upload or deletes_object),
        deletes=deletes_object,
        if_match=request.headers.get("if-match"),
        if_none_match=request.headers.get("if-none-match"),
    )


class BucketLocks:
    """A lock per bucket. They are never forgotten: a name costs a hundred bytes."""

    def __init__(self) -> None:
        self._locks: dict[str, threading.Lock] = {}

    @contextmanager
    def hold(self, buckets: Iterable[str]) -> Iterator[None]:
        """Hold buckets, taken in order so that two callers can't wait for each other."""
        with ExitStack() as stack:
            for name in sorted(set(buckets)):
                stack.enter_context(self._locks.setdefault(name, threading.Lock()))
            yield
