"""Processing jobs end to end, and what holds for jobs of both kinds: turns, stops, the end of the server."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.aws_names import IMAGE_URI, ROLE
from tests.support.process_table import processes

DEADLINE_SECONDS = 60
TERMINAL = ("Completed", "Failed", "Stopped")

COUNT = """
import json, os, pathlib, sys
raw, output, message = sys.argv[1:4]
files = sorted(pathlib.Path(raw).rglob("*.csv"))
rows = {str(path.relative_to(raw)): len(path.read_text().splitlines()) for path in files}
folder = pathlib.Path(output, "report", "city=austin")
folder.mkdir(parents=True)
seen = {"rows": rows, "arguments": sys.argv[4:], "environment": dict(os.environ)}
(folder / "rows.json").write_text(json.dumps(seen))
pathlib.Path(message).write_text("counted the rows of austin")
print("counted", rows)
"""
FAIL = """
import pathlib, sys
pathlib.Path(sys.argv[3]).write_text("austin: row 3 has a median of -1")
print("austin: row 3 has a median of -1", file=sys.stderr)
sys.exit(3)
"""
WAIT = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print("stopping as asked"), sys.exit(0)))
print("waiting")
while True:
    time.sleep(60)
"""


class ProcessingJobs:
    """Starts processing jobs of one test and looks at them."""

    def __init__(self, server: Any, bucket: str, unique: Callable[[str], str], wait_until: Any) -> None:
        self.server = server
        self.sagemaker = server.client("sagemaker")
        self.s3 = server.client("s3")
        self.logs = server.client("logs")
        self.bucket = bucket
        self.unique = unique
        self.wait_until = wait_until

    def request(self, script: str, name: str = "job", **changes: Any) -> dict[str, Any]:
        """A request whose code and data are in S3."""
        job = self.unique(name)
        self.s3.put_object(Bucket=self.bucket, Key=f"{job}/code/run.py", Body=script.encode())
        self.s3.put_object(Bucket=self.bucket, Key=f"{job}/raw/city=austin/a.csv", Body=b"1\n2\n")
        self.s3.put_object(Bucket=self.bucket, Key=f"{job}/raw/city=waco/b.csv", Body=b"1\n")
        arguments = ["/opt/ml/processing/input/raw", "/opt/ml/processing/output", "/opt/ml/output/message"]
        request = {
            "ProcessingJobName": job,
            "ProcessingInputs": [
                self.source("code", f"{job}/code/run.py", "/opt/ml/processing/input/code"),
                # All files for the one instance.
                self.source(
                    "raw",
                    f"{job}/raw/",
                    "/opt/ml/processing/input/raw",
                    S3DataDistributionType="ShardedByS3Key",
                ),
            ],
            "ProcessingOutputConfig": {
                "Outputs": [
                    {
                        "OutputName": "report",
                        "S3Output": {
                            "S3Uri": f"s3://{self.bucket}/{job}/out/report",
                            "LocalPath": "/opt/ml/processing/output/report",
                            "S3UploadMode": "EndOfJob",
                        },
                    }
                ]
            },
            "ProcessingResources": {
                "ClusterConfig": {"InstanceType": "ml.t3.medium", "InstanceCount": 1, "VolumeSizeInGB": 5}
            },
            "StoppingCondition": {"MaxRuntimeInSeconds": 600},
            "AppSpecification": {
                "ImageUri": IMAGE_URI,
                "ContainerEntrypoint": ["python3", "/opt/ml/processing/input/code/run.py"],
                "ContainerArguments": [*arguments, f"s3://{self.bucket}/opt/ml/x", "--to=/opt/ml/model"],
            },
            "RoleArn": ROLE,
        }
        return request | changes

    def source(self, name: str, key: str, path: str, **more: str) -> dict[str, Any]:
        """One ProcessingInput."""
        return {
            "InputName": name,
            "S3Input": {
                "S3Uri": f"s3://{self.bucket}/{key}",
                "LocalPath": path,
                "S3DataType": "S3Prefix",
                "S3InputMode": "File",
                **more,
            },
        }

    def start(self, script: str, name: str = "job", **changes: Any) -> str:
        """Start a job and return its name."""
        request = self.request(script, name, **changes)
        self.sagemaker.create_processing_job(**request)
        return str(request["ProcessingJobName"])

    def describe(self, job: str) -> dict[str, Any]:
        """Describe a job."""
        return dict(self.sagemaker.describe_processing_job(ProcessingJobName=job))

    def wait(self, job: str) -> dict[str, Any]:
        """Wait for a job's end state."""

        def ended() -> dict[str, Any] | None:
            description = self.describe(job)
            return description if description["ProcessingJobStatus"] in TERMINAL else None

        return dict(self.wait_until(ended, DEADLINE_SECONDS, f"{job} ends"))

    def lines(self, job: str) -> list[str]:
        """The lines of a job's log."""
        group = "/aws/sagemaker/ProcessingJobs"
        try:
            streams = self.logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{job}/")
        except self.logs.exceptions.ResourceNotFoundException:
            return []
        return [
            event["message"]
            for stream in streams["logStreams"]
            for event in self.logs.get_log_events(
                logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True
            )["events"]
        ]

    def wait_for_line(self, job: str, line: str) -> None:
        """Wait until a line is in a job's log while it runs."""
        self.wait_until(lambda: line in self.lines(job), DEADLINE_SECONDS, f"{line!r} in the log of {job}")


