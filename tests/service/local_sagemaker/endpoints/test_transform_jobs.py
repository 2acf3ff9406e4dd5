"""Batch transform jobs with this repository's own artifacts and code, over boto3."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from city_fleet import naming
from city_fleet.jobs.code_bundle import CodeBundle
from city_fleet.state import serving_code
from tests.support.archives import archive
from tests.support.aws_names import IMAGE_URI, ROLE
from tests.support.paths import SCRIPTS
from tests.support.serving import small_artifacts

KEYS = naming.Keys("transforms", "fleet", "laptop")
ENDED = ("Completed", "Failed", "Stopped")
#: Takes its time with a row that says so.
SLOW = """
import time
def model_fn(model_dir):
    return None
def input_fn(body, content_type):
    return body
def predict_fn(body, model):
    print("asked")
    time.sleep(600)
def output_fn(prediction, accept):
    return prediction, accept
"""


class Transforms:
    """Runs the transform jobs of one test."""

    def __init__(self, server: Any, unique: Callable[[str], str], wait_until: Any) -> None:
        self.sagemaker, self.s3, self.logs = map(server.client, ("sagemaker", "s3", "logs"))
        self.unique, self.wait_until = unique, wait_until

    def model(self, name: str, url: str, environment: dict[str, str]) -> str:
        """Create a model of one artifact."""
        name = self.unique(name)
        container = {"Image": IMAGE_URI, "ModelDataUrl": url, "Environment": environment}
        self.sagemaker.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
        return name

    def create(self, job: str, model: str, uri: str, kind: str = "S3Prefix", **more: Any) -> str:
        """Start a job that asks line by line; returns its name."""
        job = self.unique(job)
        source = {"S3DataSource": {"S3DataType": kind, "S3Uri": uri}}
        request: dict[str, Any] = {
            "TransformJobName": job,
            "ModelName": model,
            "BatchStrategy": "SingleRecord",
            "TransformInput": {"DataSource": source, "ContentType": "text/csv", "SplitType": "Line"},
            "TransformOutput": {
                "S3OutputPath": f"s3://{KEYS.bucket}/{job}",
                "Accept": "text/csv",
                "AssembleWith": "Line",
            },
            "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
        }
        self.sagemaker.create_transform_job(**{**request, **more})
        return job

    def ended(self, job: str) -> dict[str, Any]:
        """Wait for a job's end."""

        def end() -> dict[str, Any] | None:
            described = dict(self.sagemaker.describe_transform_job(TransformJobName=job))
            return described if described["TransformJobStatus"] in ENDED else None

        return dict(self.wait_until(end, 90, f"{job} has ended"))

    def outputs(self, job: str) -> dict[str, bytes]:
        """What a job has left, by key below its output path."""
        listed = self.s3.list_objects_v2(Bucket=KEYS.bucket, Prefix=f"{job}/").get("Contents", [])
        keys = [each["Key"] for each in listed]
        return {
            key.removeprefix(f"{job}/"): self.s3.get_object(Bucket=KEYS.bucket, Key=key)["Body"].read()
            for key in keys
        }


@pytest.fixture(scope="module", autouse=True)
def bucket(local_sagemaker: Any) -> None:
    local_sagemaker.client("s3").create_bucket(Bucket=KEYS.bucket)


@pytest.fixture
def transforms(local_sagemaker: Any, unique: Callable[[str], str], wait_until: Any) -> Transforms:
    return Transforms(local_sagemaker, unique, wait_until)


