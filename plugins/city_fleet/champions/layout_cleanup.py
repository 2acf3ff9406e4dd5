"""Deletes what an installation has left in the layout of before, once nothing needs it. Clients are passed in.

First everything is checked: the endpoint serves from the new prefix, every live pointer of before has a follower, and
the endpoint answers with the model that each names. What other environments have written there stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from botocore.exceptions import ClientError

from city_fleet import aws_errors
from city_fleet.champions import artifact, layout_inventory
from city_fleet.champions.layout_inventory import OldCity
from city_fleet.champions.moves import check_serves
from city_fleet.errors import PublishError
from city_fleet.naming import Keys
from city_fleet.state import live, old_layout, registry
from city_fleet.state.context import CityContext, Clients
from city_fleet.state.objects import ObjectStore, json_of


@dataclass(frozen=True)
class Leftovers:
    """What can go.

    :param cities: of each, what is this installation's.
    :param shared: whether another environment has written there too; then what nothing names stays.
    """

    cities: tuple[OldCity, ...]
    shared: bool

    def keys_to_delete(self, store: ObjectStore, keys: Keys) -> list[str]:
        """Return the objects that go, those by which the others are told whose they are last."""
        own = [key for city in self.cities for key in (*city.models, *city.runs)]
        own += [key for city in self.cities for key in (*city.records, *city.history)]
        own += [city.live for city in self.cities if city.live]
        if self.shared:
            return own
        listed = [
            item.key
            for folder in old_layout.FOLDERS
            for item in store.items(old_layout.old_prefix(keys, folder))
        ]
        return [*sorted(set(listed) - set(own)), *own]


def look(aws: Clients, keys: Keys, cities: Sequence[str]) -> Leftovers:
    """Return what can go."""
    store = ObjectStore(aws.s3, keys.bucket)
    found = tuple(layout_inventory.look(store, aws.sagemaker, keys, city) for city in cities)
    return Leftovers(found, any(city.others for city in found))


def refuse_early(aws: Clients, keys: Keys, endpoint: str, found: Leftovers) -> None:
    """Make sure that nothing needs the old layout any more.

    :raises PublishError: something does; the sentence says what to do. Nothing was deleted.
    """
    store = ObjectStore(aws.s3, keys.bucket)
    if not store.exists(keys.moved()):
        raise _not_yet(f"`./fleet migrate --fleet {keys.fleet}` has not moved all of it yet", "Run it first")
    _refuse_other_endpoint(aws, keys, endpoint)
    for old in found.cities:
        if old.live is None:
            continue
        _refuse_silent_pointer(aws, keys, endpoint, old)


def _refuse_other_endpoint(aws: Clients, keys: Keys, endpoint: str) -> None:
    run = f"Run the DAG {keys.fleet}._endpoint"
    try:
        found = aws.sagemaker.describe_endpoint(EndpointName=endpoint)
    except ClientError as error:
        if not aws_errors.is_missing(error):
            raise
        raise _not_yet(f"there is no endpoint {endpoint}", run) from None
    if found["EndpointStatus"] != "InService":
        raise _not_yet(f"endpoint {endpoint} is {found['EndpointStatus']}", "Wait until it is InService")
    config = aws.sagemaker.describe_endpoint_config(EndpointConfigName=found["EndpointConfigName"])
    for variant in config["ProductionVariants"]:
        model = aws.sagemaker.describe_model(ModelName=variant["ModelName"])
        container = (model.get("Containers") or [model.get("PrimaryContainer", {})])[0]
        if container.get("ModelDataUrl") != keys.uri(keys.models_prefix()):
            what = f"endpoint {endpoint} serves from {container.get('ModelDataUrl')}"
            raise _not_yet(what, f"{run}: it then serves from {keys.uri(keys.models_prefix())}")


def _refuse_silent_pointer(aws: Clients, keys: Keys, endpoint: str, old: OldCity) -> None:
    store = ObjectStore(aws.s3, keys.bucket)
    now = live.read(aws.s3, keys, old.city)
    before = store.get(old.live or "")
    if now is None:
        # It may have been removed since.
        if live.kept_sequences(aws.s3, keys, old.city):
            return
        raise _not_yet(f"city {old.city!r} has no live pointer", f"`./fleet rebuild {old.city}` restores it")
    if before is not None and json_of(before.body)["sequence"] > now.pointer.sequence:
        what = f"city {old.city!r}: the live pointer of before was moved after it had been copied"
        raise _not_yet(
            what,
            "An Airflow of the version before is still at work: stop it, delete "
            f"{keys.uri(keys.moved())}, then `./fleet migrate --fleet {keys.fleet}`",
        )
    target = now.pointer.target_model
    city = CityContext(aws, keys, endpoint, "", old.city)
    loaded = artifact.fetch(aws.s3, keys.bucket, keys.model(target), now.pointer.artifact_sha256)
    check_serves(city, now.pointer, loaded)


def delete(aws: Clients, keys: Keys, found: Leftovers) -> int:
    """Delete it, objects first and versions last; repeating it is harmless.

    :return: how many objects were deleted.
    """
    store = ObjectStore(aws.s3, keys.bucket)
    doomed = found.keys_to_delete(store, keys)
    store.delete_all(doomed)
    for old in found.cities:
        for version in old.versions:
            registry.delete(aws.sagemaker, version.package.arn)
        group = old_layout.old_package_group(keys, old.city)
        if old.versions and not registry.versions(aws.sagemaker, group):
            aws.sagemaker.delete_model_package_group(ModelPackageGroupName=group)
    return len(doomed)


def _not_yet(what: str, advice: str) -> PublishError:
    return PublishError(f"{what}. Nothing was deleted. {advice}")
