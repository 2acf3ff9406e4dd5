"""Resource policies of model package groups: with whom a group is shared."""

from __future__ import annotations

import json
from typing import Any

from local.sagemaker.errors import ValidationException
from local.sagemaker.protocol.operations import operation
from local.sagemaker.reach import Server
from local.sagemaker.registry.registry import GROUP, find_group
from local.sagemaker.store import Document

_KEPT = "A policy is kept and answered; none is weighed here, and the wording of refusals is our own."
_MEMBER = "_resource_policy"


@operation("PutModelPackageGroupPolicy", differs=[_KEPT])
def put_group_policy(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Give a group a policy in place of the one that it has."""
    policy = request["ResourcePolicy"]
    try:
        statements = json.loads(policy)["Statement"]
    except (ValueError, KeyError, TypeError, RecursionError):
        statements = None
    if not statements or not isinstance(statements, list | dict):
        raise ValidationException("ResourcePolicy: it is no policy: a JSON object with a Statement.")
    group = find_group(server, request["ModelPackageGroupName"])
    server.store.update(GROUP, group["ModelPackageGroupName"], lambda each: each.update({_MEMBER: policy}))
    return {"ModelPackageGroupArn": group["ModelPackageGroupArn"]}


@operation("GetModelPackageGroupPolicy", differs=[_KEPT])
def get_group_policy(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Answer a group's policy."""
    group = find_group(server, request["ModelPackageGroupName"])
    if _MEMBER not in group:
        raise ValidationException(
            f"ModelPackageGroup {group['ModelPackageGroupArn']} has no resource policy."
        )
    return {"ResourcePolicy": group[_MEMBER]}


@operation("DeleteModelPackageGroupPolicy", differs=[_KEPT])
def delete_group_policy(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Take a group's policy away."""

    def change(group: Document) -> None:
        group.pop(_MEMBER, None)

    group = find_group(server, request["ModelPackageGroupName"])
    server.store.update(GROUP, group["ModelPackageGroupName"], change)
    return {}
