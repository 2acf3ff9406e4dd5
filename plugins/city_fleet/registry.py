"""The model registry: one package group per city, one version per artifact. A boto3 client is passed in."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

ARTIFACT_WORD = "artifact"


def package_description(as_of: str, artifact_sha256: str, run: str) -> str:
    """Return the description of a version. It names the artifact, because List returns descriptions and not
    metadata: one List finds the version of an artifact without a Describe per version.
    """
    return f"as_of {as_of}, {ARTIFACT_WORD} {artifact_sha256}, run {run}"[:1024]


def find_version(sagemaker: Any, group: str, artifact_sha256: str) -> str | None:
    """Return the ARN of the version that holds an artifact, or None.

    :param sagemaker: a boto3 SageMaker client.
    """
    wanted = f"{ARTIFACT_WORD} {artifact_sha256}"
    arguments: dict[str, Any] = {"ModelPackageGroupName": group, "MaxResults": 100}
    try:
        while True:
            page = sagemaker.list_model_packages(**arguments)
            for summary in page["ModelPackageSummaryList"]:
                if wanted in summary.get("ModelPackageDescription", ""):
                    return str(summary["ModelPackageArn"])
            if not page.get("NextToken"):
                return None
            arguments["NextToken"] = page["NextToken"]
    except ClientError as error:
        # A group that does not exist yet has no versions. SageMaker reports it as a ValidationException.
        if error.response["Error"]["Code"] in {"ValidationException", "ResourceNotFound"}:
            return None
        raise


def version_of(package_arn: str) -> int:
    """Return the version number at the end of a model package's ARN."""
    return int(package_arn.rsplit("/", 1)[1])


def set_status(sagemaker: Any, package_arn: str, status: str, reason: str) -> None:
    """Change a version's approval status.

    :param status: ``Approved``, ``Rejected`` or ``PendingManualApproval``.
    """
    sagemaker.update_model_package(
        ModelPackageArn=package_arn, ModelApprovalStatus=status, ApprovalDescription=reason[:1024]
    )
