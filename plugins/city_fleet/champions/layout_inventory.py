"""What an installation has left in the layout of before: which objects and versions are its own. Clients are passed in.

Two environments may have written to the same keys there. A live pointer or a copy in the history is told by its package
group, a run record by its environment, a version by its group and metadata. Models and runs are those that one of these
names; of what none names nobody can say whose it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from city_fleet import naming
from city_fleet.naming import Keys
from city_fleet.state import installation, old_layout, registry
from city_fleet.state.objects import Item, ObjectStore, json_of
from city_fleet.state.registry import ModelPackage

if TYPE_CHECKING:
    from types_boto3_sagemaker import SageMakerClient


@dataclass(frozen=True)
class OldVersion:
    """A version of the old package group.

    :param package: what City Fleet knows of it.
    :param answer: what DescribeModelPackage answers.
    """

    package: ModelPackage
    answer: dict[str, Any]


@dataclass
class OldCity:
    """What is there of one city.

    :param live: key of its live pointer, if that is this installation's.
    :param history: keys of copies of its pointers, ``records`` of run records, ``models`` of artifacts, ``runs`` of all
        objects in the folders of its runs: this installation's.
    :param versions: oldest first.
    :param others: keys of what another environment has written, ``unknown`` of what nothing names.
    """

    city: str
    live: str | None = None
    history: list[str] = field(default_factory=list)
    records: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    versions: list[OldVersion] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    @property
    def own(self) -> list[str]:
        """Return the keys of this installation, the live pointer last."""
        return [
            *self.models,
            *self.runs,
            *self.records,
            *self.history,
            *([self.live] if self.live else []),
        ]


def cities(store: ObjectStore, keys: Keys) -> set[str]:
    """Return the cities of which there is anything: a List per 1,000 of them and folder."""
    found = {item.key for item in store.items(old_layout.old_prefix(keys, "live"))}
    names = {key.rsplit("/", 1)[1].removesuffix(".json") for key in found}
    for folder in ("history", "models", "runs", "state/runs"):
        names |= set(store.folders(old_layout.old_prefix(keys, folder)))
    return {name for name in names if naming.is_slug(name)}


def look(store: ObjectStore, sagemaker: SageMakerClient, keys: Keys, city: str) -> OldCity:
    """Return what is there of a city, and whose it is."""
    found = OldCity(city, versions=_versions(sagemaker, keys, city))
    targets = {_target(city, version.package) for version in found.versions} - {None}
    runs = {version.package.metadata.get("run_key", "") for version in found.versions}
    for item in store.items(f"{old_layout.old_prefix(keys, 'state/runs')}{city}/"):
        record = _json(store, item.key)
        if record and installation.other(keys, record) is None:
            found.records.append(item.key)
            runs.add(item.key.rsplit("/", 1)[1].removesuffix(".json").split("-")[1])
            targets.add(str(record.get("target_model")))
        else:
            found.others.append(item.key)
    live_key = f"{old_layout.old_prefix(keys, 'live')}{city}.json"
    pointers = [item.key for item in store.items(f"{old_layout.old_prefix(keys, 'history')}{city}/")]
    for key in (*pointers, live_key):
        stored = store.get(key)
        if stored is None:
            continue
        if not old_layout.is_own(keys, key, stored.body):
            found.others.append(key)
            continue
        targets.add(str(json_of(stored.body).get("target_model")))
        if key == live_key:
            found.live = key
        else:
            found.history.append(key)
    _sort(
        found.models,
        found.unknown,
        store.items(_of(keys, "models", city)),
        lambda key: _model_of(key) in targets,
    )
    _sort(
        found.runs, found.unknown, store.items(_of(keys, "runs", city)), lambda key: key.split("/")[3] in runs
    )
    return found


def _of(keys: Keys, folder: str, city: str) -> str:
    return f"{old_layout.old_prefix(keys, folder)}{city}/"


def _sort(own: list[str], unknown: list[str], items: Iterator[Item], is_own: Any) -> None:
    for item in items:
        (own if is_own(item.key) else unknown).append(item.key)


def _model_of(key: str) -> str:
    """Return the target model of an artifact's key, ``<fleet>/models/<target model>``."""
    return key.split("/", 2)[2]


def _target(city: str, package: ModelPackage) -> str | None:
    try:
        sha256 = package.metadata["artifact_sha256"]
        return naming.target_model(city, naming.parse_as_of(package.as_of), sha256)
    except (KeyError, ValueError):
        return None


def _versions(sagemaker: SageMakerClient, keys: Keys, city: str) -> list[OldVersion]:
    """Return the versions that this installation has registered for a city, oldest first."""
    found = []
    for listed in reversed(registry.versions(sagemaker, old_layout.old_package_group(keys, city))):
        answer: dict[str, Any] = dict(sagemaker.describe_model_package(ModelPackageName=listed.arn))
        package = registry.version_from(answer)
        # Of other fleets too: "a-b" and "a_b" were one there.
        if "artifact_sha256" in package.metadata and installation.other(keys, package.metadata) is None:
            found.append(OldVersion(package, answer))
    return found


def _json(store: ObjectStore, key: str) -> dict[str, Any]:
    stored = store.get(key)
    try:
        value = json_of(stored.body) if stored else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
