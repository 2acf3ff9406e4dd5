"""What a training job goes through on spot instances, what it costs, quotas, and what a job can't see.

Most tests run a server object in this process, whose settings they choose; S3 and CloudWatch Logs are those of the
shared server.
"""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local.sagemaker.command_line import parse_command_line
from local.sagemaker.errors import ResourceLimitExceeded, SageMakerError
from local.sagemaker.jobs import processing_jobs, training_jobs
from local.sagemaker.server import SageMakerServer
from local.sagemaker.settings import Settings
from tests.support.archives import archive
from tests.support.aws_names import IMAGE, IMAGE_URI, ROLE

DEADLINE_SECONDS = 60
PATIENT = """
import os, pathlib, signal, sys, time
mark = pathlib.Path(os.environ["MARK"])
left = sorted(os.listdir(os.environ["SM_MODEL_DIR"]))
first = not mark.exists()
mark.write_text(mark.read_text() + "again " if mark.exists() else "once ")
pathlib.Path(os.environ["SM_MODEL_DIR"], "model.txt").write_text(repr(left))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
while first or os.environ.get("FOR_EVER"):
    time.sleep(0.05)
"""


class Trainer:
    """Runs training jobs on server objects of one test."""

    def __init__(self, shared: Any, bucket: str, tmp_path: Path, unique: Any, wait_until: Any) -> None:
        self.s3 = shared.client("s3")
        self.url = shared.url
        self.bucket = bucket
        self.folder = tmp_path
        self.mark = tmp_path / "mark"
        self.unique = unique
        self.wait_until = wait_until
        self.servers: list[SageMakerServer] = []

    def serve(self, **settings: Any) -> SageMakerServer:
        """A server object."""
        data = self.folder / f"data-{len(self.servers)}"
        data.mkdir()
        # Roles and S3 are another process's here, so they can't be looked up in this one.
        chosen = Settings(
            images={IMAGE: Path(sys.executable)},
            check_roles=False,
            check_data=False,
            **{"stop_grace_seconds": 2.0} | settings,
        )
        self.servers.append(SageMakerServer.create(chosen, self.url, data))
        return self.servers[-1]

    def request(self, name: str, script: str = PATIENT, **changes: Any) -> dict[str, Any]:
        """A request for a spot job."""
        key = f"{self.unique(name)}.tar.gz"
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=archive({"train.py": script}))
        return {
            "TrainingJobName": self.unique(name),
            "AlgorithmSpecification": {"TrainingImage": IMAGE_URI, "TrainingInputMode": "File"},
            "RoleArn": ROLE,
            "OutputDataConfig": {"S3OutputPath": f"s3://{self.bucket}/out"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5},
            "EnableManagedSpotTraining": True,
            "StoppingCondition": {"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": 600},
            "Environment": {"MARK": str(self.mark)},
            "HyperParameters": {
                "sagemaker_program": "train.py",
                "sagemaker_submit_directory": f"s3://{self.bucket}/{key}",
            },
        } | changes

    def start(self, server: SageMakerServer, name: str, **changes: Any) -> str:
        """Start a spot job."""
        request = self.request(name, **changes)
        training_jobs.create_training_job(server, request)
        return str(request["TrainingJobName"])

    def interrupt(self, server: SageMakerServer, name: str) -> None:
        """Take a spot job's instance away, once."""
        server.faults.add({"kind": "spot_interruption", "name": name, "count": 1})

    def describe(self, server: SageMakerServer, name: str) -> dict[str, Any]:
        """Describe a job."""
        return training_jobs.describe_training_job(server, {"TrainingJobName": name})

    def wait(self, server: SageMakerServer, name: str) -> dict[str, Any]:
        """Wait for a job's end state."""

        def ended() -> dict[str, Any] | None:
            job = self.describe(server, name)
            return job if job["TrainingJobStatus"] in ("Completed", "Failed", "Stopped") else None

        return dict(self.wait_until(ended, DEADLINE_SECONDS, f"{name} ends"))

    def wait_for_mark(self, text: str) -> None:
        """Wait until the script has come as far as that."""
        self.wait_until(
            lambda: self.mark.exists() and self.mark.read_text() == text, DEADLINE_SECONDS, f"mark {text!r}"
        )


