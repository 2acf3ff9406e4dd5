"""Publishing: an approved artifact becomes the model that serves. The task, the command line and the page call
the same function. Clients are passed in.

The order of steps makes every moment safe to die in: the artifact is copied to its content-addressed key, the
shared endpoint answers held-out rows with it exactly as the evaluation did, the outgoing pointer is copied to the
history, and only then one conditional write moves the live pointer.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from city_fleet import clock, naming
from city_fleet.champions import gate
from city_fleet.champions.answers import check_answers, invoke
from city_fleet.config import Gate
from city_fleet.errors import PointerMoved, PublishError
from city_fleet.state import live, retire_marks

log = logging.getLogger(__name__)

LIVE = "live"
HELD = "held"
SUPERSEDED = "superseded"
#: Of a run, not of a publication: a person has to decide.
PENDING = "pending"

_MOVES_TRIED = 20


@dataclass(frozen=True)
class Candidate:
    """An evaluated artifact and what the live pointer will say of it.

    :param artifact_uri: where training left ``model.tar.gz``.
    :param artifact_sha256: of the very bytes the evaluation judged.
    :param package_arn: its version in the registry.
    :param published_by: ``<dag id>/<run id>`` or the name of a person.
    :param move: what the live pointer calls this move.
    :param reason: why a person publishes it.
    :param pinned: whether it stays until a person unpins it.
    :param settings_digest: of the settings that made it, and ``code_digest`` of the job scripts; None if unknown.
    """

    city: str
    as_of: datetime
    artifact_uri: str
    artifact_sha256: str
    package_arn: str
    features: tuple[str, ...]
    published_by: str
    move: str = live.PUBLISH
    reason: str = ""
    pinned: bool = False
    settings_digest: str | None = None
    code_digest: str | None = None

    @property
    def target_model(self) -> str:
        """Return the key below the endpoint's prefix."""
        return naming.target_model(self.city, self.as_of, self.artifact_sha256)


@dataclass(frozen=True)
class Publication:
    """How a publish ended.

    :param outcome: ``live``; ``held`` (evaluated again against a champion that moved, and worse); or
        ``superseded`` (the champion has seen newer data).
    :param pointer: the live pointer afterwards.
    """

    outcome: str
    reasons: tuple[str, ...]
    decision: gate.Decision
    pointer: live.LivePointer


def publish(
    s3: Any,
    runtime: Any,
    *,
    keys: naming.Keys,
    endpoint: str,
    candidate: Candidate,
    decision: gate.Decision,
    rule: Gate,
    holdout: Mapping[str, Any],
    force: bool = False,
    approve: Callable[[], None] | None = None,
) -> Publication:
    """Make an artifact the model that serves its city, or say why not. Repeating it is harmless.

    When the live pointer is no longer the one the decision compared with, the challenger is evaluated again:
    the shared endpoint predicts the same held-out rows with the new champion, and the gate decides anew.

    :param s3: a boto3 S3 client.
    :param runtime: a boto3 SageMaker runtime client.
    :param holdout: ``holdout.json`` of the evaluation: features, rows with values, actual and predicted.
    :param force: publish despite gate, order of as_of and pin.
    :param approve: called once when the endpoint answers with the model, before the live pointer moves.
    :raises PublishError: the artifact is not what was evaluated, or the endpoint does not answer with it as the
        evaluation did. The live pointer has not moved then.
    """
    ready = False
    for _ in range(_MOVES_TRIED):
        current = live.read(s3, keys, candidate.city)
        if current is not None:
            if current.pointer.target_model == candidate.target_model:
                reasons = (*decision.reasons, "this artifact is live already")
                return Publication(LIVE, reasons, decision, current.pointer)
            refusal = _refusal(candidate, current.pointer)
            if refusal and not force:
                return Publication(refusal[0], (refusal[1],), decision, current.pointer)
            if current.etag != decision.champion_etag and not force:
                log.info(
                    "The champion is no longer the one evaluated against; evaluating %s again", candidate.city
                )
                again = _evaluate_again(runtime, endpoint, current, rule, holdout)
                decision = replace(again, warnings=decision.warnings)
                if not decision.promote:
                    return Publication(HELD, decision.reasons, decision, current.pointer)
        if not ready:
            # It may have been published before and be about to be retired; from now on it is not.
            retire_marks.claim(s3, keys, candidate.city, candidate.target_model)
            install_artifact(s3, keys, candidate)
            smoke_test(runtime, endpoint, candidate.target_model, holdout)
            if approve is not None:
                approve()
            ready = True
        pointer = live.LivePointer(
            sequence=live.next_sequence(s3, keys, candidate.city, current),
            city=candidate.city,
            target_model=candidate.target_model,
            package_arn=candidate.package_arn,
            as_of=naming.as_of_stamp(candidate.as_of),
            metrics=decision.metrics.get("challenger", {}),
            features=candidate.features,
            artifact_sha256=candidate.artifact_sha256,
            published_at=clock.now_iso(),
            published_by=candidate.published_by,
            predecessor=current.pointer.target_model if current else None,
            pinned=candidate.pinned,
            reasons=decision.reasons,
            move=candidate.move,
            reason=candidate.reason,
            settings_digest=candidate.settings_digest,
            code_digest=candidate.code_digest,
        )
        try:
            moved = live.move(s3, keys, pointer, current)
        except PointerMoved:
            continue
        return Publication(LIVE, decision.reasons, decision, moved.pointer)
    raise PublishError(
        f"city {candidate.city!r}: the live pointer moved {_MOVES_TRIED} times while this run tried to publish; "
        "nothing was changed. Clear this task when the other runs of the city have ended"
    )


