"""The roles and policies of an installation: of its jobs and endpoint, of Airflow, and of people. Pure.

What each may do stands in docs/policies. The fleet file's role is often shared by several fleets: the first stack
makes it, and each gives it the rights to its own part of the bucket.
"""

from __future__ import annotations

from typing import Any

from city_fleet.infrastructure import policies
from city_fleet.infrastructure.cloudformation import (
    ACCOUNT,
    PARTITION,
    REGION,
    Resource,
    document,
    either,
    ref,
    resource,
    sub,
    trust,
)
from city_fleet.infrastructure.names import StackNames
from city_fleet.raw_places import pattern_of


def resources(names: StackNames) -> dict[str, Resource]:
    """Return roles and policies."""
    return {
        "Role": resource("AWS::IAM::Role", _role(names), condition="MakesRole", keep=True),
        "RolePolicy": resource(
            "AWS::IAM::Policy",
            {
                "PolicyName": names.stack,
                "PolicyDocument": document(*role_statements(names)),
                # A Ref where this stack makes the role, so that the policy waits for it.
                "Roles": [either("MakesRole", ref("Role"), names.role)],
            },
        ),
        "AirflowRole": resource(
            "AWS::IAM::Role",
            {
                "RoleName": names.of("airflow"),
                "Description": f"Airflow's tasks and commands for {names.stack}",
                "AssumeRolePolicyDocument": trust({"AWS": ref("AirflowPrincipal")}),
                "ManagedPolicyArns": [ref("AirflowPolicy")],
            },
            condition="MakesAirflowRole",
        ),
        "AirflowPolicy": _managed(
            names, "airflow", "Airflow's tasks and commands", airflow_statements(names)
        ),
        "LoaderPolicy": _managed(names, "loader", "Whoever brings raw data", _of(names, "loader", "key")),
        "ApproverPolicy": _managed(
            names,
            "approver",
            "Whoever approves models and does nothing else",
            _of(names, "approver", "key_reader"),
        ),
        "ReaderPolicy": _managed(
            names,
            "reader",
            "Whoever carries models from here to another installation",
            _of(names, "reader", "key_reader"),
        ),
        "DoctorPolicy": _managed(
            names,
            "doctor",
            "Whoever runs ./fleet doctor --aws, which changes nothing",
            _of(names, "doctor", "key_reader") + _raw_elsewhere(names, read=False),
        ),
    }


def role_statements(names: StackNames) -> list[dict[str, Any]]:
    """Return what jobs and endpoint may do."""
    more = ["volume_key"] if names.fleet.kms_key else []
    more += ["network"] if names.fleet.network else []
    return _of(names, "role", "key", *more) + _raw_elsewhere(names, read=True)


def airflow_statements(names: StackNames) -> list[dict[str, Any]]:
    """Return what Airflow's tasks may do, and the commands at a desk."""
    found = _of(names, "airflow", "key", *(["volume_key"] if names.fleet.kms_key else []))
    return found + _raw_elsewhere(names, read=False) + _city_list(names) + _other_installations(names)


def _other_installations(names: StackNames) -> list[dict[str, Any]]:
    """Return the right to take the roles that read other installations.

    Where there is no role, whoever promotes from there has that installation's ReaderPolicy as well.
    """
    roles = {other.role_arn for other in names.fleet.installations.values() if other.profile is None}
    arns = sorted(arn for arn in roles if arn is not None)
    return [_allowed("ReadOtherInstallations", "sts:AssumeRole", arns)] if arns else []


def _city_list(names: StackNames) -> list[dict[str, Any]]:
    """Return the right to read the one object that the list of cities is pulled from."""
    source = names.fleet.city_list.source
    if source is None:
        return []
    arn = sub(f"arn:{PARTITION}:s3:::{source.removeprefix('s3://')}")
    return [_allowed("ReadListOfCities", "s3:GetObject", [arn])]


def _raw_elsewhere(names: StackNames, *, read: bool) -> list[dict[str, Any]]:
    """Return the rights to raw data that are read in place: to list exactly the prefixes of dataset.raw, and to read.

    :param read: also the files' content, as jobs do; Airflow's tasks only list them.
    """
    fleet = names.fleet
    templates = {fleet.dataset.raw, *(city.dataset.raw for city in fleet.cities.values())}
    found: dict[str, list[str]] = {}
    for template in sorted(each for each in templates if each is not None):
        bucket, pattern = pattern_of(template)
        found.setdefault(bucket, []).append(f"{pattern}*")
    statements: list[dict[str, Any]] = []
    for number, (bucket, patterns) in enumerate(found.items(), start=1):
        arn = sub(f"arn:{PARTITION}:s3:::{bucket}")
        statements.append(
            _allowed(f"ListRawDataElsewhere{number}", "s3:ListBucket", [arn])
            | {"Condition": {"StringLike": {"s3:prefix": patterns}}}
        )
        if read:
            objects = [sub(f"arn:{PARTITION}:s3:::{bucket}/{pattern}") for pattern in patterns]
            statements.append(_allowed(f"ReadRawDataElsewhere{number}", "s3:GetObject", objects))
    return statements


def _allowed(sid: str, action: str, resources: list[Any]) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", "Action": action, "Resource": resources}


def _of(names: StackNames, *found: str) -> list[dict[str, Any]]:
    return policies.of_installation(names, *found)


def _role(names: StackNames) -> dict[str, Any]:
    return {
        "RoleName": names.role,
        "Path": names.role_path,
        "Description": "City Fleet: jobs and endpoints of SageMaker",
        # Of this account alone: SageMaker may not be talked into it by another one.
        "AssumeRolePolicyDocument": trust(
            {"Service": "sagemaker.amazonaws.com"},
            StringEquals={"aws:SourceAccount": sub(ACCOUNT)},
            ArnLike={"aws:SourceArn": sub(f"arn:{PARTITION}:sagemaker:{REGION}:{ACCOUNT}:*")},
        ),
    }


def _managed(names: StackNames, who: str, what: str, statements: list[dict[str, Any]]) -> Resource:
    """Return a policy of its own, to be attached to whoever needs it."""
    return resource(
        "AWS::IAM::ManagedPolicy",
        {
            "ManagedPolicyName": names.of(who),
            "Description": f"{what}: {names.stack}",
            "PolicyDocument": document(*statements),
        },
    )
