"""What a fleet-wide view knows of each city: its champion and its last runs. Pure.

Run records are folded in, in any order and as often as one likes: the result depends on the set of records alone.
Of each city the runs with the newest as_of are kept, and the one that ended last; a run that ended more than once
counts as it ended last.
"""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from city_fleet import naming
from city_fleet.state import pointer_checks
from city_fleet.state.live_pointer import LivePointer

FORMAT_VERSION = 1
#: Runs kept per city. A digest of last night needs one; a city that failed twice still shows what it did before.
KEPT_RUNS = 3
_LONGEST_REASON = 300
_REASONS = 3
# Unpacked; that of 10,000 cities takes 20 MB.
_MOST_BYTES = 1 << 28


@dataclass(frozen=True)
class RunSummary:
    """A run record as far as a fleet-wide view needs it.

    :param as_of: stamp of the moment up to which the run has seen data.
    :param run_key: ten hex digits that stand for the run.
    :param finished_at: ISO 8601 instant in UTC, the same length in every record.
    :param outcome: how it ended, a value of :class:`~city_fleet.state.outcomes.Outcome`.
    :param record: the record's key below ``state/runs/``.
    :param reasons: sentences, the deciding one first; at most three, shortened.
    :param failed_task: the task that failed, if one did, and ``error``, the class of its error.
    :param seconds: billable seconds by instance type.
    """

    as_of: str
    run_key: str
    finished_at: str
    record: str
    outcome: str
    run_id: str = ""
    reasons: tuple[str, ...] = ()
    failed_task: str | None = None
    error: str | None = None
    target_model: str | None = None
    package_version: int | None = None
    seconds: tuple[tuple[str, int], ...] = ()

    @classmethod
    def of_record(cls, name: str, record: Mapping[str, Any]) -> RunSummary:
        """Shorten a run record.

        :param name: its key below ``state/runs/``: ``<city>/<as_of>-<run key>.json``.
        :raises ValueError: it is not a run record.
        """
        try:
            stamp, run_key = name.split("/", 1)[1].removesuffix(".json").split("-")[:2]
            if stamp != record["as_of"]:
                raise ValueError(f"{name}: as_of is {record['as_of']!r}")
            seconds: dict[str, int] = {}
            for job in record.get("jobs") or ():
                kind = str(job["instance_type"])
                seconds[kind] = seconds.get(kind, 0) + int(job["billable_seconds"])
            found = cls(
                as_of=stamp,
                run_key=run_key,
                finished_at=str(record["finished_at"]),
                record=name,
                outcome=str(record["outcome"]),
                run_id=str(record.get("run_id") or ""),
                reasons=tuple(str(text)[:_LONGEST_REASON] for text in record.get("reasons") or ())[:_REASONS],
                failed_task=record.get("failed_task"),
                error=(record.get("failure") or {}).get("error"),
                target_model=record.get("target_model"),
                package_version=record.get("package_version"),
                seconds=tuple(sorted(seconds.items())),
            )
            found._check()
            return found
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise ValueError(f"{name}: is not a run record ({type(error).__name__}: {error})") from error

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> RunSummary:
        known = {name: value[name] for name in cls.__dataclass_fields__ if name in value}
        known["reasons"] = tuple(known.get("reasons", ()))
        known["seconds"] = tuple((str(kind), int(seconds)) for kind, seconds in known.get("seconds", ()))
        found = cls(**known)
        found._check()
        return found

    def _check(self) -> None:
        """Refuse members that would only hurt later.

        :raises ValueError: one is of another type.
        """
        texts = (self.run_key, self.finished_at, self.record, self.outcome, self.run_id, *self.reasons)
        _check(self.as_of, texts, (self.failed_task, self.error, self.target_model))


@dataclass(frozen=True)
class Champion:
    """A live pointer as far as a fleet-wide view needs it.

    :param etag: of the pointer's object: another one means that the pointer has moved.
    :param problem: why the object is not a pointer, if it is not; the other fields are empty then.
    :param as_of: stamp of the moment up to which the model may have seen data.
    :param settings_digest: of the settings that made the model, and ``code_digest`` of the scripts; None if unknown.
    :param data_until: first day of the newest period that its data held, an ISO date; None if unknown.
    """

    etag: str
    problem: str | None = None
    target_model: str = ""
    as_of: str = ""
    sequence: int = 0
    package_arn: str = ""
    published_at: str = ""
    published_by: str = ""
    pinned: bool = False
    reason: str = ""
    metrics: dict[str, float | None] = field(default_factory=dict)
    settings_digest: str | None = None
    code_digest: str | None = None
    data_until: str | None = None

    @classmethod
    def of_pointer(cls, pointer: LivePointer, etag: str) -> Champion:
        shared = {name for name in cls.__dataclass_fields__ if name in pointer.__dataclass_fields__}
        return cls(etag=etag, **{name: getattr(pointer, name) for name in shared})

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Champion:
        found = cls(**{name: value[name] for name in cls.__dataclass_fields__ if name in value})
        if found.problem is None:
            texts = (
                found.etag,
                found.target_model,
                found.package_arn,
                found.published_at,
                found.published_by,
            )
            optional = (found.settings_digest, found.code_digest, found.data_until)
            _check(found.as_of, (*texts, found.reason), optional)
            pointer_checks.check_metrics(found.metrics)
        return found


