"""The model registry: package groups and their numbered model packages."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from local_sagemaker.errors import ConflictException, ValidationException
from local_sagemaker.listing import list_page
from local_sagemaker.operations import operation
from local_sagemaker.store import AlreadyExists, Document, NotFound
from local_sagemaker.tags import check_tags

if TYPE_CHECKING:
    from local_sagemaker.server import Server

GROUP = "model-package-group"
PACKAGE = "model-package"
#: What a ClientToken has answered already; not a resource.
CLIENT_TOKEN = "client-token"  # noqa: S105

MAX_METADATA_PROPERTIES = 50


@operation("CreateModelPackageGroup")
def create_group(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Create a group, whose packages are numbered from 1."""
    name = request["ModelPackageGroupName"]
    arn = server.arn(GROUP, name)
    document = {
        **{member: value for member, value in request.items() if member != "Tags"},
        "ModelPackageGroupArn": arn,
        "CreationTime": datetime.now(UTC),
        "CreatedBy": {},
        "ModelPackageGroupStatus": "Completed",
        "_tags": check_tags(request.get("Tags", [])),
        "_last_version": 0,
    }
    try:
        server.store.insert(GROUP, name, document)
    except AlreadyExists:
        raise ValidationException(f"Model Package Group already exists: {arn}") from None
    return {"ModelPackageGroupArn": arn}


