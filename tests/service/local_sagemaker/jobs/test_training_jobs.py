"""Training jobs end to end: real processes, real S3, real log lines, over boto3."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.archives import archive
from tests.support.aws_names import IMAGE_URI, ROLE

DEADLINE_SECONDS = 60
TERMINAL = ("Completed", "Failed", "Stopped")

COPY = """
import argparse, json, os, pathlib
parser = argparse.ArgumentParser()
parser.add_argument("--eta", type=float)
parser.add_argument("--city")
arguments, rest = parser.parse_known_args()
train = pathlib.Path(os.environ["SM_CHANNEL_TRAIN"])
rows = sorted(str(path.relative_to(train)) for path in train.rglob("*") if path.is_file())
seen = {"arguments": [arguments.eta, arguments.city, rest], "files": rows, "environment": dict(os.environ),
        "folder": os.getcwd(), "config": json.loads(pathlib.Path(os.environ["SM_INPUT_CONFIG_DIR"],
        "resourceconfig.json").read_text())}
pathlib.Path(os.environ["SM_MODEL_DIR"], "model.txt").write_text("a model")
pathlib.Path(os.environ["SM_OUTPUT_DATA_DIR"], "seen.json").write_text(json.dumps(seen))
print("trained on", rows)
"""
CRASH = """
import sys
print("about to crash")
def inner():
    raise ValueError("the median of waco is -1")
inner()
"""
WAIT = """
import os, pathlib, signal, sys, time
def stop(*_):
    pathlib.Path(os.environ["SM_MODEL_DIR"], "saved.txt").write_text("saved on SIGTERM")
    print("stopping as asked")
    sys.exit(0)
if {polite}:
    signal.signal(signal.SIGTERM, stop)
else:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("waiting")
while True:
    time.sleep(60)
"""


class TrainingJobs:
    """Starts training jobs of one test and looks at them."""

    def __init__(self, server: Any, bucket: str, unique: Callable[[str], str], wait_until: Any) -> None:
        self.sagemaker = server.client("sagemaker")
        self.s3 = server.client("s3")
        self.logs = server.client("logs")
        self.bucket = bucket
        self._unique = unique
        self._wait_until = wait_until

    def request(self, script: str, name: str = "job", **changes: Any) -> dict[str, Any]:
        """A request whose code and data are in S3."""
        job = self._unique(name)
        self.s3.put_object(Bucket=self.bucket, Key=f"{job}/code.tar.gz", Body=archive({"train.py": script}))
        self.s3.put_object(Bucket=self.bucket, Key=f"{job}/data/city=austin/train.csv", Body=b"1,2\n")
        request = {
            "TrainingJobName": job,
            "AlgorithmSpecification": {"TrainingImage": IMAGE_URI, "TrainingInputMode": "File"},
            "RoleArn": ROLE,
            "InputDataConfig": [
                {
                    "ChannelName": "train",
                    "DataSource": {
                        "S3DataSource": {
                            "S3DataType": "S3Prefix",
                            "S3Uri": f"s3://{self.bucket}/{job}/data/",
                            "S3DataDistributionType": "FullyReplicated",
                        }
                    },
                    "ContentType": "text/csv",
                }
            ],
            "OutputDataConfig": {"S3OutputPath": f"s3://{self.bucket}/{job}/out"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5},
            "StoppingCondition": {"MaxRuntimeInSeconds": 600},
            "HyperParameters": {
                "sagemaker_program": json.dumps("train.py"),
                "sagemaker_submit_directory": json.dumps(f"s3://{self.bucket}/{job}/code.tar.gz"),
                "eta": "0.05",
                "city": json.dumps("austin"),
            },
        }
        return request | changes

    def start(self, script: str, name: str = "job", **changes: Any) -> str:
        """Start a job and return its name."""
        request = self.request(script, name, **changes)
        self.sagemaker.create_training_job(**request)
        return str(request["TrainingJobName"])

    def describe(self, job: str) -> dict[str, Any]:
        """Describe a job."""
        return dict(self.sagemaker.describe_training_job(TrainingJobName=job))

    def wait(self, job: str) -> dict[str, Any]:
        """Wait for a job's end state."""

        def ended() -> dict[str, Any] | None:
            description = self.describe(job)
            return description if description["TrainingJobStatus"] in TERMINAL else None

        return dict(self._wait_until(ended, DEADLINE_SECONDS, f"{job} ends"))

    def lines(self, job: str) -> list[str]:
        """The lines of a job's log, found as the Airflow operators find them."""
        group = "/aws/sagemaker/TrainingJobs"
        try:
            streams = self.logs.describe_log_streams(
                logGroupName=group, logStreamNamePrefix=f"{job}/", orderBy="LogStreamName"
            )["logStreams"]
        except self.logs.exceptions.ResourceNotFoundException:
            return []
        found = []
        for stream in streams:
            page = self.logs.get_log_events(
                logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True
            )
            found += [event["message"] for event in page["events"]]
        return found

    def wait_for_line(self, job: str, line: str) -> None:
        """Wait until a line is in a job's log while it runs."""
        self._wait_until(lambda: line in self.lines(job), DEADLINE_SECONDS, f"{line!r} in the log of {job}")

    def members(self, key: str) -> dict[str, bytes]:
        """The files of an archive in S3."""
        body = self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(body)) as tar:
            return {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}  # type: ignore[union-attr]


