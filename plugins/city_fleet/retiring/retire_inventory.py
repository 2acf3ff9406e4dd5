"""Lists what exists of each city, for retiring: once per prefix, city by city. boto3 clients are passed in.

Only what City Fleet has written is looked at: keys and versions of another form belong to other programs, and stay.
"""

from __future__ import annotations

import heapq
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING

from city_fleet import naming
from city_fleet.errors import PublishError
from city_fleet.naming import Keys
from city_fleet.retiring.retire import is_enough
from city_fleet.retiring.retire_facts import Inventory, ModelObject, PackageFact, Rule, RunFolder, ServedState
from city_fleet.state import challengers, known_values, live, registry, shared_endpoints
from city_fleet.state.objects import ObjectStore

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_sagemaker import SageMakerClient

_RUN_KEY = re.compile(r"[0-9a-f]{10}")
_RECORD = re.compile(r"\d{8}T\d{6}Z-(?P<run_key>[0-9a-f]{10})(-[0-9a-f]{8})?\.json")
_KEPT = re.compile(r"(?P<sequence>\d{8,})\.json")
# Far more moves than a rollback goes back; a city without a model to return to would have its whole history read.
_MOST_STATES = 500


@dataclass(frozen=True)
class StoredObject:
    """An object below ``models/`` or ``runs/``.

    :param rest: what follows the city's folder.
    """

    city: str
    prefix: str
    rest: str
    size_bytes: int
    changed: datetime

    @property
    def key(self) -> str:
        return f"{self.prefix}{self.city}/{self.rest}"


@dataclass(frozen=True)
class CityObjects:
    """What a city has below ``models/`` and ``runs/``."""

    city: str
    models: tuple[ModelObject, ...]
    runs: tuple[RunFolder, ...]


def cities(
    s3: S3Client, keys: Keys, after: str = "", only: Sequence[str] | None = None
) -> Iterator[CityObjects]:
    """Yield the cities that have models or runs, in alphabetical order, whether the fleet file knows them or not.

    A thousand objects take one request, however many cities they belong to; no more than one city's are in memory.

    :param after: begin with the first city after this one.
    :param only: just these cities, which then take two requests each.
    """
    if only is not None:
        for city in sorted(set(only)):
            yield from _by_city(keys, [_listed(s3, keys, prefix, city=city) for prefix in _prefixes(keys)])
        return
    yield from _by_city(keys, [_listed(s3, keys, prefix, after=after) for prefix in _prefixes(keys)])


def _prefixes(keys: Keys) -> tuple[str, str]:
    return keys.models_prefix(), keys.runs_prefix()


def _listed(
    s3: S3Client, keys: Keys, prefix: str, *, after: str = "", city: str = ""
) -> Iterator[StoredObject]:
    # "~" follows every character that stands in a key after the city's "/".
    start = f"{prefix}{after}/~" if after else ""
    below = f"{prefix}{city}/" if city else prefix
    for item in ObjectStore(s3, keys.bucket).items(below, after=start):
        slug, _, rest = item.key.removeprefix(prefix).partition("/")
        if rest and naming.is_slug(slug):
            yield StoredObject(slug, prefix, rest, item.size_bytes, item.modified)


def _by_city(keys: Keys, listings: Iterable[Iterator[StoredObject]]) -> Iterator[CityObjects]:
    # S3 lists in the order of keys, in which a city's "/" sorts as the end of its name does.
    merged = heapq.merge(*listings, key=attrgetter("city"))
    for city, found in itertools.groupby(merged, key=attrgetter("city")):
        items = list(found)
        yield CityObjects(
            city,
            tuple(_models([item for item in items if item.prefix == keys.models_prefix()])),
            tuple(_runs([item for item in items if item.prefix == keys.runs_prefix()])),
        )


def _models(items: Iterable[StoredObject]) -> Iterator[ModelObject]:
    for item in items:
        target = f"{item.city}/{item.rest}"
        try:
            naming.parse_target_model(target)
        except ValueError:
            continue
        yield ModelObject(target, item.key, item.size_bytes, item.changed)


def _runs(items: Iterable[StoredObject]) -> Iterator[RunFolder]:
    for run_key, found in itertools.groupby(items, key=lambda item: item.rest.partition("/")[0]):
        objects = list(found)
        if _RUN_KEY.fullmatch(run_key) and all("/" in each.rest for each in objects):
            yield RunFolder(
                run_key,
                tuple(each.key for each in objects),
                sum(each.size_bytes for each in objects),
                max(each.changed for each in objects),
            )


