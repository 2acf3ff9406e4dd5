"""All that is known of one city, read at once: run records, reports, held-out rows, history, registry, known values.

A bounded number of requests, many at a time, within a deadline. What does not come, or can't be believed, is left out,
and a sentence says so: a page about a city shows what is there. Nothing is changed. Clients are passed in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from city_fleet import aws_errors, clock
from city_fleet.champions import artifact, champion_history
from city_fleet.champions.champion_history import History
from city_fleet.champions.run_evidence import ARTIFACT, EVALUATION, HOLDOUT
from city_fleet.errors import CityFleetError
from city_fleet.naming import Keys, split_uri
from city_fleet.outgoing_text import one_line
from city_fleet.state import known_values, registry_search
from city_fleet.state.known_values import KnownValues
from city_fleet.state.objects import ObjectStore, json_of
from city_fleet.state.registry import ModelPackage

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_sagemaker import SageMakerClient

#: The runs with the newest as_of that are looked at, and of how many of them the evaluation's report.
RUNS, REPORTS = 48, 16
#: States of the live pointer, and versions of the registry.
STATES, VERSIONS = 30, 100
_READERS = 16
_MAX_RECORD, _MAX_REPORT, _MAX_HOLDOUT, _MAX_ARTIFACT = 1 << 20, 8 << 20, 32 << 20, 64 << 20

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class KeptRecord:
    """A run's record, as it was written.

    :param key: its key in the fleet's bucket.
    """

    key: str
    record: Mapping[str, Any]


@dataclass(frozen=True)
class Sources:
    """What was read of a city.

    :param at: when.
    :param records: those with the newest as_of, newest first; ``older``: how many there are beside them.
    :param reports: URI → ``evaluation.json``, and ``holdouts``: the same URI → ``holdout.json`` beside it.
    :param cards: the same URI → ``model.json`` of the artifact beside it.
    :param versions: of the registry, the newest first.
    :param problems: sentences: what could not be looked at.
    """

    at: datetime
    records: tuple[KeptRecord, ...] = ()
    older: int = 0
    history: History | None = None
    known: KnownValues | None = None
    versions: tuple[ModelPackage, ...] = ()
    reports: Mapping[str, Any] = field(default_factory=dict)
    holdouts: Mapping[str, Any] = field(default_factory=dict)
    cards: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def nothing_came(self) -> bool:
        """Tell whether nothing at all could be looked at."""
        return bool(self.problems) and not (self.records or self.history or self.versions or self.known)


class _Reader:
    """Asks for many things at a time, until a deadline; whoever has not answered by then is left to himself."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._seconds = seconds
        self._pool = ThreadPoolExecutor(_READERS, thread_name_prefix="city-story")
        self.problems: list[str] = []

    def ask(self, read: Callable[..., _Found], *arguments: Any) -> Future[_Found]:
        return self._pool.submit(read, *arguments)

    def got(self, what: str, future: Future[_Found]) -> _Found | None:
        """Return an answer; None with a sentence among the problems where there is none."""
        wait([future], max(0.0, self._end - time.monotonic()))
        if not future.done():
            self._say(f"{what}: there was no answer within {self._seconds:g} seconds")
            return None
        error = future.exception()
        if error is None:
            return future.result()
        if not isinstance(error, BotoCoreError | ClientError | CityFleetError | ValueError):
            raise error
        why = "this is not allowed" if _is_denied(error) else one_line(str(error))
        self._say(f"{what}: {why}")
        return None

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _say(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)


def read(
    s3: S3Client,
    sagemaker: SageMakerClient,
    keys: Keys,
    city: str,
    *,
    group: str,
    seconds: float = 10.0,
) -> Sources:
    """Read what is known of a city: some 100 small objects and four lists at most.

    :param s3: a boto3 S3 client, and ``sagemaker`` one of SageMaker.
    :param group: the city's model package group.
    :param seconds: how long it may take.
    """
    reader = _Reader(seconds)
    try:
        return _read(reader, (s3, sagemaker), keys, city, group)
    finally:
        reader.close()


