"""Model packages: the numbered versions of a group, and packages with a name of their own."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

from local.sagemaker.errors import ConflictException, ValidationException
from local.sagemaker.protocol import wire
from local.sagemaker.protocol.listing import list_page
from local.sagemaker.protocol.operations import operation
from local.sagemaker.reach import Server
from local.sagemaker.registry.registry import GROUP, PACKAGE, check_region, find_group
from local.sagemaker.registry.tags import check_tags
from local.sagemaker.store import AlreadyExists, Document

#: What a ClientToken has answered already; not a resource.
CLIENT_TOKEN = "client-token"  # noqa: S105

MAX_METADATA_PROPERTIES = 50
#: API Reference: UpdateModelPackage.
MAX_ADDITIONAL_SPECIFICATIONS = 15
#: From which status a version may go to which; to stay is always allowed.
TRANSITIONS = {
    "PendingManualApproval": {"Approved", "Rejected"},
    "Approved": {"Rejected"},
    "Rejected": {"Approved"},
}
_UPDATED_MEMBERS = (
    "ModelApprovalStatus",
    "ModelPackageRegistrationType",
    "ApprovalDescription",
    "InferenceSpecification",
    "SourceUri",
    "ModelCard",
    "ModelLifeCycle",
)


@operation(
    "CreateModelPackage",
    differs=[
        "A package is Completed at once: nothing is validated or scanned, images and artifacts are not looked"
        " for.",
        "A ClientToken is remembered as long as its package exists.",
        "A number is never given again, also when the last version was deleted.",
    ],
    refused=["ValidationSpecification"],
    no_effect=["SkipModelValidation", "ManagedStorageType", "SecurityConfig", "CertifyForMarketplace"],
)
def create_package(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Create a model package: the next version of a group, or a package with a name of its own."""
    with server.store.transaction():
        answered = _answered(server, "CreateModelPackage", request)
        if answered is not None:
            return {"ModelPackageArn": answered}
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
        _remember(server, "CreateModelPackage", request, arn)
    return {"ModelPackageArn": arn}