@pytest.fixture
def jobs(job_server: Any, job_bucket: str, unique: Callable[[str], str], wait_until: Any) -> ProcessingJobs:
    return ProcessingJobs(job_server, job_bucket, unique, wait_until)


def test_a_job_that_succeeds(jobs: ProcessingJobs) -> None:
    name = jobs.start(COUNT, Environment={"COLOUR": "blue"})
    job = jobs.wait(name)

    assert job["ProcessingJobStatus"] == "Completed", job.get("FailureReason")
    assert job["ExitMessage"] == "counted the rows of austin"
    assert "FailureReason" not in job
    assert job["CreationTime"] <= job["ProcessingStartTime"] <= job["ProcessingEndTime"]
    key = f"{name}/out/report/city=austin/rows.json"
    report = json.loads(jobs.s3.get_object(Bucket=jobs.bucket, Key=key)["Body"].read())
    assert report["rows"] == {"city=austin/a.csv": 2, "city=waco/b.csv": 1}
    uri, folder = report["arguments"]
    assert uri == f"s3://{jobs.bucket}/opt/ml/x", "an S3 key is no path"
    assert folder == "--to=/opt/ml/model"
    environment = report["environment"]
    assert environment["COLOUR"] == "blue"
    assert environment["AWS_REGION"] == "us-east-1"
    assert environment["PROCESSING_JOB_ARN"] == job["ProcessingJobArn"]
    assert not {"AWS_ACCESS_KEY_ID", "PYTHONPATH"} & set(environment)
    assert "counted {'city=austin/a.csv': 2, 'city=waco/b.csv': 1}" in jobs.lines(name)
    listed = jobs.sagemaker.list_processing_jobs(NameContains=name)["ProcessingJobSummaries"]
    assert [each["ExitMessage"] for each in listed] == ["counted the rows of austin"]


def test_a_job_that_fails_says_why(jobs: ProcessingJobs) -> None:
    name = jobs.start(FAIL)
    job = jobs.wait(name)
    assert job["ProcessingJobStatus"] == "Failed"
    assert job["FailureReason"] == "AlgorithmError: , exit code: 3"
    assert job["ExitMessage"] == "austin: row 3 has a median of -1"
    assert "austin: row 3 has a median of -1" in jobs.lines(name)
    found = jobs.s3.list_objects_v2(Bucket=jobs.bucket, Prefix=f"{name}/out/")
    assert found["KeyCount"] == 0


def test_a_job_killed_by_a_signal_has_its_exit_code(jobs: ProcessingJobs) -> None:
    job = jobs.wait(jobs.start("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"))
    assert job["FailureReason"] == "AlgorithmError: , exit code: 137"


def test_stop_and_max_runtime_end_as_stopped(jobs: ProcessingJobs) -> None:
    stopped = jobs.start(WAIT, "stopped")
    late = jobs.start(WAIT, "late", StoppingCondition={"MaxRuntimeInSeconds": 1})
    jobs.wait_for_line(stopped, "waiting")
    jobs.sagemaker.stop_processing_job(ProcessingJobName=stopped)
    for name in (stopped, late):
        assert jobs.wait(name)["ProcessingJobStatus"] == "Stopped"
        assert "stopping as asked" in jobs.lines(name)
    with pytest.raises(ClientError, match="because the processing job is in status Stopped"):
        jobs.sagemaker.stop_processing_job(ProcessingJobName=stopped)


