"""What an installation's jobs have been billed for, day by day: folded from run records, so that no view reads all.

One object holds what the records say that were announced on a day (UTC). A day that is over is folded once and then
only read; the days of now are brought up to date by a List of their events and a Get of each new record. Folding
depends on the set of records alone: what is deleted is folded again as long as the day's events are there.

A job counts once, on the day on which it has ended, whatever records name it. A boto3 S3 client is passed in.
"""

from __future__ import annotations

import functools
import gzip
import io
import itertools
import json
import operator
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import ClientError

from city_fleet import aws_errors, clock, outgoing_text
from city_fleet.naming import Keys
from city_fleet.state import installation
from city_fleet.state.objects import GZIP, ObjectStore, json_of

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

log = outgoing_text.logger(__name__)

#: A run may end so long after its jobs, while it waits for a person.
RECORDED_WITHIN = timedelta(days=7)
#: Events of a day may turn up so long after it: clocks differ, and a writer may be slow.
_LATE = timedelta(hours=2)
#: Threads at most; never more than the client has connections.
_WORKERS = 16
# The first had a list for each job, and takes three times as long to read.
_FORMAT, _BY_JOB = 2, 1
_MOST_BYTES = 1 << 28
_EVENT = re.compile(r"\d{8}T\d{6}Z/([a-z0-9_]+/\d{8}T\d{6}Z-[^/]+\.json)")
_KINDS = {"preprocess": "Processing", "evaluate": "Processing"}


class PaidJob(NamedTuple):
    """A job as far as its cost goes; of a cohort's job a city's share.

    :param job: the end of its name, which tells jobs of one step of a city apart.
    :param kind: ``Processing`` or ``Training``.
    :param seconds: billable, of each instance; ``saved`` what spare capacity has taken off them.
    :param ended_at: ISO instant, UTC; of a record of an earlier version when the run ended.
    :param waste: ``failed``, ``stopped`` or ``duplicated``; empty for work.
    :param outcome: of its run, and ``run`` its key.
    :param volume_gb: storage of each instance, for as long as it is billed.
    """

    city: str
    job: str
    step: str
    kind: str
    instance_type: str
    instances: int
    seconds: int
    saved: int
    ended_at: str
    waste: str
    outcome: str
    run: str
    volume_gb: int = 0


_NUMBERS = frozenset({"instances", "seconds", "saved", "volume_gb"})
#: Texts that few jobs share; of all others each stands once in a day, and a job has its place.
_OWN_TEXTS = frozenset({"job", "ended_at"})
_as_job = functools.partial(tuple.__new__, PaidJob)


@dataclass(frozen=True)
class Ledger:
    """The jobs of some days.

    :param problems: sentences: what could not be looked at or kept.
    """

    jobs: tuple[PaidJob, ...]
    problems: tuple[str, ...] = ()


def read(
    s3: S3Client,
    keys: Keys,
    since: datetime,
    until: datetime,
    *,
    now: datetime | None = None,
    say: Callable[[str], None] = log.info,
) -> Ledger:
    """Return the jobs that have ended from ``since`` to before ``until``, and fold what is new of those days.

    :param now: this moment; jobs of runs that have not ended yet are not known.
    :param say: is told about work that takes long.
    :raises PlatformError: S3 can't be asked.
    """
    now = now or datetime.now(UTC)
    store, problems = ObjectStore(s3, keys.bucket), dict[str, None]()
    threads = min(_WORKERS, s3.meta.config.max_pool_connections)
    last = min(until + RECORDED_WITHIN, now).date()
    days = [since.date() + timedelta(days=n) for n in range(max(0, (last - since.date()).days + 1))]

    known: dict[date, _Day] = {}
    # Read by several at once, made sense of by this one: that is the processor's work alone.
    with ThreadPoolExecutor(threads) as pool:
        bodies = pool.map(store.get, map(keys.cost_day, days))
        found = [
            (_Day(day), None) if body is None else (_Day.from_bytes(day, body.body, keys), body.etag)
            for day, body in zip(days, bodies, strict=True)
        ]
    for before, etag in found:
        day = before.day
        known[day] = after = (
            before if before.closed else _folded(store, keys, before, now=now, say=say, threads=threads)
        )
        if after != before and (problem := _keep(store, keys, after, etag)):
            problems[problem] = None
    first, end = clock.iso(since.astimezone(UTC)), clock.iso(until.astimezone(UTC))
    jobs = itertools.chain.from_iterable(day.jobs for day in known.values())
    return Ledger(tuple(job for job in once(jobs) if first <= job.ended_at < end), tuple(problems))


