"""The model registry, read: one model package group per city, one version per artifact. A boto3 client is passed in.

The approval status is SageMaker's own, and everyone with the permission may change it. What City Fleet knows beside it
stands in the version's metadata: what set the status last, and whether all that follows from it has been done. A status
that City Fleet has not set was changed elsewhere and still has to be carried out. package_status.py writes both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from city_fleet import aws_errors, naming
from city_fleet.errors import RegistryError
from city_fleet.naming import Keys
from city_fleet.state import installation

if TYPE_CHECKING:
    from types_boto3_sagemaker import SageMakerClient

APPROVED: Final = "Approved"
REJECTED: Final = "Rejected"
PENDING: Final = "PendingManualApproval"

# Metadata of a version. The approval status that City Fleet has set last; by which event; who; when.
DECIDED_STATUS = "decided_status"
DECIDED_EVENT = "decided_event"
DECIDED_BY = "decided_by"
DECIDED_AT = "decided_at"
#: Digest of the reason that City Fleet has given: who changes the status elsewhere may leave it as it was.
REASON_DIGEST = "reason_digest"
#: The approval status of which all consequences have been carried out.
SETTLED_STATUS = "settled_status"
#: Stamp of the moment at which a version that awaits approval expires; one that waits for its own run has none.
EXPIRES_AT = "approval_expires_at"

ARTIFACT_WORD = "artifact"
_DESCRIPTION = re.compile(
    rf"as_of (?P<as_of>\S+), {ARTIFACT_WORD} (?P<sha256>[0-9a-f]{{64}})(?:, run (?P<run>[^\s,]+))?"
    r"(?:, key (?P<key>[0-9a-f]{10}))?"
)


@dataclass(frozen=True)
class ModelPackageSummary:
    """One version as List shows it.

    :param number: counts up from 1 and is never used twice.
    :param status: ``Approved``, ``Rejected`` or ``PendingManualApproval``.
    :param as_of: stamp of the moment up to which the model may have seen data; None if City Fleet did not register it.
    :param artifact_sha256: of ``model.tar.gz``; None if City Fleet did not register it.
    :param run: ``<dag id>/<run id>`` of the DAG run that registered it; None if City Fleet did not.
    :param run_key: of the run that trained it; None if City Fleet did not, or an earlier version did.
    :param created: when it was registered.
    """

    arn: str
    number: int
    status: str
    as_of: str | None
    artifact_sha256: str | None
    run: str | None
    run_key: str | None
    created: datetime

    def target_model(self, city: str) -> str | None:
        """Return the key of its artifact below the endpoint's prefix; None if City Fleet did not register it."""
        if self.as_of is None or self.artifact_sha256 is None:
            return None
        return naming.target_model(city, naming.parse_as_of(self.as_of), self.artifact_sha256)


@dataclass(frozen=True)
class ModelPackage:
    """One version as Describe shows it.

    :param status: ``Approved``, ``Rejected`` or ``PendingManualApproval``.
    :param status_reason: why, in the words of who set the status; may be empty.
    :param artifact_uri: where training left ``model.tar.gz``.
    :param metadata: what City Fleet registered with it: ``as_of``, ``artifact_sha256``, ``decision_uri`` …
    :param image: that it was registered to be served in; empty if it says none.
    :param evaluation_uri: the evaluation report; empty if City Fleet did not register it.
    :param changed_at: when it was changed last, or created.
    :param changed_by: who changed it last, as far as AWS says; a user's name or an ARN.
    :param created: when it was registered.
    """

    arn: str
    status: str
    status_reason: str
    artifact_uri: str
    metadata: dict[str, str] = field(default_factory=dict)
    evaluation_uri: str = ""
    changed_at: datetime | None = None
    changed_by: str = ""
    created: datetime | None = None
    image: str = ""

    @property
    def group(self) -> str:
        return self.arn.rsplit("/", 2)[1]

    @property
    def as_of(self) -> str:
        return self.metadata.get("as_of", "")

    @property
    def data_until(self) -> str | None:
        """Return the first day of the newest period that its data held, an ISO date; None if unknown."""
        return self.metadata.get("data_until")

    @property
    def event(self) -> str:
        """Return the event that has set the status last, as far as City Fleet knows; empty for one elsewhere."""
        return self.metadata.get(DECIDED_EVENT, "") if self.status == self.decided_status else ""

    @property
    def decided_status(self) -> str:
        """Return the status that City Fleet has set last."""
        return self.metadata.get(DECIDED_STATUS, self.status)

    @property
    def note_elsewhere(self) -> str:
        """Return what was written elsewhere about the status; empty where nothing was."""
        ours = self.metadata.get(REASON_DIGEST) == naming.digest(self.status_reason)
        return "" if ours else self.status_reason

    @property
    def settled_status(self) -> str:
        """Return the status of which all consequences have been carried out."""
        return self.metadata.get(SETTLED_STATUS, self.status)

    @property
    def settled_event(self) -> str:
        """Return the event that led to the settled status, as far as City Fleet knows."""
        same = self.metadata.get(DECIDED_STATUS) == self.settled_status
        return self.metadata.get(DECIDED_EVENT, "") if same else ""

    @property
    def waits_for_person(self) -> bool:
        """Tell whether it awaits approval by a person; a version that waits for its own run has no deadline."""
        return self.status == PENDING and EXPIRES_AT in self.metadata

    @property
    def number(self) -> int:
        return version_of(self.arn)


