"""What a fleet-wide view knows of each city: its champion and its last runs. Pure.

Run records are folded in, in any order and as often as one likes: the result depends on the set of records alone.
Of each city the runs with the newest as_of are kept, and the one that ended last; a run that ended more than once
counts as it ended last.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from city_fleet import naming
from city_fleet.metrics import METRICS
from city_fleet.state import pointer_checks
from city_fleet.state.live_pointer import LivePointer

Kept = TypeVar("Kept", "RunSummary", "Night")

FORMAT_VERSION = 1
#: Runs kept per city. A digest of last night needs one; a city that failed twice still shows what it did before.
KEPT_RUNS = 3
#: Runs of which outcome and metrics are kept beyond that, so that a view shows how they went from night to night.
KEPT_NIGHTS = 10
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
    :param data_until: first day of the newest period that was known, an ISO date; None if unknown.
    :param beaten: target model of the champion that was worse than the city's parent; None where there was none.
    :param doubt: how far the 80 % interval of the next period reaches, as a share of the forecast; None if unknown.
    :param metric: that the gate compared; None of a run that was not judged.
    :param value: of the run's own model; ``baseline``: of the best prediction without a model; ``against``: of the
        champion it was judged against; None where there is none.
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
    data_until: str | None = None
    beaten: str | None = None
    doubt: float | None = None
    metric: str | None = None
    value: float | None = None
    baseline: float | None = None
    against: float | None = None

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
                data_until=record.get("data_until"),
                beaten=_beaten(record.get("decision")),
                doubt=record.get("doubt"),
                **_judged(record.get("decision")),
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
        optional = (
            self.failed_task,
            self.error,
            self.target_model,
            self.data_until,
            self.beaten,
            self.metric,
        )
        _check(self.as_of, texts, optional)
        _check_numbers(self.value, self.baseline, self.against, self.doubt)


@dataclass(frozen=True)
class Night:
    """A run as far as a line over many nights needs it; the members are those of :class:`RunSummary`."""

    as_of: str
    run_key: str
    finished_at: str
    outcome: str
    metric: str | None = None
    value: float | None = None
    baseline: float | None = None
    against: float | None = None

    @classmethod
    def of_run(cls, run: RunSummary) -> Night:
        return cls(**{name: getattr(run, name) for name in cls.__dataclass_fields__})

    @classmethod
    def from_list(cls, value: list[Any]) -> Night:
        found = cls(*value)
        _check(found.as_of, (found.run_key, found.finished_at, found.outcome), (found.metric,))
        _check_numbers(found.value, found.baseline, found.against)
        return found

    def to_list(self) -> list[Any]:
        """Return the members in their order, without names: there are ten of these for each city."""
        values = [getattr(self, name) for name in self.__dataclass_fields__]
        while values[-1] is None:
            values.pop()
        return values


def _beaten(decision: Any) -> str | None:
    decided = isinstance(decision, Mapping) and decision.get("parent_serves") is True
    return decision.get("champion_target_model") if decided else None


def _judged(decision: Any) -> dict[str, Any]:
    """Return what the gate compared, of a decision of any version; nothing of what is not as it should be."""
    if not isinstance(decision, Mapping) or not isinstance(decision.get("metrics"), Mapping):
        return {}
    name = decision.get("metric", "mape")
    if name not in METRICS:
        return {}

    def of(measured: Any) -> float | None:
        value = measured.get(name) if isinstance(measured, Mapping) else None
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return float(f"{value:.6g}") if number else None

    metrics, baselines = decision["metrics"], decision.get("baselines")
    without_model = (
        baselines.values() if isinstance(baselines, Mapping) and baselines else [metrics.get("naive")]
    )
    known = [value for value in map(of, without_model) if value is not None]
    best = (max if METRICS[name].higher else min)(known, default=None)
    found = {"value": of(metrics.get("challenger")), "baseline": best, "against": of(metrics.get("champion"))}
    return {"metric": name, **found} if any(value is not None for value in found.values()) else {}


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


def _check_numbers(*values: object) -> None:
    """:raises ValueError: one is neither a finite number nor None."""
    for value in values:
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value)
        ):
            raise ValueError("a number of the index is none")


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
    :param nights: of more runs than these the outcome and the metrics, newest as_of first.
    """

    champion: Champion | None = None
    runs: tuple[RunSummary, ...] = ()
    nights: tuple[Night, ...] = ()

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
            nights = _newest([*entry.nights, *map(Night.of_run, found)], _night_end)[:KEPT_NIGHTS]
            cities[city] = replace(entry, runs=kept([*entry.runs, *found]), nights=tuple(nights))
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
                    "nights": [night.to_list() for night in entry.nights],
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
            cities = {city: _entry(entry) for city, entry in value["cities"].items()}
            whose = str(value.get("fleet", "")), str(value.get("environment", ""))
            return cls(value["watermark"], frozenset(value["folded"]), cities, *whose)
        except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError):
            return None


def _entry(value: Mapping[str, Any]) -> IndexEntry:
    champion = Champion.from_dict(value["champion"]) if value["champion"] else None
    runs = tuple(RunSummary.from_dict(run) for run in value["runs"])
    # An index of an earlier version has none: they grow from its runs on.
    kept_nights = value.get("nights")
    nights = map(Night.of_run, runs) if kept_nights is None else map(Night.from_list, kept_nights)
    return IndexEntry(champion, runs, tuple(nights)[:KEPT_NIGHTS])


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
    ordered = _newest(runs, _end)
    last = max(ordered, key=_end, default=None)
    return tuple(run for number, run in enumerate(ordered) if number < KEPT_RUNS or run is last)


def _newest(runs: Iterable[Kept], end: Callable[[Kept], tuple[str, ...]]) -> list[Kept]:
    """Return runs, newest as_of first; of a run that ended more than once how it ended last."""
    newest: dict[tuple[str, str], Kept] = {}
    for run in runs:
        place = (run.as_of, run.run_key)
        other = newest.get(place)
        if other is None or end(other) < end(run):
            newest[place] = run
    return sorted(newest.values(), key=lambda run: (run.as_of, end(run)), reverse=True)


def _end(run: RunSummary) -> tuple[str, ...]:
    return run.finished_at, run.record


def _night_end(night: Night) -> tuple[str, ...]:
    return night.finished_at, night.outcome, json.dumps(night.to_list())


def _filled(value: RunSummary | Champion) -> dict[str, Any]:
    """Return the fields that hold something: most of a fleet's are empty, and there are thousands of them."""
    fields = ((name, getattr(value, name)) for name in value.__dataclass_fields__)
    return {name: held for name, held in fields if held not in (None, "", (), {}, 0, False)}
