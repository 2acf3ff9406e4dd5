"""A job's span: its own times, its phases within it, and why it did not succeed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from city_fleet.jobs.job_spans import job_span
from city_fleet.jobs.sagemaker_jobs import PROCESSING, TRAINING

T = datetime(2026, 1, 1, 2, tzinfo=UTC)
FACTS = {
    "step": "train", "job": "j", "status": "Completed", "instance_type": "ml.m5.large", "billable_seconds": 40,
}  # fmt: skip


def after(seconds: float) -> datetime:
    return T + timedelta(seconds=seconds)


def training(status: str, **more: Any) -> dict[str, Any]:
    return {
        "TrainingJobName": "j", "TrainingJobStatus": status, "CreationTime": T, "LastModifiedTime": after(9),
        "ResourceConfig": {"InstanceCount": 2, "InstanceType": "ml.m5.large"}, **more,
    }  # fmt: skip


def test_a_training_job_has_the_phases_that_sagemaker_says() -> None:
    phases = [
        {"Status": "Starting", "StartTime": T, "EndTime": after(20)},
        {"Status": "Training", "StartTime": after(20), "EndTime": after(60)},
        {"Status": "Completed", "StartTime": after(60), "EndTime": after(60)},
    ]
    arn = "arn:aws:sagemaker:us-east-1:123456789012:training-job/j"
    found = job_span(
        TRAINING,
        training(
            "Completed", TrainingEndTime=after(60), SecondaryStatusTransitions=phases, TrainingJobArn=arn
        ),
        FACTS,
        {"cityfleet.city": "austin"},
    )
    assert (found.name, found.start, found.end, found.error) == ("sagemaker.job.train", T, after(60), "")
    assert found.attributes == {
        "cityfleet.city": "austin", "cityfleet.step": "train", "aws.sagemaker.job.name": "j",
        "aws.sagemaker.job.kind": "Training", "aws.sagemaker.job.status": "Completed",
        "aws.sagemaker.job.instance_type": "ml.m5.large", "aws.sagemaker.job.instance_count": 2,
        "aws.sagemaker.job.billable_seconds": 40, "cloud.resource_id": arn,
    }  # fmt: skip
    assert [(part.name, part.start, part.end) for part in found.parts] == [
        ("sagemaker.job.train.Starting", T, after(20)),
        ("sagemaker.job.train.Training", after(20), after(60)),
    ]


def test_a_job_that_never_had_a_machine_ends_when_it_was_stopped() -> None:
    found = job_span(TRAINING, training("Stopped", EnableManagedSpotTraining=True), FACTS, {})
    assert (found.end, found.error) == (after(9), "Stopped")
    assert found.attributes["aws.sagemaker.job.spot"] == "true"
    assert [part.name for part in found.parts] == ["sagemaker.job.train.Starting"]


def test_a_processing_job_waits_for_its_machine_and_says_why_it_failed() -> None:
    cluster = {"InstanceCount": 1, "InstanceType": "ml.t3.medium"}
    description = {
        "ProcessingJobName": "j", "ProcessingJobStatus": "Failed", "CreationTime": T,
        "ProcessingStartTime": after(30), "ProcessingEndTime": after(35),
        "ProcessingResources": {"ClusterConfig": cluster},
        "FailureReason": "AlgorithmError: , exit code: 1", "ExitMessage": "row 7:\n\x1b[2Jno number",
    }  # fmt: skip
    found = job_span(PROCESSING, description, FACTS | {"step": "preprocess"}, {})
    assert found.error == "Failed: row 7:\\n\\u001b[2Jno number"
    assert [(part.name, part.start, part.end) for part in found.parts] == [
        ("sagemaker.job.preprocess.Starting", T, after(30)),
        ("sagemaker.job.preprocess.Processing", after(30), after(35)),
    ]
