"""Moves that a person makes: roll back to what served before, pin and unpin. Clients are passed in.

A model may serve again when its artifact is there with the
bytes that were registered and its version in the registry is Approved; what fails that for good is passed over, and
said. The endpoint must then answer the artifact's own samples with it. An endpoint that does not stops the
rollback, because that may be over in a minute, and a model older than expected would serve for long.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from city_fleet import clock
from city_fleet.champions import artifact, containers, publish
from city_fleet.champions.answers import check_answers
from city_fleet.champions.artifact import Artifact
from city_fleet.champions.served import Destination, walk_back, went_live_since
from city_fleet.errors import ArtifactError, BrokenPointer, PointerMoved, PublishError
from city_fleet.naming import Keys
from city_fleet.state import installation, live, objects, registry, retire_marks
from city_fleet.state.author import Author
from city_fleet.state.context import CityContext
from city_fleet.state.live_pointer import LivePointer, ServedModel, Versioned
from city_fleet.state.outcomes import Outcome
from city_fleet.state.registry import APPROVED

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

# The clocks of S3 and of the process that moves a pointer differ a little.
_CLOCK_SLACK = timedelta(minutes=15)


@dataclass(frozen=True)
class Move:
    """What a person's move did to a city.

    :param outcome: ``moved``; ``planned`` (a dry run would have moved); or ``unchanged`` (nothing had to be done).
    :param before: what served; None if nothing did, or nothing that can be read.
    :param after: what serves now, or would.
    :param notes: sentences: what was passed over and why, or why nothing had to be done.
    """

    city: str
    outcome: Outcome
    before: LivePointer | None
    after: LivePointer | None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "notes": list(self.notes)}


@dataclass(frozen=True)
class Rollback:
    """Where a rollback goes.

    :param to: which state of the pointer to restore; by default what served before the model that serves.
    :param since: roll back only if the model that serves was published at this instant or later, to what served
        before it.
    :param dry_run: choose and check, but neither ask the endpoint nor move the pointer.
    :param over: the state that was looked at: the pointer moves only while it is still that one.
    """

    to: Destination | None = None
    since: datetime | None = None
    dry_run: bool = False
    over: LivePointer | None = None


def rollback(city: CityContext, author: Author, order: Rollback = Rollback()) -> Move:
    """Return a city to a model that really served, and pin it there.

    :raises PublishError: there is nothing to roll back to, or the endpoint does not answer with it. The pointer
        has not moved.
    :raises PointerMoved: the pointer was moved meanwhile, to a model that was not to be left.
    """
    leaving: LivePointer | None = None
    planned: LivePointer | None = None
    attempts = objects.rounds(city.keys.uri(city.keys.live(city.slug)))
    while True:
        next(attempts)
        current = serving(city)
        if order.over is not None and current.pointer != order.over:
            raise _moved_meanwhile(current.pointer)
        done = _nothing_to_do(current.pointer, planned, order.since)
        if done is not None:
            return Move(city.slug, Outcome.UNCHANGED, current.pointer, current.pointer, (done,))
        replaced = leaving is not None and leaving.target_model != current.pointer.target_model
        if replaced and order.to is None and order.since is None:
            raise _moved_meanwhile(current.pointer)  # one more step back is not what was wanted
        leaving = current.pointer
        if order.to is not None:
            state, loaded = _state_at(city, leaving, order.to, claim=not order.dry_run)
            notes: tuple[str, ...] = ()
        else:
            state, loaded, notes = _state_before(city, leaving, order.since, claim=not order.dry_run)
        if state.target_model == leaving.target_model and leaving.pinned:
            return Move(city.slug, Outcome.UNCHANGED, leaving, leaving, ("it serves and is pinned already",))
        state = rehoused(city, state, loaded)
        planned = state_after(leaving, state, kind=live.ROLLBACK, author=author, pinned=True)
        if order.dry_run:
            return Move(city.slug, Outcome.PLANNED, leaving, planned, notes)
        check_serves(city, state, loaded)
        try:
            moved = live.move(city.aws.s3, city.keys, planned, current)
        except PointerMoved:
            continue
        return Move(city.slug, Outcome.MOVED, leaving, moved.pointer, notes)


def pin(city: CityContext, target: str, author: Author, notes: tuple[str, ...] = ()) -> Move:
    """Keep the model that serves until a person unpins it.

    :param target: which model that is.
    :param notes: what else there is to say of the move.
    :raises PointerMoved: another model serves meanwhile.
    """
    attempts = objects.rounds(city.keys.uri(city.keys.live(city.slug)))
    while True:
        next(attempts)
        current = serving(city)
        now = current.pointer
        if now.target_model != target:
            raise _moved_meanwhile(now)
        if now.pinned:
            note = f"it is live and pinned already, by {now.moved_by}: sequence {now.sequence}"
            return Move(city.slug, Outcome.UNCHANGED, now, now, (note, *notes))
        planned = state_after(now, now, kind=live.PROMOTE, author=author, pinned=True)
        try:
            moved = live.move(city.aws.s3, city.keys, planned, current)
        except PointerMoved:
            continue
        return Move(city.slug, Outcome.MOVED, now, moved.pointer, notes)


def unpin(city: CityContext, author: Author) -> Move:
    """Let new models of a city go live again. What serves stays until one does.

    :raises PublishError: the city has no live pointer.
    :raises PointerMoved: the pointer was moved meanwhile.
    """
    first: LivePointer | None = None
    attempts = objects.rounds(city.keys.uri(city.keys.live(city.slug)))
    while True:
        next(attempts)
        current = serving(city)
        now = current.pointer
        if not now.pinned:
            note = "it is not pinned" if first is None else f"{now.moved_by} has unpinned it meanwhile"
            return Move(city.slug, Outcome.UNCHANGED, now, now, (note,))
        if first is not None and now != first:
            raise _moved_meanwhile(now)
        first = now
        planned = state_after(now, now, kind=live.UNPIN, author=author, pinned=False)
        try:
            moved = live.move(city.aws.s3, city.keys, planned, current)
        except PointerMoved:
            continue
        return Move(city.slug, Outcome.MOVED, now, moved.pointer)


def state_after(
    outgoing: LivePointer, state: LivePointer, *, kind: str, author: Author, pinned: bool
) -> LivePointer:
    """Return the state of the pointer that follows ``outgoing`` and serves the model of an earlier ``state``."""
    return replace(
        state,
        sequence=outgoing.sequence + 1,
        predecessor=outgoing.target_model,
        pinned=pinned,
        move=kind,
        moved_at=clock.now_iso(),
        moved_by=author.by,
        reason=author.note,
        restores=state.origin,
    )


def cities_moved_since(s3: S3Client, keys: Keys, since: datetime) -> list[str]:
    """Return the cities whose live pointer was written since an instant, give or take the difference of clocks.

    One List per 1,000 cities; a rollback with the same ``since`` looks at the pointers themselves.
    """
    prefix = keys.live_prefix()
    return sorted(
        item.key.removeprefix(prefix).removesuffix(".json")
        for item in objects.ObjectStore(s3, keys.bucket).items(prefix)
        if item.modified >= since - _CLOCK_SLACK
    )


def serving(city: CityContext) -> Versioned:
    """Return a city's live pointer.

    :raises PublishError: there is none, or it can't be read.
    """
    current = live.read(city.aws.s3, city.keys, city.slug)
    if current is None:
        raise PublishError(
            f"city {city.slug!r}: no model of it is live ({city.keys.uri(city.keys.live(city.slug))} does not exist). "
            f"If one was, `./fleet rebuild {city.slug}` restores the pointer",
            city=city.slug,
        )
    return current


def load_usable(city: CityContext, state: LivePointer, *, claim: bool) -> Artifact:
    """Return the artifact of a model that may serve again.

    :param claim: keep it from being retired from now on; False when it is not going to serve after all.
    :raises ArtifactError: it may not: the sentence says why, and it will stay so.
    """
    s3, keys = city.aws.s3, city.keys
    if claim:
        retire_marks.claim(s3, keys, state.city, state.target_model)
    loaded = artifact.fetch(s3, keys.bucket, keys.model(state.target_model), state.artifact_sha256)
    if (loaded.city, loaded.as_of, loaded.features) != (state.city, state.as_of, state.features) or (
        loaded.kind,
        loaded.inputs,
    ) != (state.kind, state.inputs):
        where = keys.uri(keys.model(state.target_model))
        raise ArtifactError(
            f"{where}: is a model of city {loaded.city!r} as of {loaded.as_of!r} with {len(loaded.features)} features; "
            f"the pointer says {state.city!r}, {state.as_of!r} and {len(state.features)}"
        )
    package = registry.describe(city.aws.sagemaker, state.package_arn)
    if package is None:
        raise ArtifactError(f"{state.package_arn} is no longer in the registry")
    whose = installation.other(keys, package.metadata)
    if whose is not None:
        raise ArtifactError(f"{state.package_arn} belongs to {whose}")
    if package.status != APPROVED:
        why = f": {package.status_reason}" if package.status_reason else ""
        raise ArtifactError(f"version {package.number} is {package.status} in the registry{why}")
    registered = package.metadata.get("artifact_sha256")
    if registered != state.artifact_sha256:
        raise ArtifactError(
            f"version {package.number} was registered with artifact {registered}, and the pointer says "
            f"{state.artifact_sha256}"
        )
    return loaded


def check_serves(city: CityContext, model: ServedModel, loaded: Artifact) -> None:
    """Check that the endpoint answers an artifact's own samples with it, as it did when it was trained.

    :param model: what the live pointer says of it.
    :raises PublishError: it does not.
    :raises EndpointUnderWay: it gets a container of its own, on an endpoint that is being made; repeating goes on.
    """
    samples = enumerate(zip(loaded.rows, loaded.predictions, strict=True), start=1)
    rows = [(f"sample row {number}", values, known) for number, (values, known) in samples]
    at = containers.bring_up(city, model) if model.container else city.address_of(model)
    check_answers(city.aws.runtime, at, rows, as_json=loaded.is_table)
    if model.container:
        containers.take_over(city, model, at)


def rehoused(city: CityContext, state: LivePointer, loaded: Artifact) -> LivePointer:
    """Return a state with the endpoint that serves its model by the settings of now, which may be others."""
    served = publish.housed(city, state, loaded.algorithm)
    return replace(state, endpoint=served.endpoint, route=served.route)


def _nothing_to_do(now: LivePointer, planned: LivePointer | None, since: datetime | None) -> str | None:
    """Return why a rollback has nothing to do with what serves now; None where it has.

    :param planned: what an earlier round wanted to restore.
    """
    if since is not None and not went_live_since(now, since):
        return f"{now.target_model} was published before, {now.published_at}"
    if planned is not None and planned.target_model == now.target_model and now.pinned:
        return f"{now.moved_by} has done the same meanwhile"
    return None


def _state_before(
    city: CityContext, current: LivePointer, since: datetime | None, *, claim: bool
) -> tuple[LivePointer, Artifact, tuple[str, ...]]:
    """Return the nearest earlier state whose model may serve, its artifact, and what was passed over."""
    notes: list[str] = []
    earlier = kept_newest_first(city, current, notes)
    for state in walk_back(current, earlier, since):
        try:
            return state, load_usable(city, state, claim=claim), tuple(notes)
        except ArtifactError as error:
            notes.append(f"passed over sequence {state.sequence} ({state.target_model}): {error}")
    what = f"before {since.isoformat()}" if since else "before it"
    raise PublishError(
        f"city {current.city!r}: there is nothing to roll back to: no model that served {what} can serve again. "
        f"{current.target_model} (sequence {current.sequence}) stays live"
        + "".join(f"; {note}" for note in notes),
        city=current.city,
        notes=notes,
    )


def _state_at(
    city: CityContext, current: LivePointer, to: Destination, *, claim: bool
) -> tuple[LivePointer, Artifact]:
    """Return the newest state that is meant, and its artifact."""
    notes: list[str] = []
    states = (current, *kept_newest_first(city, current, notes, to.sequence))
    state = next(filter(to.matches, states), None)
    if state is None:
        raise PublishError(
            f"city {current.city!r}: {to} never served"
            + "".join(f"; {note}" for note in notes)
            + f". `./fleet history {current.city}` lists what did; a model that did not goes live by `./fleet promote`",
            city=current.city,
        )
    try:
        return state, load_usable(city, state, claim=claim)
    except ArtifactError as error:
        raise PublishError(
            f"city {current.city!r}: {state.target_model} (sequence {state.sequence}) can't serve again: {error}. "
            "A version that is not approved goes live by `./fleet promote`, under your name",
            city=current.city,
        ) from error


def kept_newest_first(
    city: CityContext, current: LivePointer, notes: list[str], only: int | None = None
) -> Iterator[LivePointer]:
    """Read the kept states before the current one, as far as they are asked for."""
    for sequence in reversed(live.kept_sequences(city.aws.s3, city.keys, current.city)):
        if sequence < current.sequence and only in (None, sequence):
            try:
                yield live.read_kept(city.aws.s3, city.keys, current.city, sequence)
            except BrokenPointer as error:
                notes.append(f"passed over sequence {sequence}: {error}")


def _moved_meanwhile(now: LivePointer) -> PointerMoved:
    return PointerMoved(
        f"city {now.city!r}: the live pointer was moved meanwhile: sequence {now.sequence}, "
        f"{now.move} by {now.moved_by}, {now.target_model}. Nothing was changed; look at "
        f"`./fleet history {now.city}` and decide again",
        city=now.city,
    )