@operation("DescribeModelPackage", refused=["IncludedData=MetadataOnly"])
def describe_package(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Describe a model package, by ARN or by name."""
    if request.get("IncludedData", "AllData") != "AllData":
        raise ValidationException("IncludedData: the local SageMaker supports AllData only.")
    return find_package(server, request["ModelPackageName"])


@operation("BatchDescribeModelPackage")
def describe_packages(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Describe model packages by their ARNs; what is not there is named beside those that are."""
    shown = wire.service_model().shape_for("BatchDescribeModelPackageSummary").members
    found, errors = {}, {}
    for arn in request["ModelPackageArnList"]:
        try:
            package = find_package(server, arn)
        except ValidationException as error:
            errors[arn] = {"ErrorCode": error.code, "ErrorResponse": error.message}
        else:
            found[arn] = {member: value for member, value in package.items() if member in shown}
    return {"ModelPackageSummaries": found, "BatchDescribeModelPackageErrorMap": errors}


@operation("ListModelPackages")
def list_packages(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """List the versions of a group, or the packages of a type (the unversioned ones if none is asked for)."""
    prefix = ""
    if "ModelPackageGroupName" in request:
        prefix = f"{find_group(server, request['ModelPackageGroupName'])['ModelPackageGroupName']}/"
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
        shown_name=lambda package: package.get("ModelPackageName") or package["ModelPackageGroupName"],
        keep=keep,
        default_order="Ascending",
    )


@operation(
    "UpdateModelPackage",
    source="API Reference; Developer Guide: Update the Approval Status of a Model",
    differs=["An approval status that is not among the documented transitions is refused."],
)
def update_package(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Change what may change of a model package; metadata properties are merged."""
    arn = request["ModelPackageArn"]

    def change(package: Document) -> None:
        _check_approval(package, request)
        package.update({member: request[member] for member in _UPDATED_MEMBERS if member in request})
        _merge_properties(package, request)
        added = request.get("AdditionalInferenceSpecificationsToAdd", [])
        specifications = package.get("AdditionalInferenceSpecifications", []) + added
        if len(specifications) > MAX_ADDITIONAL_SPECIFICATIONS:
            raise ValidationException(
                f"A model package can have {MAX_ADDITIONAL_SPECIFICATIONS} additional inference"
                f" specifications; with this request it would have {len(specifications)}."
            )
        if added:
            package["AdditionalInferenceSpecifications"] = specifications
        package |= {"LastModifiedTime": datetime.now(UTC), "LastModifiedBy": {}}

    with server.store.transaction():
        if _answered(server, "UpdateModelPackage", request) is None:
            package = find_package(server, arn)
            server.store.update(PACKAGE, _name(package["ModelPackageArn"]), change)
            _remember(server, "UpdateModelPackage", request, arn)
    return {"ModelPackageArn": arn}


@operation("DeleteModelPackage")
def delete_package(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Delete a model package; its version number is not used again."""
    package = find_package(server, request["ModelPackageName"])
    server.store.delete(PACKAGE, _name(package["ModelPackageArn"]))
    return {}


def find_package(server: Server, name_or_arn: str) -> Document:
    """The document of a model package.

    :raises ValidationException: if there is none.
    """
    check_region(server, name_or_arn)
    package = server.store.get(PACKAGE, _name(name_or_arn))
    arn = name_or_arn if ":" in name_or_arn else server.arn(PACKAGE, name_or_arn)
    if package is None or arn != package["ModelPackageArn"]:
        raise ValidationException(f"ModelPackage {arn} does not exist.")
    return package


def _name(name_or_arn: str) -> str:
    """``group/version`` or the name of an unversioned package."""
    return name_or_arn.split(f":{PACKAGE}/", 1)[-1]


def _check_approval(package: Document, request: dict[str, Any]) -> None:
    wanted = request.get("ModelApprovalStatus")
    if wanted is None:
        return
    if "ModelPackageVersion" not in package:
        raise ValidationException(
            "ModelApprovalStatus does not apply to the unversioned model package"
            f" {package['ModelPackageArn']}."
        )
    current = package["ModelApprovalStatus"]
    if wanted != current and wanted not in TRANSITIONS[current]:
        raise ValidationException(
            f"The approval status of {package['ModelPackageArn']} can't change from {current} to {wanted};"
            f" allowed: {', '.join(sorted(TRANSITIONS[current]))}."
        )


def _merge_properties(package: Document, request: dict[str, Any]) -> None:
    properties = package.pop("CustomerMetadataProperties", {})
    properties |= request.get("CustomerMetadataProperties", {})
    for key in request.get("CustomerMetadataPropertiesToRemove", []):
        properties.pop(key, None)
    if len(properties) > MAX_METADATA_PROPERTIES:
        raise ValidationException(
            f"A model package can have {MAX_METADATA_PROPERTIES} customer metadata properties; with this"
            f" request it would have {len(properties)}."
        )
    if properties:
        package["CustomerMetadataProperties"] = properties


def _create_version(server: Server, request: dict[str, Any]) -> str:
    # API Reference: CreateModelPackage. A version has the tags of its group.
    for member in ("Tags", "CertifyForMarketplace"):
        if request.get(member):
            raise ValidationException(
                f"{member} does not apply to versioned model packages (ModelPackageGroupName is given)."
            )
    try:
        group_name = find_group(server, request["ModelPackageGroupName"])["ModelPackageGroupName"]
    except ValidationException as error:
        if error.message.startswith("ARN"):
            raise
        raise ValidationException("Model Package Group does not exist.") from None

    def count(group: Document) -> None:
        group["_last_version"] += 1

    version = server.store.update(GROUP, group_name, count)["_last_version"]
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


def _answered(server: Server, operation: str, request: dict[str, Any]) -> str | None:
    """The ARN that an earlier request with the same ClientToken was answered.

    :raises ConflictException: if that was another request.
    """
    token = request.get("ClientToken")
    known = server.store.get(CLIENT_TOKEN, f"{operation}/{token}") if token else None
    if known is None:
        return None
    if server.store.get(PACKAGE, _name(known["arn"])) is None:
        server.store.delete(CLIENT_TOKEN, f"{operation}/{token}")
        return None
    if known["digest"] != _digest(request):
        raise ConflictException(f"ClientToken {token} was used before, for a request that differs.")
    return str(known["arn"])


def _remember(server: Server, operation: str, request: dict[str, Any], arn: str) -> None:
    if token := request.get("ClientToken"):
        server.store.insert(CLIENT_TOKEN, f"{operation}/{token}", {"digest": _digest(request), "arn": arn})


def _digest(request: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(request, sort_keys=True, default=str).encode()).hexdigest()
