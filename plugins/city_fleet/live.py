"""The live pointer: which model of a city serves now. Standard library and a boto3 S3 client only.

Artifacts are immutable; the pointer ``live/<city>.json`` is the only object that changes, and it changes only by
conditional writes. Before a pointer is replaced it is copied to ``history/<city>/<sequence>.json``, so a mover
that dies in between leaves a copy too many and never a gap. The Lambda carries this module.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from city_fleet.errors import PointerMoved, PublishError
from city_fleet.naming import Keys

# S3's answers to a condition that does not hold: 412, 404 for If-Match on an object that is gone, and 409 when
# another conditional write to the same key was under way.
_CONDITION_FAILED = frozenset({"PreconditionFailed", "412", "NoSuchKey", "404"})
_CONDITION_CONFLICT = frozenset({"ConditionalRequestConflict", "409"})
_CONFLICT_TRIES = 5


@dataclass(frozen=True)
class LivePointer:
    """One state of a city's live pointer.

    :param sequence: 1 for the first model that went live, then one more with every move.
    :param target_model: key below the endpoint's prefix, as sent in TargetModel.
    :param package_arn: ARN of the model package in the registry.
    :param as_of: stamp of the moment up to which the model has seen data.
    :param metrics: the challenger's metrics on its held-out rows.
    :param features: feature names in the order of a request row.
    :param published_at: ISO 8601 instant in UTC.
    :param published_by: ``<dag id>/<run id>`` or the name of a person.
    :param predecessor: target model that served before, None for the first.
    :param pinned: a person rolled back to it; nightly runs leave it alone until it is unpinned.
    """

    sequence: int
    city: str
    target_model: str
    package_arn: str
    as_of: str
    metrics: dict[str, float | None]
    features: tuple[str, ...]
    artifact_sha256: str
    published_at: str
    published_by: str
    predecessor: str | None = None
    pinned: bool = False
    reasons: tuple[str, ...] = field(default=())

    def to_json(self) -> bytes:
        """Return the object's bytes as they stand in S3."""
        return (json.dumps({"format_version": 1, **asdict(self)}, indent=2) + "\n").encode()

    @classmethod
    def from_json(cls, body: bytes, where: str) -> LivePointer:
        """Read a pointer's bytes.

        :param where: URI for the error message.
        :raises PublishError: the bytes are no pointer of a known format.
        """
        try:
            value = json.loads(body)
            version = value.pop("format_version")
            if version != 1:
                raise PublishError(
                    f"{where}: format_version is {version}, this version of City Fleet reads 1; upgrade it"
                )
            known = {name: value[name] for name in cls.__dataclass_fields__ if name in value}
            known["features"] = tuple(known["features"])
            known["reasons"] = tuple(known.get("reasons", ()))
            return cls(**known)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise PublishError(
                f"{where}: is no live pointer ({type(error).__name__}: {error}); restore the newest object below "
                "history/ of this city"
            ) from error


@dataclass(frozen=True)
class Versioned:
    """A pointer with the ETag that guards its next move."""

    pointer: LivePointer
    etag: str


def read(s3: Any, keys: Keys, city: str, known: Versioned | None = None) -> Versioned | None:
    """Return the city's live pointer, or None when no model of it ever went live.

    :param known: what was read before; while that serves it is returned itself, and no body is transferred.
    """
    condition = {"IfNoneMatch": known.etag} if known else {}
    try:
        answer = s3.get_object(Bucket=keys.bucket, Key=keys.live(city), **condition)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in {"NoSuchKey", "404"}:
            return None
        if known is not None and code in {"304", "NotModified"}:
            return known
        raise
    pointer = LivePointer.from_json(answer["Body"].read(), keys.uri(keys.live(city)))
    return Versioned(pointer, answer["ETag"])


def move(s3: Any, keys: Keys, new: LivePointer, outgoing: Versioned | None) -> Versioned:
    """Move the live pointer from ``outgoing`` to ``new``, or change nothing.

    :param outgoing: what the caller read; None when there was no pointer.
    :raises PointerMoved: the pointer is no longer ``outgoing``.
    """
    if outgoing is not None:
        _keep_history(s3, keys, outgoing.pointer)
    condition = {"IfMatch": outgoing.etag} if outgoing else {"IfNoneMatch": "*"}
    try:
        answer = _put_if(s3, keys, keys.live(new.city), new.to_json(), condition)
    except PointerMoved:
        # The SDK repeats a put whose answer was lost; the second one then fails on the first one's success.
        current = read(s3, keys, new.city)
        if current is not None and current.pointer == new:
            return current
        raise
    return Versioned(new, answer["ETag"])


def history(s3: Any, keys: Keys, city: str) -> list[LivePointer]:
    """Return the replaced pointers of a city, oldest first. The one that serves now is not among them."""
    prefix = keys.history(city, 0).rsplit("/", 1)[0] + "/"
    pointers = []
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=keys.bucket, Prefix=prefix):
        for item in page.get("Contents", []):
            body = s3.get_object(Bucket=keys.bucket, Key=item["Key"])["Body"].read()
            pointers.append(LivePointer.from_json(body, keys.uri(item["Key"])))
    return sorted(pointers, key=lambda pointer: pointer.sequence)


def _keep_history(s3: Any, keys: Keys, pointer: LivePointer) -> None:
    """Copy an outgoing pointer to its place in the history; a copy that is there already is the same one."""
    key = keys.history(pointer.city, pointer.sequence)
    try:
        _put_if(s3, keys, key, pointer.to_json(), {"IfNoneMatch": "*"})
    except PointerMoved:
        body = s3.get_object(Bucket=keys.bucket, Key=key)["Body"].read()
        kept = LivePointer.from_json(body, keys.uri(key))
        if kept.target_model != pointer.target_model:
            raise PublishError(
                f"{keys.uri(key)}: holds {kept.target_model}, but {pointer.target_model} is live with the same "
                "sequence; somebody wrote to live/ by hand. Set the live pointer's sequence above the newest of "
                "the history"
            ) from None


def _put_if(s3: Any, keys: Keys, key: str, body: bytes, condition: dict[str, str]) -> dict[str, Any]:
    """Put an object under a condition.

    :raises PointerMoved: the condition does not hold.
    """
    for attempt in range(_CONFLICT_TRIES):
        try:
            answer: dict[str, Any] = s3.put_object(
                Bucket=keys.bucket, Key=key, Body=body, ContentType="application/json", **condition
            )
            return answer
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in _CONDITION_FAILED:
                raise PointerMoved(f"{keys.uri(key)}: changed since it was read") from error
            if code not in _CONDITION_CONFLICT or attempt == _CONFLICT_TRIES - 1:
                raise
    raise AssertionError("unreachable")