_place = operator.itemgetter(*map(PaidJob._fields.index, ("city", "step", "job")))


def once(jobs: Iterable[PaidJob]) -> Iterator[PaidJob]:
    """Yield each job once; one that a record calls waste and another does not is none: its own run made use of it."""
    all_, found = list(jobs), dict[tuple[str, str, str], PaidJob]()
    if len(set(map(_place, all_))) == len(all_):
        return iter(all_)  # as it is mostly; of a million to look at each takes twice as long
    for job in all_:
        place = _place(job)
        other = found.get(place)
        if other is None or (other.waste and not job.waste):
            found[place] = job
    return iter(found.values())


def jobs_of(name: str, record: Mapping[str, Any]) -> list[PaidJob]:
    """Return the jobs that a run record names.

    :param name: the record's key below ``state/runs/``.
    :raises ValueError: it is no run record.
    """
    try:
        city, finished, found = name.split("/", 1)[0], str(record["finished_at"]), []
        clock.parse(finished)
        for number, job in enumerate(record.get("jobs") or ()):
            step, seconds = str(job.get("step") or ""), int(job["billable_seconds"])
            trained = job.get("training_seconds")
            ended = str(job.get("ended_at") or finished)
            clock.parse(ended)
            full = str(job.get("job") or f"{record.get('run_key')}-{number}")
            found.append(
                PaidJob(
                    city=city,
                    job="-".join(full.rsplit("-", 2)[-2:]),
                    step=step,
                    kind=str(job.get("kind") or _KINDS.get(step, "Training")),
                    instance_type=str(job["instance_type"]),
                    instances=int(job.get("instance_count") or 1),
                    seconds=seconds,
                    saved=max(0, int(trained) - seconds) if trained is not None and job.get("spot") else 0,
                    ended_at=ended,
                    waste=str(job.get("waste") or ""),
                    outcome=str(record["outcome"]),
                    run=str(record.get("run_key") or ""),
                    volume_gb=int(job.get("volume_gb") or 0),
                )
            )
        return found
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"{name}: is not a run record ({type(error).__name__}: {error})") from error


@dataclass(frozen=True)
class _Day:
    """What was announced on one day.

    :param folded: names of the events that are in it; empty once it is closed.
    """

    day: date
    closed: bool = False
    folded: frozenset[str] = frozenset()
    jobs: tuple[PaidJob, ...] = ()

    def to_bytes(self, keys: Keys) -> bytes:
        columns = dict(zip(PaidJob._fields, zip(*sorted(self.jobs), strict=True), strict=False))
        shared = [name for name in columns if name not in _NUMBERS | _OWN_TEXTS]
        words = sorted({word for name in shared for word in columns[name]})
        places = {word: place for place, word in enumerate(words)}
        value = {
            "format_version": _FORMAT,
            **installation.stamp(keys),
            "day": self.day.isoformat(),
            "closed": self.closed,
            "folded": sorted(self.folded),
            "words": words,
            "jobs": columns | {name: [places[word] for word in columns[name]] for name in shared},
        }
        return gzip.compress(json.dumps(value, separators=(",", ":")).encode(), compresslevel=5, mtime=0)

    @classmethod
    def from_bytes(cls, day: date, body: bytes, keys: Keys) -> _Day:
        """Read what :meth:`to_bytes` wrote; an empty day for anything else, which is then folded anew."""
        try:
            with gzip.open(io.BytesIO(body)) as file:
                text = file.read(_MOST_BYTES + 1)
            value = json_of(text)
            if len(text) > _MOST_BYTES or value["format_version"] not in (_FORMAT, _BY_JOB):
                return cls(day)
            if value["day"] != day.isoformat() or installation.other(keys, value) is not None:
                return cls(day)
            # A month of 10,000 cities has a million of them: what is done here is done column by column.
            columns: Mapping[str, Sequence[Any]]
            if value["format_version"] == _BY_JOB:
                columns = dict(zip(PaidJob._fields, zip(*value["jobs"], strict=True), strict=False))
            else:
                columns = _with_words(value["jobs"], value["words"])
            if columns and "volume_gb" not in columns:  # as the first format has it
                columns = {**columns, "volume_gb": [0] * len(columns["city"])}
            ordered = [columns[name] for name in PaidJob._fields] if columns else []
            for name, column in columns.items():
                if set(map(type, column)) != {int if name in _NUMBERS else str}:
                    return cls(day)
            jobs = tuple(map(_as_job, zip(*ordered, strict=True)))
            return cls(day, bool(value["closed"]), frozenset(value["folded"]), jobs)
        except (
            OSError,
            EOFError,
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            RecursionError,
            zlib.error,
        ):
            return cls(day)


