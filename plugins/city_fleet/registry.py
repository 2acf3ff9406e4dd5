"""The model registry: one package group per city, one version per artifact. A boto3 client is passed in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from city_fleet import naming
from city_fleet.errors import RegistryError

ARTIFACT_WORD = "artifact"
_DESCRIPTION = re.compile(
    rf"as_of (?P<as_of>\S+), {ARTIFACT_WORD} (?P<sha256>[0-9a-f]{{64}})(?:, run (?P<run>\S+))?"
)
# SageMaker says with a ValidationException that a group or version does not exist.
_MISSING = frozenset({"ValidationException", "ResourceNotFound"})


@dataclass(frozen=True)
class Listed:
    """One version as List shows it.

    :param number: counts up from 1 and is never used twice.
    :param status: ``Approved``, ``Rejected`` or ``PendingManualApproval``.
    :param as_of: stamp of the moment up to which the model has seen data; None if City Fleet did not register it.
    :param artifact_sha256: of ``model.tar.gz``; None if City Fleet did not register it.
    :param run: ``<dag id>/<run id>`` of the run that registered it; None if City Fleet did not.
    :param created: when it was registered.
    """

    arn: str
    number: int
    status: str
    as_of: str | None
    artifact_sha256: str | None
    run: str | None
    created: datetime

    def target_model(self, city: str) -> str | None:
        """Return the key of its artifact below the endpoint's prefix; None if City Fleet did not register it."""
        if self.as_of is None or self.artifact_sha256 is None:
            return None
        return naming.target_model(city, naming.parse_as_of(self.as_of), self.artifact_sha256)


@dataclass(frozen=True)
class Version:
    """One version as Describe shows it.

    :param status: ``Approved``, ``Rejected`` or ``PendingManualApproval``.
    :param status_reason: why, in the words of whoever set the status; empty when nothing was said.
    :param artifact_uri: where training left ``model.tar.gz``.
    :param metadata: what City Fleet registered with it: ``as_of``, ``artifact_sha256``, ``decision_uri`` …
    """

    arn: str
    status: str
    status_reason: str
    artifact_uri: str
    metadata: dict[str, str]

    @property
    def number(self) -> int:
        """Return the version number."""
        return version_of(self.arn)


def package_description(as_of: str, artifact_sha256: str, run: str) -> str:
    """Return the description of a version. It names the artifact, because List returns descriptions and not
    metadata: one List finds the version of an artifact without a Describe per version.
    """
    return f"as_of {as_of}, {ARTIFACT_WORD} {artifact_sha256}, run {run}"[:1024]


def find_version(sagemaker: Any, group: str, artifact_sha256: str) -> str | None:
    """Return the ARN of the version that holds an artifact, or None.

    :param sagemaker: a boto3 SageMaker client.
    """
    return next(
        (found.arn for found in versions(sagemaker, group) if found.artifact_sha256 == artifact_sha256), None
    )


def versions(sagemaker: Any, group: str) -> list[Listed]:
    """Return the versions of a package group, newest first; none when there is no such group yet.

    :param sagemaker: a boto3 SageMaker client.
    """
    found = []
    try:
        pages = sagemaker.get_paginator("list_model_packages").paginate(
            ModelPackageGroupName=group, PaginationConfig={"PageSize": 100}
        )
        for page in pages:
            for summary in page["ModelPackageSummaryList"]:
                match = _DESCRIPTION.search(summary.get("ModelPackageDescription", ""))
                found.append(
                    Listed(
                        arn=summary["ModelPackageArn"],
                        number=version_of(summary["ModelPackageArn"]),
                        status=summary.get("ModelApprovalStatus", ""),
                        as_of=match["as_of"] if match else None,
                        artifact_sha256=match["sha256"] if match else None,
                        run=match["run"] if match else None,
                        created=summary["CreationTime"],
                    )
                )
    except ClientError as error:
        if error.response["Error"]["Code"] not in _MISSING:
            raise
        return []
    return sorted(found, key=lambda version: -version.number)


def describe(sagemaker: Any, package_arn: str) -> Version | None:
    """Return a version, or None when it does not exist any more.

    :param sagemaker: a boto3 SageMaker client.
    """
    try:
        answer = sagemaker.describe_model_package(ModelPackageName=package_arn)
    except ClientError as error:
        if error.response["Error"]["Code"] in _MISSING:
            return None
        raise
    containers = answer.get("InferenceSpecification", {}).get("Containers", [{}])
    return Version(
        arn=answer["ModelPackageArn"],
        status=answer.get("ModelApprovalStatus", ""),
        status_reason=answer.get("ApprovalDescription", ""),
        artifact_uri=containers[0].get("ModelDataUrl", ""),
        metadata=dict(answer.get("CustomerMetadataProperties", {})),
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
            f"{package_arn!r} is no version of a model package group; allowed: an ARN that ends with /<number>"
        ) from None


def set_status(sagemaker: Any, package_arn: str, status: str, reason: str) -> None:
    """Change a version's approval status.

    :param status: ``Approved``, ``Rejected`` or ``PendingManualApproval``.
    """
    sagemaker.update_model_package(
        ModelPackageArn=package_arn, ModelApprovalStatus=status, ApprovalDescription=reason[:1024]
    )