def test_a_taken_name_and_a_name_nobody_has(jobs: ProcessingJobs) -> None:
    jobs.wait(jobs.start(COUNT))
    with pytest.raises(jobs.sagemaker.exceptions.ResourceInUse, match="must be unique within an AWS account"):
        jobs.start(COUNT)
    for call in (jobs.sagemaker.describe_processing_job, jobs.sagemaker.stop_processing_job):
        with pytest.raises(ClientError, match="Could not find requested job with name: nobody"):
            call(ProcessingJobName="nobody")


def test_input_that_is_not_there(jobs: ProcessingJobs) -> None:
    source = jobs.source("raw", "nothing/", "/opt/ml/processing/input/raw")
    job = jobs.wait(jobs.start(COUNT, ProcessingInputs=[source]))
    assert job["ProcessingJobStatus"] == "Failed"
    assert job["FailureReason"] == (
        f"ClientError: Data download failed: S3 key: s3://{jobs.bucket}/nothing/ matched no files on s3"
    )


def by_manifest(jobs: ProcessingJobs, body: str) -> dict[str, Any]:
    jobs.s3.put_object(Bucket=jobs.bucket, Key="lists/raw.manifest", Body=body.encode())
    source = jobs.source(
        "raw", "lists/raw.manifest", "/opt/ml/processing/input/raw", S3DataType="ManifestFile"
    )
    request = jobs.request(COUNT)
    request["ProcessingInputs"][1] = source
    jobs.sagemaker.create_processing_job(**request)
    found: dict[str, Any] = jobs.wait(request["ProcessingJobName"])
    return found


def test_a_manifest_names_the_files_and_nothing_else_comes_along(jobs: ProcessingJobs) -> None:
    for name in ("city=a/one.csv", "city=a/two.csv", "city=b/known=1/three.csv"):
        jobs.s3.put_object(Bucket=jobs.bucket, Key=f"raw/{name}", Body=b"x\n1\n")
    prefix = {"prefix": f"s3://{jobs.bucket}/raw/"}
    job = by_manifest(jobs, json.dumps([prefix, "city=a/two.csv", "city=b/known=1/three.csv"]))
    assert job["ProcessingJobStatus"] == "Completed", job
    line = next(line for line in jobs.lines(job["ProcessingJobName"]) if line.startswith("counted"))
    assert line == "counted {'city=a/two.csv': 2, 'city=b/known=1/three.csv': 2}"


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        ('[{"prefix": "s3://BUCKET/raw/"}, "gone.csv"]', "S3 key: s3://BUCKET/raw/gone.csv matched no files on s3"),
        ('[{"prefix": "s3://BUCKET/raw/"}]', "matched no files on s3: the manifest names none after its prefix"),
        ('["one.csv"]', "the manifest must be a JSON array"),
        ('{"prefix": "s3://BUCKET/raw/"}', "the manifest must be a JSON array"),
        ('[{"prefix": "s3://BUCKET/raw/"}, {"source-ref": "x"}]', "the manifest must be a JSON array"),
        ('[{"prefix": "raw/"}, "x.csv"]', "'raw/' is not an S3 URI"),
        ('[{"prefix": "s3://BUCKET/raw/"}, "../../x.csv"]', "leads out of the folder"),
        ("[" * 100_000, "the manifest must be a JSON array"),
    ],
)  # fmt: skip
def test_a_manifest_that_is_none_or_names_what_is_not_there(
    jobs: ProcessingJobs, manifest: str, reason: str
) -> None:
    job = by_manifest(jobs, manifest.replace("BUCKET", jobs.bucket))
    assert job["ProcessingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError: Data download failed: ")
    assert reason.replace("BUCKET", jobs.bucket) in job["FailureReason"]


