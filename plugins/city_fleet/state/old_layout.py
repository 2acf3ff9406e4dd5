"""The layout of before, in which nothing told the environments of a fleet apart: found, and refused until it is moved.

Objects stood right below the fleet (``<fleet>/live/<city>.json``), and names in AWS joined slugs by one hyphen. An
installation that begins anew beside what it has left there would have no champion and serve nothing, so everything that
writes asks :func:`refuse` first. ``./fleet migrate`` moves it, and leaves a mark.

A boto3 S3 client is passed in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from city_fleet import aws_errors, clock, naming
from city_fleet.errors import OldLayout
from city_fleet.naming import Keys
from city_fleet.state import installation
from city_fleet.state.objects import ObjectStore, json_of

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

#: What stood right below the fleet; raw data stay there.
FOLDERS = ("code", "history", "live", "models", "runs", "state")
_READERS = 16


def old_prefix(keys: Keys, folder: str) -> str:
    """Return where one of :data:`FOLDERS` stood."""
    return f"{keys.fleet}/{folder}/"


def old_package_group(keys: Keys, city: str) -> str:
    return _old_name(keys.fleet, keys.environment, city)


def old_endpoint(keys: Keys) -> str:
    return _old_name(keys.fleet, keys.environment)


def _old_name(*parts: str) -> str:
    """Return how a name was made: joined by single hyphens, the end of a long one replaced by six digits of a hash."""
    name = "-".join(part.replace("_", "-") for part in parts)
    if len(name) <= naming.MAX_AWS_NAME_LENGTH:
        return name
    marker = "-" + naming.digest(name, 6)
    return name[: naming.MAX_AWS_NAME_LENGTH - len(marker)].rstrip("-") + marker


def refuse(s3: S3Client, keys: Keys) -> None:
    """Refuse to write while something of before awaits being moved. One List, where there never was anything.

    :raises OldLayout: with the command that moves it.
    """
    left = left_over(s3, keys, remember=True)
    if left is None:
        return
    command = f"./fleet migrate --fleet {keys.fleet}"
    raise OldLayout(
        f"{left}: an earlier version of City Fleet has left it for fleet {keys.fleet!r}, environment "
        f"{keys.environment!r}. What this installation writes stands below {keys.uri(keys.prefix)} now, so that two "
        f"environments can share a bucket. Nothing was changed. `{command}` moves it, once; add --dry-run to see what "
        "it would do",
        fleet=keys.fleet,
        command=command,
    )


def left_over(s3: S3Client, keys: Keys, *, remember: bool = False) -> str | None:
    """Return the URI of a live pointer of before that is this installation's and awaits being moved, or None.

    :param remember: where all pointers of before are another environment's, keep that, so that the next who asks need
        not read them again.
    """
    store, folder = ObjectStore(s3, keys.bucket), old_prefix(keys, "live")
    if not any(store.items(folder, limit=1)) or store.exists(keys.moved()):
        return None
    found = next(own_pointers(store, keys), None)
    if found is None and remember:
        try:
            keep_moved(store, keys, {"reason": f"no live pointer below {folder} is this installation's"})
        except ClientError as error:
            if not aws_errors.is_denied(error):
                raise
    return None if found is None else keys.uri(found)


def own_pointers(store: ObjectStore, keys: Keys) -> Iterator[str]:
    """Yield the keys of the live pointers of before that are this installation's."""
    listed = (item.key for item in store.items(old_prefix(keys, "live")))
    with ThreadPoolExecutor(_READERS) as pool:
        while some := list(islice(listed, _READERS)):
            for key, found in zip(some, pool.map(store.get, some), strict=True):
                if found is not None and is_own(keys, key, found.body):
                    yield key


def is_own(keys: Keys, key: str, body: bytes) -> bool:
    """Tell whether a live pointer of before, or a copy of one, is this installation's, by its package group.

    :param key: ``<fleet>/live/<city>.json`` or ``<fleet>/history/<city>/<sequence>.json``.
    """
    city = key.split("/")[2].removesuffix(".json")
    try:
        pointer = json_of(body)
        group = str(pointer["package_arn"]).rsplit("/", 2)[-2]
    except (ValueError, KeyError, TypeError, IndexError):
        return False
    return group == old_package_group(keys, city)


def keep_moved(store: ObjectStore, keys: Keys, facts: dict[str, object]) -> None:
    """Keep that nothing of before awaits being moved."""
    mark = {"format_version": 1, **installation.stamp(keys), "at": clock.now_iso(), **facts}
    store.create(keys.moved(), (json.dumps(mark, indent=2) + "\n").encode())
