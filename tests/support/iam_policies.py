"""IAM policies of this repository, filled in, and what they say of a request that boto3 is about to make.

A small evaluator, for what these policies use: statements that allow or deny, wildcards, and the conditions below; a
condition on something that the request does not have does not hold. What AWS asks for beside a call (PassRole for a
role, AddTags for tags) is asked for here too.
"""

from __future__ import annotations

import fnmatch
import json
import string
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
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
    "GetBucketEncryption": "GetEncryptionConfiguration",
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
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
_BY_NAME = ("List", "Search")


@dataclass(frozen=True)
class Need:
    """What AWS asks whether somebody may.

    :param context: the condition keys that the request has.
    """

    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.action} {self.resource} {self.context.get('s3:prefix', '')}".strip()


def action_of(service: str, operation: str) -> str:
    """Return the permission that a call of AWS asks for."""
    if service == "s3":
        return f"s3:{_S3.get(operation, operation)}"
    if service == "sqs":
        return f"sqs:{operation.removesuffix('Batch')}"
    return f"{service.removesuffix('-runtime')}:{operation}"


def needs(
    service: str, operation: str, params: dict[str, Any], tags: Mapping[str, str] | None = None
) -> Iterator[Need]:
    """Yield what a request needs.

    :param tags: of the resource that it is about, where that is there already.
    """
    action = action_of(service, operation)
    if service == "s3":
        yield from _needs_of_s3(action, operation, params)
        return
    if service == "secretsmanager":
        yield Need(action, params["SecretId"])
        return
    if service == "logs":
        yield Need(action, f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{params['logGroupName']}:*")
        return
    if service == "application-autoscaling":
        # The ARN of a scalable target says nothing of what scales; conditions do.
        target = f"arn:aws:{service}:{REGION}:{ACCOUNT}:scalable-target/x"
        keys = {"service-namespace": "ServiceNamespace", "scalable-dimension": "ScalableDimension"}
        context = {f"{service}:{key}": params[member] for key, member in keys.items()}
        yield Need(action, ANY) if operation.startswith("Describe") else Need(action, target, context)
        return
    if service not in ("sagemaker", "sagemaker-runtime"):
        queue = params.get("QueueUrl", "").rpartition("/")[2]
        yield Need(action, f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}" if queue else ANY)
        return
    asked = {f"aws:RequestTag/{each['Key']}": each["Value"] for each in params.get("Tags") or ()}
    there = {} if operation.startswith("Create") else tags or {}
    context = asked | {f"aws:ResourceTag/{key}": value for key, value in there.items()}
    if "TargetModel" in params:
        context["sagemaker:TargetModel"] = params["TargetModel"]
    resource = _sagemaker_resource(operation, params)
    yield Need(action, resource, context)
    if operation in ("CreateEndpoint", "UpdateEndpoint"):
        configuration = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:endpoint-config/{params['EndpointConfigName']}"
        yield Need(action, configuration, context)
    if asked:
        yield Need("sagemaker:AddTags", resource, context)
    role = params.get("RoleArn") or params.get("ExecutionRoleArn")
    if role:
        yield Need("iam:PassRole", role, {"iam:PassedToService": "sagemaker.amazonaws.com"})


def _needs_of_s3(action: str, operation: str, params: dict[str, Any]) -> Iterator[Need]:
    bucket = f"arn:aws:s3:::{params['Bucket']}"
    if operation == "CopyObject":
        source = params["CopySource"]
        yield Need("s3:GetObject", f"arn:aws:s3:::{source['Bucket']}/{source['Key']}")
        yield Need("s3:PutObject", f"{bucket}/{params['Key']}")
    elif operation == "DeleteObjects":
        for each in params["Delete"]["Objects"]:
            yield Need(action, f"{bucket}/{each['Key']}")
    elif "Key" in params:
        yield Need(action, f"{bucket}/{params['Key']}")
    else:
        prefix = params.get("Prefix")
        yield Need(action, bucket, {} if prefix is None else {"s3:prefix": prefix})


def _sagemaker_resource(operation: str, params: dict[str, Any]) -> str:
    if operation == "ListTags":
        return str(params["ResourceArn"])
    if operation.startswith(_BY_NAME):
        return ANY
    for name in ("ModelPackageName", "ModelPackageArn", "ResourceArn"):
        if name in params:
            return str(params[name])
    if operation == "UpdateEndpointWeightsAndCapacities":
        operation = "UpdateEndpoint"  # whose resource is the same
    of = next(
        (name for name in _KINDS if operation.endswith(name.removesuffix("Name"))), "ModelPackageGroupName"
    )
    return f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:{_KINDS[of]}/{params[of]}"


class Policy:
    """One or several policies that somebody has together.

    :param path: of the JSON, or of several.
    :param places: what stands for its ``${…}``.
    """

    def __init__(self, path: Path | list[Path], **places: str) -> None:
        filled = {"REGION": REGION, "ACCOUNT": ACCOUNT, **places}
        filled.setdefault("ENDPOINTS", filled.get("NAMES", ""))
        self.statements: list[dict[str, Any]] = []
        for each in [path] if isinstance(path, Path) else path:
            text = string.Template(each.read_text()).substitute(filled)
            self.statements += json.loads(text)["Statement"]
        self.own_tags = {
            "city-fleet:fleet": filled.get("FLEET", ""),
            "city-fleet:environment": filled.get("ENVIRONMENT", ""),
        }
        self.used: set[str] = set()
        #: Sid and action, or Sid and pattern of resources, that something was allowed by.
        self.used_parts: set[tuple[str, str]] = set()

    @property
    def actions(self) -> set[str]:
        """Return every action that it allows."""
        return {action for each in self.statements for action in self.listed(each["Action"])}

    @property
    def parts(self) -> set[tuple[str, str]]:
        """Return every action and every pattern of resources, each with the Sid of its statement."""
        return {
            (each["Sid"], part)
            for each in self.statements
            for part in (*self.listed(each["Action"]), *self.listed(each["Resource"]))
        }

    def allows(
        self,
        action: str,
        resource: str,
        prefix: str | None = None,
        context: Mapping[str, str] | None = None,
    ) -> bool:
        """Tell whether it allows an action; remember the actions that were asked for and allowed.

        :param prefix: of a listing of a bucket.
        :param context: other condition keys of the request.
        """
        keys = dict(context or {}) | ({} if prefix is None else {"s3:prefix": prefix})
        fitting = [each for each in self.statements if _fits(each, action, resource, keys)]
        if not fitting or any(each["Effect"] == "Deny" for each in fitting):
            return False
        self.used.add(action)
        for each in fitting:
            patterns = [one for one in self.listed(each["Resource"]) if fnmatch.fnmatchcase(resource, one)]
            self.used_parts |= {(each["Sid"], part) for part in (action, *patterns)}
        return True

    def meets(self, need: Need) -> bool:
        """Tell whether it allows what a request needs."""
        return self.allows(need.action, need.resource, context=need.context)

    def denied(
        self, service: str, operation: str, params: dict[str, Any], tags: Mapping[str, str] | None = None
    ) -> list[str]:
        """Return what a request needs and may not.

        :param tags: of the resource that it is about; those of the installation by default.
        """
        own = self.own_tags if tags is None else tags
        return [str(need) for need in needs(service, operation, params, own) if not self.meets(need)]

    @staticmethod
    def listed(value: str | list[str]) -> list[str]:
        """Return what a policy says as one text or as a list."""
        return [value] if isinstance(value, str) else value


def _fits(statement: dict[str, Any], action: str, resource: str, keys: Mapping[str, str]) -> bool:
    return (
        any(fnmatch.fnmatchcase(action, pattern) for pattern in Policy.listed(statement["Action"]))
        and any(fnmatch.fnmatchcase(resource, pattern) for pattern in Policy.listed(statement["Resource"]))
        and all(
            _holds(_operator(operator), keys.get(key), Policy.listed(wanted))
            for operator, conditions in statement.get("Condition", {}).items()
            for key, wanted in conditions.items()
        )
    )


def _operator(name: str) -> Callable[[str, str], bool]:
    """Return how a condition compares.

    :raises ValueError: this evaluator does not know it, so it must not pretend to.
    """
    if name in ("StringEquals", "ArnEquals", "Bool"):
        return lambda got, wanted: got == wanted
    if name in ("StringLike", "ArnLike"):
        return fnmatch.fnmatchcase
    raise ValueError(f"a condition that the evaluator does not know: {name}")


def _holds(compare: Callable[[str, str], bool], got: str | None, wanted: list[str]) -> bool:
    return got is not None and any(compare(got, each) for each in wanted)
