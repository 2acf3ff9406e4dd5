"""The compiled forms of a fleet file in S3: what a machine looks for that has none of a file that can't be used.

Shards and manifests are written once, the shards first; ``current.json`` moves when a form is complete. Bytes only:
what is in a form is for :mod:`city_fleet.config` to read and to check.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from itertools import chain

from city_fleet.errors import PlatformError
from city_fleet.naming import Keys
from city_fleet.state.objects import ObjectStore, json_of

#: Nothing larger is read: a fleet file of the largest size makes a form of a few times as much.
MAX_OBJECT_BYTES = 64 * 1024 * 1024


def current(objects: ObjectStore, keys: Keys) -> str | None:
    """Return the digest of the last good form, or None where there is none."""
    body = _bounded(objects, keys.compiled_current())
    try:
        found = json_of(body or b"null")["form"]
    except (ValueError, TypeError, KeyError):
        return None
    return found if isinstance(found, str) and found.isalnum() else None


def keep(
    objects: ObjectStore, keys: Keys, digest: str, manifest: bytes, shards: Iterable[tuple[str, bytes]]
) -> None:
    """Write a form, and then that it is the last good one.

    :param digest: the form's name.
    :param shards: each with the digest of its bytes.
    """
    written = ((keys.compiled_shard(of_bytes), shard) for of_bytes, shard in shards)
    for key, body in chain(written, [(keys.compiled_manifest(digest), manifest)]):
        # Where there is one it is as good: equal shards, or an earlier manifest of the same source.
        objects.create(key, body)
    objects.update(keys.compiled_current(), lambda _: json.dumps({"form": digest}).encode())


def last_good(objects: ObjectStore, keys: Keys) -> tuple[bytes, Callable[[str], bytes]] | None:
    """Return the last good form's manifest, and what reads a shard by its digest; None where there is none."""
    digest = current(objects, keys)
    manifest = _bounded(objects, keys.compiled_manifest(digest)) if digest else None

    def shard(of_bytes: str) -> bytes:
        body = _bounded(objects, keys.compiled_shard(of_bytes))
        if body is None:
            raise PlatformError(f"{objects.uri(keys.compiled_shard(of_bytes))} is not there")
        return body

    return None if manifest is None else (manifest, shard)


def _bounded(objects: ObjectStore, key: str) -> bytes | None:
    for item in objects.items(key, limit=1):
        if item.key == key and item.size_bytes > MAX_OBJECT_BYTES:
            raise PlatformError(f"{objects.uri(key)} has {item.size_bytes} bytes; no form is that large")
    found = objects.get(key)
    return found.body if found else None
