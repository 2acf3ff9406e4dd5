"""What a run has left of its judgement in the bucket, believed only as far as the registry vouches for it.

A model may wait for days between its evaluation and an approval. Whoever may write below ``runs/`` meanwhile must not
be able to say what the gate did not: the registry keeps the decision's URI, whose name is a digest of the decision, and
the decision holds the digests of the evaluation's files. A boto3 S3 client is passed in.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from city_fleet import naming
from city_fleet.champions import gate
from city_fleet.errors import PublishError
from city_fleet.state import objects

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

#: So many hex digits of a decision's digest stand in its name that nobody finds another decision with the same.
DIGEST_LENGTH = 32
#: Member of a decision that holds the SHA-256 of the files it was taken from, by name.
JUDGED = "judged"
EVALUATION, HOLDOUT = "evaluation.json", "holdout.json"
#: The city's canonical archive, beside its evaluation: what is registered and published.
ARTIFACT = "model.tar.gz"
_NAME = re.compile(r"/decision-(?P<digest>[0-9a-f]{10,64})\.json")


@dataclass(frozen=True)
class Evidence:
    """A decision and what it was taken from.

    :param report: ``evaluation.json``.
    :param holdout: ``holdout.json``.
    """

    decision: gate.Decision
    report: Mapping[str, Any]
    holdout: Mapping[str, Any]


def sealed(decision: gate.Decision, files: Mapping[str, str]) -> dict[str, Any]:
    """Return a decision as it is kept.

    :param files: file name → SHA-256 of what it was taken from.
    """
    return {**decision.to_dict(), JUDGED: dict(files)}


def read(s3: S3Client, *, decision_uri: str, evaluation_uri: str) -> Evidence:
    """Read what a run has left.

    :param decision_uri: from the registry, as ``evaluation_uri``.
    :raises PublishError: it is gone, can't be read, or was changed since.
    """
    kept = read_decision(s3, decision_uri)
    files: Mapping[str, str] = kept.get(JUDGED) or {}  # a decision of an earlier version names none
    holdout_uri = evaluation_uri.removesuffix(EVALUATION) + HOLDOUT
    report = _json(_body(s3, evaluation_uri, files.get(EVALUATION)), evaluation_uri)
    holdout = _json(_body(s3, holdout_uri, files.get(HOLDOUT)), holdout_uri)
    try:
        return Evidence(gate.Decision.from_dict(kept), report, holdout)
    except (TypeError, ValueError) as error:
        raise PublishError(f"{decision_uri!r}: is no decision of the gate: {error}") from error


def read_decision(s3: S3Client, uri: str) -> dict[str, Any]:
    """Read a decision.

    :param uri: from the registry.
    :raises PublishError: it is gone, can't be read, or is not the one that its name stands for.
    """
    value = _json(_body(s3, uri, None, "decide"), uri)
    if (name := _NAME.search(uri)) is not None:
        found = naming.digest(value, len(name["digest"]))
        if found != name["digest"]:
            raise PublishError(_changed(uri, f"its digest is {found}"))
    return value


def _body(s3: S3Client, uri: str, sha256: str | None, step: str = "evaluate") -> bytes:
    try:
        body = objects.read_uri(s3, uri)
    except ValueError as error:
        raise PublishError(f"{uri!r}: what the evaluation left can't be read: {error}") from error
    if body is None:
        raise PublishError(
            f"{uri}: what the evaluation left is gone, so the model can't be checked. Clear the task {step!r} of its "
            "run with everything downstream; or `./fleet promote`, which checks it by the artifact's own samples"
        )
    found = hashlib.sha256(body).hexdigest()
    if sha256 is not None and found != sha256:
        raise PublishError(_changed(uri, f"its SHA-256 is {found}; the gate judged {sha256}"))
    return body


def _json(body: bytes, uri: str) -> dict[str, Any]:
    try:
        return dict(objects.json_of(body))
    except (ValueError, TypeError) as error:
        raise PublishError(f"{uri!r}: what the evaluation left can't be read: {error}") from error


def _changed(uri: str, how: str) -> str:
    return (
        f"{uri}: was changed after the gate had decided ({how}), so it says nothing about the model. Clear the task "
        "'evaluate' of its run with everything downstream, and look who may write below runs/ (docs/security.md)"
    )
