"""The versions of an old package group, registered anew in today's. A boto3 client is passed in.

In the order of their numbers, with metadata, status and reason. A version that is there already is found by its
artifact, so this may die at any moment and be repeated.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from city_fleet import aws_errors, naming
from city_fleet.champions.layout_inventory import OldCity, OldVersion
from city_fleet.champions.layout_rewrite import Rewrite
from city_fleet.naming import Keys
from city_fleet.state import installation, package_status, registry

if TYPE_CHECKING:
    from types_boto3_sagemaker import SageMakerClient


def move(sagemaker: SageMakerClient, keys: Keys, old: OldCity) -> dict[str, str]:
    """Register the versions of a city that are not there yet.

    :return: ARN of before → ARN today.
    """
    if not old.versions:
        return {}
    group = naming.package_group(keys.fleet, keys.environment, old.city)
    there: defaultdict[str | None, list[str]] = defaultdict(list)
    for listed in reversed(registry.versions(sagemaker, group)):
        there[listed.artifact_sha256].append(listed.arn)
    if not there:
        _ensure_group(sagemaker, group)
    arns: dict[str, str] = {}
    for version in old.versions:
        known = there[version.package.metadata.get("artifact_sha256")]
        arn = known.pop(0) if known else _create(sagemaker, keys, group, old.city, version)
        arns[version.package.arn] = arn
        reason = version.package.status_reason
        if reason and registry.read(sagemaker, arn).status_reason != reason:
            package_status.note(sagemaker, arn, {}, reason)
    return arns


def _ensure_group(sagemaker: SageMakerClient, group: str) -> None:
    try:
        sagemaker.describe_model_package_group(ModelPackageGroupName=group)
    except ClientError as error:
        if not aws_errors.is_missing(error):
            raise
        sagemaker.create_model_package_group(ModelPackageGroupName=group)


def _create(sagemaker: SageMakerClient, keys: Keys, group: str, city: str, version: OldVersion) -> str:
    rewrite, answer = Rewrite(keys, city), version.answer
    metadata = {**version.package.metadata, **installation.stamp(keys)}
    request: dict[str, Any] = {
        "ModelPackageGroupName": group,
        "ClientToken": naming.digest([group, version.package.arn], 32),
        "ModelApprovalStatus": version.package.status,
        "CustomerMetadataProperties": package_status.fitting(
            {name: rewrite.text(text) for name, text in metadata.items()}
        ),
    }
    for member in ("ModelPackageDescription", "ModelMetrics"):
        if answer.get(member):
            request[member] = rewrite.value(answer[member])
    specification = answer["InferenceSpecification"]
    containers = [
        {name: rewrite.value(container[name]) for name in ("Image", "ModelDataUrl") if name in container}
        for container in specification["Containers"]
    ]
    request["InferenceSpecification"] = {**specification, "Containers": containers}
    return str(sagemaker.create_model_package(**request)["ModelPackageArn"])
