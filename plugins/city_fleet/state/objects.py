"""Objects in S3: get, put under a condition, change, list, delete. The one place that talks to S3 about state.

A conditional write has one of three answers. 412 (or 404 for an object that is gone): another writer was first. 409:
another conditional write to the key was under way, which says nothing about who was first, so it is sent again. And a
success whose answer was lost: the SDK repeats the request, and meets its own object. So the object is read before a
write counts as lost: the same bytes are this write's own, or as good.

Source: Amazon S3 User Guide, "Add preconditions to S3 operations with conditional requests".
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from itertools import count
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from city_fleet import aws_errors, naming
from city_fleet.errors import Busy, PlatformError

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

JSON = "application/json"
GZIP = "application/gzip"
#: What S3 itself says of an object without a type.
BYTES = "binary/octet-stream"

#: How long a write is repeated that others get in the way of.
PATIENCE_SECONDS = 60.0
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 4.0
_KEYS_PER_DELETE = 1000
_PIECE_BYTES = 1 << 20


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
    """Count the attempts at a write that others may get in the way of, with a growing, random pause in between.

    Its use is ``while True: next(attempts); …``, which ends with a return or with the error.

    :param what: names the object in the error, for example a URI.
    :raises Busy: the time is up.
    """
    end = time.monotonic() + seconds
    pause = _FIRST_PAUSE_SECONDS
    for tries in count(1):
        yield tries
        if time.monotonic() >= end:
            raise Busy(
                f"{what}: others got in the way {tries} times within {seconds:.0f} seconds; nothing was changed. "
                "Try again"
            )
        time.sleep(random.uniform(0, pause))  # noqa: S311 - spreads writers, guards nothing
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


@dataclass(frozen=True)
class ObjectStore:
    """The objects of one bucket."""

    client: S3Client
    bucket: str

    def uri(self, key: str) -> str:
        return f"s3://{self.bucket}/{key}"

    def get(self, key: str, limit: int | None = None) -> Stored | None:
        """Return an object, or None where there is none.

        :param limit: read no more than one byte beyond so many: who looks at the size sees that it is larger.
        """
        found = self._get(key, limit)
        return None if found is UNCHANGED else found

    def get_changed(self, key: str, etag: str, limit: int | None = None) -> Stored | Unchanged | None:
        """Return an object that is not the known one any more, without a body for one that still is.

        :param etag: of the known one.
        :param limit: as for :meth:`get`.
        """
        return self._get(key, limit, IfNoneMatch=etag)

    def sha256(self, key: str) -> str | None:
        """Return the SHA-256 of an object's bytes, which are read in pieces; None where there is no object."""
        try:
            body = self.client.get_object(Bucket=self.bucket, Key=key)["Body"]
        except ClientError as error:
            if aws_errors.is_missing(error):
                return None
            raise
        digest = hashlib.sha256()
        for piece in body.iter_chunks(_PIECE_BYTES):
            digest.update(piece)
        return digest.hexdigest()

    def exists(self, key: str) -> bool:
        return self.etag_of(key) is not None

    def etag_of(self, key: str) -> str | None:
        """Return an object's ETag without its body, or None where there is none."""
        try:
            return self.client.head_object(Bucket=self.bucket, Key=key)["ETag"]
        except ClientError as error:
            if aws_errors.is_missing(error):
                return None
            raise

    def metadata_of(self, key: str) -> dict[str, str]:
        """Return what its writer noted beside an object; empty where there is none."""
        try:
            return dict(self.client.head_object(Bucket=self.bucket, Key=key)["Metadata"])
        except ClientError as error:
            if aws_errors.is_missing(error):
                return {}
            raise

    def put(
        self, key: str, body: bytes, content_type: str = JSON, metadata: dict[str, str] | None = None
    ) -> str:
        """Write an object, whatever is there, and return its ETag.

        :param metadata: ASCII notes beside it, for :meth:`metadata_of`.
        """
        answer = self.client.put_object(
            Bucket=self.bucket, Key=key, Body=body, ContentType=content_type, Metadata=metadata or {}
        )
        return answer["ETag"]

    def copy(self, key: str, to: str) -> None:
        """Copy an object within the bucket; its bytes do not pass through this process."""
        source: dict[str, Any] = {"Bucket": self.bucket, "Key": key}
        self.client.copy_object(Bucket=self.bucket, Key=to, CopySource=source)  # type: ignore[arg-type]

    def create(self, key: str, body: bytes, content_type: str = JSON) -> str | None:
        """Write an object where there is none, and return its ETag.

        :return: None where there is one with other bytes; nothing is written then.
        :raises Busy: others got in the way for a minute.
        """
        return self._put_if(key, body, content_type, {"IfNoneMatch": "*"})

    def replace(self, key: str, body: bytes, etag: str | None, content_type: str = JSON) -> str | None:
        """Write an object in the place of the one that was read, and return its ETag.

        :param etag: of the one that was read; None where there was none.
        :return: None where another writer has changed it since; nothing is written then.
        :raises Busy: others got in the way for a minute.
        """
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}
        return self._put_if(key, body, content_type, condition)

    def update(self, key: str, change: Callable[[bytes | None], bytes | None]) -> bytes | None:
        """Read an object, change it and write it back, whatever other writers do at the same time.

        :param change: gets the bytes that are there, or None; may be called several times, also with what it has
            made itself: the answer to a write may be lost. It returns the bytes to write, or None to leave
            everything as it is.
        :return: the bytes that are there afterwards.
        :raises Busy: others got in the way for a minute.
        """
        attempts = rounds(self.uri(key))
        while True:
            next(attempts)
            found = self.get(key)
            before = found.body if found else None
            after = change(before)
            if after is None or after == before:
                return before
            if self.replace(key, after, found.etag if found else None) is not None:
                return after

    def delete(self, key: str, etag: str) -> bool:
        """Delete the object that was read.

        :return: False where another writer has changed it since; nothing is deleted then. True where it is gone: it
            was deleted by another, or by this very request, which the SDK repeats when it hears no answer.
        :raises Busy: others got in the way for a minute.
        """
        attempts = rounds(self.uri(key))
        while True:
            next(attempts)
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
        asked = {"Prefix": prefix, "StartAfter": after, "Delimiter": delimiter}
        request: dict[str, Any] = {name: value for name, value in asked.items() if value}
        pages = self._pages(**request)
        if limit is not None:
            pages = iter([self.client.list_objects_v2(Bucket=self.bucket, MaxKeys=limit, **request)])
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

    def _get(self, key: str, limit: int | None, **condition: str) -> Stored | Unchanged | None:
        try:
            answer = self.client.get_object(Bucket=self.bucket, Key=key, **condition)  # type: ignore[arg-type]
        except ClientError as error:
            if aws_errors.is_unchanged(error):
                return UNCHANGED
            if aws_errors.is_missing(error):
                return None
            raise
        body = answer["Body"]
        content = body.read() if limit is None else body.read(limit + 1)
        body.close()  # what is left of one that is too large is not transferred
        return Stored(content, answer["ETag"], answer["LastModified"])

    def _is_gone_all_the_same(self, error: ClientError | BotoCoreError, key: str) -> bool:
        """Tell whether an object is gone although the answer to the request that deletes it was lost."""
        return aws_errors.is_transient(error) and not self.exists(key)

    def _put_if(self, key: str, body: bytes, content_type: str, condition: dict[str, Any]) -> str | None:
        attempts = rounds(self.uri(key))
        while True:
            next(attempts)
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


def json_of(body: bytes) -> Any:
    """Return what an object's bytes say as JSON.

    :raises ValueError: they are not JSON, or nested without end.
    """
    try:
        return json.loads(body)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_uri(s3: S3Client, uri: str, limit: int | None = None) -> bytes | None:
    """Return the bytes of an object that something else names, or None where it, or its bucket, is gone.

    :param limit: as for :meth:`ObjectStore.get`.
    :raises ValueError: it is not an S3 URI.
    """
    bucket, key = naming.split_uri(uri)
    try:
        found = ObjectStore(s3, bucket).get(key, limit)
    except ClientError as error:
        if aws_errors.is_no_bucket(error):
            return None
        raise
    return found.body if found else None
