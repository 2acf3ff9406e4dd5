"""The index of a fleet in S3: folded from run records and live pointers, so that no view reads thousands of them.

What is new is found by a few Lists: the events name the run records written since the last fold, and the ETags of
the live pointers tell which of them have moved. The index is one object, written under a condition: of two who fold
at the same time the second one folds again, on top of the first one's index. It can be built anew at any time.

A boto3 S3 client is passed in; give it ``max_pool_connections`` of at least :data:`WORKERS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from city_fleet import aws_errors, naming, outgoing_text
from city_fleet.errors import PublishError
from city_fleet.naming import Keys
from city_fleet.state import installation, live
from city_fleet.state.index_state import KEPT_NIGHTS, Champion, Index, RunSummary
from city_fleet.state.objects import GZIP, ObjectStore, Unchanged, json_of, rounds
from city_fleet.state.pointer_checks import MAX_POINTER_BYTES

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

log = outgoing_text.logger(__name__)

WORKERS = 16
#: An event may turn up this long after newer ones: clocks differ, and a writer may be slow. S3 itself refuses
#: requests that are signed more than 15 minutes off its own clock.
LATE = timedelta(hours=1)
_SOON = timedelta(minutes=1)
_MANY = 500
_RECORD = re.compile(r"[a-z0-9_]+/\d{8}T\d{6}Z-[^/]+\.json")
_EVENT = re.compile(rf"\d{{8}}T\d{{6}}Z/{_RECORD.pattern}")


@dataclass(frozen=True)
class Refreshed:
    """The index as it is now.

    :param runs: how many records were folded in.
    :param behind: how many announced records are not folded in yet, because there were too many at once.
    :param problem: why the index could not be written back, if it could not; what it says holds all the same.
    :param etag: of the object in S3 that says the same; None where it does not.
    """

    index: Index
    runs: int = 0
    behind: int = 0
    problem: str | None = None
    etag: str | None = None


def refresh(
    s3: S3Client,
    keys: Keys,
    *,
    limit: int | None = None,
    anew: bool = False,
    known: Refreshed | None = None,
    say: Callable[[str], None] = log.info,
) -> Refreshed:
    """Bring the index up to date and return it. Where there is none yet, it is built from all records.

    :param limit: fold in at most so many records, oldest first; the next call goes on there.
    :param anew: build it from all records in any case.
    :param known: what this returned before: an index that is still the same is neither fetched nor unpacked again.
    :param say: is told about work that takes long.
    :raises PlatformError: others wrote the index for a minute, each time while it was folded.
    """
    records: dict[str, RunSummary | None] = {}
    attempts = rounds(keys.uri(keys.index()))
    while True:
        next(attempts)
        before, etag = load(s3, keys, known)
        if before is None or anew:
            say(f"Building the index of fleet {keys.fleet} from its run records")
            after, behind = build(s3, keys), 0
            runs = sum(len(entry.runs) for entry in after.cities.values())
        else:
            events, moment = _new_events(s3, keys, before)
            now, behind = events[:limit], len(events[limit:]) if limit is not None else 0
            wanted = {_record(event) for event in now} - records.keys()
            if len(wanted) > _MANY:
                say(f"Reading {len(wanted)} new run records of fleet {keys.fleet}")
            records |= _read_records(s3, keys, wanted)
            after = _fold(before, now, records, moment)
            after = after.with_champions(_moved_champions(s3, keys, after))
            runs = sum(records.get(_record(event)) is not None for event in now)
        after = replace(after, **installation.stamp(keys))
        if after == before:
            # The same object, if it is the same: whoever makes something of it need not make it again.
            return Refreshed(before, etag=etag)
        try:
            written = ObjectStore(s3, keys.bucket).replace(keys.index(), after.to_bytes(), etag, GZIP)
        except ClientError as error:
            if aws_errors.is_denied(error):
                return Refreshed(after, runs, behind, f"the index could not be written: {error}")
            raise
        if written is not None:
            return Refreshed(after, runs, behind, etag=written)


def load(s3: S3Client, keys: Keys, known: Refreshed | None = None) -> tuple[Index | None, str | None]:
    """Return the index as it stands in S3 and its ETag.

    :param known: what is known of it, if anything.
    :return: no index and no ETag where there is no object; no index but an ETag where the object is none, or one
        of another version of City Fleet or of another installation.
    """
    store = ObjectStore(s3, keys.bucket)
    if known is not None and known.etag is not None:
        changed = store.get_changed(keys.index(), known.etag)
        if isinstance(changed, Unchanged):
            return known.index, known.etag
        found = changed
    else:
        found = store.get(keys.index())
    if found is None:
        return None, None
    index = Index.from_bytes(found.body)
    if index is not None and installation.other(keys, vars(index)) is not None:
        log.warning("%s is of another installation, and is built anew", keys.uri(keys.index()))
        index = None
    return index, found.etag


def build(s3: S3Client, keys: Keys) -> Index:
    """Make the index anew from records and pointers; takes a List of all records, and reads a few per city."""
    wanted: dict[str, list[tuple[str, datetime]]] = {}
    started = None
    for item in ObjectStore(s3, keys.bucket).items(keys.records_prefix()):
        started = started or item.listed_at
        name = item.key.removeprefix(keys.records_prefix())
        if _RECORD.fullmatch(name):
            wanted.setdefault(name.split("/")[0], []).append((name, item.modified))
    names = [name for of_city in wanted.values() for name in _worth_reading(of_city)]
    records = _read_records(s3, keys, names)
    found = [(name.split("/")[0], run) for name, run in records.items() if run is not None]
    # Events since the start of the List are folded in again by the next refresh, which changes nothing.
    index = Index(watermark=naming.as_of_stamp(started) if started else None).with_runs(found)
    return index.with_champions(_moved_champions(s3, keys, index))


def runs_between(
    s3: S3Client, keys: Keys, cities: Iterable[str], since: datetime, until: datetime
) -> dict[str, RunSummary]:
    """Return each city's last run with an as_of after ``since`` and up to ``until``, from the records themselves.

    :param cities: takes a List and a Get of each.
    """
    first, last = naming.as_of_stamp(since), naming.as_of_stamp(until)

    def read(city: str) -> RunSummary | None:
        prefix = f"{keys.records_prefix()}{city}/"
        names = []
        # "~": behind all keys of that moment.
        for item in ObjectStore(s3, keys.bucket).items(prefix, after=f"{prefix}{first}~"):
            stamp = item.key.removeprefix(prefix).split("-")[0]
            if stamp > last:
                break
            names.append(item.key.removeprefix(keys.records_prefix()))
        if not names:
            return None
        newest = max(_run_of(name) for name in names)
        found = _read_records(s3, keys, [name for name in names if _run_of(name) == newest]).values()
        return max((run for run in found if run), key=lambda run: run.finished_at, default=None)

    cities = list(cities)
    with ThreadPoolExecutor(WORKERS) as pool:
        runs = zip(cities, pool.map(read, cities), strict=True)
        return {city: run for city, run in runs if run is not None}


def _worth_reading(records: list[tuple[str, datetime]]) -> Iterable[str]:
    """Return the records of a city that the index may keep.

    :param records: name and time of writing of each.
    """
    runs = sorted({_run_of(name) for name, _ in records}, reverse=True)[:KEPT_NIGHTS]
    # A record is written within seconds of what it gives as the run's end.
    last = max(moment for _, moment in records) - _SOON
    return [name for name, moment in records if _run_of(name) in runs or moment >= last]


def _run_of(record: str) -> tuple[str, ...]:
    """Return as_of and run key of a record's name; a run that ended again has a digest behind them."""
    return tuple(record.split("/", 1)[1].removesuffix(".json").split("-")[:2])


