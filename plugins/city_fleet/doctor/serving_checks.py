"""The doctor's look at what serves: do live pointers, and the bytes that they name, fit each other, and does an
endpoint scale as the fleet file says? Nothing is changed.

Clients are passed in.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from city_fleet import aws_errors
from city_fleet.config import Fleet
from city_fleet.config.scaling_section import Scaling
from city_fleet.doctor.findings import Area, Finding
from city_fleet.errors import PublishError
from city_fleet.naming import Keys
from city_fleet.state import live, scalable_targets
from city_fleet.state.objects import ObjectStore
from city_fleet.state.scalable_targets import ScalingClient

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

# An artifact is some hundred kilobytes: so many are read in a few seconds.
_LOOKED_AT = 100
_SHOWN = 5
_READERS = 16


def serving(area: Area, fleet: Fleet, s3: S3Client) -> Iterator[Finding]:
    """Check the live pointers of a fleet, and the digests of the artifacts that they name.

    Of a large fleet so many as a doctor has time for, evenly spread.
    """
    prefix = fleet.keys.live_prefix()
    cities = [
        item.key.removeprefix(prefix).removesuffix(".json")
        for item in ObjectStore(s3, fleet.bucket).items(prefix)
    ]
    chosen = cities[:: max(1, -(-len(cities) // _LOOKED_AT))]
    with ThreadPoolExecutor(_READERS) as pool:
        wrong = [found for found in pool.map(lambda city: _wrong(s3, fleet.keys, city), chosen) if found]
    for sentence in wrong[:_SHOWN]:
        yield area.fail(
            sentence, f"./fleet rebuild restores what served; ./fleet status --check --fleet {fleet.fleet}"
        )
    if len(wrong) > _SHOWN:
        advice = f"./fleet status --check --fleet {fleet.fleet} names them all"
        yield area.fail(f"{len(wrong) - _SHOWN} more live pointers do not fit what they name", advice)
    if not wrong and chosen:
        of = "" if len(chosen) == len(cities) else f" of {len(cities):,}, evenly spread,"
        yield area.ok(f"{len(chosen)} live pointers{of} fit the artifacts that they name")


def scaling(
    area: Area, wanted: Scaling | None, client: ScalingClient, name: str, run: str
) -> Iterator[Finding]:
    """Check what Application Auto Scaling knows of an endpoint.

    :param wanted: of the fleet file.
    :param client: boto3's ``application-autoscaling``.
    :param name: the SageMaker endpoint that answers.
    :param run: advice to run the DAG that mends it.
    """
    try:
        found = scalable_targets.registered(client, name)
    except ClientError as error:
        if not aws_errors.is_denied(error):
            raise
        if wanted is not None:
            advice = (
                f"Allow {error.operation_name} to the user or role that runs the doctor, or run it as another"
            )
            yield area.warn(f"how endpoint {name} scales can't be looked at", advice)
        return
    except BotoCoreError:
        if wanted is not None:
            raise
        return  # there may be no way to it out of a VPC, and nothing needs one
    if wanted is None:
        if found.tracking is not None:
            yield area.warn(f"endpoint {name} scales, and the fleet file has no scaling", run)
        return
    wrong = scalable_targets.difference(found, wanted)
    if wrong is not None:
        yield area.fail(f"endpoint {name} {wrong}", run)
    elif found.others:
        names = ", ".join(found.others)
        advice = "Delete it, unless the endpoint shall follow what it tracks as well"
        yield area.warn(f"endpoint {name} has a scaling policy of somebody else beside: {names}", advice)
    else:
        yield area.ok(
            f"endpoint {name} scales from {wanted.min_instances} to {wanted.max_instances} instances"
        )


def _wrong(s3: S3Client, keys: Keys, city: str) -> str | None:
    """Return what is wrong with a city's pointer, or with the bytes that it names."""
    try:
        found = live.read(s3, keys, city)
    except PublishError as error:
        return str(error)
    if found is None:
        return None  # it was taken away a moment ago
    pointer = found.pointer
    store, key = ObjectStore(s3, keys.bucket), keys.model(pointer.target_model)
    digest = store.sha256(key)
    if digest == pointer.artifact_sha256:
        return None
    has = "does not exist" if digest is None else f"has SHA-256 {digest}"
    return f"city {city!r}: {store.uri(key)} {has}; the live pointer says {pointer.artifact_sha256}"
