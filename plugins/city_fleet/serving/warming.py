"""A SageMaker endpoint answers with the champions' models before it takes over, as it should.

That loads them, so that no caller waits for it, and shows a container, an image or an ``inference.py`` that answers
otherwise while nothing depends on it yet. Clients are passed in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
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
from city_fleet.state.live_pointer import Broken, LivePointer, Versioned
from city_fleet.state.model_address import Address
from city_fleet.state.objects import ObjectStore

log = outgoing_text.logger(__name__)

#: A multi-model container loads models one after the other, or a few at a time; more would wait for it.
_AT_ONCE = 4
_ROUNDS = 3
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
    seen: dict[str, str] = {}
    warmed, left, budget = 0, 0, most
    unwell: list[str] = []

    def ask(pointer: LivePointer) -> str | None:
        """Return what is wrong on both endpoints, None where all is well; an empty text where there was no time."""
        return "" if time.monotonic() >= end else _wrong(aws, keys, switching, pointer)

    # Models go live while others are asked: those are asked too, as long as it makes sense.
    for _ in range(_ROUNDS):
        pointers = _pointers(aws, keys, switching, seen)
        chosen, budget = pointers[:budget], max(0, budget - len(pointers))
        left += len(pointers) - len(chosen)
        for said in _asked(ask, chosen):
            if said is None:
                warmed += 1
            elif said:
                unwell.append(said)
            else:
                left += 1
        if not pointers:
            break
    return Warmed(warmed, left, tuple(sorted(unwell)))


def _asked(ask: Callable[[LivePointer], str | None], pointers: Sequence[LivePointer]) -> Iterator[str | None]:
    """Yield what is said of each pointer, as it comes; the first error ends it."""
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="city-fleet-warm") as pool:
        asked = [pool.submit(ask, each) for each in pointers]
        try:
            for each in as_completed(asked):
                yield each.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _pointers(aws: Clients, keys: Keys, switching: Switching, seen: dict[str, str]) -> list[LivePointer]:
    """Return the pointers of models that the endpoint loads, those that moved last first.

    :param seen: key → ETag of the objects that an earlier call has read, which are left out; this one adds its own.
    """
    prefix = keys.live_prefix()
    items = sorted(
        (each for each in ObjectStore(aws.s3, keys.bucket).items(prefix) if seen.get(each.key) != each.etag),
        key=lambda each: each.modified,
        reverse=True,
    )
    seen |= {each.key: each.etag for each in items}
    cities = [each.key.removeprefix(prefix).removesuffix(".json") for each in items]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        read = list(pool.map(lambda city: live.read_or_broken(aws.s3, keys, city), cities))
    broken = [city for city, found in zip(cities, read, strict=True) if isinstance(found, Broken)]
    if broken:
        log.warning("Live pointers that can't be read, whose models are not asked: %s", list_names(broken))
    pointers = [found.pointer for found in read if isinstance(found, Versioned)]
    return [each for each in pointers if _is_on(each, switching)]


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
