"""Promote: a registered model goes live because a person says so, despite gate, order of as_of and pin.

Clients are passed in. No job is started: the artifact is there, and its own samples tell whether the endpoint
answers with it. The registry is told before the pointer moves, so what serves is never a version that is not approved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from city_fleet import naming
from city_fleet.champions import artifact, gate, moves, publish, run_evidence
from city_fleet.champions.approval_states import Event
from city_fleet.champions.artifact import Artifact
from city_fleet.champions.moves import Move
from city_fleet.champions.release import model_of
from city_fleet.config import Gate
from city_fleet.errors import ArtifactError, PublishError, RegistryError, UnknownName
from city_fleet.state import live, package_status, registry
from city_fleet.state.author import Author
from city_fleet.state.context import CityContext
from city_fleet.state.live_pointer import LivePointer, ServedModel
from city_fleet.state.outcomes import Outcome
from city_fleet.state.registry import ModelPackage, ModelPackageSummary

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


@dataclass(frozen=True)
class Choice:
    """Which version of a city is meant; by default the newest.

    :param as_of: the newest with this stamp, or with a stamp of this day (``20140101``).
    """

    version: int | None = None
    as_of: str | None = None


@dataclass(frozen=True)
class LoadedPackage:
    """A version of the registry with its artifact.

    :param model: what the live pointer will say of it.
    :param artifact_uri: where the artifact was found: where training left it, or where the endpoint serves from.
    :param decision: what the gate said about it; without metrics and reasons when its file is gone.
    """

    package: ModelPackage
    model: ServedModel
    artifact: Artifact
    artifact_uri: str
    decision: gate.Decision


def promote(
    city: CityContext, author: Author, choice: Choice, *, pin: bool = False, dry_run: bool = False
) -> Move:
    """Make a registered model the one that serves its city.

    :param author: who does it, and why. Both are kept in the pointer and in the registry.
    :param pin: keep it live until a person unpins it.
    :param dry_run: choose and check, but change nothing and do not ask the endpoint.
    :raises UnknownName: the city has no such version.
    :raises RegistryError: the version was not registered by City Fleet.
    :raises PublishError: the artifact can't be used, or the endpoint does not answer with it as it should.
    """
    loaded = load(city, choose(registry.versions(city.aws.sagemaker, city.group), city.group, choice).arn)
    current = live.read(city.aws.s3, city.keys, city.slug)
    before = current.pointer if current else None
    target, number, status = loaded.model.target_model, loaded.package.number, loaded.package.status
    notes = []
    if before is not None and before.pinned and before.target_model != target:
        notes.append(f"{before.target_model} was pinned by {before.moved_by}")
    if dry_run:
        serves = before is not None and before.target_model == target
        if serves and before is not None and (before.pinned or not pin):
            return Move(city.slug, Outcome.UNCHANGED, before, before, (_live_already(before), *notes))
        would = "is live already and would be pinned" if serves else "would go live"
        notes.insert(0, f"{target} {would}; version {number} is {status} in the registry")
        return Move(city.slug, Outcome.PLANNED, before, None, tuple(notes))
    candidate = candidate_of(loaded, author, pin=pin)
    ready = publish.prepare(city, candidate, force=True)
    if isinstance(ready, publish.Ready) or status != registry.APPROVED:
        _approve(city, loaded, author)
    done = publish.commit(city, ready) if isinstance(ready, publish.Ready) else ready
    if status != registry.APPROVED:
        notes.insert(0, f"version {number} was {status} in the registry and is {registry.APPROVED} now")
    if done.moved:
        return Move(city.slug, Outcome.MOVED, before, done.pointer, tuple(notes))
    # It serves already, by whoever has moved it.
    if pin:
        return moves.pin(city, target, author, tuple(notes))
    return Move(city.slug, Outcome.UNCHANGED, before, done.pointer, (_live_already(done.pointer), *notes))


def candidate_of(
    loaded: LoadedPackage, author: Author, *, pin: bool = False, over: str | None = None
) -> publish.Candidate:
    """Return a version of the registry as a candidate that a person's word, or a trial, makes live.

    :param over: as :class:`~city_fleet.champions.publish.Candidate` has it.
    """
    return publish.Candidate(
        model=loaded.model,
        artifact_uri=loaded.artifact_uri,
        decision=loaded.decision,
        rule=Gate(),  # force asks no rule
        holdout=_samples_as_holdout(loaded.artifact),
        author=author,
        move=live.PROMOTE,
        pinned=pin,
        over=over,
    )


def choose(listed: Sequence[ModelPackageSummary], group: str, choice: Choice) -> ModelPackageSummary:
    """Return the version that is meant. Pure.

    :param listed: the group's versions, newest first.
    :raises UnknownName: there is none.
    """
    for found in listed:
        if choice.version is not None and found.number != choice.version:
            continue
        if choice.as_of is not None and not (found.as_of or "").startswith(choice.as_of):
            continue
        return found
    where = f"model package group {group!r}"
    if choice.as_of is not None:
        stamps = {found.as_of for found in listed if found.as_of}
        raise UnknownName("version with as_of", choice.as_of, stamps, where)
    numbers = [str(found.number) for found in listed]
    raise UnknownName("version", str(choice.version or "at all"), numbers, where)


def load(city: CityContext, package_arn: str) -> LoadedPackage:
    """Read what is needed to publish a version of the registry.

    :raises RegistryError: it is gone, or City Fleet did not register it.
    :raises ArtifactError: its artifact can't be used.
    """
    package = registry.read(city.aws.sagemaker, package_arn)
    registry.refuse_other(city.keys, package)
    missing = [name for name in ("as_of", "artifact_sha256") if name not in package.metadata]
    if missing:
        raise RegistryError(
            f"{package_arn}: has no {' and no '.join(missing)} in its metadata, so City Fleet did not register it"
        )
    try:
        model = model_of(package, city.slug, ())
    except ValueError as error:
        raise RegistryError(
            f"{package_arn}: its metadata are not as City Fleet writes them: {error}"
        ) from None
    served = city.keys.uri(city.keys.model(model.target_model))
    uri, found = _load_first(city.aws.s3, (package.artifact_uri, served), model.artifact_sha256)
    if found.city != city.slug:
        raise ArtifactError(f"{uri}: is a model of city {found.city!r}; allowed: {city.slug!r}")
    decision = _decision(city.aws.s3, package.metadata.get("decision_uri"))
    model = replace(model, features=found.features, **found.says)
    return LoadedPackage(package, model, found, uri, decision)


def _approve(city: CityContext, loaded: LoadedPackage, author: Author) -> None:
    decision = package_status.decided(registry.APPROVED, Event.APPROVE, author.by)
    package_status.set_status(city.aws.sagemaker, loaded.package.arn, decision, author.sentence("promoted"))


def _live_already(pointer: LivePointer) -> str:
    pinned = ", and pinned" if pointer.pinned else ""
    return f"it is live already{pinned}, by {pointer.moved_by}: sequence {pointer.sequence}"


def _load_first(s3: S3Client, uris: Sequence[str], sha256: str) -> tuple[str, Artifact]:
    """Read an artifact from the first place that has it: the outputs of old runs are removed, models live longer."""
    errors = []
    for uri in uris:
        try:
            bucket, key = naming.split_uri(uri)
            return uri, artifact.fetch(s3, bucket, key, sha256)
        except (ValueError, ArtifactError) as error:
            errors.append(str(error))
    raise ArtifactError("; ".join(errors))


def _decision(s3: S3Client, uri: str | None) -> gate.Decision:
    """Return what the gate said; a model whose decision is gone, or was changed, can still be promoted."""
    nothing = gate.Decision(promote=False, reasons=(), rows=0)
    try:
        return gate.Decision.from_dict(run_evidence.read_decision(s3, uri)) if uri is not None else nothing
    except (PublishError, ValueError, KeyError, TypeError):
        return nothing


def _samples_as_holdout(loaded: Artifact) -> dict[str, Any]:
    rows = zip(loaded.rows, loaded.predictions, strict=True)
    return {
        "features": list(loaded.features),
        "rows": [
            {"period": f"sample {number}", "values": values, "predicted": predicted}
            for number, (values, predicted) in enumerate(rows, start=1)
        ],
    }