@pytest.fixture
def jobs(job_server: Any, job_bucket: str, unique: Callable[[str], str], wait_until: Any) -> TrainingJobs:
    return TrainingJobs(job_server, job_bucket, unique, wait_until)


def test_a_job_that_succeeds(jobs: TrainingJobs, job_server: Any) -> None:
    name = jobs.start(COPY, Environment={"DATA": "/opt/ml/input/data/train", "COLOUR": "blue"})
    job = jobs.wait(name)

    assert job["TrainingJobStatus"] == job["SecondaryStatus"] == "Completed", job.get("FailureReason")
    assert [each["Status"] for each in job["SecondaryStatusTransitions"]] == [
        "Starting",
        "Downloading",
        "Training",
        "Uploading",
        "Completed",
    ]
    assert all(each["EndTime"] >= each["StartTime"] for each in job["SecondaryStatusTransitions"])
    assert (
        job["CreationTime"] <= job["TrainingStartTime"] <= job["TrainingEndTime"] == job["LastModifiedTime"]
    )
    assert job["BillableTimeInSeconds"] == job["TrainingTimeInSeconds"] >= 1
    assert "FailureReason" not in job
    assert job["ResourceConfig"] == {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5}

    model = f"{name}/out/{name}/output/model.tar.gz"
    assert job["ModelArtifacts"] == {"S3ModelArtifacts": f"s3://{jobs.bucket}/{model}"}
    assert jobs.members(model) == {"model.txt": b"a model"}

    seen = json.loads(jobs.members(f"{name}/out/{name}/output/output.tar.gz")["seen.json"])
    assert seen["files"] == ["city=austin/train.csv"]
    assert seen["arguments"] == [0.05, "austin", []]
    environment = seen["environment"]
    assert json.loads(environment["SM_HPS"]) == {"city": "austin", "eta": 0.05}
    assert environment["SM_HP_ETA"] == "0.05"
    assert json.loads(environment["SM_USER_ARGS"]) == ["--city", "austin", "--eta", "0.05"]
    assert json.loads(environment["SM_CHANNELS"]) == ["train"]
    assert json.loads(environment["SM_HOSTS"]) == ["algo-1"]
    assert environment["SM_CURRENT_HOST"] == seen["config"]["current_host"] == "algo-1"
    assert environment["SM_OUTPUT_DIR"] == "/opt/ml/output"
    assert environment["TRAINING_JOB_NAME"] == name
    assert environment["AWS_REGION"] == "us-east-1"
    assert environment["COLOUR"] == "blue"
    assert environment["DATA"] == environment["SM_CHANNEL_TRAIN"] == "/opt/ml/input/data/train"
    assert environment["OMP_NUM_THREADS"] == "1"
    assert not {"AWS_ACCESS_KEY_ID", "AWS_PROFILE", "PYTHONPATH", "VIRTUAL_ENV"} & set(environment)

    assert "trained on ['city=austin/train.csv']" in jobs.lines(name)
    assert not list((job_server.data_dir / "jobs").glob(f"{name[:40]}*")), "the sandbox is removed"


def test_a_job_that_crashes_fails_with_its_own_error(jobs: TrainingJobs) -> None:
    name = jobs.start(CRASH)
    job = jobs.wait(name)

    assert job["TrainingJobStatus"] == job["SecondaryStatus"] == "Failed"
    command = "/miniconda3/bin/python3 -m train --city austin --eta 0.05"
    assert job["FailureReason"] == (
        f'AlgorithmError: ExecuteUserScriptError:\nCommand "{command}", exit code: 1'
    )
    assert "ModelArtifacts" not in job
    lines = jobs.lines(name)
    assert lines.index("about to crash") < lines.index("Traceback (most recent call last):")
    assert lines[-3] == "ValueError: the median of waco is -1"
    assert lines[-2].endswith(":ERROR] ExecuteUserScriptError:")
    assert lines[-1] == f'Command "{command}"'
    assert any(line.startswith('  File "/opt/ml/code/train.py", line') for line in lines)