def test_a_bucket_for_the_output_that_does_not_exist(jobs: ProcessingJobs) -> None:
    request = jobs.request(COUNT)
    request["ProcessingOutputConfig"]["Outputs"][0]["S3Output"]["S3Uri"] = "s3://nobody-has-this-bucket/x"
    jobs.sagemaker.create_processing_job(**request)
    job = jobs.wait(request["ProcessingJobName"])
    assert job["FailureReason"].startswith("ClientError: Failed to upload output 'report'")
    assert "NoSuchBucket" in job["FailureReason"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"S3InputMode": "Pipe"}, "does not support Pipe; supported: File"),
        ({"S3DataDistributionType": "FullyReplicated", "S3CompressionType": "Gzip"}, "does not support Gzip"),
        ({"LocalPath": "/opt/ml/processing/../../etc"}, "LocalPath must be a path under /opt/ml/processing"),
        ({"LocalPath": "/etc"}, "LocalPath must be a path under /opt/ml/processing"),
    ],
)
def test_inputs_the_stand_in_cannot_bring_are_refused_by_name(
    jobs: ProcessingJobs, more: dict[str, str], message: str
) -> None:
    source = jobs.source("raw", "raw/", "/opt/ml/processing/input/raw")
    source["S3Input"] |= more
    with pytest.raises(ClientError) as refused:
        jobs.start(COUNT, ProcessingInputs=[source])
    assert refused.value.response["Error"]["Code"] == "ValidationException"
    assert message in refused.value.response["Error"]["Message"]


def test_jobs_wait_their_turn_and_can_be_stopped_while_they_wait(
    start_server: Callable[..., Any], unique: Callable[[str], str], wait_until: Any
) -> None:
    server = start_server("--max-running-jobs", "1", "--stop-grace-seconds", "5")
    server.client("s3").create_bucket(Bucket="turns")
    jobs = ProcessingJobs(server, "turns", unique, wait_until)
    first, second, third = jobs.start(WAIT, "first"), jobs.start(WAIT, "second"), jobs.start(COUNT, "third")
    jobs.wait_for_line(first, "waiting")
    assert "ProcessingStartTime" not in jobs.describe(second)
    jobs.sagemaker.stop_processing_job(ProcessingJobName=second)
    assert jobs.wait(second)["ProcessingJobStatus"] == "Stopped"
    assert "ProcessingStartTime" not in jobs.describe(second)
    jobs.sagemaker.stop_processing_job(ProcessingJobName=first)
    assert jobs.wait(third)["ProcessingJobStatus"] == "Completed"

    fourth = jobs.start(WAIT, "fourth")
    jobs.wait_for_line(fourth, "waiting")
    folder = f"{server.data_dir}/jobs"
    assert processes(folder)
    assert server.stop() == 0
    assert not processes(folder)


def test_no_job_outlives_a_server_that_is_killed(
    start_server: Callable[..., Any], unique: Callable[[str], str], wait_until: Any
) -> None:
    server = start_server()
    server.client("s3").create_bucket(Bucket="killed")
    jobs = ProcessingJobs(server, "killed", unique, wait_until)
    marker = unique("marker")
    program = [sys.executable, "-c", "import time; time.sleep(600)", marker]
    child = f"import subprocess\nsubprocess.Popen({program!r}, start_new_session=True)\n"
    name = jobs.start(child + WAIT)
    jobs.wait_for_line(name, "waiting")
    folder = f"{server.data_dir}/jobs"
    assert processes(marker)
    assert processes(folder)
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait()
    wait_until(
        lambda: not processes(marker) and not processes(folder), 20, "the job and its children are gone"
    )


def test_an_ended_job_can_be_deleted_and_its_name_used_again(jobs: ProcessingJobs) -> None:
    name = jobs.start(WAIT)
    jobs.wait_for_line(name, "waiting")
    with pytest.raises(jobs.sagemaker.exceptions.ResourceInUse, match="is in status InProgress"):
        jobs.sagemaker.delete_processing_job(ProcessingJobName=name)
    jobs.sagemaker.stop_processing_job(ProcessingJobName=name)
    jobs.wait(name)
    jobs.sagemaker.delete_processing_job(ProcessingJobName=name)
    with pytest.raises(jobs.sagemaker.exceptions.ResourceNotFound):
        jobs.sagemaker.delete_processing_job(ProcessingJobName=name)
    jobs.start(COUNT)
    assert jobs.wait(name)["ProcessingJobStatus"] == "Completed"
