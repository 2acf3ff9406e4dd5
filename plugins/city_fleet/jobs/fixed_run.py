"""What a run is about, fixed by its first task for all its tasks and for whoever runs the same.

Whoever starts a run for the same city, as_of, raw data, settings and scripts finds ``runs/<city>/<key>/run.json`` and
works on the same run: its jobs have the same names, so nothing is paid for twice, whatever Airflow remembers. A person
who asks for it gets another run about the same, a repetition, with a key of its own; who comes later joins the newest.
``docs/adr/0018`` says why the key is made of these things and of no others. A boto3 client is passed in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import count
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from city_fleet import naming, outgoing_text
from city_fleet.errors import PlatformError, PublishError, show_value
from city_fleet.jobs.job_files import goes_by_age
from city_fleet.naming import Keys
from city_fleet.plan import CityPlan, FixedChampion, FixedParent
from city_fleet.state import live
from city_fleet.state.objects import BYTES, ObjectStore, json_of, rounds
from city_fleet.state.raw_listing import raw_items

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

log = outgoing_text.logger(__name__)

FORMAT_VERSION = 1
#: As the preprocess job knows them (``include/scripts/raw_data.py``): files that tools leave beside data.
NO_DATA = re.compile(
    r"[._].*|.*\.crc|.*_\$folder\$|.*\.csv\.metadata|[0-9a-f-]{36}-manifest\.csv", re.IGNORECASE | re.DOTALL
)
_MOVED_ON = b"It works on another run."
# The ETag of an object that was put in one part, without a key of KMS, is the MD5 of its bytes.
_MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class RawObject:
    """A file of a city's raw data, as the run's first task saw it.

    :param name: its key behind the folder of the run's :class:`~city_fleet.raw_places.RawPlace`.
    :param etag: without quotes.
    """

    name: str
    size_bytes: int
    etag: str


@dataclass(frozen=True)
class FixedRun:
    """What the first task of a run has fixed.

    :param as_of: stamp.
    :param repetition: 1 for the first run about the same.
    :param raw: the city's raw data.
    :param champion: the model that served then; None when none did.
    :param asked_by: ``<dag id>/<run id>/<max_tries>`` of the task that has begun it.
    :param parent: the model of the city's parent that served then; None when none did, or the city has no parent.
    """

    key: str
    as_of: str
    repetition: int
    raw: tuple[RawObject, ...]
    champion: FixedChampion | None
    asked_by: str
    parent: FixedParent | None = None

    @property
    def begun_by(self) -> str:
        """Return ``<dag id>/<run id>`` of the DAG run that has begun it."""
        return self.asked_by.rpartition("/")[0]

    def is_about(self, plan: CityPlan, as_of: datetime, code_digest: str) -> bool:
        """Tell whether settings and scripts are still those that it was begun with."""
        about = plan.about(as_of, raw_digest(self.raw), code_digest)
        return self.key == naming.run_key(about, self.repetition)

    def to_json(self) -> bytes:
        return json.dumps({"format_version": FORMAT_VERSION, **asdict(self)}, indent=2).encode()

    @classmethod
    def from_json(cls, body: bytes) -> FixedRun:
        value = json_of(body)
        known = {name: value[name] for name in cls.__dataclass_fields__ if name != "parent"}
        known["raw"] = tuple(RawObject(**each) for each in value["raw"])
        known["champion"] = value["champion"] and FixedChampion(**value["champion"])
        parent = value.get("parent")  # one of an earlier version knows none
        known["parent"] = parent and FixedParent(**parent)
        return cls(**known)


def raw_objects(s3: S3Client, plan: CityPlan) -> tuple[RawObject, ...]:
    """Return the raw data files of a city's run, those left out that no job reads; one request per 1,000.

    Of a parent those of all its cities, by names behind ``raw/``; its own prefix is not read.

    :return: sorted by name; by age, the newest last, where the settings ask which is the newest.
    :raises PlatformError: data elsewhere can't be listed.
    """
    place = plan.raw
    items = raw_items(s3, place)
    if goes_by_age(plan):
        items = sorted(items, key=lambda item: (item.modified, item.key))
    folders = {plan.keys.raw(child).removeprefix(place.folder) for child in plan.children}
    found = []
    for item in items:
        name = item.key.removeprefix(place.folder)
        wanted = not folders or f"{name.partition('/')[0]}/" in folders
        if wanted and not any(NO_DATA.fullmatch(part) for part in name.split("/")):
            found.append(RawObject(name, item.size_bytes, item.etag.strip('"')))
    return tuple(found)


def raw_digest(raw: Iterable[RawObject]) -> str:
    """Return a digest of raw data: another one when a file was added, replaced or taken away."""
    return naming.digest([asdict(each) for each in raw], 32)


def begin(
    s3: S3Client, plan: CityPlan, as_of: datetime, code_digest: str, *, asked_by: str, repeat: bool
) -> FixedRun:
    """Join the newest run about the same, or begin one.

    :param code_digest: of the city's job scripts.
    :param asked_by: ``<dag id>/<run id>/<max_tries>`` of the task that asks; who asks again gets the same run.
    :param repeat: begin one even if there is one already.
    :raises PlatformError: others got in the way for a minute.
    """
    store, keys, city = ObjectStore(s3, plan.keys.bucket), plan.keys, plan.city.slug
    raw = raw_objects(s3, plan)
    about = plan.about(as_of, raw_digest(raw), code_digest)
    attempts = rounds(f"the run about {naming.as_of_stamp(as_of)} of city {city}")
    while True:
        next(attempts)
        known = list(repetitions(store, keys, city, about))
        if known and not repeat:
            return known[-1]
        mine = next((run for run in known if run.asked_by == asked_by), None)
        if mine is not None:
            return mine
        number = len(known) + 1
        fixed = FixedRun(
            naming.run_key(about, number),
            naming.as_of_stamp(as_of),
            number,
            raw,
            champion_of(s3, plan),
            asked_by,
            parent_of(s3, plan),
        )
        if store.create(keys.run_facts(city, fixed.key), fixed.to_json()) is not None:
            return fixed


def find(s3: S3Client, plan: CityPlan, as_of: datetime, code_digest: str) -> tuple[FixedRun, bool]:
    """Return the run that :func:`begin` would join or begin now, and whether there is one to join. Writes nothing."""
    store, keys, city = ObjectStore(s3, plan.keys.bucket), plan.keys, plan.city.slug
    raw = raw_objects(s3, plan)
    about = plan.about(as_of, raw_digest(raw), code_digest)
    known = list(repetitions(store, keys, city, about))
    if known:
        return known[-1], True
    stamp = naming.as_of_stamp(as_of)
    return FixedRun(
        naming.run_key(about, 1), stamp, 1, raw, champion_of(s3, plan), "", parent_of(s3, plan)
    ), False


def repetitions(store: ObjectStore, keys: Keys, city: str, about: str) -> Iterator[FixedRun]:
    """Yield the runs about the same, oldest first; one request each, and one more.

    :raises PlatformError: what is kept of one is not what was written.
    """
    for number in count(1):
        run = read(store, keys, city, naming.run_key(about, number))
        if run is None:
            return
        yield run


def read(store: ObjectStore, keys: Keys, city: str, key: str) -> FixedRun | None:
    """Return what was fixed for a run, or None where nothing is, or is any more.

    :raises PlatformError: what is there is not what the run's first task has written.
    """
    found = store.get(keys.run_facts(city, key))
    if found is None:
        return None
    try:
        run = FixedRun.from_json(found.body)
        if run.key != key:  # its jobs and records would be another run's
            raise ValueError(f"it is that of run {show_value(run.key)}")
        return run
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        uri = store.uri(keys.run_facts(city, key))
        raise PlatformError(
            f"{uri}: does not hold what a run is about ({type(error).__name__}: {error}); somebody else has written "
            f"it. Delete it (`aws s3 rm {uri}`), clear the task 'preprocess', and look who may write below runs/ "
            "(docs/security.md)"
        ) from error


def champion_of(s3: S3Client, plan: CityPlan) -> FixedChampion | None:
    """Return the model that serves a city now."""
    found = live.read(s3, plan.keys, plan.city.slug)
    return FixedChampion(found.pointer.target_model, found.etag, found.pointer.as_of) if found else None


def parent_of(s3: S3Client, plan: CityPlan) -> FixedParent | None:
    """Return the model of a city's parent that serves now; None where there is none that can be believed.

    A city's own model is trained and judged without it, so a broken pointer of the parent's stops no city.
    """
    parent = plan.city.parent
    if parent is None:
        return None
    try:
        found = live.read(s3, plan.keys, parent)
    except PublishError as error:
        log.warning("City %r: its parent's model is left out of the comparison: %s", plan.city.slug, error)
        return None
    return FixedParent(parent, found.pointer.target_model, found.pointer.as_of) if found else None


def difference(
    fixed: FixedRun,
    inputs: Iterable[Mapping[str, Any]],
    prefix_uri: str,
    look: Callable[[], Iterable[RawObject]],
) -> str | None:
    """Return what a job has read that is not what its run is about; None where there is nothing.

    :param inputs: of the preprocess job's manifest: ``uri``, ``size_bytes`` and ``etag`` of each file it has read; the
        last is the MD5 of the bytes.
    :param prefix_uri: that a file's name comes behind.
    :param look: lists the raw data as they are now; asked only where an ETag is not the MD5 of what was read. With a
        key of KMS none is: the ETag says nothing about the bytes, and is another one after every write.
    """
    now: set[RawObject] | None = None
    known = {f"{prefix_uri}{each.name}": each for each in fixed.raw}
    for read_file in inputs:
        uri = str(read_file["uri"])
        file = known.pop(uri, None)
        if file is None:
            return f"{uri} was added"
        same = file.etag == read_file["etag"] or not _MD5.fullmatch(file.etag)
        if not same:
            now = set(look()) if now is None else now
            same = file in now
        if file.size_bytes != read_file["size_bytes"] or not same:
            return f"{uri} was replaced"
    return f"{next(iter(known))} was taken away" if known else None


def attach(store: ObjectStore, keys: Keys, city: str, key: str, run_id: str) -> None:
    """Mark that a DAG run works on a run, so that nobody stops its jobs who does not need them any more."""
    store.put(keys.attached_prefix(city, key) + quote(run_id, safe=""), b"", BYTES)


def detach(store: ObjectStore, keys: Keys, city: str, key: str, run_id: str) -> None:
    """Mark that a DAG run works on another run from now on. Nothing is deleted: tasks need no permission for that."""
    store.put(keys.attached_prefix(city, key) + quote(run_id, safe=""), _MOVED_ON, BYTES)


def attached(store: ObjectStore, prefix: str) -> list[str]:
    """Return the ids of the DAG runs that work on a run.

    :param prefix: where their marks are.
    """
    return [unquote(item.key.removeprefix(prefix)) for item in store.items(prefix) if item.size_bytes == 0]