def test_the_toolkit_writes_over_what_a_script_says_of_its_failure_and_an_entrypoint_is_quoted(
    jobs: TrainingJobs,
) -> None:
    script = (
        "import pathlib, sys\npathlib.Path('/opt/ml/output/failure').write_text('austin has no rows')\n"
        "print('austin has no rows', file=sys.stderr)\nsys.exit(3)\n"
    )
    name = jobs.start(script)
    reason = jobs.wait(name)["FailureReason"]
    assert reason.startswith("AlgorithmError: ExecuteUserScriptError:")
    assert "austin has no rows" not in reason
    assert reason.endswith(", exit code: 1"), "the toolkit's, whatever the script's is"
    assert jobs.lines(name)[-3] == "austin has no rows"

    request = jobs.request(script, "entrypoint", HyperParameters={})
    jobs.s3.put_object(
        Bucket=jobs.bucket, Key=f"{request['TrainingJobName']}/data/run.py", Body=script.encode()
    )
    specification = request["AlgorithmSpecification"]
    for command, expected in (
        (["python3", "/opt/ml/input/data/train/run.py"], "AlgorithmError: austin has no rows, exit code: 3"),
        (["sh", "-c", "exit 4"], "AlgorithmError: , exit code: 4"),
    ):
        name = request["TrainingJobName"] = f"{request['TrainingJobName']}-{len(command)}"
        jobs.sagemaker.create_training_job(
            **request | {"AlgorithmSpecification": specification | {"ContainerEntrypoint": command}}
        )
        assert jobs.wait(name)["FailureReason"] == expected


def test_log_lines_can_be_read_while_the_job_runs_and_stop_saves_the_model(jobs: TrainingJobs) -> None:
    name = jobs.start(WAIT.format(polite=True))
    jobs.wait_for_line(name, "waiting")
    assert jobs.describe(name)["SecondaryStatus"] == "Training"

    jobs.sagemaker.stop_training_job(TrainingJobName=name)
    assert jobs.describe(name)["TrainingJobStatus"] in ("Stopping", "Stopped")
    job = jobs.wait(name)

    assert job["TrainingJobStatus"] == job["SecondaryStatus"] == "Stopped"
    assert "FailureReason" not in job
    assert jobs.members(f"{name}/out/{name}/output/model.tar.gz") == {"saved.txt": b"saved on SIGTERM"}
    assert "stopping as asked" in jobs.lines(name)
    with pytest.raises(ClientError) as refused:
        jobs.sagemaker.stop_training_job(TrainingJobName=name)
    assert refused.value.response["Error"] == {
        "Code": "ValidationException",
        "Message": "The request was rejected because the training job is in status Stopped.",
    }


def test_a_job_that_ignores_sigterm_is_killed_after_the_grace(jobs: TrainingJobs) -> None:
    name = jobs.start(WAIT.format(polite=False))
    jobs.wait_for_line(name, "waiting")
    jobs.sagemaker.stop_training_job(TrainingJobName=name)
    assert jobs.wait(name)["TrainingJobStatus"] == "Stopped"


def test_a_job_that_exceeds_its_runtime_is_stopped(jobs: TrainingJobs) -> None:
    name = jobs.start(WAIT.format(polite=True), StoppingCondition={"MaxRuntimeInSeconds": 1})
    job = jobs.wait(name)
    assert job["TrainingJobStatus"] == "Stopped"
    assert job["SecondaryStatus"] == "MaxRuntimeExceeded"
    assert [each["Status"] for each in job["SecondaryStatusTransitions"]][-3:] == [
        "Stopping",
        "Uploading",
        "MaxRuntimeExceeded",
    ]


def test_jobs_run_side_by_side_and_names_are_unique(jobs: TrainingJobs) -> None:
    first, second = (jobs.start(WAIT.format(polite=True), name) for name in ("one", "two"))
    for name in (first, second):
        jobs.wait_for_line(name, "waiting")
    with pytest.raises(jobs.sagemaker.exceptions.ResourceInUse, match="must be unique within an AWS account"):
        jobs.start(COPY, "one")
    listed = jobs.sagemaker.list_training_jobs(StatusEquals="InProgress", MaxResults=100)
    assert {first, second} <= {each["TrainingJobName"] for each in listed["TrainingJobSummaries"]}
    for name in (first, second):
        jobs.sagemaker.stop_training_job(TrainingJobName=name)
        assert jobs.wait(name)["TrainingJobStatus"] == "Stopped"


