"""Promote: a registered model goes live because a person says so, despite gate, order of as_of and pin.

Clients are passed in. No job is started: the artifact is there, and its own samples tell whether the endpoint
answers with it. The registry is told before the pointer moves, so what serves is never a version that is not approved.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from city_fleet import naming
from city_fleet.champions import artifact, gate, publish
from city_fleet.champions.artifact import Artifact
from city_fleet.champions.moves import MOVED, PLANNED, UNCHANGED, Move
from city_fleet.config import Gate
from city_fleet.errors import ArtifactError, RegistryError, UnknownName
from city_fleet.state import live, registry
from city_fleet.state.registry import ModelPackage, ModelPackageSummary


@dataclass(frozen=True)
class RegisteredModel:
    """A version of the registry with its artifact.

    :param artifact_uri: where the artifact was found: where training left it, or where the endpoint serves from.
    :param decision: what the gate said about it; without metrics and reasons when its file is gone.
    """

    version: ModelPackage
    loaded: Artifact
    artifact_uri: str
    decision: gate.Decision

    def candidate(
        self, city: str, *, move: str, by: str, reason: str, pinned: bool = False
    ) -> publish.Candidate:
        """Return the model as something to publish."""
        return publish.Candidate(
            city=city,
            as_of=naming.parse_as_of(self.version.metadata["as_of"]),
            artifact_uri=self.artifact_uri,
            artifact_sha256=self.version.metadata["artifact_sha256"],
            package_arn=self.version.arn,
            features=self.loaded.features,
            published_by=by,
            move=move,
            reason=reason,
            pinned=pinned,
            **registry.made_by(self.version.metadata),
        )


def promote(
    s3: Any,
    sagemaker: Any,
    runtime: Any,
    *,
    keys: naming.Keys,
    endpoint: str,
    group: str,
    city: str,
    by: str,
    reason: str,
    version: int | None = None,
    as_of: str | None = None,
    pin: bool = False,
    dry_run: bool = False,
) -> Move:
    """Make a registered model the one that serves its city.

    :param s3: a boto3 S3 client; ``sagemaker``, ``runtime``: of SageMaker and its runtime.
    :param group: the city's model package group.
    :param by: who does it; ``reason``: why. Both are kept in the pointer and in the registry.
    :param version: number of the version; by default the newest.
    :param as_of: the newest version with this stamp, or with a stamp of this day (``20140101``).
    :param pin: keep it live until a person unpins it.
    :param dry_run: choose and check, but change nothing and do not ask the endpoint.
    :raises UnknownName: the group has no such version.
    :raises RegistryError: the version was not registered by City Fleet.
    :raises PublishError: the artifact can't be used, or the endpoint does not answer with it as it should.
    """
    listed = registry.versions(sagemaker, group)
    model = load_model(s3, sagemaker, keys, city, choose_version(listed, group, version, as_of))
    candidate = model.candidate(city, move=live.PROMOTE, by=by, reason=reason, pinned=pin)
    current = live.read(s3, keys, city)
    before = current.pointer if current else None
    number, status = model.version.number, model.version.status
    notes = []
    if before is not None and before.pinned and before.target_model != candidate.target_model:
        notes.append(f"{before.target_model} was pinned by {before.moved_by}")
    if dry_run:
        notes = [
            f"{candidate.target_model} would go live; version {number} is {status} in the registry",
            *notes,
        ]
        return Move(city, PLANNED, before, None, tuple(notes))

    answered = False

    def approve() -> None:
        nonlocal answered
        answered = True
        registry.set_status(
            sagemaker,
            model.version.arn,
            registry.APPROVED,
            f"promoted by {by}: {reason}",
            event="approve",
            by=by,
        )

    publication = publish.publish(
        s3,
        runtime,
        keys=keys,
        endpoint=endpoint,
        candidate=candidate,
        decision=model.decision,
        rule=Gate(),  # force asks no rule
        holdout=_samples_as_holdout(model.loaded),
        force=True,
        approve=approve,
    )
    after = publication.pointer
    if answered:
        if status != registry.APPROVED:
            notes.insert(0, f"version {number} was {status} in the registry and is {registry.APPROVED} now")
        return Move(city, MOVED, before, after, tuple(notes))
    if status != registry.APPROVED:
        approve()
    unpinned = (
        f"; `./fleet rollback {city} --to {after.sequence}` pins it" if pin and not after.pinned else ""
    )
    return Move(city, UNCHANGED, before, after, (f"it is live already{unpinned}",))


def choose_version(
    listed: Sequence[ModelPackageSummary], group: str, version: int | None = None, as_of: str | None = None
) -> ModelPackageSummary:
    """Return the version that is meant. Pure.

    :param listed: the group's versions, newest first.
    :raises UnknownName: there is none.
    """
    for found in listed:
        if version is not None and found.number != version:
            continue
        if as_of is not None and not (found.as_of or "").startswith(as_of):
            continue
        return found
    if as_of is not None:
        stamps = {found.as_of for found in listed if found.as_of}
        raise UnknownName("version with as_of", as_of, stamps, f"model package group {group!r}")
    numbers = [str(found.number) for found in listed]
    raise UnknownName("version", str(version or "at all"), numbers, f"model package group {group!r}")


def load_model(
    s3: Any, sagemaker: Any, keys: naming.Keys, city: str, listed: ModelPackageSummary
) -> RegisteredModel:
    """Read what is needed to publish a version of the registry.

    :raises RegistryError: it is gone, or City Fleet did not register it.
    :raises ArtifactError: its artifact can't be used.
    """
    version = registry.describe(sagemaker, listed.arn)
    if version is None:
        raise RegistryError(f"{listed.arn}: the version was deleted meanwhile")
    missing = [name for name in ("as_of", "artifact_sha256") if name not in version.metadata]
    if missing:
        raise RegistryError(
            f"{listed.arn}: has no {' and no '.join(missing)} in its metadata, so City Fleet did not register it"
        )
    sha256 = version.metadata["artifact_sha256"]
    target = naming.target_model(city, naming.parse_as_of(version.metadata["as_of"]), sha256)
    uri, loaded = _load_first(s3, (version.artifact_uri, keys.uri(keys.model(target))), sha256)
    if loaded.city != city:
        raise ArtifactError(f"{uri}: is a model of city {loaded.city!r}; allowed: {city!r}")
    return RegisteredModel(version, loaded, uri, _decision(s3, version.metadata.get("decision_uri")))


def _load_first(s3: Any, uris: Sequence[str], sha256: str) -> tuple[str, Artifact]:
    """Read an artifact from the first place that has it: the outputs of old runs are removed, models live longer."""
    errors = []
    for uri in uris:
        try:
            bucket, key = naming.split_uri(uri)
            return uri, artifact.fetch(s3, bucket, key, sha256)
        except (ValueError, ArtifactError) as error:
            errors.append(str(error))
    raise ArtifactError("; ".join(errors))


def _decision(s3: Any, uri: str | None) -> gate.Decision:
    """Return what the gate said; a model whose decision is gone can still be promoted."""
    nothing = gate.Decision(promote=False, reasons=(), rows=0)
    if uri is None:
        return nothing
    try:
        bucket, key = naming.split_uri(uri)
        return gate.Decision.from_dict(json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read()))
    except ClientError as error:
        if error.response["Error"]["Code"] not in {"NoSuchKey", "NoSuchBucket", "404"}:
            raise
        return nothing
    except (ValueError, KeyError, TypeError):
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