@dataclass(frozen=True)
class InventorySource:
    """Where the rest of what is known about a city is read.

    :param environment: the fleet's.
    """

    s3: S3Client
    sagemaker: SageMakerClient
    keys: Keys
    environment: str

    @property
    def objects(self) -> ObjectStore:
        return ObjectStore(self.s3, self.keys.bucket)

    @cached_property
    def _in_containers(self) -> frozenset[str]:
        """Return the target models that containers of endpoints hold: read once, as none comes that is not claimed."""
        shared = shared_endpoints.read(self.objects, self.keys)
        return frozenset(
            target
            for said in shared.values()
            for each in (said.serving, *said.replaced, *([said.making] if said.making else []))
            for target in each.containers.values()
        )

    @cached_property
    def _on_trial(self) -> frozenset[str]:
        """Return the target models that are on trial; each was claimed as it began.

        One whose time is up counts until it was looked at: it may go live then.
        """
        running = challengers.read(self.objects, self.keys).running
        return frozenset(trial.model.target_model for trial in running.values())

    def inventory(self, found: CityObjects, rule: Rule, now: datetime) -> Inventory:
        """Return everything about a city that the rule asks for.

        :raises PublishError: its live pointer, or a copy of one, can't be read.
        """
        versions = self.versions(found.city)
        known = {version.run_key for version in versions}
        unknown = any(folder.run_key not in known for folder in found.runs)
        ended = self.ended_runs(found.city) if unknown else frozenset()
        copies = tuple(item.key for item in known_values.copies(self.objects, self.keys, found.city))
        first = Inventory(
            found.city,
            found.models,
            found.runs,
            versions,
            ended_runs=ended,
            known=copies,
            in_containers=self._in_containers,
            on_trial=self._on_trial,
        )
        return replace(first, served=tuple(self.served(first, rule, now)))

    def served(self, found: Inventory, rule: Rule, now: datetime) -> list[ServedState]:
        """Return the latest states of the city's live pointer, newest first: as many as the rule asks for.

        :raises PublishError: the history has gone on without the live pointer.
        """
        kept = self._kept(found.city)  # first: who moves the pointer copies it to the history afterwards
        current, replaced_at = self._live(found.city)
        run_keys = {version.arn: version.run_key for version in found.versions}
        states = (
            [ServedState(current, run_keys.get(current.package_arn), None)] if current is not None else []
        )
        if current is not None and kept and kept[0][0] > current.sequence:
            raise PublishError(
                f"city {found.city!r}: its history ends with sequence {kept[0][0]}, but sequence {current.sequence} "
                f"is live; an object below live/ was replaced outside City Fleet. "
                f"`./fleet rebuild {found.city}` puts it right"
            )
        for sequence, changed in kept[:_MOST_STATES]:
            if current is not None and sequence == current.sequence:
                continue
            if is_enough(states, rule, now, found.usable):
                break
            pointer = live.read_kept(self.s3, self.keys, found.city, sequence)
            # Kept when it began to serve, or when it was replaced: the end is not before either of them. Only a
            # removal ends the last state; a pointer that is merely lost may be restored.
            until = None if replaced_at is None else max(replaced_at, changed)
            if pointer.move != live.REMOVE:
                states.append(ServedState(pointer, run_keys.get(pointer.package_arn), until))
            replaced_at = changed
        return states

    def _live(self, city: str) -> tuple[live.LivePointer | None, datetime | None]:
        """Return the live pointer and when it was written."""
        key = self.keys.live(city)
        found = self.objects.get(key)
        if found is None:
            return None, None
        return live.parse(self.keys, key, found.body), found.modified

    def _kept(self, city: str) -> list[tuple[int, datetime]]:
        """Return sequence and time of the city's kept pointers, newest first."""
        prefix = self.keys.history_prefix(city)
        found = []
        for item in self.objects.items(prefix):
            match = _KEPT.fullmatch(item.key.removeprefix(prefix))
            if match is not None:
                found.append((int(match["sequence"]), item.modified))
        return sorted(found, reverse=True)

    def versions(self, city: str) -> tuple[PackageFact, ...]:
        """Return the versions that this fleet has registered for a city."""
        group = naming.package_group(self.keys.fleet, self.environment, city)
        dag_id = naming.city_dag_id(self.keys.fleet, city)
        found = []
        for listed in registry.versions(self.sagemaker, group):
            target = listed.target_model(city)
            registered_by, _, run_id = (listed.run or "").partition("/")
            # Somebody else may have registered a version there by hand.
            if target is None or not naming.is_of_city(registered_by, self.keys.fleet, city):
                continue
            # A version without a key was registered when a run's folder was named after its id.
            run_key = listed.run_key or naming.digest([self.environment, dag_id, run_id])
            found.append(PackageFact(listed.arn, target, run_key, listed.status, listed.created))
        return tuple(found)

    def ended_runs(self, city: str) -> frozenset[str]:
        """Return the keys of the city's runs that have a record."""
        prefix = self.keys.city_records(city)
        matches = (_RECORD.fullmatch(item.key.removeprefix(prefix)) for item in self.objects.items(prefix))
        return frozenset(match["run_key"] for match in matches if match is not None)
