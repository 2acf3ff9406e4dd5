"""Reading and moving the live pointer of a city. Standard library and a boto3 S3 client only.

Artifacts are immutable; the pointer ``live/<city>.json`` is the only object that changes, and it changes only by
conditional writes. Every pointer that serves is copied to ``history/<city>/<sequence>.json``, right after its move
and at the latest before the next one, so a mover that dies in between leaves a copy too few or too many and never
a gap; and a live pointer that is lost is found again in the history. The Lambda carries this module.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from city_fleet import outgoing_text
from city_fleet.errors import BrokenPointer, PlatformError, PointerMoved, PublishError
from city_fleet.naming import Keys
from city_fleet.state import installation
from city_fleet.state.live_pointer import Broken, LivePointer, Versioned
from city_fleet.state.objects import UNCHANGED, ObjectStore
from city_fleet.state.pointer_checks import MAX_POINTER_BYTES

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

log = outgoing_text.logger(__name__)

# Kinds of moves. The first two bring a model live, the others bring back or keep one that did.
PUBLISH = LivePointer.move
PROMOTE = "promote"
ROLLBACK = "rollback"
UNPIN = "unpin"
REBUILD = "rebuild"
# The kind of a copy in the history that says that a city serves no more.
REMOVE = "remove"


def read(s3: S3Client, keys: Keys, city: str, known: Versioned | None = None) -> Versioned | None:
    """Return the city's live pointer, or None when no model of it ever went live.

    :param known: what was read before; while that serves it is returned itself, and no body is transferred.
    :raises BrokenPointer: what is there is not a pointer.
    :raises OtherInstallation: it is another installation's.
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
    limit = MAX_POINTER_BYTES
    found = store.get_changed(key, known.etag, limit) if known else store.get(key, limit)
    if found is UNCHANGED:
        return known
    if found is None:
        return None
    try:
        pointer = parse(keys, key, found.body)
    except BrokenPointer as error:
        return Broken(error, found.etag)
    return Versioned(pointer, found.etag)


def parse(keys: Keys, key: str, body: bytes) -> LivePointer:
    """Read the bytes of a live pointer, or of a copy in the history.

    :param key: where they were read.
    :raises BrokenPointer: they are not a pointer.
    :raises OtherInstallation: they are the pointer of another installation.
    :raises PublishError: they are a pointer of a newer format.
    """
    pointer = LivePointer.from_json(body, keys.uri(key))
    advice = (
        f"Somebody has copied it there: `aws s3 rm {keys.uri(key)}` takes the copy away, and "
        f"`./fleet rebuild {pointer.city}` restores what served here"
    )
    said = {installation.FLEET: pointer.fleet, installation.ENVIRONMENT: pointer.environment}
    installation.refuse_other(keys, said, keys.uri(key), advice)
    return pointer


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
    :return: ``new``, with the ETag of what serves: another move may have followed while this one's answer was lost.
    :raises PointerMoved: the pointer is no longer ``outgoing``.
    :raises PublishError: the history holds another pointer with the sequence of ``outgoing`` or ``new``, or ``new`` is
        no sound pointer of this city.
    """
    new = replace(new, **installation.stamp(keys))
    if keep and isinstance(outgoing, Versioned):
        _keep(s3, keys, outgoing.pointer)
    _check_free(s3, keys, new, outgoing)
    key = keys.live(new.city)
    _check_sound(new, keys.uri(key))
    failure: Exception = PointerMoved(f"{keys.uri(key)}: changed since it was read")
    try:
        etag = ObjectStore(s3, keys.bucket).replace(key, new.to_json(), outgoing.etag if outgoing else None)
    except (BotoCoreError, ClientError) as error:
        etag, failure = None, error
    if etag is None:
        # By now another move may have followed this very one, and kept it in the history first.
        current = read(s3, keys, new.city)
        if current is not None and _kept_or_none(s3, keys, new.city, new.sequence) == new:
            return Versioned(new, current.etag)
        raise failure
    try:
        _keep(s3, keys, new)
    except (PublishError, PlatformError, ClientError, BotoCoreError) as error:
        # The move is made. The next move makes the copy, or says what stands in its way.
        log.warning("%s: not copied to the history yet: %s", keys.uri(key), error)
    return Versioned(new, etag)


def drop(s3: S3Client, keys: Keys, end: LivePointer, outgoing: Versioned | None) -> LivePointer:
    """Delete the live pointer, so that its city serves no more, and keep in the history who ended it and why.

    The pointer goes first: a mover that dies in between has removed the city, and drops again to say so.

    :param end: the state that follows ``outgoing``, with the move :data:`REMOVE`.
    :param outgoing: what the caller read; None when the pointer is gone already and only ``end`` has to be kept.
    :return: the end that is kept: ``end``, or that of somebody else who dropped the pointer in the same moment.
    :raises PointerMoved: the pointer is no longer ``outgoing``, or a model was published right afterwards.
    """
    store, end = ObjectStore(s3, keys.bucket), replace(end, **installation.stamp(keys))
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
        return kept
    return end


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

    :raises BrokenPointer: what is kept is not a pointer.
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


def _check_sound(new: LivePointer, where: str) -> None:
    """Refuse to write what the next reader would refuse: what a pointer is made of was read elsewhere."""
    try:
        LivePointer.from_json(new.to_json(), where)
    except BrokenPointer as error:
        raise PublishError(
            f"{error}. It was to be written there; nothing was changed", city=new.city
        ) from error


def _by_hand(keys: Keys, city: str, sequence: int) -> PublishError:
    return PublishError(
        f"{keys.uri(keys.history(city, sequence))}: holds another pointer than {keys.uri(keys.live(city))} leads to; "
        f"an object below live/ was replaced outside City Fleet. "
        f"`./fleet rebuild {city}` puts it behind the newest of the history"
    )


def _kept_or_none(s3: S3Client, keys: Keys, city: str, sequence: int) -> LivePointer | None:
    key = keys.history(city, sequence)
    found = ObjectStore(s3, keys.bucket).get(key, MAX_POINTER_BYTES)
    return parse(keys, key, found.body) if found else None