@operation("DescribeModelPackageGroup")
def describe_group(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Describe a group."""
    return _group(server, request["ModelPackageGroupName"])


@operation("ListModelPackageGroups")
def list_groups(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """List groups."""
    return list_page(
        "ListModelPackageGroups",
        request,
        [] if request.get("CrossAccountFilterOption") == "CrossAccount" else server.store.list(GROUP),
        name="ModelPackageGroupName",
        default_order="Ascending",
    )


@operation("DeleteModelPackageGroup")
def delete_group(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Delete an empty group."""
    with server.store.transaction():
        group = _group(server, request["ModelPackageGroupName"])
        name = group["ModelPackageGroupName"]
        if server.store.list(PACKAGE, prefix=f"{name}/"):
            raise ConflictException(
                f"Model Package Group {group['ModelPackageGroupArn']} can't be deleted: it still has model"
                " packages."
            )
        server.store.delete(GROUP, name)
    return {}


@operation("CreateModelPackage")
def create_package(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Create a model package: the next version of a group, or a package with a name of its own."""
    with server.store.transaction():
        token, digest = request.get("ClientToken"), _digest(request)
        known = server.store.get(CLIENT_TOKEN, token) if token else None
        if known is not None:
            if known["digest"] != digest:
                raise ConflictException(f"ClientToken {token} was used before, for a request that differs.")
            return {"ModelPackageArn": known["arn"]}
        if "ModelPackageName" in request and "ModelPackageGroupName" in request:
            raise ValidationException(
                "Both ModelPackageName and ModelPackageGroupName are provided in the input. Cannot determine"
                " which one to use."
            )
        if "ModelPackageGroupName" in request:
            arn = _create_version(server, request)
        elif "ModelPackageName" in request:
            arn = _create_unversioned(server, request)
        else:
            raise ValidationException("Missing ARN.")
        if token:
            server.store.insert(CLIENT_TOKEN, token, {"digest": digest, "arn": arn})
    return {"ModelPackageArn": arn}


@operation("DescribeModelPackage")
def describe_package(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Describe a model package, by ARN or by name."""
    return _package(server, request["ModelPackageName"])


@operation("ListModelPackages")
def list_packages(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """List the versions of a group, or the packages of a type (the unversioned ones if none is asked for)."""
    prefix = ""
    if "ModelPackageGroupName" in request:
        prefix = f"{_group(server, request['ModelPackageGroupName'])['ModelPackageGroupName']}/"
    kind = request.get("ModelPackageType", "Versioned" if prefix else "Unversioned")

    def keep(package: Document) -> bool:
        if kind != "Both" and ("ModelPackageVersion" in package) != (kind == "Versioned"):
            return False
        approval = request.get("ModelApprovalStatus")
        return approval is None or package.get("ModelApprovalStatus") == approval

    return list_page(
        "ListModelPackages",
        request,
        server.store.list(PACKAGE, prefix),
        name="_sort_name",
        keep=keep,
        default_order="Ascending",
    )


@operation("UpdateModelPackage")
def update_package(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Change what may change of a model package; metadata properties are merged."""
    arn = request["ModelPackageArn"]

    def change(package: Document) -> None:
        if "ModelApprovalStatus" in request and "ModelPackageVersion" not in package:
            raise ValidationException(
                f"ModelApprovalStatus does not apply to the unversioned model package {arn}."
            )
        for member in (
            "ModelApprovalStatus",
            "ModelPackageRegistrationType",
            "ApprovalDescription",
            "InferenceSpecification",
            "SourceUri",
            "ModelCard",
            "ModelLifeCycle",
        ):
            if member in request:
                package[member] = request[member]
        properties = package.get("CustomerMetadataProperties", {}) | request.get(
            "CustomerMetadataProperties", {}
        )
        for key in request.get("CustomerMetadataPropertiesToRemove", []):
            properties.pop(key, None)
        if len(properties) > MAX_METADATA_PROPERTIES:
            raise ValidationException(
                f"A model package can have {MAX_METADATA_PROPERTIES} customer metadata properties; with this"
                f" request it would have {len(properties)}."
            )
        package.pop("CustomerMetadataProperties", None)
        if properties:
            package["CustomerMetadataProperties"] = properties
        added = request.get("AdditionalInferenceSpecificationsToAdd")
        if added:
            package["AdditionalInferenceSpecifications"] = (
                package.get("AdditionalInferenceSpecifications", []) + added
            )
        package |= {"LastModifiedTime": datetime.now(UTC), "LastModifiedBy": {}}

    try:
        server.store.update(PACKAGE, _package_name(arn), change)
    except NotFound:
        raise _no_such_package(arn) from None
    return {"ModelPackageArn": arn}


@operation("DeleteModelPackage")
def delete_package(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Delete a model package; its number is not given again."""
    package = _package(server, request["ModelPackageName"])
    server.store.delete(PACKAGE, _package_name(package["ModelPackageArn"]))
    return {}


def _group(server: Server, name_or_arn: str) -> Document:
    name = name_or_arn.rpartition("/")[2]
    group = server.store.get(GROUP, name)
    if group is None:
        raise ValidationException(f"ModelPackageGroup {server.arn(GROUP, name)} does not exist.")
    return group


def _package(server: Server, name_or_arn: str) -> Document:
    package = server.store.get(PACKAGE, _package_name(name_or_arn))
    if package is None:
        raise _no_such_package(name_or_arn if ":" in name_or_arn else server.arn(PACKAGE, name_or_arn))
    return package


def _package_name(name_or_arn: str) -> str:
    """``group/version`` or the name of an unversioned package."""
    return name_or_arn.split(f":{PACKAGE}/", 1)[-1]


def _no_such_package(arn: str) -> ValidationException:
    """What is answered for a model package that does not exist."""
    return ValidationException(f"ModelPackage {arn} does not exist.")


def _create_version(server: Server, request: dict[str, Any]) -> str:
    group_name = request["ModelPackageGroupName"].rpartition("/")[2]

    def count(group: Document) -> None:
        group["_last_version"] += 1

    try:
        version = server.store.update(GROUP, group_name, count)["_last_version"]
    except NotFound:
        raise ValidationException("Model Package Group does not exist.") from None
    return _insert(
        server,
        f"{group_name}/{version}",
        {
            **request,
            "ModelPackageGroupName": group_name,
            "ModelPackageVersion": version,
            "ModelApprovalStatus": request.get("ModelApprovalStatus", "PendingManualApproval"),
            "_sort_name": f"{group_name}/{version:09d}",
        },
    )


def _create_unversioned(server: Server, request: dict[str, Any]) -> str:
    name = request["ModelPackageName"]
    if "ModelApprovalStatus" in request:
        raise ValidationException("ModelApprovalStatus does not apply to unversioned model packages.")
    return _insert(server, name, {**request, "_sort_name": name})


def _insert(server: Server, name: str, document: Document) -> str:
    """Store a new model package.

    :returns: its ARN.
    """
    arn = server.arn(PACKAGE, name)
    document.pop("ClientToken", None)
    tags = check_tags(document.pop("Tags", []))
    # Validation profiles would start transform jobs, which the stand-in does not run.
    if "ValidationSpecification" in document:
        raise ValidationException(
            "The local SageMaker does not validate model packages: ValidationSpecification."
        )
    document |= {
        "ModelPackageArn": arn,
        "CreationTime": datetime.now(UTC),
        "CreatedBy": {},
        "ModelPackageStatus": "Completed",
        "ModelPackageStatusDetails": {"ValidationStatuses": [], "ImageScanStatuses": []},
        "CertifyForMarketplace": document.get("CertifyForMarketplace", False),
        "_tags": tags,
    }
    try:
        server.store.insert(PACKAGE, name, document)
    except AlreadyExists:
        raise ValidationException(f'Cannot create already existing model package "{arn}".') from None
    return arn


def _digest(request: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(request, sort_keys=True, default=str).encode()).hexdigest()
