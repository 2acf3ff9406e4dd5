"""Instances of training jobs: how long they take to come up, and how the next job goes on with one that is there."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.archives import archive
from tests.support.aws_names import IMAGE_URI, ROLE

DEADLINE_SECONDS = 60
START_UP_SECONDS = 3
SCRIPT = """
import os, pathlib
folder = pathlib.Path(os.environ["SM_CHANNEL_RAW"])
names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
for name in ("report/city=austin/status.json", "outcome.json"):
    path = pathlib.Path(os.environ["SM_MODEL_DIR"], name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(repr(names))
pathlib.Path(os.environ["SM_OUTPUT_DATA_DIR"], "more.txt").write_text("more")
"""


class Jobs:
    """Starts training jobs of one test, and looks at them."""

    def __init__(self, server: Any, unique: Callable[[str], str], wait_until: Any) -> None:
        self.sagemaker, self.s3 = server.client("sagemaker"), server.client("s3")
        self.bucket = unique("bucket")
        self._wait_until = wait_until
        self.s3.create_bucket(Bucket=self.bucket)
        files = {
            "code.tar.gz": archive({"train.py": SCRIPT}),
            "raw/city=austin/data.csv": b"1",
            "raw/city=waco/data.csv": b"2",
            "raw.manifest": json.dumps(
                [{"prefix": f"s3://{self.bucket}/raw/"}, "city=austin/data.csv"]
            ).encode(),
        }
        for key, body in files.items():
            self.s3.put_object(Bucket=self.bucket, Key=key, Body=body)

    def start(self, name: str, keep: int | None = None, volume: int = 5, **changes: Any) -> str:
        """Start a job whose results are not compressed."""
        source = {"S3DataType": "ManifestFile", "S3Uri": f"s3://{self.bucket}/raw.manifest"}
        source["S3DataDistributionType"] = "FullyReplicated"
        resources = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": volume}
        request = {
            "TrainingJobName": name,
            "AlgorithmSpecification": {"TrainingImage": IMAGE_URI, "TrainingInputMode": "File"},
            "RoleArn": ROLE,
            "InputDataConfig": [{"ChannelName": "raw", "DataSource": {"S3DataSource": source}}],
            "OutputDataConfig": {
                "S3OutputPath": f"s3://{self.bucket}/{name}/out/",
                "CompressionType": "NONE",
            },
            "ResourceConfig": resources | ({} if keep is None else {"KeepAlivePeriodInSeconds": keep}),
            "StoppingCondition": {"MaxRuntimeInSeconds": 600},
            "HyperParameters": {
                "sagemaker_program": json.dumps("train.py"),
                "sagemaker_submit_directory": json.dumps(f"s3://{self.bucket}/code.tar.gz"),
            },
        }
        self.sagemaker.create_training_job(**request | changes)
        return name

    def describe(self, name: str) -> dict[str, Any]:
        """Describe a job."""
        return dict(self.sagemaker.describe_training_job(TrainingJobName=name))

    def wait(self, name: str) -> dict[str, Any]:
        """Wait until a job has completed."""

        def ended() -> dict[str, Any] | None:
            job = self.describe(name)
            return job if job["TrainingJobStatus"] in ("Completed", "Failed", "Stopped") else None

        job = dict(self._wait_until(ended, DEADLINE_SECONDS, f"{name} ends"))
        assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
        return job

    def pool(self, name: str) -> dict[str, Any]:
        """The state of a job's warm pool."""
        found: dict[str, Any] = self.describe(name)["WarmPoolStatus"]
        return found


def start_up_seconds(job: dict[str, Any]) -> float:
    """How long a job's first secondary status lasted."""
    first = job["SecondaryStatusTransitions"][0]
    assert first["Status"] == "Starting"
    return float((first["EndTime"] - first["StartTime"]).total_seconds())


def test_a_matching_job_goes_on_with_the_instance_of_one_that_has_ended(
    start_server: Callable[..., Any], unique: Callable[[str], str], wait_until: Any
) -> None:
    quota = "ml.m5.large for training warm pool usage=1"
    server = start_server("--start-up-seconds", str(START_UP_SECONDS), "--quota", quota)
    jobs = Jobs(server, unique, wait_until)
    jobs.start("first", keep=600)
    assert jobs.pool("first") == {"Status": "InUse"}
    first = jobs.wait("first")
    assert jobs.pool("first") == {"Status": "Available"}
    assert start_up_seconds(first) >= START_UP_SECONDS
    assert first["SecondaryStatusTransitions"][0]["StatusMessage"] == "Preparing the instances for training"
    # What is billed begins with the job's start on its instance.
    on_instance = (first["TrainingEndTime"] - first["TrainingStartTime"]).total_seconds()
    assert abs(first["BillableTimeInSeconds"] - on_instance) <= 1.5

    # Another volume is no match; and the limit of warm pools leaves no room for a second one.
    other = jobs.wait(jobs.start("other", keep=600, volume=6))
    assert start_up_seconds(other) >= START_UP_SECONDS
    assert jobs.pool("other") == {"Status": "Terminated"}
    assert jobs.pool("first") == {"Status": "Available"}

    # Neither a job that can't be, nor one on spare capacity, takes it.
    with pytest.raises(ClientError, match="must be unique"):
        jobs.start("first", keep=600)
    spot = {"EnableManagedSpotTraining": True}
    spot["StoppingCondition"] = {"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": 600}  # type: ignore[assignment]
    with pytest.raises(ClientError, match="KeepAlivePeriodInSeconds: got 600"):
        jobs.start("spot", keep=600, **spot)
    assert jobs.pool("first") == {"Status": "Available"}

    second = jobs.wait(jobs.start("second", keep=1, OutputDataConfig={"S3OutputPath": f"s3://{jobs.bucket}"}))
    assert start_up_seconds(second) < START_UP_SECONDS
    reused = jobs.pool("first")
    assert (reused["Status"], reused["ReusedByJob"]) == ("Reused", "second")
    waited = (second["CreationTime"] - first["TrainingEndTime"]).total_seconds()
    assert abs(reused["ResourceRetainedBillableTimeInSeconds"] - waited) <= 1.5

    wait_until(lambda: jobs.pool("second")["Status"] == "Terminated", DEADLINE_SECONDS, "the pool ends")
    assert jobs.pool("second")["ResourceRetainedBillableTimeInSeconds"] == 1
    # A person ends a pool before its time.
    jobs.wait(jobs.start("third", keep=600))
    jobs.sagemaker.update_training_job(
        TrainingJobName="third", ResourceConfig={"KeepAlivePeriodInSeconds": 0}
    )
    assert jobs.pool("third")["Status"] == "Terminated"
    with pytest.raises(ClientError, match="no warm pool that is Available"):
        jobs.sagemaker.update_training_job(
            TrainingJobName="third", ResourceConfig={"KeepAlivePeriodInSeconds": 0}
        )
    ended = jobs.sagemaker.list_training_jobs(WarmPoolStatusEquals="Terminated")["TrainingJobSummaries"]
    assert {each["TrainingJobName"] for each in ended} == {"other", "second", "third"}


def test_instances_come_up_side_by_side_and_results_are_uploaded_file_by_file(
    start_server: Callable[..., Any], unique: Callable[[str], str], wait_until: Any
) -> None:
    server = start_server("--start-up-seconds", str(START_UP_SECONDS), "--max-running-jobs", "1")
    jobs = Jobs(server, unique, wait_until)
    names = [jobs.start(name) for name in ("one", "two", "three")]
    jobs.start("stopped")
    jobs.sagemaker.stop_training_job(TrainingJobName="stopped")
    wait_until(
        lambda: jobs.describe("stopped")["TrainingJobStatus"] == "Stopped",
        DEADLINE_SECONDS,
        "a job that waits for its instance stops",
    )
    stopped = jobs.describe("stopped")
    assert (stopped["TrainingEndTime"] - stopped["CreationTime"]).total_seconds() < START_UP_SECONDS
    ended = [jobs.wait(name) for name in names]
    starts = sorted(job["TrainingStartTime"] for job in ended)
    assert (
        starts[-1] - starts[0]
    ).total_seconds() < 2 * START_UP_SECONDS  # one after the other takes as long

    # No slash at the end, as of a prefix that AWS describes.
    prefix = f"{jobs.bucket}/one/out/one/output"
    assert ended[0]["ModelArtifacts"] == {"S3ModelArtifacts": f"s3://{prefix}/model"}
    listed = jobs.s3.list_objects_v2(Bucket=jobs.bucket, Prefix="one/out/")["Contents"]
    keys = {each["Key"].removeprefix("one/out/one/output/") for each in listed}
    assert keys == {"model/report/city=austin/status.json", "model/outcome.json", "data/more.txt"}
    body = jobs.s3.get_object(Bucket=jobs.bucket, Key="one/out/one/output/model/outcome.json")["Body"].read()
    assert body == b"['city=austin/data.csv']"
