"""The live pointer: which model of a city serves now. Standard library and a boto3 S3 client only.

Artifacts are immutable; the pointer ``live/<city>.json`` is the only object that changes, and it changes only by
conditional writes. Every pointer that serves is copied to ``history/<city>/<sequence>.json``, right after its move
and at the latest before the next one, so a mover that dies in between leaves a copy too few or too many and never
a gap; and a live pointer that is lost is found again in the history. The Lambda carries this module.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from city_fleet.errors import BrokenPointer, PlatformError, PointerMoved, PublishError
from city_fleet.naming import Keys
from city_fleet.state.objects import UNCHANGED, ObjectStore

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

log = logging.getLogger(__name__)

# Kinds of moves. The first two bring a model live, the others bring back or keep one that did.
PUBLISH = "publish"
PROMOTE = "promote"
ROLLBACK = "rollback"
UNPIN = "unpin"
REBUILD = "rebuild"
# The kind of a copy in the history that says that a city serves no more.
REMOVE = "remove"

_TEXTS = ("city", "target_model", "package_arn", "as_of", "artifact_sha256", "published_at", "published_by")


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """A model as the live pointer describes it, whatever moves the pointer.

    :param target_model: key below the endpoint's prefix, as sent in TargetModel.
    :param package_arn: ARN of the model package in the registry.
    :param as_of: stamp of the moment up to which the model has seen data.
    :param metrics: the challenger's metrics on its held-out rows.
    :param features: feature names in the order of a request row.
    :param reasons: the gate's sentences about the model.
    :param settings_digest: of the settings that made the model, ``code_digest`` of the job scripts; None if unknown.
    """

    city: str
    target_model: str
    package_arn: str
    as_of: str
    metrics: dict[str, float | None]
    features: tuple[str, ...]
    artifact_sha256: str
    reasons: tuple[str, ...] = ()
    settings_digest: str | None = None
    code_digest: str | None = None


@dataclass(frozen=True, kw_only=True)
class LivePointer(ServedModel):
    """One state of a city's live pointer: a model, and the move that made it serve.

    :param sequence: 1 for the first model that went live, then one more with every move.
    :param published_at: when this model was published; a move that brings it back leaves that. ISO 8601, UTC.
    :param published_by: ``<dag id>/<run id>`` or the name of a person.
    :param predecessor: target model that served before, None for the first.
    :param pinned: a person wants it to stay: nightly runs leave it alone until it is unpinned.
    :param move: kind of the move that made this state: ``publish``, ``promote``, ``rollback``, ``unpin``, ``rebuild``.
    :param moved_at: when it was made; ISO 8601, UTC. A pointer without (written by an earlier version) was published.
    :param moved_by: who made it: ``<dag id>/<run id>`` or the name of a person.
    :param reason: why, in the words of whoever made it; empty when nothing was said.
    :param restores: for a move that brings back or keeps a model: the sequence with which that model went live.
    """

    sequence: int
    published_at: str
    published_by: str
    predecessor: str | None = None
    pinned: bool = False
    move: str = PUBLISH
    moved_at: str = ""
    moved_by: str = ""
    reason: str = ""
    restores: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "moved_at", self.moved_at or self.published_at)
        object.__setattr__(self, "moved_by", self.moved_by or self.published_by)

    @classmethod
    def serving(cls, model: ServedModel, **state: Any) -> LivePointer:
        """Return the state of the pointer that serves a model.

        :param state: the pointer's own fields, beside those of the model.
        """
        return cls(**{field.name: getattr(model, field.name) for field in fields(ServedModel)}, **state)

    @property
    def origin(self) -> int:
        """Return the sequence with which the model of this state went live."""
        return self.sequence if self.restores is None else self.restores

    def to_json(self) -> bytes:
        """Return the object's bytes as they stand in S3."""
        return (json.dumps({"format_version": 1, **asdict(self)}, indent=2) + "\n").encode()

    @classmethod
    def from_json(cls, body: bytes, where: str) -> LivePointer:
        """Read a pointer's bytes.

        :param where: URI for the error message.
        :raises BrokenPointer: the bytes are no pointer.
        :raises PublishError: they are one of a newer format.
        """
        try:
            value = json.loads(body)
            version = value.pop("format_version")
            if version != 1:
                raise PublishError(
                    f"{where}: format_version is {version}, this version of City Fleet reads 1; upgrade it"
                )
            known = {name: value[name] for name in cls.__dataclass_fields__ if name in value}
            _check(known)
            known["features"] = tuple(known["features"])
            known["reasons"] = tuple(known.get("reasons", ()))
            return cls(**known)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BrokenPointer(
                f"{where}: is no live pointer ({type(error).__name__}: {error}); `./fleet rebuild` restores a live "
                "pointer from the history"
            ) from error


