"""Moves that a person makes: roll back to what served before, and unpin. Clients are passed in.

The command line and the page call the same functions. A model may serve again when its artifact is there with the
bytes that were registered and its version in the registry is Approved; what fails that for good is passed over, and
said. The endpoint must then answer the artifact's own samples with it. An endpoint that does not stops the
rollback, because that may be over in a minute, and a model older than expected would serve for long.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from city_fleet import clock
from city_fleet.champions import artifact
from city_fleet.champions.answers import check_answers
from city_fleet.champions.artifact import Artifact
from city_fleet.champions.served import Destination, walk_back, went_live_since
from city_fleet.errors import ArtifactError, BrokenPointer, PointerMoved, PublishError
from city_fleet.naming import Keys
from city_fleet.state import live, registry, retire_marks
from city_fleet.state.live import LivePointer, Versioned
from city_fleet.state.registry import APPROVED

MOVED = "moved"
PLANNED = "planned"
UNCHANGED = "unchanged"

MOVES_TRIED = 20
# The clocks of whoever moves a pointer and of S3 differ a little.
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
    outcome: str
    before: LivePointer | None
    after: LivePointer | None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return {
            "city": self.city,
            "outcome": self.outcome,
            "before": asdict(self.before) if self.before else None,
            "after": asdict(self.after) if self.after else None,
            "notes": list(self.notes),
        }


def rollback(
    s3: Any,
    sagemaker: Any,
    runtime: Any,
    *,
    keys: Keys,
    endpoint: str,
    city: str,
    by: str,
    reason: str = "",
    to: Destination | None = None,
    since: datetime | None = None,
    dry_run: bool = False,
) -> Move:
    """Return a city to a model that really served, and pin it there.

    :param s3: a boto3 S3 client; ``sagemaker``, ``runtime``: of SageMaker and its runtime.
    :param by: who does it.
    :param to: which state of the pointer to restore; by default what served before the model that serves.
    :param since: roll back only if the model that serves was published at this instant or later, to what served
        before it.
    :param dry_run: choose and check, but neither ask the endpoint nor move the pointer.
    :raises PublishError: there is nothing to roll back to, or the endpoint does not answer with it. The pointer
        has not moved.
    :raises PointerMoved: somebody else has moved the pointer meanwhile, to a model that was not to be left.
    """
    leaving: LivePointer | None = None
    planned: LivePointer | None = None
    for _ in range(MOVES_TRIED):
        current = serving(s3, keys, city)
        if since is not None and not went_live_since(current.pointer, since):
            note = f"{current.pointer.target_model} was published before, {current.pointer.published_at}"
            return Move(city, UNCHANGED, current.pointer, current.pointer, (note,))
        if (
            planned is not None
            and planned.target_model == current.pointer.target_model
            and current.pointer.pinned
        ):
            note = f"{current.pointer.moved_by} has done the same meanwhile"
            return Move(city, UNCHANGED, current.pointer, current.pointer, (note,))
        if leaving is not None and to is None and since is None:
            _check_still_leaving(leaving, current.pointer)
        leaving = current.pointer
        if to is not None:
            state, loaded = _state_at(s3, sagemaker, keys, current.pointer, to, claim=not dry_run)
            notes: tuple[str, ...] = ()
        else:
            state, loaded, notes = _state_before(
                s3, sagemaker, keys, current.pointer, since, claim=not dry_run
            )
        if state.target_model == leaving.target_model and leaving.pinned:
            return Move(city, UNCHANGED, leaving, leaving, ("it serves and is pinned already",))
        planned = state_after(leaving, state, kind=live.ROLLBACK, by=by, reason=reason, pinned=True)
        if dry_run:
            return Move(city, PLANNED, leaving, planned, notes)
        check_serves(runtime, endpoint, state.target_model, loaded)
        try:
            moved = live.move(s3, keys, planned, current)
        except PointerMoved:
            continue
        return Move(city, MOVED, leaving, moved.pointer, notes)
    raise moves_too_often(city)


def unpin(s3: Any, *, keys: Keys, city: str, by: str, reason: str = "") -> Move:
    """Let new models of a city go live again. What serves stays until one does.

    :raises PublishError: the city has no live pointer.
    :raises PointerMoved: somebody else has moved the pointer meanwhile.
    """
    first: LivePointer | None = None
    for _ in range(MOVES_TRIED):
        current = serving(s3, keys, city)
        now = current.pointer
        if not now.pinned:
            return Move(city, UNCHANGED, now, now, ("it is not pinned",))
        if first is not None and now != first:
            raise _moved_meanwhile(now)
        first = now
        planned = state_after(now, now, kind=live.UNPIN, by=by, reason=reason, pinned=False)
        try:
            moved = live.move(s3, keys, planned, current)
        except PointerMoved:
            continue
        return Move(city, MOVED, now, moved.pointer)
    raise moves_too_often(city)


def state_after(
    outgoing: LivePointer, state: LivePointer, *, kind: str, by: str, reason: str, pinned: bool
) -> LivePointer:
    """Return the state of the pointer that follows ``outgoing`` and serves the model of an earlier ``state``."""
    return replace(
        state,
        sequence=outgoing.sequence + 1,
        predecessor=outgoing.target_model,
        pinned=pinned,
        move=kind,
        moved_at=clock.now_iso(),
        moved_by=by,
        reason=reason,
        restores=state.origin,
    )


def cities_moved_since(s3: Any, keys: Keys, since: datetime) -> list[str]:
    """Return the cities whose live pointer was written since an instant, give or take the difference of clocks.

    One List per 1,000 cities; a rollback with the same ``since`` looks at the pointers themselves.
    """
    prefix = keys.live_prefix()
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=keys.bucket, Prefix=prefix)
    return sorted(
        item["Key"].removeprefix(prefix).removesuffix(".json")
        for page in pages
        for item in page.get("Contents", [])
        if item["LastModified"] >= since - _CLOCK_SLACK
    )


def serving(s3: Any, keys: Keys, city: str) -> Versioned:
    """Return a city's live pointer.

    :raises PublishError: there is none, or it can't be read.
    """
    current = live.read(s3, keys, city)
    if current is None:
        raise PublishError(
            f"city {city!r}: no model of it is live ({keys.uri(keys.live(city))} does not exist). If one was, "
            f"`./fleet rebuild {city}` restores the pointer",
            city=city,
        )
    return current


def load_usable(s3: Any, sagemaker: Any, keys: Keys, state: LivePointer, *, claim: bool) -> Artifact:
    """Return the artifact of a model that may serve again.

    :param claim: keep it from being retired from now on; False when it is not going to serve after all.
    :raises ArtifactError: it may not: the sentence says why, and it will stay so.
    """
    if claim:
        retire_marks.claim(s3, keys, state.city, state.target_model)
    loaded = artifact.fetch(s3, keys.bucket, keys.model(state.target_model), state.artifact_sha256)
    package = registry.describe(sagemaker, state.package_arn)
    if package is None:
        raise ArtifactError(f"{state.package_arn} is no longer in the registry")
    if package.status != APPROVED:
        why = f": {package.status_reason}" if package.status_reason else ""
        raise ArtifactError(f"version {package.number} is {package.status} in the registry{why}")
    return loaded


def check_serves(runtime: Any, endpoint: str, target: str, loaded: Artifact) -> None:
    """Check that the endpoint answers an artifact's own samples with it, as it did when it was trained.

    :raises PublishError: it does not.
    """
    check_answers(
        runtime,
        endpoint,
        target,
        values=loaded.rows,
        expected=loaded.predictions,
        names=[f"sample row {number}" for number in range(1, len(loaded.rows) + 1)],
    )


def _state_before(
    s3: Any, sagemaker: Any, keys: Keys, current: LivePointer, since: datetime | None, *, claim: bool
) -> tuple[LivePointer, Artifact, tuple[str, ...]]:
    """Return the nearest earlier state whose model may serve, its artifact, and what was passed over."""
    notes: list[str] = []
    earlier = _kept_newest_first(s3, keys, current, notes)
    for state in walk_back(current, earlier, since):
        try:
            return state, load_usable(s3, sagemaker, keys, state, claim=claim), tuple(notes)
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
    s3: Any, sagemaker: Any, keys: Keys, current: LivePointer, to: Destination, *, claim: bool
) -> tuple[LivePointer, Artifact]:
    """Return the newest state that is meant, and its artifact."""
    notes: list[str] = []
    states = (current, *_kept_newest_first(s3, keys, current, notes, to.sequence))
    state = next(filter(to.matches, states), None)
    if state is None:
        raise PublishError(
            f"city {current.city!r}: {to} never served"
            + "".join(f"; {note}" for note in notes)
            + f". `./fleet history {current.city}` lists what did; a model that did not goes live by `./fleet promote`",
            city=current.city,
        )
    try:
        return state, load_usable(s3, sagemaker, keys, state, claim=claim)
    except ArtifactError as error:
        raise PublishError(
            f"city {current.city!r}: {state.target_model} (sequence {state.sequence}) can't serve again: {error}. "
            "A version that is not approved goes live by `./fleet promote`, under your name",
            city=current.city,
        ) from error


def _kept_newest_first(
    s3: Any, keys: Keys, current: LivePointer, notes: list[str], only: int | None = None
) -> Iterator[LivePointer]:
    """Read the kept states before the current one, as far as they are asked for."""
    for sequence in reversed(live.kept_sequences(s3, keys, current.city)):
        if sequence < current.sequence and only in (None, sequence):
            try:
                yield live.read_kept(s3, keys, current.city, sequence)
            except BrokenPointer as error:
                notes.append(f"passed over sequence {sequence}: {error}")


def _check_still_leaving(leaving: LivePointer, now: LivePointer) -> None:
    """Stop a rollback whose model was replaced meanwhile: one more step back is not what was wanted.

    :raises PointerMoved: with what serves now.
    """
    if now.target_model != leaving.target_model:
        raise _moved_meanwhile(now)


def _moved_meanwhile(now: LivePointer) -> PointerMoved:
    return PointerMoved(
        f"city {now.city!r}: somebody else moved the live pointer meanwhile: sequence {now.sequence}, "
        f"{now.move} by {now.moved_by}, {now.target_model}. Nothing was changed; look at "
        f"`./fleet history {now.city}` and decide again",
        city=now.city,
    )


def moves_too_often(city: str) -> PublishError:
    """Return the error of a move that others were always faster than."""
    return PublishError(
        f"city {city!r}: the live pointer moved {MOVES_TRIED} times while this was tried; nothing was changed. "
        "Try again",
        city=city,
    )
