"""What is about to be retired: marks in ``state/retired/<city>.json``. A boto3 S3 client is passed in.

Retiring takes two passes. The first one marks what nothing needs, with the time. A later one, when the mark is old
enough and still nothing needs it, moves the mark to ``going`` and then deletes. The object is changed by conditional
writes only, so it is where a pass and a rollback to an old model meet: :func:`claim` takes a mark away before
the live pointer moves, or learns that the model is going. One of the two writes comes first, and so a live pointer
never leads to a model that a pass is deleting.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from city_fleet import clock
from city_fleet.errors import ArtifactError, PublishError
from city_fleet.naming import Keys
from city_fleet.state import installation
from city_fleet.state.objects import ObjectStore, json_of

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


@dataclass(frozen=True)
class Mark:
    """Since when nothing needs a model or a run folder.

    :param since: when the first pass found it so; every pass since then did.
    :param status: approval status of its version at that time; another status starts the time anew.
    """

    since: datetime
    status: str = ""


@dataclass(frozen=True)
class Marks:
    """The marks of one city. Keys are those of S3 below the fleet: ``models/<target model>``, ``runs/<city>/<key>/``.

    :param going: what is being deleted. Nothing comes back from there.
    """

    marked: Mapping[str, Mark] = field(default_factory=dict)
    going: frozenset[str] = frozenset()

    def without(self, names: Iterable[str]) -> Marks:
        """Return the marks without some: they are gone, or needed again."""
        dropped = set(names)
        kept = {name: mark for name, mark in self.marked.items() if name not in dropped}
        return Marks(kept, self.going - dropped)

    def to_json(self, city: str, keys: Keys) -> bytes:
        marked = {
            name: {"since": clock.iso(mark.since), "status": mark.status}
            for name, mark in sorted(self.marked.items())
        }
        whose = {**installation.stamp(keys), "city": city}
        value = {"format_version": 1, **whose, "marked": marked, "going": sorted(self.going)}
        return (json.dumps(value, indent=2) + "\n").encode()

    @classmethod
    def from_json(cls, body: bytes, where: str, keys: Keys) -> Marks:
        """Read the object's bytes.

        :param where: URI for the error message.
        :raises OtherInstallation: they are marks of another installation.
        :raises PublishError: they are not marks of a known format.
        """
        try:
            value = json_of(body)
            if value["format_version"] != 1:
                raise PublishError(
                    f"{where}: format_version is {value['format_version']}, this version of City Fleet reads 1; "
                    "upgrade it"
                )
            advice = f"Somebody has copied it there: `aws s3 rm {where}`; the next pass of `./fleet retire` marks anew"
            installation.refuse_other(keys, value, where, advice)
            marked = {
                str(name): Mark(clock.parse(mark["since"]), str(mark["status"]))
                for name, mark in value["marked"].items()
            }
            if any(mark.since.tzinfo is None for mark in marked.values()):
                raise ValueError("a time without a time zone")
            return cls(marked, frozenset(str(name) for name in value["going"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise PublishError(
                f"{where}: holds no marks ({type(error).__name__}: {error}); when it is deleted, the next pass of "
                "`./fleet retire` marks anew and the grace period starts again"
            ) from error


def model_unit(target_model: str) -> str:
    """Return the name under which a model is marked."""
    return f"models/{target_model}"


def run_unit(city: str, run_key: str) -> str:
    """Return the name under which a run folder is marked."""
    return f"runs/{city}/{run_key}/"


def read(s3: S3Client, keys: Keys, city: str) -> tuple[Marks, str | None]:
    """Return the marks of a city and the ETag that guards them; no marks and None when there is no object.

    :raises PublishError: what is there holds no marks.
    """
    found = ObjectStore(s3, keys.bucket).get(keys.retired(city))
    return (_parsed(found.body, keys, city), found.etag) if found else (Marks(), None)


def write(s3: S3Client, keys: Keys, city: str, marks: Marks, etag: str | None) -> bool:
    """Replace the marks that were read.

    :param etag: as :func:`read` returned it.
    :return: False when another writer has changed them since; nothing is written then.
    :raises PlatformError: others got in the way for a minute.
    """
    store = ObjectStore(s3, keys.bucket)
    return store.replace(keys.retired(city), marks.to_json(city, keys), etag) is not None


def update(s3: S3Client, keys: Keys, city: str, change: Callable[[Marks], Marks]) -> Marks:
    """Change the marks of a city, whatever other writers do at the same time.

    :param change: may be called several times; returns its argument to leave everything as it is.
    :return: the marks afterwards.
    :raises PublishError: what is there holds no marks.
    :raises PlatformError: others got in the way for a minute.
    """

    def changed(body: bytes | None) -> bytes | None:
        before = _parsed(body, keys, city)
        after = change(before)
        return None if after == before else after.to_json(city, keys)

    return _parsed(ObjectStore(s3, keys.bucket).update(keys.retired(city), changed), keys, city)


def _parsed(body: bytes | None, keys: Keys, city: str) -> Marks:
    return Marks() if body is None else Marks.from_json(body, keys.uri(keys.retired(city)), keys)


def claim(s3: S3Client, keys: Keys, city: str, target_model: str) -> None:
    """Make sure that no pass of retiring deletes a model that is about to serve.

    To be called before anything else is done to let the model serve: before its artifact is copied or checked, and
    before the live pointer moves. Afterwards its grace period starts anew, so there is a day at least for all that.
    A model that was never marked costs one read.

    :raises ArtifactError: the model is being deleted.
    """
    unit = model_unit(target_model)

    def change(marks: Marks) -> Marks:
        if unit in marks.going:
            raise ArtifactError(
                f"city {city!r}: {target_model} is being retired, since nothing has needed it for the whole grace "
                f"period; choose another model, or train it anew. `./fleet retire {city}` ends a pass that broke off"
            )
        return marks.without([unit])

    update(s3, keys, city, change)