def _check(known: Mapping[str, Any]) -> None:
    """Refuse members that would only hurt later.

    :raises ValueError: naming the member.
    """
    for name in ("sequence", "restores"):
        value = known.get(name, 1 if name == "sequence" else None)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise ValueError(f"{name} is {value!r}")
    for name in _TEXTS:
        if not isinstance(known[name], str):
            raise ValueError(f"{name} is {known[name]!r}")
    if not isinstance(known["features"], list):
        raise ValueError(f"features is {known['features']!r}")


@dataclass(frozen=True)
class Versioned:
    """A pointer with the ETag that guards its next move."""

    pointer: LivePointer
    etag: str


@dataclass(frozen=True)
class Broken:
    """An object in a live pointer's place that is none, with the ETag that guards its replacement."""

    error: BrokenPointer
    etag: str


def read(s3: S3Client, keys: Keys, city: str, known: Versioned | None = None) -> Versioned | None:
    """Return the city's live pointer, or None when no model of it ever went live.

    :param known: what was read before; while that serves it is returned itself, and no body is transferred.
    :raises BrokenPointer: what is there is no pointer.
    """
    found = read_or_broken(s3, keys, city, known)
    if isinstance(found, Broken):
        raise found.error
    return found


def read_or_broken(
    s3: S3Client, keys: Keys, city: str, known: Versioned | None = None
) -> Versioned | Broken | None:
    """Return what stands in the place of the city's live pointer.

    :param known: as for :func:`read`.
    """
    store, key = ObjectStore(s3, keys.bucket), keys.live(city)
    found = store.get_changed(key, known.etag) if known else store.get(key)
    if found is UNCHANGED:
        return known
    if found is None:
        return None
    try:
        pointer = LivePointer.from_json(found.body, keys.uri(key))
    except BrokenPointer as error:
        return Broken(error, found.etag)
    return Versioned(pointer, found.etag)


def next_sequence(s3: S3Client, keys: Keys, city: str, outgoing: Versioned | None) -> int:
    """Return the sequence of the next move. A city whose pointer is gone goes on where its history ends."""
    if outgoing is not None:
        return outgoing.pointer.sequence + 1
    return max(kept_sequences(s3, keys, city), default=0) + 1


def move(
    s3: S3Client, keys: Keys, new: LivePointer, outgoing: Versioned | Broken | None, *, keep: bool = True
) -> Versioned:
    """Move the live pointer from ``outgoing`` to ``new``, or change nothing.

    :param outgoing: what the caller read; None when there was no pointer.
    :param keep: copy ``outgoing`` to the history first; False where the history has another one in its place.
    :raises PointerMoved: the pointer is no longer ``outgoing``.
    :raises PublishError: the history holds another pointer with the sequence of ``outgoing`` or ``new``.
    """
    if keep and isinstance(outgoing, Versioned):
        _keep(s3, keys, outgoing.pointer)
    _check_free(s3, keys, new, outgoing)
    key = keys.live(new.city)
    failure: Exception = PointerMoved(f"{keys.uri(key)}: changed since it was read")
    try:
        etag = ObjectStore(s3, keys.bucket).replace(key, new.to_json(), outgoing.etag if outgoing else None)
    except BotoCoreError as error:
        etag, failure = None, error
    if etag is None:
        # By now somebody may even have moved on from this very move, and kept it in the history first.
        current = read(s3, keys, new.city)
        if current is not None and _kept_or_none(s3, keys, new.city, new.sequence) == new:
            return current
        raise failure
    try:
        _keep(s3, keys, new)
    except (PublishError, PlatformError, ClientError, BotoCoreError) as error:
        # The move is made. Whoever moves next makes the copy, or says what stands in its way.
        log.warning("%s: not copied to the history yet: %s", keys.uri(key), error)
    return Versioned(new, etag)


