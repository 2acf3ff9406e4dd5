"""The few words of CloudFormation's language that the template is written in. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

Resource = dict[str, Any]
#: What CloudFormation knows of the account, and parameters; a text with one of them has to be an ``Fn::Sub``.
_PSEUDO = re.compile(r"\$\{(AWS::)?\w+\}")

PARTITION, REGION, ACCOUNT = "${AWS::Partition}", "${AWS::Region}", "${AWS::AccountId}"


def ref(name: str) -> dict[str, str]:
    return {"Ref": name}


def attribute(resource: str, name: str = "Arn") -> dict[str, list[str]]:
    return {"Fn::GetAtt": [resource, name]}


def sub(text: str) -> Any:
    """Return a text so that CloudFormation fills in account, region and partition, where it names one."""
    return {"Fn::Sub": text} if _PSEUDO.search(text) else text


def sub_all(value: Any) -> Any:
    """Return JSON data with :func:`sub` applied to every text."""
    if isinstance(value, str):
        return sub(value)
    if isinstance(value, list):
        return [sub_all(item) for item in value]
    if isinstance(value, dict):
        return {key: sub_all(item) for key, item in value.items()}
    return value


def either(condition: str, yes: Any, no: Any) -> dict[str, list[Any]]:
    return {"Fn::If": [condition, yes, no]}


def no_value() -> dict[str, str]:
    """Return what leaves a property out."""
    return ref("AWS::NoValue")


def resource(
    kind: str,
    properties: dict[str, Any],
    *,
    condition: str | None = None,
    after: Iterable[str] = (),
    keep: bool | None = None,
) -> Resource:
    """Return a resource.

    :param kind: such as ``AWS::S3::Bucket``.
    :param condition: name of the condition under which there is one.
    :param after: logical ids of what has to be there before, where no reference says so.
    :param keep: whether it stays when the stack is deleted or knows it no more; None where it holds nothing.
    """
    made: Resource = {"Type": kind}
    if condition:
        made["Condition"] = condition
    if after:
        made["DependsOn"] = list(after)
    if keep is not None:
        policy = "Retain" if keep else "Delete"
        made |= {"DeletionPolicy": policy, "UpdateReplacePolicy": policy}
    return made | {"Properties": properties}


def statement(sid: str, principal: Any, action: Any, resources: Any, **conditions: Any) -> dict[str, Any]:
    """Return a statement of a policy of a resource that allows something.

    :param conditions: such as ``StringEquals={…}``.
    """
    made: dict[str, Any] = {"Sid": sid, "Effect": "Allow", "Principal": principal, "Action": action}
    made["Resource"] = resources
    return made | ({"Condition": conditions} if conditions else {})


def document(*statements: dict[str, Any]) -> dict[str, Any]:
    """Return a policy."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


def trust(principal: dict[str, Any], **conditions: Any) -> dict[str, Any]:
    """Return the policy of a role that says who may take it."""
    made: dict[str, Any] = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    return document(made | ({"Condition": conditions} if conditions else {}))