def install_artifact(s3: Any, keys: naming.Keys, candidate: Candidate) -> None:
    """Copy the artifact to its content-addressed key, after checking that its bytes are the evaluated ones.

    :raises PublishError: the bytes have another SHA-256.
    """
    bucket, key = naming.split_uri(candidate.artifact_uri)
    body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    found = hashlib.sha256(body).hexdigest()
    if found != candidate.artifact_sha256:
        raise PublishError(
            f"city {candidate.city!r}: {candidate.artifact_uri} has SHA-256 {found}, but the evaluation judged "
            f"{candidate.artifact_sha256}; the artifact was changed or cut off after training. Clear the train task "
            "with everything downstream"
        )
    try:
        s3.put_object(
            Bucket=keys.bucket,
            Key=keys.model(candidate.target_model),
            Body=body,
            ContentType="application/gzip",
            IfNoneMatch="*",
        )
    except ClientError as error:
        # Content-addressed: whoever put it there put the same bytes.
        if error.response["Error"]["Code"] not in {"PreconditionFailed", "412", "ConditionalRequestConflict"}:
            raise


def smoke_test(runtime: Any, endpoint: str, target: str, holdout: Mapping[str, Any]) -> None:
    """Invoke the endpoint with a model on the held-out rows and compare with the evaluation's predictions.

    :raises PublishError: the endpoint fails, or answers differently.
    """
    rows = holdout["rows"]
    check_answers(
        runtime,
        endpoint,
        target,
        values=[row["values"] for row in rows],
        expected=[row["predicted"] for row in rows],
        names=[f"held-out row {row['period']}" for row in rows],
    )


def _refusal(candidate: Candidate, champion: live.LivePointer) -> tuple[str, str] | None:
    """Return outcome and reason when a champion may not be replaced by this candidate."""
    if champion.pinned:
        why = f": {champion.reason}" if champion.reason else ""
        return HELD, (
            f"{champion.target_model} is pinned by {champion.moved_by} since {champion.moved_at}{why}; "
            f"`./fleet unpin {champion.city}` lets new models go live"
        )
    newer = gate.newer_champion({"as_of": naming.as_of_stamp(candidate.as_of)}, {"as_of": champion.as_of})
    return (SUPERSEDED, newer) if newer else None


def _evaluate_again(
    runtime: Any, endpoint: str, champion: live.Versioned, rule: Gate, holdout: Mapping[str, Any]
) -> gate.Decision:
    """Judge the challenger against the champion that serves now, on the same held-out rows.

    Its data were in order, else it would not have come this far.
    """
    rows = holdout["rows"]
    actual = [row["actual"] for row in rows]
    position = {name: index for index, name in enumerate(holdout["features"])}
    seen: dict[str, Any] = {
        "target_model": champion.pointer.target_model,
        "etag": champion.etag,
        "as_of": champion.pointer.as_of,
    }
    missing = [name for name in champion.pointer.features if name not in position]
    if missing:
        seen["error"] = f"it needs the features {', '.join(missing)}, which this run's data does not have"
    else:
        order = [position[name] for name in champion.pointer.features]
        try:
            predictions = invoke(
                runtime,
                endpoint,
                champion.pointer.target_model,
                [[row["values"][index] for index in order] for row in rows],
            )
            seen.update(gate.error_metrics(actual, predictions))
        except PublishError as error:
            seen["error"] = str(error)
    report = {
        "rows": len(rows),
        "challenger": gate.error_metrics(actual, [row["predicted"] for row in rows]),
        "naive": gate.error_metrics(actual, [row["naive"] for row in rows]),
        "champion": seen,
    }
    return gate.decide(report, rule)