def test_every_row_of_every_object_gets_its_prediction(transforms: Transforms, tmp_path: Any) -> None:
    (artifact,) = small_artifacts(tmp_path, 1)
    with tarfile.open(fileobj=io.BytesIO(artifact)) as tar:
        member = tar.extractfile("city_fleet/samples.json")
        assert member is not None
        samples = json.load(member)
    rows = [",".join(map(str, row)).encode() for row in samples["rows"]]
    put = transforms.s3.put_object
    bundle = CodeBundle.load(SCRIPTS)
    bundle.ensure_uploaded(transforms.s3, KEYS)
    put(Bucket=KEYS.bucket, Key="austin.tar.gz", Body=artifact)
    put(Bucket=KEYS.bucket, Key="rows/all.csv", Body=b"\n".join(rows))
    put(Bucket=KEYS.bucket, Key="rows/more/one.csv", Body=rows[0] + b"\n")
    put(Bucket=KEYS.bucket, Key="rows/more/bad.csv", Body=rows[0] + b"\nnot,a,row\n")
    manifest = json.dumps([{"prefix": f"s3://{KEYS.bucket}/rows/"}, "all.csv", "more/one.csv"])
    put(Bucket=KEYS.bucket, Key="manifest.json", Body=manifest.encode())
    environment = {
        "SAGEMAKER_PROGRAM": "inference.py",
        "SAGEMAKER_SUBMIT_DIRECTORY": bundle.archive_uri(KEYS),
        **serving_code.environment(serving_code.algorithms_of(bundle.files)),
    }
    model = transforms.model("austin", f"s3://{KEYS.bucket}/austin.tar.gz", environment)

    named = transforms.create("named", model, f"s3://{KEYS.bucket}/manifest.json", "ManifestFile")
    prefix = transforms.create("prefix", model, f"s3://{KEYS.bucket}/rows/")
    described = transforms.ended(named)
    assert described["TransformJobStatus"] == "Completed", described["FailureReason"]
    assert described["TransformJobArn"].endswith(f":transform-job/{named}")
    assert described["CreationTime"] <= described["TransformStartTime"] <= described["TransformEndTime"]
    outputs = transforms.outputs(named)
    assert outputs.keys() == {"all.csv.out", "more/one.csv.out"}
    predicted = [float(line) for line in outputs["all.csv.out"].splitlines()]
    assert predicted == pytest.approx(samples["predictions"], rel=1e-6)
    assert outputs["more/one.csv.out"] == outputs["all.csv.out"].splitlines(keepends=True)[0]

    # One object can't be transformed: the others are, and the job says so.
    described = transforms.ended(prefix)
    assert described["TransformJobStatus"] == "Failed"
    assert described["FailureReason"] == "ClientError: See job logs for more information"
    assert transforms.outputs(prefix) == outputs
    group = "/aws/sagemaker/TransformJobs"
    streams = transforms.logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=prefix)
    (data_log,) = [
        each["logStreamName"] for each in streams["logStreams"] if each["logStreamName"].endswith("/data-log")
    ]
    events = transforms.logs.get_log_events(logGroupName=group, logStreamName=data_log)["events"]
    text = "\n".join(event["message"] for event in events)
    assert f"{KEYS.bucket}/rows/more/bad.csv: Bad HTTP status received from algorithm: 400" in text

    listed = transforms.sagemaker.list_transform_jobs(
        NameContains=transforms.unique(""), StatusEquals="Failed"
    )["TransformJobSummaries"]
    assert [each["TransformJobName"] for each in listed] == [prefix]
    with pytest.raises(ClientError, match="a transform job with this name already exists"):
        transforms.create("prefix", model, f"s3://{KEYS.bucket}/rows/")
    nothing = transforms.ended(transforms.create("nothing", model, f"s3://{KEYS.bucket}/none/"))
    assert "matched no files on s3" in nothing["FailureReason"]


def test_a_job_is_stopped_and_what_is_not_there_is_refused(transforms: Transforms) -> None:
    put = transforms.s3.put_object
    put(Bucket=KEYS.bucket, Key="m.tar.gz", Body=archive({"model.txt": b"m"}))
    put(Bucket=KEYS.bucket, Key="slow.tar.gz", Body=archive({"slow.py": SLOW}))
    put(Bucket=KEYS.bucket, Key="slow/a.csv", Body=b"1\n")
    url = f"s3://{KEYS.bucket}/slow.tar.gz"
    environment = {"SAGEMAKER_PROGRAM": "slow.py", "SAGEMAKER_SUBMIT_DIRECTORY": url}
    model = transforms.model("slow", f"s3://{KEYS.bucket}/m.tar.gz", environment)
    job = transforms.create("slow", model, f"s3://{KEYS.bucket}/slow/")
    group = "/aws/sagemaker/TransformJobs"

    def asked() -> bool:
        events = transforms.logs.filter_log_events(logGroupName=group, logStreamNamePrefix=job)["events"]
        return any("asked" in each["message"] for each in events)

    transforms.wait_until(asked, 60, "the container has been asked")
    transforms.sagemaker.stop_transform_job(TransformJobName=job)
    assert transforms.ended(job)["TransformJobStatus"] == "Stopped"
    assert transforms.outputs(job) == {}
    for call in (transforms.sagemaker.describe_transform_job, transforms.sagemaker.stop_transform_job):
        with pytest.raises(ClientError, match="Could not find requested job with name: nobody"):
            call(TransformJobName="nobody")
    uri = f"s3://{KEYS.bucket}/slow/"
    for change, words in [
        ({"DataProcessing": {"JoinSource": "Input"}}, "DataProcessing: .* does not support it"),
        ({"MaxPayloadInMB": 60, "MaxConcurrentTransforms": 2}, "must be at most 100"),
        ({"ModelName": "nobody"}, 'Could not find model ".*:model/nobody"'),
    ]:
        with pytest.raises(ClientError, match=words):
            transforms.create("refused", model, uri, **change)
