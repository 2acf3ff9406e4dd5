"""The model registry's groups; their numbered packages are in model_packages.py."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from local.sagemaker.errors import ConflictException, ValidationException
from local.sagemaker.protocol.listing import list_page
from local.sagemaker.protocol.operations import operation
from local.sagemaker.reach import Server
from local.sagemaker.registry.tags import check_tags
from local.sagemaker.store import AlreadyExists, Document

GROUP = "model-package-group"
PACKAGE = "model-package"


@operation(
    "CreateModelPackageGroup",
    differs=["A group is Completed at once."],
    no_effect=["ManagedConfiguration"],
)
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
    return find_group(server, request["ModelPackageGroupName"])


@operation(
    "ListModelPackageGroups",
    differs=["There is one account: CrossAccountFilterOption CrossAccount lists none."],
)
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
        group = find_group(server, request["ModelPackageGroupName"])
        name = group["ModelPackageGroupName"]
        if server.store.list(PACKAGE, prefix=f"{name}/"):
            raise ConflictException(
                f"Model Package Group {group['ModelPackageGroupArn']} can't be deleted: it still has model"
                " packages."
            )
        server.store.delete(GROUP, name)
    return {}


def find_group(server: Server, name_or_arn: str) -> Document:
    """The document of a group.

    :raises ValidationException: if there is none.
    """
    check_region(server, name_or_arn)
    name = name_or_arn.rpartition("/")[2]
    group = server.store.get(GROUP, name)
    if group is None or name_or_arn not in (name, group["ModelPackageGroupArn"]):
        arn = name_or_arn if ":" in name_or_arn else server.arn(GROUP, name)
        raise ValidationException(f"ModelPackageGroup {arn} does not exist.")
    return group


def check_region(server: Server, name_or_arn: str) -> None:
    """Refuse the ARN of another region, as AWS does.

    :raises ValidationException: if it is one.
    """
    if name_or_arn.startswith("arn:") and name_or_arn.split(":")[3] != server.region:
        raise ValidationException(f"ARN should be scoped to correct region: {server.region}")
