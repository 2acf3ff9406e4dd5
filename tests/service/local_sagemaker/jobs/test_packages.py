"""Jobs that install packages of their own, and images with a train command of their own."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import itertools
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local.sagemaker.processes.packages import Packages
from local.sagemaker.processes.sandbox import Sandbox
from tests.support.archives import archive
from tests.support.aws_names import IMAGE_URI, ROLE
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.paths import ROOT
from tests.support.waiting import wait_until

USES_IT = """
import os, pathlib, sys
import numpy, tiny_words
folder = pathlib.Path(os.environ.get("SM_MODEL_DIR") or sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
(folder / "said.txt").write_text(f"{tiny_words.WORD} {numpy.__version__}")
print(tiny_words.WORD)
"""
COUNTS = """\
#!/bin/sh
cp "$SAGEMAKER_BASE_DIR"/input/data/train/* "$SAGEMAKER_BASE_DIR"/model/
echo trained by the image itself
"""


def digest(text: str) -> str:
    """The digest of a file as a wheel's RECORD has it."""
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


def wheel(folder: Path) -> str:
    """Write the package tiny_words and return its requirement."""
    files = {
        "tiny_words.py": "WORD = 'hello'\n",
        "tiny_words-1.0.dist-info/METADATA": METADATA,
        "tiny_words-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},sha256={digest(text)},{len(text)}\n" for name, text in files.items())
    files["tiny_words-1.0.dist-info/RECORD"] = f"{record}tiny_words-1.0.dist-info/RECORD,,\n"
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        for name, text in files.items():
            file.writestr(name, text)
    (folder / "tiny_words-1.0-py3-none-any.whl").write_bytes(made.getvalue())
    return f"tiny-words==1.0 --hash=sha256:{hashlib.sha256(made.getvalue()).hexdigest()}\n"


METADATA = "Metadata-Version: 2.1\nName: tiny-words\nVersion: 1.0\nRequires-Dist: numpy\n"


class Jobs:
    """Jobs of one test."""

    def __init__(
        self, server: LocalSageMaker, bucket: str, unique: Callable[[str], str], links: Path
    ) -> None:
        self.sagemaker, self.s3, self.bucket, self.unique = (
            server.client("sagemaker"),
            server.client("s3"),
            bucket,
            unique,
        )
        self.count = itertools.count(1)
        self.environment = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(links)}

    def put(self, key: str, body: bytes) -> str:
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=body)
        return f"s3://{self.bucket}/{key}"

    def train(self, image: str = IMAGE_URI, **hyperparameters: str) -> dict[str, Any]:
        name = self.unique(f"job{next(self.count)}")
        source = {
            "S3DataType": "S3Prefix",
            "S3Uri": self.put(f"{name}/data/rows.csv", b"1\n").rsplit("/", 1)[0] + "/",
        }
        self.sagemaker.create_training_job(
            TrainingJobName=name, RoleArn=ROLE, HyperParameters=hyperparameters, Environment=self.environment,
            AlgorithmSpecification={"TrainingImage": image, "TrainingInputMode": "File"},
            InputDataConfig=[{"ChannelName": "train", "DataSource": {"S3DataSource": source}}],
            OutputDataConfig={"S3OutputPath": f"s3://{self.bucket}/out"},
            ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5},
            StoppingCondition={"MaxRuntimeInSeconds": 600},
        )  # fmt: skip
        return self.ended(self.sagemaker.describe_training_job, "TrainingJob", name)

    def process(self, script: str, requirements: str) -> dict[str, Any]:
        name, folder = self.unique(f"job{next(self.count)}"), "/opt/ml/processing/input/code"
        self.put(f"{name}/code/run.py", script.encode())
        self.put(f"{name}/code/requirements.txt", requirements.encode())
        code = {
            "S3Uri": f"s3://{self.bucket}/{name}/code/",
            "LocalPath": folder,
            "S3DataType": "S3Prefix",
            "S3InputMode": "File",
        }
        out = {
            "S3Uri": f"s3://{self.bucket}/{name}/out",
            "LocalPath": "/opt/ml/processing/output",
            "S3UploadMode": "EndOfJob",
        }
        install = f"python3 -m pip install --require-hashes -r {folder}/requirements.txt"
        entry = ["/bin/sh", "-c", f'{install} && exec python3 {folder}/run.py "$@"', "sh"]
        self.sagemaker.create_processing_job(
            ProcessingJobName=name, RoleArn=ROLE, Environment=self.environment,
            AppSpecification={
                "ImageUri": IMAGE_URI, "ContainerEntrypoint": entry, "ContainerArguments": [out["LocalPath"]]
            },
            ProcessingInputs=[{"InputName": "code", "S3Input": code}],
            ProcessingOutputConfig={"Outputs": [{"OutputName": "out", "S3Output": out}]},
            ProcessingResources={
                "ClusterConfig": {"InstanceType": "ml.t3.medium", "InstanceCount": 1, "VolumeSizeInGB": 5}
            },
            StoppingCondition={"MaxRuntimeInSeconds": 600},
        )  # fmt: skip
        return self.ended(self.sagemaker.describe_processing_job, "ProcessingJob", name)

    def ended(self, describe: Any, kind: str, name: str) -> dict[str, Any]:
        def over() -> dict[str, Any] | None:
            found: dict[str, Any] = describe(**{f"{kind}Name": name})
            return found if found[f"{kind}Status"] in ("Completed", "Failed", "Stopped") else None

        found: dict[str, Any] = wait_until(over, 120, f"{name} ends")
        return found

    def code(self, requirements: str) -> dict[str, str]:
        made = archive({"train.py": USES_IT, "requirements.txt": requirements})
        uri = self.put(f"{self.unique(f'code{next(self.count)}')}/code.tar.gz", made)
        return {"sagemaker_program": "train.py", "sagemaker_submit_directory": uri}


@pytest.fixture
def jobs(job_server: LocalSageMaker, job_bucket: str, unique: Callable[[str], str], tmp_path: Path) -> Jobs:
    return Jobs(job_server, job_bucket, unique, tmp_path)


def test_requirements_are_installed_for_the_job_alone_and_held_against_their_hashes(
    jobs: Jobs, tmp_path: Path
) -> None:
    pinned = wheel(tmp_path)
    trained = jobs.train(**jobs.code(pinned))
    assert trained["TrainingJobStatus"] == "Completed", trained.get("FailureReason")
    processed = jobs.process(USES_IT, pinned)
    assert processed["ProcessingJobStatus"] == "Completed", processed.get("FailureReason")
    forged = pinned[:-10] + "0" * 9 + "\n"
    refused = jobs.train(**jobs.code(forged))
    assert refused["TrainingJobStatus"] == "Failed"
    assert "requirements.txt can't be installed" in refused["FailureReason"]
    assert jobs.process(USES_IT, forged)["ProcessingJobStatus"] == "Failed"
    image = ROOT / ".venv-image" / "bin" / "python"
    assert (
        subprocess.run([image, "-c", "import tiny_words"], capture_output=True, check=False).returncode == 1
    )


def test_what_pip_has_downloaded_is_kept_for_the_next_job_with_the_same_requirements(tmp_path: Path) -> None:
    asked = tmp_path / "requirements.txt"
    asked.write_text("tiny-words==1.0\n")

    def packages(requirements: str = "tiny-words==1.0\n") -> tuple[Sandbox, Packages]:
        asked.write_text(requirements)
        sandbox = Sandbox(tmp_path / "jobs", "job")
        return sandbox, Packages(sandbox, Path(sys.executable), tmp_path / "kept", [asked])

    sandbox, first = packages()
    cache = Path(first.variables()["PIP_CACHE_DIR"])
    assert not cache.exists()
    (cache / "http-v2" / "a").mkdir(parents=True)
    (cache / "http-v2" / "a" / "body").write_bytes(b"a wheel")
    first.keep()
    sandbox.remove()
    for requirements, found in (("tiny-words==1.0\n", True), ("tiny-words==2.0\n", False)):
        _, next_one = packages(requirements)
        body = Path(next_one.variables()["PIP_CACHE_DIR"]) / "http-v2" / "a" / "body"
        assert body.is_file() == found
    # What leads out of the sandbox is not kept, and is no reason to fail.
    other, last = packages("tiny-words==3.0\n")
    Path(last.variables()["PIP_CACHE_DIR"]).mkdir()
    (other.root / "pip-cache" / "link").symlink_to("/etc/hostname")
    last.keep()
    assert "link" not in {path.name for path in (tmp_path / "kept").rglob("*")}


def test_an_image_of_ones_own_runs_its_own_train_command(
    start_server: Callable[..., LocalSageMaker], unique: Callable[[str], str], tmp_path: Path
) -> None:
    folder = tmp_path / "image"
    folder.mkdir()
    (folder / "python").symlink_to(sys.executable)
    (folder / "train").write_text(COUNTS)
    (folder / "train").chmod(0o755)
    server = start_server("--image", f"my-training:1={folder / 'python'}")
    server.client("s3").create_bucket(Bucket="own-images")
    jobs = Jobs(server, "own-images", unique, tmp_path)
    done = jobs.train("123456789012.dkr.ecr.us-east-1.amazonaws.com/my-training:1")
    assert done["TrainingJobStatus"] == "Completed", done.get("FailureReason")
    key = done["ModelArtifacts"]["S3ModelArtifacts"].split("/", 3)[3]
    packed = jobs.s3.get_object(Bucket="own-images", Key=key)["Body"].read()
    assert b"rows.csv" in gzip.decompress(packed)
    with pytest.raises(jobs.sagemaker.exceptions.ClientError, match="built-in algorithm"):
        jobs.train(IMAGE_URI)
