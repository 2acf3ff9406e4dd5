"""Which SageMaker endpoints that another one has replaced still have to answer for the model of a live pointer.

One that loads models is needed no longer than its callers believe in it: the one that serves loads any. A model in a
container is answered only by an endpoint that has the container. A boto3 S3 client is passed in.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from city_fleet import naming
from city_fleet.naming import Keys
from city_fleet.state import live
from city_fleet.state.live_pointer import ServedModel
from city_fleet.state.objects import ObjectStore
from city_fleet.state.shared_endpoints import SharedEndpoint

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


def needed(said: SharedEndpoint, served: Iterable[ServedModel]) -> frozenset[str]:
    """Return the names of the endpoints that live pointers' models are on, also of one that is being deleted. Pure.

    :param served: the models of live pointers on this shared endpoint, as :func:`served_on` finds them.
    """
    known = (said.serving, *said.replaced)
    found = set()
    for model in served:
        has = (each for each in known if model.container in each.containers)
        loads = (each for each in known if not each.containers)
        first = next(has if model.container else loads, None)
        found |= {first.name} if first is not None else set()
    return frozenset(found)


def served_on(s3: S3Client, keys: Keys, shared: str, own: str, said: SharedEndpoint) -> list[ServedModel]:
    """Return the models of live pointers that an endpoint which was replaced may have to answer for.

    Of endpoints that load models none is asked for: the one that serves loads any.

    :param shared: name of the shared endpoint; ``own`` that of the fleet's own.
    :raises PublishError: a live pointer can't be read, so that nobody knows what it needs.
    """
    known = (said.serving, *said.replaced)
    slugs = {naming.parse_target_model(target)[0] for each in known for target in each.containers.values()}
    if said.serving.containers and not all(each.containers for each in said.replaced):
        # Its kind has changed: any city's model may be one that is loaded still.
        prefix = keys.live_prefix()
        names = (item.key.removeprefix(prefix) for item in ObjectStore(s3, keys.bucket).items(prefix))
        slugs |= {name.removesuffix(".json") for name in names}
    found = [live.read(s3, keys, slug) for slug in sorted(slugs)]
    return [each.pointer for each in found if each is not None and (each.pointer.endpoint or own) == shared]
