"""What a job's log says of its metrics, and what other clients send unasked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.service.local_sagemaker.jobs.test_training_jobs import TrainingJobs

EPOCHS = """
for epoch, loss in enumerate((0.75, 0.5, 2.5e-1)):
    print(f"epoch={epoch} loss={loss};")
print("rmse: nan")
print("a" * 40)
"""


@pytest.fixture
def one(local_sagemaker: Any, bucket: str, unique: Callable[[str], str], wait_until: Any) -> TrainingJobs:
    return TrainingJobs(local_sagemaker, bucket, unique, wait_until)


def specification(**expressions: str) -> dict[str, Any]:
    return {
        "TrainingImage": "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:3.2-0",
        "TrainingInputMode": "File",
        "MetricDefinitions": [{"Name": name, "Regex": text} for name, text in expressions.items()],
    }


def test_the_last_value_of_each_metric_is_described(one: TrainingJobs) -> None:
    asked = specification(
        loss=r"loss=([0-9.e\-+]+);", epoch=r"epoch=(\d+)", rmse="rmse: (.*)", slow="(a+)+b", none="x=(.*)"
    )
    job = one.wait(one.start(EPOCHS, AlgorithmSpecification=asked))
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    final = {each["MetricName"]: each["Value"] for each in job["FinalMetricDataList"]}
    assert final == {"loss": 0.25, "epoch": 2.0}
    assert all(
        job["TrainingStartTime"] <= each["Timestamp"] <= job["TrainingEndTime"]
        for each in job["FinalMetricDataList"]
    )
    assert job["AlgorithmSpecification"]["MetricDefinitions"] == asked["MetricDefinitions"]


def test_an_expression_that_is_none_is_refused(one: TrainingJobs) -> None:
    with pytest.raises(ClientError, match=r"MetricDefinitions 'loss': Regex: got 'loss=\('"):
        one.start(EPOCHS, AlgorithmSpecification=specification(loss="loss=("))


def test_what_older_clients_send_and_read_unasked(one: TrainingJobs) -> None:
    hook = {"S3OutputPath": f"s3://{one.bucket}/debug", "CollectionConfigurations": []}
    job = one.wait(one.start("print('done')", DebugHookConfig=hook))
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert job["DebugHookConfig"] == hook
    assert job["OutputDataConfig"]["KmsKeyId"] == ""
    assert "FinalMetricDataList" not in job


def test_whether_a_policy_allows_is_not_known_here(local_sagemaker: Any) -> None:
    iam = local_sagemaker.client("iam")
    with pytest.raises(ClientError) as caught:
        iam.simulate_principal_policy(
            PolicySourceArn="arn:aws:iam::123456789012:role/city-fleet", ActionNames=["s3:GetObject"]
        )
    assert caught.value.response["Error"]["Code"] == "AccessDenied"
    assert "weighs no policies" in caught.value.response["Error"]["Message"]
    with pytest.raises(ClientError) as caught:
        iam.generate_organizations_access_report(EntityPath="o-a1b2c3d4e5/r-f6g7h8i9j0example/ou-1a2b3c4d5e")
    assert caught.value.response["Error"]["Code"] == "NotImplemented"
