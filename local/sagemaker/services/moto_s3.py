"""What moto's S3 lacks: conditional writes that are atomic, and readers that are safe from writers.

S3 guarantees that of two writers with the same If-Match only one wins. moto checks the condition and writes
without a lock in between, and ignores the conditions of CopyObject and of DeleteObject. It also closes the
buffer of an object that is overwritten while another request reads it (status 500), and two threads that ask for a new
object's ETag at once share one file position. So requests to one bucket are let through one at a time; that is
even faster, since moto's work holds the interpreter's lock anyway.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape

import regex
from moto.backends import get_backend
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.exceptions import ServiceException
from starlette.requests import Request
from starlette.responses import Response

_VIRTUAL_HOST = regex.compile(r"(?P<bucket>.+)\.(localhost|s3[.-].*amazonaws\.com)(:\d+)?")
#: Query parameters of a PUT that writes something else than the object itself.
_OTHER_WRITES = frozenset({"acl", "tagging", "retention", "legal-hold", "partNumber"})


@dataclass(frozen=True)
class ObjectAccess:
    """What a request does to S3.

    :param buckets: the buckets it touches: its own, and that of a copy's source.
    :param key: the object; empty for a request to the bucket itself.
    :param writes: whether it writes or deletes the object, so that If-Match and If-None-Match are about it.
    """

    buckets: tuple[str, ...]
    key: str
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
    deletes_object = request.method == "DELETE" and not {"tagging", "uploadId", "versionId"} & query.keys()
    source = unquote(request.headers.get("x-amz-copy-source", "")).lstrip("/").partition("/")[0]
    return ObjectAccess(
        buckets=(bucket, source) if source else (bucket,),
        key=key,
        writes=bool(key) and (puts_object or completes_upload or deletes_object),
        deletes=deletes_object,
        if_match=request.headers.get("if-match"),
        if_none_match=request.headers.get("if-none-match"),
    )


def check_conditions(access: ObjectAccess) -> Response | None:
    """Check If-Match and If-None-Match of a write whose bucket is held.

    :returns: S3's refusal, or None if the write may go on (moto answers for buckets that do not exist).
    """
    if not access.writes or not (access.if_match or access.if_none_match):
        return None
    try:
        found = get_backend("s3")[DEFAULT_ACCOUNT_ID]["aws"].get_object(access.buckets[0], access.key)
    except ServiceException:
        return None
    if access.if_none_match == "*" and found is not None:
        return _refuse(412, "PreconditionFailed", "If-None-Match", access.key)
    if access.if_match and found is None and not access.deletes:
        return _refuse(404, "NoSuchKey", "If-Match", access.key)
    # A delete of what is not there: "How to perform conditional deletes".
    etag = found.etag.strip('"') if found else None
    if access.if_match and (found is None or access.if_match not in ("*", etag, f'"{etag}"')):
        return _refuse(412, "PreconditionFailed", "If-Match", access.key)
    return None


def _refuse(status: int, code: str, condition: str, key: str) -> Response:
    if status == 412:
        detail = "<Message>At least one of the pre-conditions you specified did not hold</Message>"
        detail += f"<Condition>{condition}</Condition>"
    else:
        detail = f"<Message>The specified key does not exist.</Message><Key>{escape(key)}</Key>"
    xml = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code>{detail}</Error>'
    return Response(xml, status, media_type="application/xml")


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
