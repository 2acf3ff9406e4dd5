"""A closer look at a city: are its artifact in S3 and its version in the registry as the live pointer says?

Each difference names the command that repairs it. Clients are passed in; nothing is changed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from city_fleet import naming
from city_fleet.champions import artifact
from city_fleet.errors import PlatformError
from city_fleet.naming import Keys
from city_fleet.raw_places import RawPlace, own_place
from city_fleet.state import live, registry
from city_fleet.state.live_pointer import Broken, LivePointer
from city_fleet.state.objects import ObjectStore
from city_fleet.state.raw_listing import raw_items
from city_fleet.views.fleet import CityState, CityStatus

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_sagemaker import SageMakerClient


@dataclass(frozen=True)
class Difference:
    """Something that is not as it should be, and how to repair it.

    :param repair: a command, or a sentence where there is none.
    """

    city: str
    what: str
    repair: str

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


def check(
    status: CityStatus,
    s3: S3Client,
    sagemaker: SageMakerClient,
    keys: Keys,
    *,
    group: str,
    raw: RawPlace | None = None,
    is_parent: bool = False,
) -> list[Difference]:
    """Compare a city's live pointer with S3 and the registry.

    :param s3: a boto3 S3 client, and ``sagemaker`` one of SageMaker.
    :param group: the city's model package group.
    :param raw: where its raw data lie; None: below the fleet's own prefix.
    :param is_parent: whether the city is the parent of others, and so has no raw data of its own.
    :return: the differences, the gravest first; nothing when all is as it should be.
    """
    city, champion, store = status.city, status.champion, ObjectStore(s3, keys.bucket)
    found = _of_state(status, keys)
    if champion is None:
        if _any(store, keys.history_prefix(city)):
            what = "its history says that models served, but there is no live pointer"
            found.insert(0, Difference(city, what, f"./fleet rebuild {city}"))
    elif not champion.problem:
        # The pointer itself: the index, which is read for all cities at once, holds less of it.
        pointer = live.read_or_broken(s3, keys, city)
        if isinstance(pointer, Broken):
            found.append(Difference(city, str(pointer.error), f"./fleet rebuild {city}"))
        elif pointer is not None:
            found += _of_artifact(store, keys, pointer.pointer)
            found += _of_registry(sagemaker, group, pointer.pointer)
    if status.state is not CityState.REMOVED_BUT_SERVING and not is_parent:
        found += _of_raw_data(s3, city, raw or own_place(keys.bucket, keys.raw(city)))
    return found


def _of_raw_data(s3: S3Client, city: str, place: RawPlace) -> list[Difference]:
    do = f"./fleet ingest {city}" if place.own else "dataset.raw leads there; ./fleet doctor says more"
    try:
        if raw_items(s3, place, limit=1):
            return []
        what = f"there are no raw data below {place.shown}"
    except PlatformError as error:
        what = str(error)
    return [Difference(city, f"{what}, so its next run fails", do)]


def _of_state(status: CityStatus, keys: Keys) -> list[Difference]:
    """Return the differences that the snapshot itself shows."""
    city = status.city
    trigger = f"./fleet run {city} --fleet {keys.fleet}"
    found = []
    if status.champion is not None and status.champion.problem:
        found.append(Difference(city, status.champion.problem, f"./fleet rebuild {city}"))
    elif status.state is CityState.BROKEN:
        found.append(Difference(city, str(status.problem), "correct the fleet file; ./fleet lint checks it"))
    elif status.state is CityState.REMOVED_BUT_SERVING:
        what = "it is not in the fleet file any more, and its model serves on"
        found.append(Difference(city, what, f"./fleet remove {city}, or put it back into the fleet file"))
    elif status.state is CityState.STALE and status.due and status.champion:
        due, pinned = naming.as_of_stamp(status.due), status.champion.pinned
        what = f"its model was made as of {status.champion.as_of}; due is {due}"
        found.append(Difference(city, what, f"./fleet unpin {city}" if pinned else trigger))
    elif status.state is CityState.OUT_OF_DATE:
        what = f"{' and '.join(status.changed)} changed since its model was made"
        found.append(Difference(city, what, trigger))
    for waiting in status.waiting:
        what = f"version {waiting.version} waits for approval since {waiting.since:%Y-%m-%d %H:%M}"
        option = f"{city} --version {waiting.version}"
        found.append(Difference(city, what, f"./fleet approve {option}, or ./fleet reject {option}"))
    return found


def _of_artifact(store: ObjectStore, keys: Keys, pointer: LivePointer) -> list[Difference]:
    """Return how the bytes that the endpoint serves differ from those that the pointer names."""
    key = keys.model(pointer.target_model)
    if not store.exists(key):
        what = f"{keys.uri(key)} is gone: the endpoint fails the next time it has to load the model"
        return [Difference(pointer.city, what, f"./fleet rollback {pointer.city}")]
    wrong = artifact.wrong_bytes(store, key, pointer.artifact_sha256)
    return [Difference(pointer.city, wrong, f"./fleet rebuild {pointer.city}")] if wrong else []


def _of_registry(sagemaker: SageMakerClient, group: str, pointer: LivePointer) -> list[Difference]:
    """Return how the registry differs about the model that serves, and which newer version it has approved.

    A person who has pinned a model knows of newer ones: most were rolled back from, and stay approved.
    """
    city = pointer.city
    package = registry.describe(sagemaker, pointer.package_arn)
    if package is None:
        what = f"{pointer.package_arn}, which serves, is not in the registry"
        return [Difference(city, what, f"./fleet rollback {city}")]
    registered = package.metadata.get("artifact_sha256")
    if registered not in (None, pointer.artifact_sha256):
        what = f"version {package.number} has artifact {registered}, and {pointer.artifact_sha256} serves in its name"
        return [Difference(city, what, f"./fleet rollback {city}")]
    if package.status != registry.APPROVED:
        said = f" ({package.status_reason})" if package.status_reason else ""
        what = f"version {package.number} serves, but the registry says {package.status}{said}"
        repair = f"./fleet rollback {city}, or ./fleet approve {city} --version {package.number}"
        return [Difference(city, what, repair)]
    newest = None if pointer.pinned else registry.newest_approved(sagemaker, group)
    if newest is None or package.created is None or newest.created <= package.created:
        return []
    what = f"version {newest.number} is approved and newer than version {package.number}, which serves"
    return [Difference(city, what, f"./fleet promote {city} --version {newest.number}")]


def _any(store: ObjectStore, prefix: str) -> bool:
    return any(True for _ in store.items(prefix, limit=1))
