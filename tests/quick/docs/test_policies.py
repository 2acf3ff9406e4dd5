"""The policies of docs/policies hold the permissions that the code needs, and none that it does not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest
from botocore import xform_name

from city_fleet.infrastructure.policies import FILES
from tests.support import recorded_calls
from tests.support.iam_policies import ACCOUNT, REGION, Policy, action_of
from tests.support.paths import ROOT

PLACES = {
    "BUCKET": "city-fleet",
    "FLEET": "texas_housing",
    "ENVIRONMENT": "laptop",
    "NAMES": "texas-housing--laptop",
    "ROLE": "city-fleet",
    "QUEUE": "texas-housing--laptop--arrivals",
}
OWN, RAW = "arn:aws:s3:::city-fleet/texas_housing/laptop", "arn:aws:s3:::city-fleet/texas_housing/raw"
SAGEMAKER = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}"
FOLDERS = ("live", "history", "models", "state", "runs", "code")
CALL = re.compile(r"""(?:\.|["'])([a-z]+(?:_[a-z0-9]+)+|(?<=get_paginator\(["'])search)["'(]""")
#: What no call names: AWS asks for them beside the call that they belong to.
BESIDE = {
    *("iam:PassRole", "sagemaker:AddTags"),
    # Application Auto Scaling keeps its alarms and its role in the name of whoever asks.
    *("cloudwatch:DeleteAlarms", "cloudwatch:DescribeAlarms", "cloudwatch:PutMetricAlarm"),
    "iam:CreateServiceLinkedRole",
}
#: What operators and triggers of the provider call in our name.
PROVIDERS = {
    *("CreateEndpoint", "CreateEndpointConfig", "CreateModel", "CreateProcessingJob", "CreateTrainingJob"),
    *(
        "DescribeProcessingJob",
        "DescribeTrainingJob",
        "StopProcessingJob",
        "StopTrainingJob",
        "UpdateEndpoint",
    ),
    "ListProcessingJobs",
}
#: What only a person at a desk does: `./fleet doctor | migrate | deploy`, `./fleet ingest --create-bucket`.
AT_A_DESK = {
    "s3:GetBucketNotificationConfiguration",
    "s3:GetBucketPolicy",
    "s3:GetBucketPublicAccessBlock",
    "s3:GetBucketVersioning",
    "s3:GetEncryptionConfiguration",
    "iam:GetRole",
    "iam:SimulatePrincipalPolicy",
    "sts:GetCallerIdentity",
    "s3:CreateBucket",
    "sagemaker:DeleteModelPackageGroup",
    "sagemaker:DescribeModelPackageGroup",
}


def policy(name: str) -> Policy:
    return Policy(ROOT / "docs" / "policies" / f"{name}.json", **PLACES)


def called() -> dict[str, set[str]]:
    """Every action that the library names in a call, with the modules that do."""
    session = botocore.session.get_session()
    known: dict[str, str] = {}
    services = (
        "s3",
        "logs",
        "sqs",
        "iam",
        "sts",
        "sagemaker",
        "sagemaker-runtime",
        "application-autoscaling",
    )
    for service in services:
        for operation in session.get_service_model(service).operation_names:
            known.setdefault(xform_name(operation), action_of(service, operation))
    found: dict[str, set[str]] = {}
    for path in (ROOT / "plugins" / "city_fleet").rglob("*.py"):
        for name in CALL.findall(path.read_text()):
            if name in known:
                found.setdefault(known[name], set()).add(path.stem)
    return found


def test_airflow_may_do_what_the_code_calls_and_no_more() -> None:
    asked = called()
    assert {"s3:PutObject", "sagemaker:UpdateModelPackage", "sagemaker:InvokeEndpoint"} <= set(asked)
    needed = set(asked) - AT_A_DESK | {f"sagemaker:{name}" for name in PROVIDERS} | BESIDE
    allowed = policy("airflow").actions
    assert needed - allowed == set(), {action: asked.get(action) for action in needed - allowed}
    assert allowed - needed == set()


def uris(value: Any) -> Iterator[tuple[str, str]]:
    """Yield the S3 URIs of a request, with the member that holds each."""
    if isinstance(value, dict):
        for name, child in value.items():
            if isinstance(child, str) and (found := re.search(r"s3://([^\"]+)", child)):
                yield name, f"arn:aws:s3:::{found[1]}"
            yield from ((f"{name}.{below}", uri) for below, uri in uris(child))
    elif isinstance(value, list):
        for child in value:
            yield from uris(child)


def is_output(member: str) -> bool:
    return "Output" in member


@pytest.mark.parametrize("request_name", ["preprocess", "train", "evaluate", "model"])
def test_the_role_reads_and_writes_what_its_requests_name(request_name: str) -> None:
    role, seen = policy("role"), set()
    request = json.loads((ROOT / "tests" / "golden" / f"{request_name}.json").read_text())
    for member, uri in uris(request):
        action = "s3:PutObject" if is_output(member) else "s3:GetObject"
        seen.add(action)
        whole = f"{uri}x" if uri.endswith("/") else f"{uri}/x" if is_output(member) else uri
        assert role.allows(action, whole), f"{action} {whole}"
        prefix = uri.removeprefix("arn:aws:s3:::city-fleet/")
        assert role.allows("s3:ListBucket", "arn:aws:s3:::city-fleet", prefix), prefix
    assert "s3:GetObject" in seen


REFUSED: list[tuple[str, str, str]] = [
    # A job decides about no pointer, and changes neither scripts, models nor data.
    *(
        ("role", "s3:PutObject", f"{OWN}/{folder}/x")
        for folder in ("live", "history", "models", "state", "code")
    ),
    ("role", "s3:PutObject", f"{RAW}/city=austin/x.csv"),
    ("role", "s3:DeleteObject", f"{OWN}/runs/austin/0123456789/run.json"),
    ("role", "s3:GetObject", "arn:aws:s3:::city-fleet/texas_housing/production/models/x"),
    ("role", "sagemaker:UpdateModelPackage", f"{SAGEMAKER}:model-package/x/1"),
    # Airflow has no business with raw data, another environment, other roles or other programs' jobs.
    ("airflow", "s3:PutObject", f"{RAW}/city=austin/x.csv"),
    ("airflow", "s3:PutObject", "arn:aws:s3:::city-fleet/texas_housing/production/live/austin.json"),
    ("airflow", "iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/admin"),
    (
        "airflow",
        "sagemaker:CreateTrainingJob",
        f"{SAGEMAKER}:training-job/texas-housing--production--a",
    ),
    ("airflow", "sqs:SendMessage", f"arn:aws:sqs:{REGION}:{ACCOUNT}:texas-housing--laptop--arrivals"),
    ("airflow", "sqs:ReceiveMessage", f"arn:aws:sqs:{REGION}:{ACCOUNT}:texas-housing--production--arrivals"),
    # Who brings data decides about nothing else.
    *(
        ("loader", "s3:PutObject", f"{OWN}/{folder}/x")
        for folder in ("live", "history", "models", "state", "runs", "code")
    ),
    # Who approves neither changes models nor starts anything.
    ("approver", "s3:PutObject", f"{OWN}/live/austin.json"),
    (
        "approver",
        "sagemaker:CreateTrainingJob",
        f"{SAGEMAKER}:training-job/texas-housing--laptop--a",
    ),
    (
        "approver",
        "sagemaker:UpdateModelPackage",
        f"{SAGEMAKER}:model-package/texas-housing--production--austin/1",
    ),
]


@pytest.mark.parametrize(("who", "action", "resource"), REFUSED)
def test_what_is_not_needed_is_not_allowed(who: str, action: str, resource: str) -> None:
    assert not policy(who).allows(action, resource)


def test_no_policy_allows_more_than_names(subtests: pytest.Subtests) -> None:
    files = sorted((ROOT / "docs" / "policies").glob("*.json"))
    assert {f"docs/policies/{file.name}" for file in files} <= set(FILES.values())
    for file in files:
        with subtests.test(file.name):
            found = Policy(file, **{**recorded_calls.PLACES, **PLACES})
            assert not [action for action in found.actions if "*" in action]
            assert len({each["Sid"] for each in found.statements}) == len(found.statements)
            anywhere = [Policy.listed(each["Action"]) for each in found.statements if each["Resource"] == "*"]
            # AWS bounds these by no resource.
            bounded = re.compile(
                r"sagemaker:(List\w+|Search)|servicequotas:ListServiceQuotas|ecr:\w+|cloudwatch:(PutMetricData|DescribeAlarms|GetMetricStatistics)"
                r"|ec2:Describe\w+|application-autoscaling:Describe\w+"
            )
            assert [
                action for actions in anywhere for action in actions if not bounded.fullmatch(action)
            ] == []
            security = (ROOT / "docs" / "security.md").read_text()
            assert f"policies/{file.name}" in security
