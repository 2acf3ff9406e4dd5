"""Which SageMaker endpoints that another one has replaced may be deleted.

One may go when no live pointer's model is answered by it any more, and when it was replaced so long ago that no caller
believes otherwise. A boto3 S3 client is passed in.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from city_fleet import clock, naming
from city_fleet.naming import Keys
from city_fleet.state import live
from city_fleet.state.live_pointer import ServedModel
from city_fleet.state.objects import ObjectStore
from city_fleet.state.shared_endpoints import ServingEndpoint, SharedEndpoint

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

#: Callers believe for a minute what they have read, and a few more while S3 does not answer them.
CALLERS_KNOW_AFTER = timedelta(minutes=15)


def deletable(said: SharedEndpoint, served: Iterable[ServedModel], now: datetime) -> list[ServingEndpoint]:
    """Return the endpoints that nothing needs any more, the newest first. Pure.

    :param served: the models of live pointers on this shared endpoint, as :func:`served_on` finds them.
    """
    needed = {said.answering(model.container) for model in served}
    return [
        each for each in said.replaced if each.leaving or (each.name not in needed and _is_known(each, now))
    ]


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


def _is_known(old: ServingEndpoint, now: datetime) -> bool:
    try:
        return now - clock.parse(old.until) >= CALLERS_KNOW_AFTER
    except ValueError:
        return False
