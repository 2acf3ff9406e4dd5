"""The versions of a whole fleet that await approval or were changed: one request for 100, whatever their groups."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from city_fleet.state.registry import PENDING, ModelPackage, version_from

if TYPE_CHECKING:
    from types_boto3_sagemaker import SageMakerClient
    from types_boto3_sagemaker.type_defs import FilterTypeDef, SearchExpressionPaginatorTypeDef


def waiting(sagemaker: SageMakerClient, name_part: str) -> frozenset[str]:
    """Return the ARNs of the versions that await approval.

    :param name_part: what the names of their groups hold.
    """
    pages = sagemaker.get_paginator("list_model_packages").paginate(
        ModelPackageType="Versioned",
        ModelApprovalStatus=PENDING,
        NameContains=name_part,
        PaginationConfig={"PageSize": 100},
    )
    return frozenset(each["ModelPackageArn"] for page in pages for each in page["ModelPackageSummaryList"])


def of_group(sagemaker: SageMakerClient, group: str, limit: int) -> Iterator[ModelPackage]:
    """Yield the versions of one package group, the newest first, with all that Describe says of them.

    :param limit: no more than so many.
    """
    expression: SearchExpressionPaginatorTypeDef = {
        "Filters": [{"Name": "ModelPackageGroupName", "Operator": "Equals", "Value": group}]
    }
    pages = sagemaker.get_paginator("search").paginate(
        Resource="ModelPackage",
        SearchExpression=expression,
        SortBy="CreationTime",
        SortOrder="Descending",
        PaginationConfig={"PageSize": min(limit, 100), "MaxItems": limit},
    )
    for page in pages:
        for record in page["Results"]:
            if "ModelPackageVersion" in record["ModelPackage"]:
                yield version_from(record["ModelPackage"])


def search(
    sagemaker: SageMakerClient, name_part: str, since: datetime | None = None
) -> Iterator[ModelPackage]:
    """Yield the versions that await approval, and those that were changed since an instant; any order.

    A version that was created and never changed since is not among the changed ones.

    :param name_part: what the names of their groups hold.
    :param since: None for all that were ever changed.
    """
    changed: FilterTypeDef = {
        "Name": "LastModifiedTime",
        "Operator": "GreaterThanOrEqualTo",
        # API Reference, Filter: instants are UTC, in this form.
        "Value": (since or datetime(2000, 1, 1, tzinfo=UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
    }
    waiting: FilterTypeDef = {"Name": "ModelApprovalStatus", "Operator": "Equals", "Value": PENDING}
    expression: SearchExpressionPaginatorTypeDef = {
        "Filters": [{"Name": "ModelPackageGroupName", "Operator": "Contains", "Value": name_part}],
        "SubExpressions": [{"Filters": [waiting, changed], "Operator": "Or"}],
        "Operator": "And",
    }
    pages = sagemaker.get_paginator("search").paginate(
        Resource="ModelPackage", SearchExpression=expression, PaginationConfig={"PageSize": 100}
    )
    for page in pages:
        for record in page["Results"]:
            if "ModelPackageVersion" in record["ModelPackage"]:
                yield version_from(record["ModelPackage"])