def _with_words(columns: Mapping[str, list[Any]], words: list[Any]) -> dict[str, list[Any]]:
    """Return the columns of a day with texts where it has the places of words.

    :raises LookupError: a place has none.
    """
    found = {}
    for name, column in columns.items():
        if name in _NUMBERS | _OWN_TEXTS:
            found[name] = column
            continue
        if column and min(column) < 0:
            raise LookupError(name)
        found[name] = list(map(words.__getitem__, column))
    return found


def _folded(
    store: ObjectStore, keys: Keys, before: _Day, *, now: datetime, say: Callable[[str], None], threads: int
) -> _Day:
    prefix = keys.events_prefix()
    events = {item.key.removeprefix(prefix) for item in store.items(f"{prefix}{before.day:%Y%m%d}")}
    new = {event: found[1] for event in events - before.folded if (found := _EVENT.fullmatch(event))}
    if len(new) > 500:
        say(f"Reading {len(new)} run records of {before.day}")
    read_ = _read_records(store, keys, set(new.values()), threads)
    # The record of an event may still come, while the day is young.
    done = frozenset(event for event, name in new.items() if name in read_)
    jobs = tuple(once([*before.jobs, *(job for name in sorted(read_) for job in read_[name])]))
    over = now >= datetime.combine(before.day, datetime.min.time(), UTC) + timedelta(days=1) + _LATE
    if not over or not (jobs or events or before.jobs):
        # A day without any run is not kept: there are many of them.
        return _Day(before.day, False, before.folded | done, jobs)
    return _Day(before.day, True, frozenset(), jobs)


def _read_records(
    store: ObjectStore, keys: Keys, names: Iterable[str], threads: int
) -> dict[str, list[PaidJob]]:
    """Return the jobs of the records that are there; none of what is no record."""

    def one(name: str) -> tuple[str, list[PaidJob]] | None:
        found = store.get(keys.records_prefix() + name)
        if found is None:
            return None
        try:
            record = json_of(found.body)
            if not isinstance(record, dict):
                raise ValueError(f"{name}: is not a run record")
            whose = installation.other(keys, record)
            if whose is not None:
                raise ValueError(f"{name}: is a run of {whose}")
            return name, jobs_of(name, record)
        except ValueError as error:
            log.warning("%s is passed over: %s", store.uri(keys.records_prefix() + name), error)
            return name, []

    with ThreadPoolExecutor(threads) as pool:
        return dict(found for found in pool.map(one, sorted(names)) if found is not None)


def _keep(store: ObjectStore, keys: Keys, day: _Day, etag: str | None) -> str | None:
    """Write a day; who loses against another writer leaves it, since a fold of the same says the same.

    :return: why it can't be written.
    """
    try:
        store.replace(keys.cost_day(day.day), day.to_bytes(keys), etag, GZIP)
    except ClientError as error:
        if not aws_errors.is_denied(error):
            raise
        return f"what the days have cost could not be kept, and is read again next time: {error}"
    return None
