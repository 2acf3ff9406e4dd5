"""How a model comes to a container of its own, as a sequence of states of ``state/endpoints.json``. Pure.

The containers of a SageMaker model are fixed when it is created. So a model that is to go live is announced as wanted;
if no endpoint is being made, one is begun that holds what is live, it, and whatever else is wanted; else it waits for
the next. Fifteen cities that publish in one night so make a few endpoints, and not fifteen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from city_fleet import clock, naming
from city_fleet.champions.container_requests import Housed
from city_fleet.config.endpoint_section import MOST_CONTAINERS
from city_fleet.errors import PublishError, list_names
from city_fleet.state.shared_endpoints import ServingEndpoint, SharedEndpoint, Wanted

#: Whoever waits looks many times within it: what nobody has asked for since is wanted no more.
FORGOTTEN_AFTER = timedelta(hours=2)
# Looks write what they have seen at most so often.
_SAID_AGAIN_AFTER = timedelta(minutes=10)

#: Makes the endpoint that holds some models, by container hostname.
Make = Callable[[Mapping[str, Housed]], ServingEndpoint]


def announced(
    said: SharedEndpoint, mine: Housed, live: Iterable[Housed], make: Make, now: datetime
) -> SharedEndpoint:
    """Return the state in which a model is on its way into a container.

    :param mine: the model.
    :param live: models that serve on this shared endpoint.
    :raises PublishError: there is no room for it.
    :raises Busy: the endpoint that it would come to is just being deleted.
    """
    stamp = now.isoformat()
    wanted = {name: each for name, each in said.wanted.items() if not _is_old(each.since, now)}
    known = wanted.get(mine.hostname)
    if known is None or _is_old(known.since, now, _SAID_AGAIN_AFTER):
        wanted[mine.hostname] = Wanted(mine.target_model, mine.image, stamp)
    said = replace(said, wanted=wanted)
    if said.making is not None and not _is_old(said.making.since, now):
        return _gone_on_with(said, said.making, mine.hostname, now)
    if said.making is not None:
        said = _without_making(said, now)
    waiting = [Housed(name, each.target_model, each.image) for name, each in wanted.items()]
    return said.begun(replace(make(chosen(live, mine, waiting)), since=stamp))


def chosen(live: Iterable[Housed], mine: Housed | None, waiting: Iterable[Housed]) -> dict[str, Housed]:
    """Return the models that a new endpoint holds, by container hostname: one of each city, that which is to serve.

    Until its pointer has moved, what serves a city is answered with by the endpoint that it is on already. Models that
    wait come along as far as there is room.

    :param mine: a model that must be among them; None where what serves is to be made anew.
    :raises PublishError: more cities are served than SageMaker has containers for.
    """
    models = {_city(each): each for each in live}
    if mine is not None:
        models[_city(mine)] = mine
    if len(models) > MOST_CONTAINERS:
        raise PublishError(
            f"an endpoint of kind multi_container has {MOST_CONTAINERS} containers at most, and {len(models)} models "
            f"are to serve on it: {list_names(sorted(each.target_model for each in models.values()))}. Move cities to "
            "another endpoint, by endpoints.….algorithms or .images, or take kind multi_model"
        )
    own = "" if mine is None else _city(mine)
    for each in waiting:
        city = _city(each)
        if city != own and (city in models or len(models) < MOST_CONTAINERS):
            models[city] = each
    return {each.hostname: each for each in models.values()}


def _city(model: Housed) -> str:
    return naming.parse_target_model(model.target_model)[0]


def taken_over(said: SharedEndpoint, endpoint: str, now: datetime) -> SharedEndpoint | None:
    """Return the state in which a model may answer on an endpoint: one that was being made serves from now on.

    One that was replaced before and still has the model's container counts as replaced from now on: it is needed again.

    :param endpoint: its name.
    :return: None where it is neither in service nor being made, so that whoever waited has to look again.
    """
    stamp = now.isoformat()
    making = said.making if said.making is not None and said.making.name == endpoint else None
    if making is not None:
        left = {name: each for name, each in said.wanted.items() if name not in making.containers}
        return replace(replace(said, wanted=left).taken_over(replace(making, since=stamp)), making=None)
    if endpoint == said.serving.name:
        return said
    if not any(each.name == endpoint and not each.leaving for each in said.replaced):
        return None
    kept = [replace(each, until=stamp) if each.name == endpoint else each for each in said.replaced]
    return replace(said, replaced=tuple(kept))


def failed(said: SharedEndpoint, endpoint: str, now: datetime) -> SharedEndpoint:
    """Return the state after an endpoint has failed: nothing is wanted any more, because any model may be to blame.

    Whoever still wants a container asks anew, and the first who does gets an endpoint without the others.
    """
    if said.making is None or said.making.name != endpoint:
        return said
    return replace(_without_making(said, now), wanted={})


def _without_making(said: SharedEndpoint, now: datetime) -> SharedEndpoint:
    """Return the state in which none is being made; one that was is to be deleted, and answers nobody."""
    name = said.making.name if said.making is not None else ""
    return said.given_up(now.isoformat()).with_leaving(name)


def _gone_on_with(
    said: SharedEndpoint, making: ServingEndpoint, hostname: str, now: datetime
) -> SharedEndpoint:
    """Return the state in which it was said again that somebody waits for an endpoint."""
    if hostname not in making.containers or not _is_old(making.since, now, _SAID_AGAIN_AFTER):
        return said
    return replace(said, making=replace(making, since=now.isoformat()))


def _is_old(since: str, now: datetime, age: timedelta = FORGOTTEN_AFTER) -> bool:
    try:
        return now - clock.parse(since) >= age
    except ValueError:
        return True