def test_an_image_nobody_registered_fails_the_job(jobs: TrainingJobs) -> None:
    specification = {"TrainingImage": IMAGE_URI.replace("3.2-0", "1.7-1"), "TrainingInputMode": "File"}
    job = jobs.wait(jobs.start(COPY, AlgorithmSpecification=specification))
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError: Cannot pull the image")
    assert (
        "Registered images: sagemaker-scikit-learn:1.9-0-cpu-py3, sagemaker-xgboost:3.2-0"
        in job["FailureReason"]
    )
    assert "--image sagemaker-xgboost:1.7-1=/path/to/python" in job["FailureReason"]


def test_data_that_is_gone_fails_the_job_while_downloading(jobs: TrainingJobs) -> None:
    request = jobs.request(COPY)
    source = request["InputDataConfig"][0]["DataSource"]["S3DataSource"]
    source["S3Uri"] = f"s3://{jobs.bucket}/nothing/here/"
    # The marker of a folder is an object, so the prefix is there; it is no file, so nothing is downloaded.
    jobs.s3.put_object(Bucket=jobs.bucket, Key="nothing/here/")
    jobs.sagemaker.create_training_job(**request)
    job = jobs.wait(request["TrainingJobName"])
    assert job["FailureReason"] == (
        f"ClientError: Data download failed: S3 key: s3://{jobs.bucket}/nothing/here/ matched no files on s3"
    )
    assert [each["Status"] for each in job["SecondaryStatusTransitions"]] == [
        "Starting",
        "Downloading",
        "Failed",
    ]


def test_code_that_is_not_there_fails_the_job_and_says_so_in_the_log(jobs: TrainingJobs) -> None:
    request = jobs.request(COPY)
    missing = f"s3://{jobs.bucket}/no/code.tar.gz"
    request["HyperParameters"]["sagemaker_submit_directory"] = json.dumps(missing)
    jobs.sagemaker.create_training_job(**request)
    job = jobs.wait(request["TrainingJobName"])
    assert job["FailureReason"].startswith(
        f"AlgorithmError: Framework Error: the code at {missing} can't be fetched"
    )
    assert any(missing in line for line in jobs.lines(request["TrainingJobName"]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 5}},
            "2 instances",
        ),
        (
            {"AlgorithmSpecification": {"TrainingImage": IMAGE_URI, "TrainingInputMode": "Pipe"}},
            "does not support Pipe; supported: File, FastFile",
        ),
        ({"HyperParameters": {"eta": "1"}}, "sagemaker_program"),
        ({"EnableManagedSpotTraining": True}, "MaxWaitTimeInSeconds is required"),
        (
            {
                "InputDataConfig": [
                    {
                        "ChannelName": "train",
                        "DataSource": {
                            "S3DataSource": {
                                "S3DataType": "S3Prefix",
                                "S3Uri": "s3://bucket/data",
                                "AttributeNames": ["label"],
                            }
                        },
                    }
                ]
            },
            "S3DataSource.AttributeNames",
        ),
        (
            {"CheckpointConfig": {"S3Uri": "s3://b/c", "LocalPath": "/opt/ml/model"}},
            "CheckpointConfig.LocalPath",
        ),
        (
            {"CheckpointConfig": {"S3Uri": "s3://b/c", "LocalPath": "/tmp"}},
            "a folder of its own below /opt/ml",
        ),
        (
            {"CheckpointConfig": {"S3Uri": "s3://b/c", "LocalPath": "/opt/ml/a/../../x"}},
            "CheckpointConfig.LocalPath",
        ),
        ({"OutputDataConfig": {"S3OutputPath": "https://example.com"}}, "S3OutputPath"),
    ],
)
def test_what_the_stand_in_cannot_do_is_refused_by_name(
    jobs: TrainingJobs, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ClientError) as refused:
        jobs.start(COPY, **change)
    assert refused.value.response["Error"]["Code"] == "ValidationException"
    assert message in refused.value.response["Error"]["Message"]


def test_a_job_that_does_not_exist(jobs: TrainingJobs) -> None:
    for call in (jobs.sagemaker.describe_training_job, jobs.sagemaker.stop_training_job):
        with pytest.raises(ClientError, match="Requested resource not found"):
            call(TrainingJobName="nobody")
