"""IAM policies of this repository, filled in, and what they say of a request that boto3 is about to make."""

from __future__ import annotations

import fnmatch
import json
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REGION, ACCOUNT = "us-east-1", "123456789012"

#: What stands for a resource that AWS bounds by no name.
ANY = "*"
#: Calls of S3 that IAM knows by another name. A copy is read as well, see :func:`needs`.
_S3 = {
    "HeadObject": "GetObject",
    "CopyObject": "PutObject",
    "DeleteObjects": "DeleteObject",
    "ListObjectsV2": "ListBucket",
    "HeadBucket": "ListBucket",
}
#: Member of a request that names what it is about → kind of resource. An operation's name ends with one of them.
_KINDS = {
    "TrainingJobName": "training-job",
    "ProcessingJobName": "processing-job",
    "EndpointName": "endpoint",
    "EndpointConfigName": "endpoint-config",
    "ModelName": "model",
    "ModelPackageGroupName": "model-package-group",
}


def action_of(service: str, operation: str) -> str:
    """Return the permission that a call of AWS asks for."""
    if service == "s3":
        return f"s3:{_S3.get(operation, operation)}"
    return f"{service.removesuffix('-runtime')}:{operation}"


def needs(service: str, operation: str, params: dict[str, Any]) -> Iterator[tuple[str, str, str | None]]:
    """Yield what a request needs: action, resource, and the prefix of a listing."""
    action = action_of(service, operation)
    if service == "s3":
        bucket = f"arn:aws:s3:::{params['Bucket']}"
        if operation == "CopyObject":
            source = params["CopySource"]
            yield "s3:GetObject", f"arn:aws:s3:::{source['Bucket']}/{source['Key']}", None
            yield "s3:PutObject", f"{bucket}/{params['Key']}", None
        elif operation == "DeleteObjects":
            for each in params["Delete"]["Objects"]:
                yield action, f"{bucket}/{each['Key']}", None
        elif "Key" in params:
            yield action, f"{bucket}/{params['Key']}", None
        else:
            yield action, bucket, params.get("Prefix")
        return
    if service == "secretsmanager":
        yield action, params["SecretId"], None
        return
    if service == "logs":
        yield action, f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{params['logGroupName']}:*", None
        return
    yield action, _sagemaker_resource(operation, params), None
    if params.get("Tags"):
        yield "sagemaker:AddTags", _sagemaker_resource(operation, params), None
    role = params.get("RoleArn") or params.get("ExecutionRoleArn")
    if role:
        yield "iam:PassRole", role, None


def _sagemaker_resource(operation: str, params: dict[str, Any]) -> str:
    if operation.startswith("List") or operation == "Search":
        return ANY
    for name in ("ModelPackageName", "ModelPackageArn", "ResourceArn"):
        if name in params:
            return str(params[name])
    of = next(
        (name for name in _KINDS if operation.endswith(name.removesuffix("Name"))), "ModelPackageGroupName"
    )
    return f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:{_KINDS[of]}/{params[of]}"


class Policy:
    """A policy.

    :param path: of its JSON.
    :param places: what stands for its ``${…}``.
    """

    def __init__(self, path: Path, **places: str) -> None:
        text = string.Template(path.read_text()).substitute({"REGION": REGION, "ACCOUNT": ACCOUNT, **places})
        self.statements: list[dict[str, Any]] = json.loads(text)["Statement"]
        self.used: set[str] = set()

    @property
    def actions(self) -> set[str]:
        """Return every action that it allows."""
        return {action for each in self.statements for action in self.listed(each["Action"])}

    def allows(self, action: str, resource: str, prefix: str | None = None) -> bool:
        """Tell whether it allows an action; remember the actions that were asked for and allowed."""
        for each in self.statements:
            like = each.get("Condition", {}).get("StringLike", {}).get("s3:prefix")
            if (
                action in self.listed(each["Action"])
                and any(fnmatch.fnmatchcase(resource, pattern) for pattern in self.listed(each["Resource"]))
                and (like is None or any(fnmatch.fnmatchcase(prefix or "", one) for one in self.listed(like)))
            ):
                self.used.add(action)
                return True
        return False

    def denied(self, service: str, operation: str, params: dict[str, Any]) -> list[str]:
        """Return what a request needs and may not."""
        return [
            f"{action} {resource} {prefix or ''}".strip()
            for action, resource, prefix in needs(service, operation, params)
            if not self.allows(action, resource, prefix)
        ]

    @staticmethod
    def listed(value: str | list[str]) -> list[str]:
        """Return what a policy says as one text or as a list."""
        return [value] if isinstance(value, str) else value
