"""Objects in S3: get, put under a condition, change, list, delete. The one place that talks to S3 about state.

A conditional write has one of three answers. 412 (or 404 for an object that is gone): somebody else was first. 409:
another conditional write to the key was under way, which says nothing about who was first, so it is sent again. And a
success whose answer was lost: the SDK repeats the request, and meets its own object. So what is there is read before a
write counts as lost: the same bytes are this write's own, or as good.

Source: Amazon S3 User Guide, "Add preconditions to S3 operations with conditional requests".
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from city_fleet import aws_errors, naming
from city_fleet.errors import PlatformError

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

JSON = "application/json"
GZIP = "application/gzip"
#: What S3 itself says of an object without a type.
BYTES = "binary/octet-stream"

#: So long a write goes on that others get in the way of.
PATIENCE_SECONDS = 60.0
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 4.0
_KEYS_PER_DELETE = 1000


class Unchanged(Enum):
    """The object is still the one that is known."""

    UNCHANGED = "unchanged"


UNCHANGED = Unchanged.UNCHANGED


@dataclass(frozen=True)
class Stored:
    """An object and the ETag that guards its replacement.

    :param modified: when it was written, by S3's clock.
    """

    body: bytes
    etag: str
    modified: datetime


@dataclass(frozen=True)
class Item:
    """An object as List shows it.

    :param modified: when it was written, ``listed_at`` when S3 answered, both by S3's clock.
    """

    key: str
    size_bytes: int
    etag: str
    modified: datetime
    listed_at: datetime


def rounds(what: str, seconds: float = PATIENCE_SECONDS) -> Iterator[int]:
    """Count the tries of something that others may get in the way of, with a growing, random pause in between.

    :param what: names the thing in the error, for example a URI.
    :raises PlatformError: the time is up.
    """
    end = time.monotonic() + seconds
    pause, tries = _FIRST_PAUSE_SECONDS, 0
    while True:
        yield tries
        tries += 1
        if time.monotonic() >= end:
            raise PlatformError(
                f"{what}: others got in the way {tries} times within {seconds:.0f} seconds; nothing was changed. "
                "Try again"
            )
        time.sleep(random.uniform(0, pause))  # noqa: S311 - spreads writers, guards nothing
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


class ObjectStore:
    """The objects of one bucket.

    :param client: a boto3 S3 client.
    :param bucket: name of the bucket.
    """

    def __init__(self, client: S3Client, bucket: str) -> None:
        self.client = client
        self.bucket = bucket

    def uri(self, key: str) -> str:
        """Return ``s3://<bucket>/<key>``."""
        return f"s3://{self.bucket}/{key}"

    def get(self, key: str) -> Stored | None:
        """Return an object, or None where there is none."""
        try:
            answer = self.client.get_object(Bucket=self.bucket, Key=key)
        except ClientError as error:
            if aws_errors.is_missing(error):
                return None
            raise
        return Stored(answer["Body"].read(), answer["ETag"], answer["LastModified"])

    def get_changed(self, key: str, etag: str) -> Stored | Unchanged | None:
        """Return an object that is not the known one any more, without a body for one that still is.

        :param etag: of the known one.
        """
        try:
            answer = self.client.get_object(Bucket=self.bucket, Key=key, IfNoneMatch=etag)
        except ClientError as error:
            if aws_errors.is_unchanged(error):
                return UNCHANGED
            if aws_errors.is_missing(error):
                return None
            raise
        return Stored(answer["Body"].read(), answer["ETag"], answer["LastModified"])

    def exists(self, key: str) -> bool:
        """Tell whether there is such an object."""
        return self.etag_of(key) is not None

    def etag_of(self, key: str) -> str | None:
        """Return an object's ETag without its body, or None where there is none."""
        try:
            return self.client.head_object(Bucket=self.bucket, Key=key)["ETag"]
        except ClientError as error:
            if aws_errors.is_missing(error):
                return None
            raise

    def put(self, key: str, body: bytes, content_type: str = JSON) -> None:
        """Write an object, whatever is there."""
        self.client.put_object(Bucket=self.bucket, Key=key, Body=body, ContentType=content_type)

    def create(self, key: str, body: bytes, content_type: str = JSON) -> str | None:
        """Write an object where there is none, and return its ETag.

        :return: None where there is one with other bytes; nothing is written then.
        :raises PlatformError: others got in the way for a minute.
        """
        return self._put_if(key, body, content_type, {"IfNoneMatch": "*"})

    def replace(self, key: str, body: bytes, etag: str | None, content_type: str = JSON) -> str | None:
        """Write an object in the place of the one that was read, and return its ETag.

        :param etag: of the one that was read; None where there was none.
        :return: None where somebody else has changed it since; nothing is written then.
        :raises PlatformError: others got in the way for a minute.
        """
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}
        return self._put_if(key, body, content_type, condition)

    def update(
        self,
        key: str,
        change: Callable[[bytes | None], bytes | None],
        content_type: str = JSON,
    ) -> bytes | None:
        """Read an object, change it and write it back, whoever else changes it at the same time.

        :param change: gets the bytes that are there, or None; may be called several times, also with what it has
            made itself: the answer to a write may be lost. It returns the bytes to write, or None to leave
            everything as it is.
        :return: the bytes that are there afterwards.
        :raises PlatformError: others got in the way for a minute.
        """
        for _ in rounds(self.uri(key)):
            found = self.get(key)
            before = found.body if found else None
            after = change(before)
            if after is None or after == before:
                return before
            if self.replace(key, after, found.etag if found else None, content_type) is not None:
                return after
        raise AssertionError("unreachable: rounds end with an error")

    def delete(self, key: str, etag: str) -> bool:
        """Delete the object that was read.

        :return: False where somebody else has changed it since; nothing is deleted then. One that is gone was
            deleted by somebody else, or by this very request: the SDK repeats what it hears nothing of.
        :raises PlatformError: others got in the way for a minute.
        """
        for _ in rounds(self.uri(key)):
            try:
                self.client.delete_object(Bucket=self.bucket, Key=key, IfMatch=etag)
            except ClientError as error:
                if aws_errors.is_conflict(error):
                    continue
                if aws_errors.is_lost_race(error):
                    return not self.exists(key)
                if not aws_errors.is_missing(error) and not self._is_gone_all_the_same(error, key):
                    raise
            except BotoCoreError as error:
                if not self._is_gone_all_the_same(error, key):
                    raise
            return True
        raise AssertionError("unreachable: rounds end with an error")

    def delete_all(self, keys: list[str]) -> None:
        """Delete objects, a thousand per request.

        :raises PlatformError: S3 refused some of it.
        """
        for start in range(0, len(keys), _KEYS_PER_DELETE):
            batch = [{"Key": key} for key in keys[start : start + _KEYS_PER_DELETE]]
            answer = self.client.delete_objects(Bucket=self.bucket, Delete={"Objects": batch, "Quiet": True})  # type: ignore[typeddict-item]
            refused = answer.get("Errors", [])
            if refused:
                first = refused[0]
                raise PlatformError(
                    f"S3 refused to delete {len(refused)} objects, among them {self.uri(str(first.get('Key', '')))}: "
                    f"{first.get('Code', '')} {first.get('Message', '')}"
                )

    def items(
        self, prefix: str, *, after: str = "", delimiter: str = "", limit: int | None = None
    ) -> Iterator[Item]:
        """Yield the objects below a prefix, in the order of their keys; a request per 1,000.

        :param after: begin behind this key.
        :param delimiter: leave out the keys that hold this behind the prefix.
        :param limit: the first ones only, at most 1,000: one request.
        """
        request: dict[str, Any] = {"Prefix": prefix}
        if after:
            request["StartAfter"] = after
        if delimiter:
            request["Delimiter"] = delimiter
        pages = self._pages(**request) if limit is None else self._first_page(limit, request)
        for page in pages:
            date = page["ResponseMetadata"]["HTTPHeaders"].get("date")
            moment = parsedate_to_datetime(date) if date else datetime.now(UTC)
            for found in page.get("Contents", []):
                yield Item(found["Key"], found["Size"], found["ETag"], found["LastModified"], moment)

    def folders(self, prefix: str) -> Iterator[str]:
        """Yield the names of the folders right below a prefix that ends with ``/``, without the slash."""
        for page in self._pages(Prefix=prefix, Delimiter="/"):
            for found in page.get("CommonPrefixes", []):
                yield found["Prefix"].removeprefix(prefix).rstrip("/")

    def _pages(self, **request: Any) -> Iterator[Any]:
        yield from self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, **request)

    def _first_page(self, size: int, request: dict[str, Any]) -> Iterator[Any]:
        yield self.client.list_objects_v2(Bucket=self.bucket, MaxKeys=size, **request)

    def _is_gone_all_the_same(self, error: ClientError | BotoCoreError, key: str) -> bool:
        """Tell whether an object is gone although the answer to the request that deletes it was lost."""
        return aws_errors.is_transient(error) and not self.exists(key)

    def _put_if(self, key: str, body: bytes, content_type: str, condition: dict[str, Any]) -> str | None:
        for _ in rounds(self.uri(key)):
            failure: ClientError | BotoCoreError | None = None
            try:
                answer = self.client.put_object(
                    Bucket=self.bucket, Key=key, Body=body, ContentType=content_type, **condition
                )
                return answer["ETag"]
            except ClientError as error:
                if aws_errors.is_conflict(error):
                    continue
                if aws_errors.is_transient(error):
                    failure = error  # it may have written all the same
                elif not aws_errors.is_lost_race(error) and not aws_errors.is_missing(error):
                    raise
            except BotoCoreError as error:
                failure = error
            there = self.get(key)
            if there is not None and there.body == body:
                return there.etag
            if failure is not None:
                raise failure
            return None
        raise AssertionError("unreachable: rounds end with an error")


def read_uri(s3: S3Client, uri: str) -> bytes | None:
    """Return the bytes of an object that something else names, or None where it, or its bucket, is gone.

    :raises ValueError: that is no S3 URI.
    """
    bucket, key = naming.split_uri(uri)
    try:
        found = ObjectStore(s3, bucket).get(key)
    except ClientError as error:
        if aws_errors.is_no_bucket(error):
            return None
        raise
    return found.body if found else None