def drop(s3: S3Client, keys: Keys, end: LivePointer, outgoing: Versioned | None) -> None:
    """Delete the live pointer, so that its city serves no more, and keep in the history who ended it and why.

    The pointer goes first: a mover that dies in between has removed the city, and drops again to say so.

    :param end: the state that follows ``outgoing``, with the move :data:`REMOVE`.
    :param outgoing: what the caller read; None when the pointer is gone already and only ``end`` has to be kept.
    :raises PointerMoved: the pointer is no longer ``outgoing``, or a model was published right afterwards.
    """
    store = ObjectStore(s3, keys.bucket)
    if outgoing is not None:
        _keep(s3, keys, outgoing.pointer)
        key = keys.live(end.city)
        if not store.delete(key, outgoing.etag):
            raise PointerMoved(f"{keys.uri(key)}: changed since it was read")
    if store.create(keys.history(end.city, end.sequence), end.to_json()) is None:
        kept = read_kept(s3, keys, end.city, end.sequence)
        if kept.move != REMOVE:
            raise PointerMoved(
                f"city {end.city!r}: {kept.target_model} was published by {kept.moved_by} the moment after the live "
                "pointer was dropped; it serves again"
            )


def kept_sequences(s3: S3Client, keys: Keys, city: str) -> list[int]:
    """Return the sequences of a city's kept pointers, ascending."""
    prefix = keys.history_prefix(city)
    names = (
        item.key.removeprefix(prefix).removesuffix(".json")
        for item in ObjectStore(s3, keys.bucket).items(prefix)
    )
    return sorted(int(name) for name in names if name.isdecimal())


def read_kept(s3: S3Client, keys: Keys, city: str, sequence: int) -> LivePointer:
    """Return the kept pointer of a sequence.

    :raises BrokenPointer: what is kept is no pointer.
    :raises PublishError: nothing is kept under that sequence.
    """
    found = _kept_or_none(s3, keys, city, sequence)
    if found is None:
        raise PublishError(f"{keys.uri(keys.history(city, sequence))}: there is no such object")
    return found


def history(s3: S3Client, keys: Keys, city: str) -> list[LivePointer]:
    """Return the replaced pointers of a city, oldest first. The one that serves now is not among them."""
    current = read(s3, keys, city)
    return [
        read_kept(s3, keys, city, sequence)
        for sequence in kept_sequences(s3, keys, city)
        if current is None or sequence < current.pointer.sequence
    ]


def _keep(s3: S3Client, keys: Keys, pointer: LivePointer) -> None:
    """Copy a pointer to its place in the history; a copy that is there already is the same one."""
    key = keys.history(pointer.city, pointer.sequence)
    created = ObjectStore(s3, keys.bucket).create(key, pointer.to_json())
    # One that another version of City Fleet has written has other bytes and says the same.
    if created is None and read_kept(s3, keys, pointer.city, pointer.sequence) != pointer:
        raise _by_hand(keys, pointer.city, pointer.sequence)


def _check_free(s3: S3Client, keys: Keys, new: LivePointer, outgoing: Versioned | Broken | None) -> None:
    """Refuse a sequence that is taken: the pointer has moved on, or an old one was put back by hand."""
    kept = _kept_or_none(s3, keys, new.city, new.sequence)
    if kept is None or kept == new:
        return
    current = read_or_broken(s3, keys, new.city)
    if (current.etag if current else None) != (outgoing.etag if outgoing else None):
        raise PointerMoved(f"{keys.uri(keys.live(new.city))}: changed since it was read")
    raise _by_hand(keys, new.city, new.sequence)


def _by_hand(keys: Keys, city: str, sequence: int) -> PublishError:
    return PublishError(
        f"{keys.uri(keys.history(city, sequence))}: holds another pointer than {keys.uri(keys.live(city))} leads to; "
        f"somebody wrote to live/ by hand. `./fleet rebuild {city}` puts it behind the newest of the history"
    )


def _kept_or_none(s3: S3Client, keys: Keys, city: str, sequence: int) -> LivePointer | None:
    key = keys.history(city, sequence)
    found = ObjectStore(s3, keys.bucket).get(key)
    return LivePointer.from_json(found.body, keys.uri(key)) if found else None
