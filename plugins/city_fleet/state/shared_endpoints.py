"""Which SageMaker endpoint serves for each shared endpoint of an installation, as one JSON object in S3.

A fleet names its shared endpoints; live pointers and applications go by those names. What answers is a SageMaker
endpoint, of the same name at first. One that is to change without a moment's pause gets another SageMaker endpoint
beside it, which is warmed and tried, and takes over when this object says so: for all cities at once. The one before
is kept for callers that have not read this object again, and for models that only its containers hold, and is deleted
later. One that is being made is noted before it is asked for, so none is ever paid for that this object does not know.

An installation without the object, or a name that it does not know, is served by the endpoint of that very name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from city_fleet import clock, outgoing_text
from city_fleet.errors import Busy, EndpointClosed, show_value
from city_fleet.naming import Keys
from city_fleet.state import versioned_json
from city_fleet.state.objects import ObjectStore
from city_fleet.state.versioned_json import Form

log = outgoing_text.logger(__name__)

#: Far above any: 20 endpoints with 15 containers each, and as many before them.
MOST_BYTES = 1 << 20
_FORM = Form(1, MOST_BYTES, "which endpoints serve")


@dataclass(frozen=True, kw_only=True)
class ServingEndpoint:
    """A SageMaker endpoint that serves for a shared endpoint, or has.

    :param name: of the SageMaker endpoint.
    :param config: name of its endpoint configuration, as it was asked for last.
    :param since: when it began to serve; ISO 8601, UTC.
    :param until: when another one took over; empty while it serves.
    :param algorithms: that its code has: name → digits of the module's SHA-256; None where it does not say.
    :param containers: of one with many containers: container hostname → target model. Empty for one that loads models.
    :param images: of those containers: hostname → image.
    :param leaving: it is being deleted, and serves no more.
    """

    name: str
    config: str = ""
    since: str = ""
    until: str = ""
    algorithms: Mapping[str, str] | None = None
    containers: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)
    leaving: bool = False


@dataclass(frozen=True)
class Wanted:
    """A model that waits for a container.

    :param image: of the container.
    :param since: when somebody has asked for it last; ISO 8601, UTC.
    """

    target_model: str
    image: str
    since: str


@dataclass(frozen=True)
class Closed:
    """That a shared endpoint is closed. Noted before its SageMaker endpoint is deleted, until one is in service again.

    :param since: when it was noted; ISO 8601, UTC.
    :param until: when it is to open; ISO 8601, by the clocks of ``time_zone``.
    :param time_zone: of ``endpoint.hours``.
    """

    since: str
    until: str
    time_zone: str

    def sentence(self, name: str) -> str:
        """Say it.

        :param name: of the shared endpoint.
        """
        return (
            f"Endpoint {name!r} is closed until {self.until[:16].replace('T', ' ')} {self.time_zone}, "
            "by endpoint.hours"
        )

    def seconds_left(self, now: datetime) -> float:
        """Return how long it stays closed; 0 where it ought to be open."""
        return max(0.0, (clock.parse(self.until) - now).total_seconds())


@dataclass(frozen=True, kw_only=True)
class SharedEndpoint:
    """What serves for one shared endpoint.

    :param serving: the SageMaker endpoint that answers.
    :param replaced: those before it that may still be there, the newest first.
    :param making: one that is being brought into service to take over; ``since`` says when that was begun or gone on
        with last. It may be one of those that were replaced.
    :param wanted: of one with many containers: container hostname → the model that waits for it.
    :param template: of one with many containers: what they and their endpoint are made with, as
        ``champions/container_requests.py`` reads it. Empty for one that loads models.
    :param closed: it is outside of its hours; None while it is open.
    :param opened: of one with hours: when it was opened last; ISO 8601, UTC.
    """

    serving: ServingEndpoint
    replaced: tuple[ServingEndpoint, ...] = ()
    making: ServingEndpoint | None = None
    wanted: Mapping[str, Wanted] = field(default_factory=dict)
    template: Mapping[str, Any] = field(default_factory=dict)
    closed: Closed | None = None
    opened: str = ""

    def refuse_closed(self, name: str) -> None:
        """Refuse to have a model answer while nothing can.

        :param name: of the shared endpoint.
        :raises EndpointClosed: it is closed, or was to open and is not in service yet.
        """
        if self.closed is not None:
            raise EndpointClosed(self.closed.sentence(name), until=self.closed.until)

    def answering(self, container: str = "") -> str:
        """Return the name of the SageMaker endpoint that answers.

        :param container: hostname of the container that has to; the newest endpoint that has it answers. While a
            model's pointer has not moved yet, that is one that was replaced. Empty for a model that is loaded: where
            containers have come in their place, the newest endpoint without any answers.
        """
        for each in (self.serving, *self.replaced):
            fits = container in each.containers or not (container or each.containers)
            if fits and not each.leaving:
                return each.name
        return self.serving.name

    def holds(self, container: str) -> bool:
        """Tell whether an endpoint that serves, or has, has a container."""
        return any(container in each.containers for each in (self.serving, *self.replaced))

    def taken_over(self, serving: ServingEndpoint) -> SharedEndpoint:
        """Return the state in which another SageMaker endpoint serves, or the same one with other content."""
        if serving.name == self.serving.name:
            return replace(self, serving=serving)
        before = replace(self.serving, until=serving.since)
        kept = [each for each in (before, *self.replaced) if each.name != serving.name]
        made = self.making is not None and self.making.name == serving.name
        making = None if made else self.making
        return replace(self, serving=serving, replaced=tuple(kept), making=making)

    def begun(self, making: ServingEndpoint) -> SharedEndpoint:
        """Return the state in which an endpoint is being made; another one that was is one of the replaced now.

        :raises Busy: it is just being deleted.
        """
        if any(each.leaving for each in self.replaced if each.name == making.name):
            raise Busy(f"Endpoint {making.name} is just being deleted; it is made anew when it is gone")
        return replace(self._given_up(making), making=making)

    def given_up(self, now: str) -> SharedEndpoint:
        """Return the state in which none is being made; one that was is one of the replaced.

        :param now: ISO instant.
        """
        return self._given_up(ServingEndpoint(name="", since=now))

    def _given_up(self, next_: ServingEndpoint) -> SharedEndpoint:
        old = self.making
        known = {self.serving.name, next_.name, *(each.name for each in self.replaced)}
        if old is None or old.name in known:
            return replace(self, making=None)
        return replace(self, making=None, replaced=(replace(old, until=next_.since), *self.replaced))

    def with_leaving(self, name: str, leaving: bool = True) -> SharedEndpoint:
        """Return the state in which an endpoint that was replaced is being deleted, or is not after all."""
        marked = (replace(each, leaving=leaving) if each.name == name else each for each in self.replaced)
        return replace(self, replaced=tuple(marked))

    def without(self, names: Iterable[str]) -> SharedEndpoint:
        """Return the state in which endpoints that were replaced are gone."""
        gone = set(names)
        return replace(self, replaced=tuple(each for each in self.replaced if each.name not in gone))


#: Name of a shared endpoint → what serves for it.
SharedEndpoints = Mapping[str, SharedEndpoint]


def answering(shared: SharedEndpoints, name: str, container: str = "") -> str:
    """Return the name of the SageMaker endpoint that answers for a shared endpoint.

    :param name: of the shared endpoint.
    :param container: hostname of the container that has to answer; empty where models are loaded.
    """
    found = shared.get(name)
    return name if found is None else found.answering(container)


def parse(body: bytes, where: str) -> dict[str, SharedEndpoint]:
    """Read the object's bytes.

    :param where: its URI, for errors.
    :raises PlatformError: they are no such object, or one of a newer format.
    """

    def found(value: Any) -> dict[str, SharedEndpoint]:
        return {str(name): _shared(each) for name, each in value["endpoints"].items()}

    advice = "Bring an earlier version of it back, or delete it and run the fleet's _endpoint DAG, which writes it anew"
    return versioned_json.parse(body, where, _FORM, found, advice)


def read(store: ObjectStore, keys: Keys) -> dict[str, SharedEndpoint]:
    """Return what serves for each shared endpoint; empty where nothing was ever noted.

    :raises PlatformError: the object can't be read.
    """
    found = store.get(keys.shared_endpoints(), MOST_BYTES)
    return {} if found is None else parse(found.body, store.uri(keys.shared_endpoints()))


def change(
    store: ObjectStore,
    keys: Keys,
    name: str,
    changed: Callable[[SharedEndpoint | None], SharedEndpoint | None],
) -> SharedEndpoint | None:
    """Change what is said of one shared endpoint, whatever others do to it or to others at the same time.

    :param name: of the shared endpoint.
    :param changed: gets what is said now and returns what is to be said, None to say nothing; may be called again.
    :return: what is said afterwards.
    :raises PlatformError: the object can't be read.
    :raises Busy: others got in the way for a minute.
    """
    result: list[SharedEndpoint | None] = [None]

    def edit(body: bytes | None) -> bytes | None:
        shared = {} if body is None else parse(body, store.uri(keys.shared_endpoints()))
        result[0] = changed(shared.get(name))
        after = {key: each for key, each in shared.items() if key != name}
        if result[0] is not None:
            after[name] = result[0]
        return None if after == shared else _bytes(after)

    store.update(keys.shared_endpoints(), edit)
    return result[0]


def note(store: ObjectStore, keys: Keys, name: str, serving: ServingEndpoint) -> SharedEndpoint | None:
    """Note that a SageMaker endpoint serves for a shared endpoint, from now on unless it did already.

    :param name: of the shared endpoint.
    """
    since = serving.since or clock.now_iso()

    def noted(before: SharedEndpoint | None) -> SharedEndpoint:
        if before is None:
            return SharedEndpoint(serving=replace(serving, since=since))
        same = before.serving.name == serving.name
        return before.taken_over(replace(serving, since=before.serving.since if same else since))

    return change(store, keys, name, noted)


def begin(
    store: ObjectStore, keys: Keys, name: str, making: ServingEndpoint, serving: ServingEndpoint
) -> None:
    """Note that a SageMaker endpoint is being brought into service to take over, before it is asked for.

    :param name: of the shared endpoint.
    :param serving: what serves, where nothing was noted before.
    :raises Busy: it is just being deleted.
    """
    begun = replace(making, since=clock.now_iso())
    change(store, keys, name, lambda before: (before or SharedEndpoint(serving=serving)).begun(begun))


def take_over(store: ObjectStore, keys: Keys, name: str, serving: ServingEndpoint) -> SharedEndpoint | None:
    """Note that the SageMaker endpoint that was being made serves from now on. Repeating it changes nothing.

    :param name: of the shared endpoint.
    :raises Busy: it is not being made any more: it took so long that it was given up, or another one is wanted.
    """
    since = clock.now_iso()

    def taken(before: SharedEndpoint | None) -> SharedEndpoint:
        if before is not None and before.serving.name == serving.name:
            return before
        if before is None or before.making is None or before.making.name != serving.name:
            raise Busy(f"Endpoint {serving.name} is no longer the one that is to take over")
        return before.taken_over(replace(serving, since=since))

    return change(store, keys, name, taken)


def open_again(store: ObjectStore, keys: Keys, name: str) -> None:
    """Note that a shared endpoint with hours is open from now on, whatever they say, until they close it next.

    :param name: of the shared endpoint.
    """
    now = clock.now_iso()
    change(
        store,
        keys,
        name,
        lambda said: None if said is None else replace(said, closed=None, opened=now),
    )


def _bytes(shared: SharedEndpoints) -> bytes:
    endpoints = {name: asdict(each) for name, each in sorted(shared.items())}
    return (json.dumps({"format_version": _FORM.version, "endpoints": endpoints}, indent=2) + "\n").encode()


def _shared(value: Any) -> SharedEndpoint:
    making = value.get("making")
    closed, opened = value.get("closed"), value.get("opened") or ""
    for text in (opened, *([] if closed is None else (closed["since"], closed["until"]))):
        if text:
            clock.parse(text)
    template = value.get("template") or {}
    if not isinstance(template, dict):
        raise ValueError(f"template is {show_value(template)}")
    return SharedEndpoint(
        serving=_serving(value["serving"]),
        replaced=tuple(_serving(each) for each in value["replaced"]),
        making=None if making is None else _serving(making),
        wanted={name: Wanted(**each) for name, each in (value.get("wanted") or {}).items()},
        template=template,
        closed=None if closed is None else Closed(closed["since"], closed["until"], str(closed["time_zone"])),
        opened=opened,
    )


def _serving(value: Any) -> ServingEndpoint:
    texts = {name: value[name] for name in ("name", "config", "since", "until")}
    algorithms, containers, images = value["algorithms"], value["containers"], value.get("images") or {}
    for name, text in texts.items():
        if not isinstance(text, str):
            raise ValueError(f"{name} is {show_value(text)}")
    for names in (algorithms or {}, containers, images):
        if not all(isinstance(each, str) for pair in names.items() for each in pair):
            raise ValueError(f"{show_value(names)} are no names")
    return ServingEndpoint(
        **texts,
        algorithms=algorithms,
        containers=containers,
        images=images,
        leaving=value.get("leaving") is True,
    )
