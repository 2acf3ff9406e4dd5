"""Roles that can't be assumed and data that is not there are refused when a resource is created."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.aws_names import IMAGE_URI, ROLE


def statement(**changes: Any) -> dict[str, Any]:
    """A statement of a trust policy."""
    return {
        "Effect": "Allow",
        "Principal": {"Service": "sagemaker.amazonaws.com"},
        "Action": "sts:AssumeRole",
        **changes,
    }


def training_job(bucket: str, prefix: str, role: str = ROLE, name: str = "job") -> dict[str, Any]:
    """A request that is valid by itself."""
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/{prefix}"}
    return {
        "TrainingJobName": name,
        "AlgorithmSpecification": {
            "TrainingImage": IMAGE_URI,
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["python3", "-c", "pass"],
        },
        "RoleArn": role,
        "InputDataConfig": [{"ChannelName": "train", "DataSource": {"S3DataSource": source}}],
        "OutputDataConfig": {"S3OutputPath": f"s3://{bucket}/out"},
        "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    }


def processing_job(role: str) -> dict[str, Any]:
    """A request that is valid by itself."""
    return {
        "ProcessingJobName": "job",
        "ProcessingResources": {
            "ClusterConfig": {"InstanceType": "ml.t3.medium", "InstanceCount": 1, "VolumeSizeInGB": 5}
        },
        "AppSpecification": {"ImageUri": IMAGE_URI, "ContainerEntrypoint": ["python3", "-c", "pass"]},
        "RoleArn": role,
    }


def refusal(call: Callable[..., Any], **request: Any) -> str:
    """Message of the ValidationException a call ends with."""
    with pytest.raises(ClientError) as caught:
        call(**request)
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    return str(caught.value.response["Error"]["Message"])


@pytest.fixture
def role(local_sagemaker: Any, unique: Callable[[str], str]) -> Callable[..., str]:
    """Makes roles: ``role(statement(...))`` answers the ARN."""

    def make(*statements: dict[str, Any], path: str = "/") -> str:
        made = local_sagemaker.client("iam").create_role(
            RoleName=unique("role"),
            Path=path,
            AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": list(statements)}),
        )
        return str(made["Role"]["Arn"])

    return make


@pytest.mark.parametrize(
    "statements",
    [
        [statement(Principal={"Service": "ec2.amazonaws.com"})],
        [statement(Action="sts:TagSession")],
        [statement(Effect="Deny")],
        [statement(), statement(Effect="Deny", Principal="*")],
        [statement(Principal={"AWS": "arn:aws:iam::123456789012:root"})],
    ],
)
def test_a_role_that_does_not_trust_sagemaker_can_not_be_assumed(
    local_sagemaker: Any, role: Callable[..., str], statements: list[dict[str, Any]]
) -> None:
    arn = role(*statements)
    sagemaker = local_sagemaker.client("sagemaker")
    expected = (
        f"Could not assume role {arn}. Please ensure that the role exists and allows principal"
        " 'sagemaker.amazonaws.com' to assume the role."
    )
    assert refusal(sagemaker.create_processing_job, **processing_job(arn)) == expected
    assert refusal(sagemaker.create_training_job, **training_job("any-bucket", "x", arn)) == expected


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:iam::123456789012:role/nobody",
        "arn:aws:iam::123456789012:role/path/city-fleet",
        "arn:aws:iam::210987654321:role/city-fleet",
        "arn:aws-cn:iam::123456789012:role/city-fleet",
        "arn:aws-mars:iam::123456789012:role/city-fleet",
    ],
)
def test_a_role_that_does_not_exist(local_sagemaker: Any, arn: str) -> None:
    sagemaker = local_sagemaker.client("sagemaker")
    assert refusal(sagemaker.create_processing_job, **processing_job(arn)).startswith(
        f"Could not assume role {arn}."
    )
    model = {"ModelName": "model", "ExecutionRoleArn": arn, "PrimaryContainer": {"Image": "image:1"}}
    assert refusal(sagemaker.create_model, **model).startswith(
        f'The execution role ARN "{arn}" is invalid. Please ensure that the role exists'
    )
    model["PrimaryContainer"] = {"Image": "image:1", "ModelDataUrl": "s3://bucket/model.tar.gz"}
    assert refusal(sagemaker.create_model, **model).startswith(
        f'Could not access model data at s3://bucket/model.tar.gz. Please ensure that the role "{arn}" exists'
    )


def test_roles_that_trust_sagemaker(
    local_sagemaker: Any, role: Callable[..., str], unique: Callable[[str], str]
) -> None:
    trusting = statement(
        Principal={"Service": ["ec2.amazonaws.com", "sagemaker.amazonaws.com"]},
        Action=["sts:AssumeRole", "sts:TagSession"],
    )
    arn = role(trusting, path="/service-role/")
    assert ":role/service-role/" in arn
    container = {"Image": "image:1"}
    local_sagemaker.client("sagemaker").create_model(
        ModelName=unique("model"), ExecutionRoleArn=arn, PrimaryContainer=container
    )


def test_inputs_of_a_training_job_must_be_there(
    local_sagemaker: Any, bucket: str, unique: Callable[[str], str]
) -> None:
    sagemaker, s3 = local_sagemaker.client("sagemaker"), local_sagemaker.client("s3")
    expected = (
        f'No S3 objects found under S3 URL "s3://{bucket}/data/" given in input data source. Please ensure'
        " that the bucket exists in the selected region (us-east-1), that objects exist under that S3 prefix,"
        f' and that the role "{ROLE}" has "s3:ListBucket" permissions on bucket "{bucket}".'
    )
    assert refusal(sagemaker.create_training_job, **training_job(bucket, "data/")) == expected
    none = unique("none")
    assert refusal(sagemaker.create_training_job, **training_job(none, "data/")) == (
        expected.replace(bucket, none) + " Error message from S3: The specified bucket does not exist"
    )
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket=bucket, Key="data/a.csv", Body=b"1")
    s3.delete_object(Bucket=bucket, Key="data/a.csv")  # its versions are still in the bucket
    assert refusal(sagemaker.create_training_job, **training_job(bucket, "data/")) == expected
    s3.put_object(Bucket=bucket, Key="data/b.csv", Body=b"1")
    sagemaker.create_training_job(**training_job(bucket, "data/", name=unique("job")))


def test_the_checks_can_be_switched_off(start_server: Callable[..., Any]) -> None:
    server = start_server("--no-role-check", "--no-data-check", "--max-running-jobs", "1")
    sagemaker = server.client("sagemaker")
    nobody = "arn:aws:iam::123456789012:role/nobody"
    sagemaker.create_training_job(**training_job("no-bucket", "x", nobody))
    sagemaker.create_model(
        ModelName="model",
        ExecutionRoleArn=nobody,
        PrimaryContainer={"Image": "image:1", "ModelDataUrl": "s3://no-bucket/model.tar.gz"},
    )


def test_two_inputs_can_not_share_a_folder(local_sagemaker: Any) -> None:
    request = processing_job(ROLE)
    request["ProcessingInputs"] = [
        {
            "InputName": name,
            "S3Input": {
                "S3Uri": f"s3://bucket/{name}/",
                "LocalPath": f"/opt/ml/processing/input{slash}",
                "S3DataType": "S3Prefix",
                "S3InputMode": "File",
            },
        }
        for name, slash in (("a", ""), ("b", "/"))
    ]
    message = refusal(local_sagemaker.client("sagemaker").create_processing_job, **request)
    assert message == "ProcessingInputs: local paths must be unique, got '/opt/ml/processing/input' twice."