def _record(event: str) -> str:
    """Return the name of the record that an event announces."""
    return event.split("/", 1)[1]


def _new_events(s3: S3Client, keys: Keys, index: Index) -> tuple[list[str], datetime]:
    """Return the events that are not folded in yet, oldest first, and the time on S3's clock."""
    after = "" if index.watermark is None else _minus(naming.parse_as_of(index.watermark), LATE)
    prefix = keys.events_prefix()
    names, moment = [], datetime.now(UTC)
    for item in ObjectStore(s3, keys.bucket).items(prefix, after=prefix + after):
        moment = item.listed_at  # the last page's counts
        name = item.key.removeprefix(prefix)
        if name not in index.folded and _EVENT.fullmatch(name):
            names.append(name)
    return names, moment


def _fold(before: Index, events: list[str], records: dict[str, RunSummary | None], moment: datetime) -> Index:
    """Return the index with what the events announced.

    An event whose record is not there stays new for a while: the record may still come.

    :param records: what was read; None for what is not a record.
    """
    overdue = _minus(moment, LATE)
    done = [event for event in events if _record(event) in records or event < overdue]
    if not done:
        return before
    watermark = max([before.watermark or "", *(event.split("/", 1)[0] for event in done)])
    recent = _minus(naming.parse_as_of(watermark), LATE)
    found = {_record(event): records.get(_record(event)) for event in done}
    index = before.with_runs((name.split("/")[0], run) for name, run in found.items() if run is not None)
    return replace(
        index,
        watermark=watermark,
        folded=frozenset(event for event in {*before.folded, *done} if event >= recent),
    )


def _minus(moment: datetime, span: timedelta) -> str:
    return naming.as_of_stamp(moment - span)


def _read_records(s3: S3Client, keys: Keys, names: Iterable[str]) -> dict[str, RunSummary | None]:
    """Return the records that are there by name; None for one that is not a record."""

    def read(name: str) -> tuple[str, RunSummary | None] | None:
        found = ObjectStore(s3, keys.bucket).get(keys.records_prefix() + name)
        if found is None:
            return None
        try:
            record = json_of(found.body)
            whose = installation.other(keys, record) if isinstance(record, dict) else None
            if whose is not None:
                raise ValueError(f"{name}: is a run of {whose}")
            return name, RunSummary.of_record(name, record)
        except ValueError as error:
            log.warning("%s is passed over: %s", keys.uri(keys.records_prefix() + name), error)
            return name, None

    with ThreadPoolExecutor(WORKERS) as pool:
        return dict(found for found in pool.map(read, sorted(names)) if found is not None)


def _moved_champions(s3: S3Client, keys: Keys, index: Index) -> dict[str, Champion | None]:
    """Return the champions of the cities whose live pointer is another one than the index knows."""
    prefix = keys.live("").removesuffix(".json")
    store = ObjectStore(s3, keys.bucket)
    listed: dict[str, str] = {}
    for item in store.items(prefix):
        city = item.key.removeprefix(prefix).removesuffix(".json")
        if naming.is_slug(city):
            listed[city] = item.etag
    known = {city: entry.champion.etag for city, entry in index.cities.items() if entry.champion}
    moved = [city for city, etag in listed.items() if known.get(city) != etag]

    def read(city: str) -> Champion | None:
        found = store.get(keys.live(city), MAX_POINTER_BYTES)
        if found is None:
            return None
        try:
            return Champion.of_pointer(live.parse(keys, keys.live(city), found.body), found.etag)
        except PublishError as error:
            return Champion(etag=found.etag, problem=str(error))

    with ThreadPoolExecutor(WORKERS) as pool:
        changed = dict(zip(moved, pool.map(read, moved), strict=True))
    return {**changed, **dict.fromkeys(known.keys() - listed.keys(), None)}
