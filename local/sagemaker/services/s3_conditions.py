"""Conditions on requests to S3, checked while the bucket is held, so that nothing changes between check and work.

moto checks some of them, without a lock, and ignores those of a copy's source but one, and those of a delete. What is
checked here is taken out of the request before moto sees it.

Sources: S3 User Guide, "Add preconditions to S3 operations with conditional requests", "How to perform conditional
deletes"; API Reference of GetObject and CopyObject, which says what decides when two conditions are given. A write
takes ``*`` for If-None-Match and an ETag for If-Match; anything else S3 answers with 501 NotImplemented and the
header's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qs, unquote

from moto.backends import get_backend
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.exceptions import ServiceException
from starlette.responses import Response

from local.sagemaker.protocol.bounded_request import BoundedRequest
from local.sagemaker.services.called import Call
from local.sagemaker.services.moto_s3 import ObjectAccess
from local.sagemaker.services.service_errors import Refusal

READS = ("GetObject", "HeadObject")
COPIES = ("CopyObject", "UploadPartCopy")
SOURCE = "x-amz-copy-source-"
_NAMES = ("If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since")
#: Headers that are checked here, of requests that read or write an object.
CHECKED = (*map(str.lower, _NAMES), *(f"{SOURCE}{name.lower()}" for name in _NAMES))


@dataclass(frozen=True)
class ReadConditions:
    """Conditions on an object that is read: a GET's, a HEAD's, or those on a copy's source.

    :param match: ETag, or ``*``; None = no such condition. So do the others.
    """

    match: str | None
    none_match: str | None
    modified_since: datetime | None
    unmodified_since: datetime | None

    @classmethod
    def read(cls, fields: Mapping[str, str], prefix: str = "") -> ReadConditions:
        """Read a request's conditions.

        :param fields: its header, by name in lower case.
        :param prefix: what stands before the names of its headers.
        """
        match, none_match, modified, unmodified = (fields.get(f"{prefix}{name.lower()}") for name in _NAMES)
        return cls(match, none_match, _moment(modified), _moment(unmodified))

    def broken(self, etag: str, modified: datetime) -> str:
        """Name the condition that does not hold; empty when all do. An ETag's condition counts before a time's.

        :param etag: of the object.
        :param modified: when it was last modified, in UTC.
        """
        modified = modified.replace(microsecond=0)
        if self.match is not None:
            if not _is(self.match, etag):
                return "If-Match"
        elif self.unmodified_since is not None and modified > self.unmodified_since:
            return "If-Unmodified-Since"
        if self.none_match is not None:
            return "If-None-Match" if _is(self.none_match, etag) else ""
        since = self.modified_since  # one that is still to come counts for nothing (RFC 9110)
        return "If-Modified-Since" if since is not None and modified <= since < datetime.now(UTC) else ""


def check_conditions(request: BoundedRequest, call: Call) -> Response | None:
    """Check the conditions of a request whose buckets are held.

    :returns: 304 for an object that need not be read again; None if the request may go on. moto answers for buckets and
        objects that are not there.
    :raises Refusal: if a condition does not hold, or is none that S3 knows.
    """
    access = call.access
    if access is None or not access.key:
        return None
    if call.operation in COPIES:
        _check_source(request.fields)
    if access.writes:
        _check_write(access)
    if call.operation not in READS:
        return None
    found = _find(access.buckets[0], access.key, access.query.get("versionId", [None])[0])
    if found is None:
        return None
    modified = found.last_modified.replace(tzinfo=UTC)
    broken = ReadConditions.read(request.fields).broken(found.etag, modified)
    if broken in ("If-None-Match", "If-Modified-Since"):
        fields = {"etag": found.etag, "last-modified": format_datetime(modified, usegmt=True)}
        return Response(status_code=304, headers=fields)
    if broken:
        raise precondition_failed(broken)
    return None


def matches(bucket: str, key: str, etag: str) -> bool:
    """Whether there is an object now, and it has an ETag.

    :param etag: with or without quotes; ``*`` for any.
    """
    found = _find(bucket, key)
    return found is not None and _is(etag, found.etag)


def precondition_failed(condition: str) -> Refusal:
    """S3's refusal of a request whose condition does not hold.

    :param condition: its name.
    """
    message = "At least one of the pre-conditions you specified did not hold"
    return Refusal("PreconditionFailed", message, 412, {"Condition": condition})


def header_not_implemented(header: str, detail: str = "") -> Refusal:
    """S3's refusal of a header that it does not take here.

    :param header: its name.
    :param detail: what is wrong with it.
    """
    details = {"Header": header} | ({"additionalMessage": detail} if detail else {})
    message = "A header you provided implies functionality that is not implemented"
    return Refusal("NotImplemented", message, 501, details)


def _check_write(access: ObjectAccess) -> None:
    match, none_match = access.if_match, access.if_none_match
    if match is not None and none_match is not None:
        detail = "Multiple conditional request headers present in the request"
        raise header_not_implemented("If-Match,If-None-Match", detail)
    wrong = ""
    if none_match is not None and (none_match != "*" or access.deletes):
        wrong = "If-None-Match"
    if match == "*" and not access.deletes:
        wrong = "If-Match"
    if wrong:
        detail = f"We don't accept the provided value of {wrong} header for this API"
        raise header_not_implemented(wrong, detail)
    bucket, key = access.buckets[0], access.key
    if match is None and none_match is None:
        return
    try:
        found = get_backend("s3")[DEFAULT_ACCOUNT_ID]["aws"].get_object(bucket, key)
    except ServiceException:
        return
    if none_match == "*" and found is not None:
        raise precondition_failed("If-None-Match")
    if match is not None and found is None and not access.deletes:
        raise Refusal("NoSuchKey", "The specified key does not exist.", 404, {"Key": key})
    # A delete of what is not there: "How to perform conditional deletes".
    if match is not None and (found is None or not _is(match, found.etag)):
        raise precondition_failed("If-Match")


def _check_source(fields: Mapping[str, str]) -> None:
    path, _, query = fields.get("x-amz-copy-source", "").partition("?")
    bucket, _, key = unquote(path).lstrip("/").partition("/")
    if not bucket or not key:
        raise Refusal(
            "InvalidArgument",
            "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
            details={
                "ArgumentName": "x-amz-copy-source",
                "ArgumentValue": fields.get("x-amz-copy-source", ""),
            },
        )
    found = _find(bucket, key, parse_qs(query).get("versionId", [None])[0])
    if found is None:
        return
    broken = ReadConditions.read(fields, SOURCE).broken(found.etag, found.last_modified.replace(tzinfo=UTC))
    if broken:
        raise precondition_failed(f"{SOURCE}{broken}")


def _find(bucket: str, key: str, version: str | None = None) -> Any:
    """An object, or a version of it, as moto has it; None if it is not there."""
    try:
        return get_backend("s3")[DEFAULT_ACCOUNT_ID]["aws"].get_object(bucket, key, version_id=version)
    except ServiceException:
        return None


def _is(wanted: str, etag: str) -> bool:
    return wanted == "*" or wanted.strip('"') == etag.strip('"')


def _moment(text: str | None) -> datetime | None:
    """A date of HTTP; None for what is none, which counts for nothing."""
    try:
        found = parsedate_to_datetime(text) if text else None
    except ValueError:
        return None
    return found if found is None or found.tzinfo else found.replace(tzinfo=UTC)