@pytest.fixture
def trainer(
    local_sagemaker: Any, bucket: str, tmp_path: Path, unique: Any, wait_until: Any
) -> Iterator[Trainer]:
    trainer = Trainer(local_sagemaker, bucket, tmp_path, unique, wait_until)
    yield trainer
    for server in trainer.servers:
        server.shutdown()


def statuses(job: dict[str, Any]) -> list[str]:
    return [each["Status"] for each in job["SecondaryStatusTransitions"]]


def test_a_spot_job_that_is_interrupted_starts_again_with_nothing_left(trainer: Trainer) -> None:
    server = trainer.serve(spot_share=0.25)
    name = trainer.start(server, "spot")
    trainer.wait_for_mark("once ")
    trainer.interrupt(server, name)
    job = trainer.wait(server, name)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    # AWS documentation, "Managed Spot Training Lifecycle".
    attempt = ["Starting", "Downloading", "Training"]
    assert statuses(job) == [*attempt, "Interrupted", *attempt, "Uploading", "Completed"]
    assert all(each["EndTime"] >= each["StartTime"] for each in job["SecondaryStatusTransitions"])
    assert job["BillableTimeInSeconds"] == math.ceil(job["TrainingTimeInSeconds"] * 0.25)
    assert trainer.mark.read_text() == "once again "
    body = trainer.s3.get_object(Bucket=trainer.bucket, Key=f"out/{name}/output/model.tar.gz")["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        assert tar.extractfile("model.txt").read() == b"[]"  # type: ignore[union-attr]


def test_a_spot_job_may_not_wait_longer_than_it_says(trainer: Trainer) -> None:
    server = trainer.serve(start_delay_seconds=30.0)
    condition = {"MaxRuntimeInSeconds": 1, "MaxWaitTimeInSeconds": 1}
    job = trainer.wait(server, trainer.start(server, "never", StoppingCondition=condition))
    assert job["TrainingJobStatus"] == "Stopped"
    assert statuses(job) == ["Starting", "Stopping", "MaxWaitTimeExceeded"]
    assert "TrainingStartTime" not in job
    assert "BillableTimeInSeconds" not in job


def test_a_spot_job_interrupted_too_often_ends_with_its_wait_time(trainer: Trainer) -> None:
    server = trainer.serve()
    condition = {"MaxRuntimeInSeconds": 4, "MaxWaitTimeInSeconds": 4}
    environment = {"MARK": str(trainer.mark), "FOR_EVER": "1"}
    name = trainer.start(server, "often", StoppingCondition=condition, Environment=environment)
    trainer.wait_for_mark("once ")
    trainer.interrupt(server, name)
    trainer.wait_for_mark("once again ")
    job = trainer.wait(server, name)
    assert job["TrainingJobStatus"] == "Stopped"
    attempt = ["Starting", "Downloading", "Training"]
    ending = ["Stopping", "Uploading", "MaxWaitTimeExceeded"]
    assert statuses(job) == [*attempt, "Interrupted", *attempt, *ending]
    assert job["ModelArtifacts"]["S3ModelArtifacts"].endswith("/output/model.tar.gz")


def test_a_job_on_demand_keeps_its_instance_and_pays_in_full(trainer: Trainer) -> None:
    server = trainer.serve(start_delay_seconds=0.3)
    condition = {"MaxRuntimeInSeconds": 600}
    name = trainer.start(server, "demand", EnableManagedSpotTraining=False, StoppingCondition=condition)
    starting = trainer.describe(server, name)["SecondaryStatusTransitions"][0]
    assert starting["Status"] == "Starting"
    trainer.wait_for_mark("once ")
    trainer.interrupt(server, name)
    training_jobs.stop_training_job(server, {"TrainingJobName": name})
    job = trainer.wait(server, name)
    assert statuses(job) == ["Starting", "Downloading", "Training", "Stopping", "Uploading", "Stopped"]
    assert job["SecondaryStatusTransitions"][0]["StatusMessage"] == "Preparing the instances for training"
    assert job["BillableTimeInSeconds"] == job["TrainingTimeInSeconds"]


def test_a_stop_while_the_instance_comes_up(trainer: Trainer) -> None:
    server = trainer.serve(start_delay_seconds=60.0)
    name = trainer.start(server, "early")
    training_jobs.stop_training_job(server, {"TrainingJobName": name})
    assert statuses(trainer.wait(server, name)) == ["Starting", "Stopping", "Stopped"]


def test_quotas_count_what_runs(trainer: Trainer) -> None:
    quotas = {"ml.m5.large for spot training job usage": 1, "ml.m5.xlarge for spot training job usage": 0}
    server = trainer.serve(quotas=quotas)
    first = trainer.start(server, "first")
    with pytest.raises(ResourceLimitExceeded) as refused:
        trainer.start(server, "second")
    assert refused.value.message == (
        "The account-level service limit 'ml.m5.large for spot training job usage' is 1 Instances, with current "
        "utilization of 1 Instances and a request delta of 1 Instances. Please use AWS Service Quotas to request "
        "an increase for this quota. If AWS Service Quotas is not available, contact AWS support to request an "
        "increase for this quota."
    )
    with pytest.raises(SageMakerError, match="must be unique") as taken:
        trainer.start(server, "first")
    assert taken.value.code == "ResourceInUse"
    with pytest.raises(SageMakerError, match="Requested resource not found"):
        trainer.describe(server, trainer.unique("second"))
    resources = {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 5}
    with pytest.raises(
        ResourceLimitExceeded, match=r"is 0 Instances, with current utilization of 0 Instances"
    ):
        trainer.start(server, "large", ResourceConfig=resources)
    training_jobs.stop_training_job(server, {"TrainingJobName": first})
    trainer.wait(server, first)
    assert trainer.start(server, "second")


def test_the_command_line_takes_quotas_by_their_names(capsys: pytest.CaptureFixture[str]) -> None:
    settings = parse_command_line(["--quota", "ml.t3.medium for processing job usage=4"])
    assert settings.quotas == {"ml.t3.medium for processing job usage": 4}
    with pytest.raises(SystemExit):
        parse_command_line(["--quota", "ml.t3.medium=4"])
    assert "'ml.m5.large for endpoint usage=4'" in capsys.readouterr().err


#: SM_<NAME> of environment.py in the public sagemaker-training toolkit, without SM_CHANNEL_* and SM_HP_*.
TOOLKIT_VARIABLES = {
    "HOSTS",
    "NETWORK_INTERFACE_NAME",
    "HPS",
    "USER_ENTRY_POINT",
    "FRAMEWORK_PARAMS",
    "RESOURCE_CONFIG",
    "INPUT_DATA_CONFIG",
    "OUTPUT_DATA_DIR",
    "CHANNELS",
    "CURRENT_HOST",
    "CURRENT_INSTANCE_TYPE",
    "CURRENT_INSTANCE_GROUP",
    "CURRENT_INSTANCE_GROUP_HOSTS",
    "INSTANCE_GROUPS",
    "INSTANCE_GROUPS_DICT",
    "DISTRIBUTION_INSTANCE_GROUPS",
    "IS_HETERO",
    "MODULE_NAME",
    "LOG_LEVEL",
    "FRAMEWORK_MODULE",
    "INPUT_DIR",
    "INPUT_CONFIG_DIR",
    "OUTPUT_DIR",
    "NUM_CPUS",
    "NUM_GPUS",
    "MODEL_DIR",
    "MODULE_DIR",
    "TRAINING_ENV",
    "USER_ARGS",
    "OUTPUT_INTERMEDIATE_DIR",
}


def test_the_variables_are_those_of_the_training_toolkit(trainer: Trainer) -> None:
    server = trainer.serve()
    script = "import json, os, pathlib\npathlib.Path(os.environ['MARK']).write_text(json.dumps(dict(os.environ)))\n"
    request = trainer.request("environment", script)
    training_jobs.create_training_job(server, request)
    assert trainer.wait(server, request["TrainingJobName"])["TrainingJobStatus"] == "Completed"
    environment = json.loads(trainer.mark.read_text())
    assert not {f"SM_{name}" for name in TOOLKIT_VARIABLES} - set(environment)
    assert environment["SM_CURRENT_INSTANCE_TYPE"] == "ml.m5.large"
    assert json.loads(environment["SM_CURRENT_INSTANCE_GROUP_HOSTS"]) == ["algo-1"]
    assert json.loads(environment["SM_INSTANCE_GROUPS"]) == ["homogeneousCluster"]
    assert environment["SM_IS_HETERO"] == "false"
    assert environment["SAGEMAKER_REGION"] == "us-east-1"


LOOK = """
import json, os, pathlib, subprocess, sys
root = pathlib.Path(os.environ["TMPDIR"]).parent
data = root.parent.parent
seen = sorted(str(path.relative_to(data)) for path in data.glob("*/*"))
undone = subprocess.run(["umount", str(data)], capture_output=True).returncode == 0
try:
    (data / "jobs" / "x").write_text("x")
    written = True
except OSError:
    written = False
neighbours = []
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        neighbours.append(os.listdir(f"/proc/{pid}/cwd/jobs")) if int(pid) != os.getpid() else None
    except OSError:
        pass
pathlib.Path(os.environ["MARK"]).write_text(json.dumps([seen, undone, written, str(root.relative_to(data))]))
"""


def namespaces_allowed() -> bool:
    return (
        subprocess.run(["unshare", "--user", "--mount", "true"], capture_output=True, check=False).returncode
        == 0
    )


@pytest.mark.skipif(sys.platform != "linux" or not namespaces_allowed(), reason="no user namespaces here")
def test_a_job_sees_nothing_of_other_jobs_or_of_the_server(trainer: Trainer) -> None:
    server = trainer.serve()
    other = trainer.folder / "data-0" / "jobs" / "other-job"
    other.mkdir(parents=True)
    (other / "secret.txt").write_text("a secret")
    request = {
        "ProcessingJobName": trainer.unique("look"),
        "RoleArn": ROLE,
        "AppSpecification": {"ImageUri": IMAGE_URI, "ContainerEntrypoint": ["python3", "-c", LOOK]},
        "ProcessingResources": {
            "ClusterConfig": {"InstanceType": "ml.t3.medium", "InstanceCount": 1, "VolumeSizeInGB": 5}
        },
        "Environment": {"MARK": str(trainer.mark)},
    }
    processing_jobs.create_processing_job(server, request)

    def ended() -> str | None:
        job = processing_jobs.describe_processing_job(server, request)
        return None if job["ProcessingJobStatus"] == "InProgress" else str(job["ProcessingJobStatus"])

    assert trainer.wait_until(ended, DEADLINE_SECONDS, "the job ends") == "Completed"
    seen, undone, written, own = json.loads(trainer.mark.read_text())
    assert seen == [own]
    assert not undone
    assert not written
    assert (other / "secret.txt").read_text() == "a secret"


@pytest.mark.parametrize("count", [2, 3])
def test_several_instances_are_refused_by_name(trainer: Trainer, count: int) -> None:
    server = trainer.serve()
    resources = {"InstanceType": "ml.m5.large", "InstanceCount": count, "VolumeSizeInGB": 5}
    with pytest.raises(SageMakerError, match=f"does not support {count} instances"):
        trainer.start(server, "many", ResourceConfig=resources)


def test_wait_times_of_jobs_are_checked(trainer: Trainer) -> None:
    server = trainer.serve()
    condition: dict[str, Any] = {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 30}
    checks: list[tuple[dict[str, Any], str]] = [
        ({"StoppingCondition": condition}, "MaxWaitTimeInSeconds"),
        ({"EnableManagedSpotTraining": False}, "MaxWaitTimeInSeconds"),
    ]
    for changes, message in checks:
        with pytest.raises(SageMakerError, match=message):
            trainer.start(server, "wait", **changes)
