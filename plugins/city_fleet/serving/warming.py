"""A SageMaker endpoint answers with the champions' models before it takes over, as it should.

That loads them, so that no caller waits for it, and shows a container, an image or an ``inference.py`` that answers
otherwise while nothing depends on it yet. Clients are passed in.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace

from botocore.exceptions import ClientError

from city_fleet import outgoing_text
from city_fleet.champions import artifact
from city_fleet.champions.answers import check_answers
from city_fleet.champions.artifact import Artifact
from city_fleet.errors import ArtifactError, PublishError, list_names
from city_fleet.naming import Keys
from city_fleet.state import live
from city_fleet.state.context import Clients
from city_fleet.state.live_pointer import LivePointer
from city_fleet.state.model_address import Address
from city_fleet.state.objects import ObjectStore

log = outgoing_text.logger(__name__)

#: A multi-model container loads models one after the other, or a few at a time; more would wait for it.
_AT_ONCE = 4
#: What has not been asked by then is loaded by its first request, as a model is that was never warmed.
MOST_SECONDS = 1800.0


@dataclass(frozen=True)
class Warmed:
    """What an endpoint was asked before it takes over.

    :param models: how many answered as they should.
    :param left: how many were not asked: beyond the limit, or for want of time.
    :param unwell: sentences about cities that neither this endpoint nor the one that serves answers for.
    """

    models: int
    left: int
    unwell: tuple[str, ...] = ()


@dataclass(frozen=True)
class Switching:
    """From which SageMaker endpoint to which one a shared endpoint changes.

    :param shared: its name; ``own`` that of the fleet's own one, which pointers without an endpoint mean.
    :param serves: the SageMaker endpoint that answers now.
    :param to: the one that is to take over.
    """

    shared: str
    own: str
    serves: str
    to: str


def warm(
    aws: Clients, keys: Keys, switching: Switching, most: int, most_seconds: float = MOST_SECONDS
) -> Warmed:
    """Have the endpoint that is to take over answer the sample rows of every champion.

    The models that went live last are asked first.

    :param most: how many models are asked at most.
    :raises PublishError: it answers otherwise for a city that the endpoint that serves does answer for.
    """
    end = time.monotonic() + most_seconds
    pointers = list(_pointers(aws, keys, switching))
    chosen = pointers[:most]
    warmed, unwell, left = 0, [], len(pointers) - len(chosen)

    def ask(pointer: LivePointer) -> str | None:
        """Return what is wrong on both endpoints, None where all is well; an empty text where there was no time."""
        return "" if time.monotonic() >= end else _wrong(aws, keys, switching, pointer)

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="city-fleet-warm") as pool:
        asked: list[Future[str | None]] = [pool.submit(ask, each) for each in chosen]
        try:
            for each in as_completed(asked):
                said = each.result()
                if said is None:
                    warmed += 1
                elif said:
                    unwell.append(said)
                else:
                    left += 1
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return Warmed(warmed, left, tuple(sorted(unwell)))


def _pointers(aws: Clients, keys: Keys, switching: Switching) -> Iterator[LivePointer]:
    """Yield the pointers of models that the endpoint loads, those that moved last first."""
    prefix = keys.live_prefix()
    items = sorted(
        ObjectStore(aws.s3, keys.bucket).items(prefix), key=lambda each: each.modified, reverse=True
    )
    cities = [each.key.removeprefix(prefix).removesuffix(".json") for each in items]
    broken = []
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        read = pool.map(lambda city: (city, live.read_or_broken(aws.s3, keys, city)), cities)
        for city, found in read:
            if isinstance(found, live.Broken):
                broken.append(city)
            elif found is not None and _is_on(found.pointer, switching):
                yield found.pointer
    if broken:
        log.warning("Live pointers that can't be read, so whose models are not asked: %s", list_names(broken))


def _is_on(pointer: LivePointer, switching: Switching) -> bool:
    """Tell whether the shared endpoint loads a pointer's model."""
    return (pointer.endpoint or switching.own) == switching.shared and not pointer.container


def _wrong(aws: Clients, keys: Keys, switching: Switching, pointer: LivePointer) -> str | None:
    """Return what is wrong with a city on both endpoints; None where the new one answers as it should.

    :raises PublishError: the new one does not, and the one that serves does.
    """
    try:
        made = artifact.fetch(aws.s3, keys.bucket, keys.model(pointer.target_model), pointer.artifact_sha256)
    except ArtifactError as error:
        return f"{pointer.city}: {error}"
    at = Address(switching.to, pointer.target_model)
    try:
        _check(aws, at, made)
    except PublishError as error:
        try:
            _check(aws, replace(at, endpoint=switching.serves), made)
        except (PublishError, ClientError):
            return f"{pointer.city}: {error}"
        raise PublishError(
            f"city {pointer.city!r}: {error}. Endpoint {switching.serves!r} does answer as it should and serves on; "
            f"{switching.to!r} does not take over. Look at what has changed under endpoint in the fleet file and in "
            "inference.py, mend it or take it back, then run the fleet's _endpoint DAG again",
            city=pointer.city,
        ) from error
    return None


def _check(aws: Clients, at: Address, made: Artifact) -> None:
    samples = enumerate(zip(made.rows, made.predictions, strict=True), start=1)
    rows = [(f"sample row {number}", values, known) for number, (values, known) in samples]
    check_answers(aws.runtime, at, rows, as_json=made.is_table)