def package_description(as_of: str, artifact_sha256: str, run: str, run_key: str) -> str:
    """Return the description of a version. It names artifact and run, because List returns descriptions and not
    metadata: one List finds the version of an artifact, and whose it is, without a Describe per version.

    :param run: ``<dag id>/<run id>`` of the DAG run, of at most 500 characters.
    """
    return f"as_of {as_of}, {ARTIFACT_WORD} {artifact_sha256}, run {run}, key {run_key}"


def versions(sagemaker: SageMakerClient, group: str) -> list[ModelPackageSummary]:
    """Return the versions of a package group, newest first; none when there is no such group yet."""
    pages = sagemaker.get_paginator("list_model_packages").paginate(
        ModelPackageGroupName=group, PaginationConfig={"PageSize": 100}
    )
    try:
        found = [_summary(each) for page in pages for each in page["ModelPackageSummaryList"]]
    except ClientError as error:
        if aws_errors.is_missing(error):
            return []
        raise
    return sorted(found, key=lambda version: -version.number)


def newest_approved(sagemaker: SageMakerClient, group: str) -> ModelPackageSummary | None:
    """Return the approved version of a group that was created last, by one request."""
    answer = sagemaker.list_model_packages(
        ModelPackageGroupName=group,
        ModelApprovalStatus=APPROVED,
        SortBy="CreationTime",
        SortOrder="Descending",
        MaxResults=1,
    )
    return next((_summary(each) for each in answer["ModelPackageSummaryList"]), None)


def _summary(listed: Mapping[str, Any]) -> ModelPackageSummary:
    match = _DESCRIPTION.search(listed.get("ModelPackageDescription", ""))
    if match is not None and not _is_stamp(match["as_of"]):
        match = None  # somebody else's words
    return ModelPackageSummary(
        arn=listed["ModelPackageArn"],
        number=version_of(listed["ModelPackageArn"]),
        status=listed.get("ModelApprovalStatus", ""),
        as_of=match["as_of"] if match else None,
        artifact_sha256=match["sha256"] if match else None,
        run=match["run"] if match else None,
        run_key=match["key"] if match else None,
        created=listed["CreationTime"],
    )


def _is_stamp(text: str) -> bool:
    try:
        return naming.as_of_stamp(naming.parse_as_of(text)) == text
    except ValueError:
        return False


def describe(sagemaker: SageMakerClient, package_arn: str) -> ModelPackage | None:
    """Return a version, or None when it does not exist any more."""
    try:
        answer = sagemaker.describe_model_package(ModelPackageName=package_arn)
    except ClientError as error:
        if aws_errors.is_missing(error):
            return None
        raise
    return version_from(answer)


def read(sagemaker: SageMakerClient, package_arn: str) -> ModelPackage:
    """Return a version.

    :raises RegistryError: it does not exist any more.
    """
    version = describe(sagemaker, package_arn)
    if version is None:
        raise RegistryError(f"{package_arn}: the version was deleted meanwhile")
    return version


def refuse_other(keys: Keys, version: ModelPackage) -> None:
    """Refuse a version that another installation has registered.

    :raises OtherInstallation: its metadata say so.
    """
    advice = "Decide about it with the fleet file of that installation"
    installation.refuse_other(keys, version.metadata, version.arn, advice)


def version_from(answer: Mapping[str, Any]) -> ModelPackage:
    """Return the version that Describe answers, or a record of Search."""
    containers = answer.get("InferenceSpecification", {}).get("Containers", [{}])
    quality = answer.get("ModelMetrics", {}).get("ModelQuality", {}).get("Statistics", {})
    who = answer.get("LastModifiedBy") or {}
    return ModelPackage(
        arn=answer["ModelPackageArn"],
        status=answer.get("ModelApprovalStatus", ""),
        status_reason=answer.get("ApprovalDescription", ""),
        artifact_uri=containers[0].get("ModelDataUrl", ""),
        metadata=dict(answer.get("CustomerMetadataProperties", {})),
        evaluation_uri=quality.get("S3Uri", ""),
        changed_at=answer.get("LastModifiedTime") or answer["CreationTime"],
        changed_by=who.get("UserProfileName") or who.get("IamIdentity", {}).get("Arn", ""),
        created=answer["CreationTime"],
        image=containers[0].get("Image", ""),
    )


def made_by(metadata: Mapping[str, str]) -> dict[str, str | None]:
    """Return the digests of the settings and of the job scripts that made a version, as pointers keep them.

    :param metadata: what City Fleet registered with the version.
    """
    code_uri = metadata.get("code_uri")  # ends with the digest: code/<digest>/
    return {
        "settings_digest": metadata.get("settings_digest"),
        "code_digest": code_uri.rstrip("/").rpartition("/")[2] if code_uri else None,
    }


def version_of(package_arn: str) -> int:
    """Return the version number at the end of a model package's ARN."""
    try:
        return int(package_arn.rsplit("/", 1)[1])
    except (IndexError, ValueError):
        raise RegistryError(
            f"{package_arn!r} is not a version of a model package group; allowed: an ARN that ends with /<number>"
        ) from None


def delete(sagemaker: SageMakerClient, package_arn: str) -> bool:
    """Delete a version for good.

    :return: False when it did not exist any more.
    """
    try:
        sagemaker.delete_model_package(ModelPackageName=package_arn)
    except ClientError as error:
        if aws_errors.is_missing(error):
            return False
        raise
    return True
