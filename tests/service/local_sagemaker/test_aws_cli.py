"""The aws command line, unchanged: only AWS_ENDPOINT_URL says where AWS is."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.aws_names import IMAGE_URI, ROLE
from tests.support.waiting import wait_until

INFERENCE = """
def model_fn(model_dir):
    return open(model_dir + "/model.txt").read()
def input_fn(body, content_type):
    return body if isinstance(body, str) else body.decode()
def predict_fn(text, model):
    return model + text
def output_fn(prediction, accept):
    return prediction
"""


# Does what the program `aws` does, in a fork for each command: its imports take a second, and are done once.
ALL_COMMANDS = """
import json, os, sys
import awscli.clidriver, awscli.handlers
for line in sys.stdin:
    words, *paths = json.loads(line)
    if (child := os.fork()) == 0:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for descriptor, path in enumerate(paths, 1):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), descriptor)
        sys.argv = ["aws", *words]
        sys.exit(awscli.clidriver.main())
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Aws:
    """Runs ``aws`` against a server."""

    def __init__(self, server: Any, folder: Path) -> None:
        self._folder = folder
        self._program = subprocess.Popen(
            [sys.executable, "-c", ALL_COMMANDS],
            env=server.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """Let the program end."""
        self._program.communicate()

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command."""
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        out, error = self._folder / "stdout", self._folder / "stderr"
        command = ["--output", "json", *words]
        print(json.dumps([command, str(out), str(error)]), file=self._program.stdin, flush=True)
        code = int(self._program.stdout.readline())
        return subprocess.CompletedProcess(command, code, out.read_text(), error.read_text())

    def __call__(self, *words: Any, **options: Any) -> Any:
        """Run a command that must go well, and answer what it prints: ``aws("s3api", key="value")``."""
        for name, value in options.items():
            words = (*words, f"--{name.replace('_', '-')}", value)
        done = self.run(*(each if isinstance(each, str) else json.dumps(each) for each in words))
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.startswith(("{", "[")) else done.stdout


@pytest.fixture(scope="module")
def aws(local_sagemaker: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    found = Aws(local_sagemaker, tmp_path_factory.mktemp("aws"))
    yield found
    found.close()


def test_the_program_itself_answers(local_sagemaker: Any, bucket: str) -> None:
    command = [str(Path(sys.executable).with_name("aws")), "--output", "json", "s3api", "list-buckets"]
    done = subprocess.run(
        command, env=local_sagemaker.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert bucket in [each["Name"] for each in json.loads(done.stdout)["Buckets"]]


def archive(path: Path, name: str, text: str) -> str:
    """Write a tar.gz of one file; answers its path."""
    with tarfile.open(path, mode="w:gz") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(text.encode())
        tar.addfile(member, io.BytesIO(text.encode()))
    return str(path)


def test_jobs(
    aws: Aws, bucket: str, tmp_path: Path, local_sagemaker: Any, unique: Callable[[str], str]
) -> None:
    name = unique("cli")
    (tmp_path / "rows.csv").write_text("1\n2\n")
    aws("s3", "cp", str(tmp_path / "rows.csv"), f"s3://{bucket}/data/rows.csv")
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/data/"}}
    created = aws(
        "sagemaker",
        "create-training-job",
        training_job_name=name,
        role_arn=ROLE,
        algorithm_specification={
            "TrainingImage": IMAGE_URI,
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["python3", "-c", "print('trained')"],
        },
        input_data_config=[{"ChannelName": "train", "DataSource": source}],
        output_data_config={"S3OutputPath": f"s3://{bucket}/out"},
        resource_config={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5},
        stopping_condition="MaxRuntimeInSeconds=60",
        tags="Key=city,Value=austin",
    )
    assert created["TrainingJobArn"].endswith(f":training-job/{name}")
    sagemaker = local_sagemaker.client("sagemaker")
    # The command line's own waiter looks once in two minutes.
    wait_until(
        lambda: sagemaker.describe_training_job(TrainingJobName=name)["TrainingJobStatus"] != "InProgress",
        60,
        "the job ends",
    )
    aws("sagemaker", "wait", "training-job-completed-or-stopped", training_job_name=name)
    described = aws("sagemaker", "describe-training-job", training_job_name=name)
    assert described["TrainingJobStatus"] == "Completed"
    assert aws("sagemaker", "list-tags", resource_arn=created["TrainingJobArn"])["Tags"] == [
        {"Key": "city", "Value": "austin"}
    ]
    found = aws(
        "sagemaker", "search", resource="TrainingJob",
        search_expression={"Filters": [{"Name": "TrainingJobName", "Value": name}]},
    )  # fmt: skip
    assert [each["TrainingJob"]["TrainingJobArn"] for each in found["Results"]] == [created["TrainingJobArn"]]
    events = aws(
        "logs", "filter-log-events", log_group_name="/aws/sagemaker/TrainingJobs", log_stream_name_prefix=name
    )["events"]
    assert "trained" in [event["message"] for event in events]
    refused = aws.run("sagemaker", "stop-training-job", "--training-job-name", name)
    assert refused.returncode != 0
    assert "(ValidationException)" in refused.stderr
    assert "because the training job is in status Completed" in refused.stderr


def test_endpoints(
    aws: Aws, bucket: str, tmp_path: Path, local_sagemaker: Any, unique: Callable[[str], str]
) -> None:
    name = unique("cli")
    model = archive(tmp_path / "model.tar.gz", "model.txt", "predicted ")
    code = archive(tmp_path / "code.tar.gz", "inference.py", INFERENCE)
    aws("s3", "cp", model, f"s3://{bucket}/models/austin.tar.gz")
    aws("s3", "cp", code, f"s3://{bucket}/code.tar.gz")
    environment = {
        "SAGEMAKER_PROGRAM": "inference.py",
        "SAGEMAKER_SUBMIT_DIRECTORY": f"s3://{bucket}/code.tar.gz",
    }
    container = {
        "Image": IMAGE_URI,
        "Mode": "MultiModel",
        "ModelDataUrl": f"s3://{bucket}/models/",
        "Environment": environment,
    }
    aws("sagemaker", "create-model", model_name=name, execution_role_arn=ROLE, containers=[container])
    listed = aws("sagemaker", "list-models", name_contains=name)
    assert [each["ModelName"] for each in listed["Models"]] == [name]
    variant = f"VariantName=all,ModelName={name},InstanceType=ml.m5.large,InitialInstanceCount=1"
    aws("sagemaker", "create-endpoint-config", endpoint_config_name=name, production_variants=variant)
    aws("sagemaker", "create-endpoint", endpoint_name=name, endpoint_config_name=name)
    sagemaker = local_sagemaker.client("sagemaker")
    # The command line's own waiter looks once in half a minute.
    wait_until(
        lambda: sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] != "Creating",
        60,
        "the endpoint is in service",
    )
    aws("sagemaker", "wait", "endpoint-in-service", endpoint_name=name)
    answer = tmp_path / "answer.txt"
    question = tmp_path / "question.txt"
    question.write_text("2")
    aws(
        "sagemaker-runtime", "invoke-endpoint", "--endpoint-name", name, "--target-model", "austin.tar.gz",
        "--content-type", "text/csv", "--body", f"fileb://{question}", str(answer),
    )  # fmt: skip
    assert answer.read_text() == "predicted 2"
    for resource in ("endpoint", "endpoint-config", "model"):
        aws("sagemaker", f"delete-{resource}", f"--{resource}-name", name)
    refused = aws.run("sagemaker", "describe-model", "--model-name", f"{name}_no")
    assert refused.returncode != 0
    assert "(ValidationException)" in refused.stderr
    assert "at 'modelName' failed to satisfy constraint" in refused.stderr