def _check(as_of: str, texts: Iterable[object], optional: Iterable[object]) -> None:
    """Refuse what would end whoever looks at it. The index lies in the bucket as everything else does.

    :raises ValueError: a text is none, or ``as_of`` no instant.
    """
    naming.parse_as_of(as_of)
    if not all(isinstance(text, str) for text in (*texts, *(text for text in optional if text is not None))):
        raise ValueError("a text of the index is none")


@dataclass(frozen=True)
class IndexEntry:
    """What the index knows of one city.

    :param runs: newest as_of first.
    """

    champion: Champion | None = None
    runs: tuple[RunSummary, ...] = ()

    @property
    def last_run(self) -> RunSummary | None:
        return max(self.runs, key=_end, default=None)


@dataclass(frozen=True)
class Index:
    """The index of a fleet.

    :param watermark: stamp of the newest event that is folded in; None when none was ever.
    :param folded: names of the events that are folded in and so new that an older one may still turn up after them.
    :param cities: by slug; also cities that are not in the fleet file any more.
    :param fleet: whose index it is, with ``environment``; empty until it is written, and in those of earlier versions.
    """

    watermark: str | None = None
    folded: frozenset[str] = frozenset()
    cities: Mapping[str, IndexEntry] = field(default_factory=dict)
    fleet: str = ""
    environment: str = ""

    def with_runs(self, runs: Iterable[tuple[str, RunSummary]]) -> Index:
        """Return the index with runs folded in.

        :param runs: city and run.
        """
        new: dict[str, list[RunSummary]] = {}
        for city, run in runs:
            new.setdefault(city, []).append(run)
        cities = dict(self.cities)
        for city, found in new.items():
            entry = cities.get(city, IndexEntry())
            cities[city] = replace(entry, runs=kept([*entry.runs, *found]))
        return replace(self, cities=cities)

    def with_champions(self, champions: Mapping[str, Champion | None]) -> Index:
        """Return the index with the champions of some cities; None takes a champion away."""
        cities = dict(self.cities)
        for city, champion in champions.items():
            cities[city] = replace(cities.get(city, IndexEntry()), champion=champion)
        return replace(self, cities=cities)

    def to_bytes(self) -> bytes:
        """Return the index as it stands in S3: JSON, compressed. Equal indexes have equal bytes."""
        value = {
            "format_version": FORMAT_VERSION,
            "fleet": self.fleet,
            "environment": self.environment,
            "watermark": self.watermark,
            "folded": sorted(self.folded),
            "cities": {
                city: {
                    "champion": _filled(entry.champion) if entry.champion else None,
                    "runs": [_filled(run) for run in entry.runs],
                }
                for city, entry in sorted(self.cities.items())
            },
        }
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        return gzip.compress(text.encode(), compresslevel=5, mtime=0)

    @classmethod
    def from_bytes(cls, body: bytes) -> Index | None:
        """Read what :meth:`to_bytes` wrote; None for anything else: the index is then built anew."""
        try:
            value = _unpacked(body)
            if value["format_version"] != FORMAT_VERSION:
                return None
            if value["watermark"] is not None:
                naming.parse_as_of(value["watermark"])
            cities = {
                city: IndexEntry(
                    Champion.from_dict(entry["champion"]) if entry["champion"] else None,
                    tuple(RunSummary.from_dict(run) for run in entry["runs"]),
                )
                for city, entry in value["cities"].items()
            }
            whose = str(value.get("fleet", "")), str(value.get("environment", ""))
            return cls(value["watermark"], frozenset(value["folded"]), cities, *whose)
        except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError):
            return None


def _unpacked(body: bytes) -> Any:
    try:
        with gzip.open(io.BytesIO(body)) as file:
            text = file.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            raise ValueError("it is larger than any index")
        return json.loads(text)
    except (RecursionError, zlib.error) as error:
        raise ValueError("it is no index") from error


def kept(runs: Iterable[RunSummary]) -> tuple[RunSummary, ...]:
    """Return those of a city's runs that the index keeps, newest as_of first; of one as_of, what ended last.

    Keeping what is kept of a part, together with the rest, keeps the same: folding may go in any steps.
    """
    newest: dict[tuple[str, str], RunSummary] = {}
    for run in runs:
        place = (run.as_of, run.run_key)
        other = newest.get(place)
        if other is None or _end(other) < _end(run):
            newest[place] = run
    ordered = sorted(newest.values(), key=lambda run: (run.as_of, _end(run)), reverse=True)
    last = max(ordered, key=_end, default=None)
    return tuple(run for number, run in enumerate(ordered) if number < KEPT_RUNS or run is last)


def _end(run: RunSummary) -> tuple[str, str]:
    return run.finished_at, run.record


def _filled(value: RunSummary | Champion) -> dict[str, Any]:
    """Return the fields that hold something: most of a fleet's are empty, and there are thousands of them."""
    fields = ((name, getattr(value, name)) for name in value.__dataclass_fields__)
    return {name: held for name, held in fields if held not in (None, "", (), {}, 0, False)}
