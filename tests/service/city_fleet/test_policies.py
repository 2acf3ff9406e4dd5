"""People and programs that may do what their policy of docs/policies says, and nothing else, do their work."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from city_fleet.config import load_fleet
from city_fleet.data.ingest import ingest
from city_fleet.state import registry
from tests.support.aws_calls import client
from tests.support.desk import PENDING, Desk
from tests.support.factors import KEYS, create_endpoint
from tests.support.iam_policies import Policy
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.paths import ROOT

POLICIES = ROOT / "docs" / "policies"
Strict = Callable[..., Any]


def denied(service: str, operation: str, what: str) -> ClientError:
    return ClientError({"Error": {"Code": "AccessDenied", "Message": f"{what} ({service})"}}, operation)


@pytest.fixture
def strict(aws: LocalSageMaker) -> Strict:
    """Make a client of somebody to whom AWS denies whatever a policy does not allow."""

    def make(service: str, policy: Policy) -> Any:
        made = client(aws, service)

        def check(params: dict[str, Any], model: Any, **_: Any) -> None:
            for what in policy.denied(service, model.name, params):
                raise denied(service, model.name, what)

        made.meta.events.register("provide-client-params", check)
        return made

    return make


def test_who_loads_data_needs_the_loaders_policy_alone(
    aws: LocalSageMaker, strict: Strict, tmp_path: Path
) -> None:
    name = f"f{uuid.uuid4().hex[:10]}"
    bucket = name
    aws.client("s3").create_bucket(Bucket=bucket)
    text = (ROOT / "include" / "fleets" / "texas_housing.yaml").read_text()
    path = tmp_path / "texas.yaml"
    path.write_text(text.replace("fleet: texas_housing", f"fleet: {name}"))
    fleet = load_fleet(path, {"CITY_FLEET_BUCKET": bucket})
    assert (fleet.fleet, fleet.bucket) == (name, bucket)
    policy = Policy(POLICIES / "loader.json", BUCKET=bucket, FLEET=name, ENVIRONMENT=fleet.environment)
    s3 = strict("s3", policy)
    for _ in range(2):
        ingest(fleet, s3, cities=["austin"])
    keys = [item["Key"] for item in aws.client("s3").list_objects_v2(Bucket=bucket)["Contents"]]
    assert keys == [f"{name}/raw/city=austin/txhousing.csv"]
    for key in (f"{name}/laptop/live/austin.json", f"{name}/laptop/runs/austin/x", "other/raw/x"):
        with pytest.raises(ClientError, match=f"s3:PutObject .*{key}"):
            s3.put_object(Bucket=bucket, Key=key, Body=b"")


def test_who_approves_needs_the_registry_and_the_reconcile_dag_does_the_rest(
    aws: LocalSageMaker, strict: Strict, tmp_path: Path
) -> None:
    create_endpoint(aws)
    desk = Desk(aws, tmp_path)
    version = desk.wait(1.1, 1)
    policy = Policy(
        POLICIES / "approver.json",
        BUCKET=KEYS.bucket,
        FLEET=KEYS.fleet,
        ENVIRONMENT=KEYS.environment,
        NAMES=f"{KEYS.fleet}--{KEYS.environment}",
    )
    theirs = strict("sagemaker", policy)
    (waiting,) = registry.versions(theirs, desk.group)
    assert (waiting.arn, waiting.status) == (version.arn, PENDING)
    read = registry.read(theirs, waiting.arn)
    bucket, _, key = read.metadata["decision_uri"].removeprefix("s3://").partition("/")
    assert b'"promote"' in strict("s3", policy).get_object(Bucket=bucket, Key=key)["Body"].read()
    theirs.update_model_package(
        ModelPackageArn=waiting.arn, ModelApprovalStatus="Approved", ApprovalDescription="agreed"
    )
    assert desk.pointer is None, "it is not theirs to move"
    desk.look()
    pointer = desk.pointer
    assert pointer is not None
    assert pointer.package_arn == version.arn
    with pytest.raises(ClientError, match="s3:PutObject"):
        strict("s3", policy).put_object(Bucket=bucket, Key=KEYS.live(desk.slug), Body=b"")
    with pytest.raises(ClientError, match="sagemaker:InvokeEndpoint"):
        strict("sagemaker-runtime", policy).invoke_endpoint(EndpointName="factors", Body=b"")