def _read(
    reader: _Reader, clients: tuple[S3Client, SageMakerClient], keys: Keys, city: str, group: str
) -> Sources:
    s3, sagemaker = clients
    store, at = ObjectStore(s3, keys.bucket), clock.utc_now()
    listed = reader.ask(lambda: [item.key for item in store.items(keys.city_records(city))])
    history = reader.ask(champion_history.history, s3, keys, city, STATES)
    known = reader.ask(known_values.newest_copy, s3, keys, city)
    versions = reader.ask(lambda: tuple(registry_search.of_group(sagemaker, group, VERSIONS)))
    names = sorted(reader.got("its run records", listed) or (), reverse=True)
    bodies = [(key, reader.ask(_json, store, key, _MAX_RECORD)) for key in names[:RUNS]]
    found = [(key, reader.got("a run's record", body)) for key, body in bodies]
    records = tuple(KeptRecord(key, record) for key, record in found if isinstance(record, Mapping))
    past = reader.got("what served when", history)
    packages = reader.got("the model registry", versions) or ()
    of_reports = _judged(keys, records)
    closer = _looked_at_closely(keys, past, packages, of_reports)
    asked = {
        "reports": [(uri, uri, _MAX_REPORT, "an evaluation's report") for uri in {*of_reports, *closer}],
        "holdouts": [(uri, _beside(uri, HOLDOUT), _MAX_HOLDOUT, "held-out rows") for uri in closer],
    }
    futures = {
        kind: [
            (uri, what, reader.ask(_json, store, split_uri(name)[1], limit))
            for uri, name, limit, what in wanted
        ]
        for kind, wanted in asked.items()
    }
    cards = [
        (uri, reader.ask(artifact.card, s3, keys.bucket, split_uri(_beside(uri, ARTIFACT))[1], _MAX_ARTIFACT))
        for uri in closer
    ]
    read_ = {
        kind: {uri: value for uri, what, future in each if (value := reader.got(what, future)) is not None}
        for kind, each in futures.items()
    }
    return Sources(
        at=at,
        records=records,
        older=max(0, len(names) - RUNS),
        history=past,
        known=reader.got("what is known of it", known),
        versions=packages,
        cards={uri: card for uri, future in cards if (card := reader.got("a model's card", future))},
        problems=tuple(reader.problems),
        **read_,
    )


def _judged(keys: Keys, records: Iterable[KeptRecord]) -> list[str]:
    """Return the URIs of the newest runs' reports; what does not lie in this installation's place is passed over."""
    found = []
    for kept in records:
        uri = kept.record.get("evaluation_uri")
        if is_own_report(keys, uri) and uri not in found:
            found.append(str(uri))
    return found[:REPORTS]


def _looked_at_closely(
    keys: Keys, past: History | None, versions: Iterable[ModelPackage], reports: list[str]
) -> list[str]:
    """Return the URIs of the newest run's report and of the one that made what serves, without doubles."""
    serving = past.states[-1].state if past and past.states and past.states[-1].live else None
    of_champion = [
        each.evaluation_uri
        for each in versions
        if serving is not None
        and each.arn == serving.package_arn
        and is_own_report(keys, each.evaluation_uri)
    ]
    return list(dict.fromkeys([*reports[:1], *of_champion]))


def is_own_report(keys: Keys, uri: Any) -> bool:
    """Tell whether a URI is that of a report of this installation: a record must not have others' objects shown."""
    own = keys.uri(keys.runs_prefix())
    return isinstance(uri, str) and uri.startswith(own) and uri.endswith(f"/{EVALUATION}")


def _beside(uri: str, name: str) -> str:
    return uri.removesuffix(EVALUATION) + name


def _json(store: ObjectStore, key: str, limit: int) -> Any:
    """Return an object as JSON; None where it is gone.

    :raises ValueError: it is larger than such a one can be, or no JSON.
    """
    found = store.get(key, limit)
    if found is None:
        return None
    if len(found.body) > limit:
        raise ValueError(f"{store.uri(key)} is larger than {limit:,} bytes")
    return json_of(found.body)


def _is_denied(error: BaseException) -> bool:
    return isinstance(error, ClientError) and aws_errors.is_denied(error)
