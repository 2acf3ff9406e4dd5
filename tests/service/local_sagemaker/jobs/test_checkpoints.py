"""Checkpoints of a spot job outlive its instance; and how else a channel may be asked for."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from typing import Any

import httpx

from tests.support.archives import archive
from tests.support.aws_names import IMAGE_URI, ROLE
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.waiting import wait_until

SCRIPT = """
import json, pathlib, time
ml = pathlib.Path("/opt/ml")
state = ml / "checkpoints/epochs/state.txt"
if not state.exists():
    state.parent.mkdir()
    state.write_text("one")
    time.sleep(600)
names = ("inputdataconfig", "checkpointconfig")
config = {name: json.loads((ml / f"input/config/{name}.json").read_text()) for name in names}
files = sorted(str(path.relative_to(ml / "input/data/train")) for path in (ml / "input/data/train").rglob("*.csv"))
(ml / "model/seen.json").write_text(json.dumps({"state": state.read_text(), "files": files, **config}))
state.write_text("one, two")
"""


def test_checkpoints_outlive_the_spot_instance(
    local_sagemaker: LocalSageMaker, unique: Callable[[str], str]
) -> None:
    server, name = local_sagemaker, unique("keeps")
    s3, sagemaker = server.client("s3"), server.client("sagemaker")
    s3.create_bucket(Bucket=name)

    def body(key: str) -> bytes:
        try:
            return bytes(s3.get_object(Bucket=name, Key=key)["Body"].read())
        except s3.exceptions.NoSuchKey:
            return b""

    s3.put_object(Bucket=name, Key="code.tar.gz", Body=archive({"train.py": SCRIPT}))
    for key in ("city=austin/a.csv", "city=waco/b.csv", "left/out.csv"):
        s3.put_object(Bucket=name, Key=f"data/{key}", Body=b"1,2\n")
    manifest = [{"prefix": f"s3://{name}/data/"}, "city=austin/a.csv", "city=waco/b.csv"]
    s3.put_object(Bucket=name, Key="train.manifest", Body=json.dumps(manifest).encode())
    s3.put_object(
        Bucket=name, Key="kept-elsewhere/x.txt", Body=b"of another job, whose prefix begins like this one"
    )
    source = {
        "S3DataType": "ManifestFile",
        "S3Uri": f"s3://{name}/train.manifest",
        "S3DataDistributionType": "ShardedByS3Key",
    }
    checkpoints = {"S3Uri": f"s3://{name}/kept"}
    sagemaker.create_training_job(
        TrainingJobName=name,
        AlgorithmSpecification={"TrainingImage": IMAGE_URI, "TrainingInputMode": "FastFile"},
        RoleArn=ROLE,
        InputDataConfig=[{"ChannelName": "train", "DataSource": {"S3DataSource": source}}],
        OutputDataConfig={"S3OutputPath": f"s3://{name}/out"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5},
        StoppingCondition={"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": 600},
        EnableManagedSpotTraining=True,
        CheckpointConfig=checkpoints,
        HyperParameters={
            "sagemaker_program": '"train.py"',
            "sagemaker_submit_directory": f'"s3://{name}/code.tar.gz"',
        },
    )
    state = "kept/epochs/state.txt"
    wait_until(lambda: body(state) == b"one", 60, "the checkpoint is in S3 while the script runs")
    fault = {"kind": "spot_interruption", "name": name, "count": 1}
    added = httpx.post(f"{server.url}/_local/faults", json=fault, trust_env=False).json()

    def ended() -> dict[str, Any] | None:
        found = dict(sagemaker.describe_training_job(TrainingJobName=name))
        return found if found["TrainingJobStatus"] in ("Completed", "Failed", "Stopped") else None

    job = wait_until(ended, 60, "the job has ended")
    for each in added["faults"]:
        if each.get("name") == name:
            httpx.delete(f"{server.url}/_local/faults/{each['id']}", trust_env=False)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert "Interrupted" in [each["Status"] for each in job["SecondaryStatusTransitions"]]
    assert job["CheckpointConfig"] == checkpoints
    assert body(state) == b"one, two", "what was left at the end is copied too"
    with tarfile.open(fileobj=io.BytesIO(body(f"out/{name}/output/model.tar.gz"))) as tar:
        seen = json.load(tar.extractfile("seen.json"))  # type: ignore[arg-type]
    assert seen == {
        "state": "one",
        "files": ["city=austin/a.csv", "city=waco/b.csv"],
        "inputdataconfig": {
            "train": {
                "TrainingInputMode": "FastFile",
                "S3DistributionType": "ShardedByS3Key",
                "RecordWrapperType": "None",
            }
        },
        "checkpointconfig": {**checkpoints, "LocalPath": "/opt/ml/checkpoints"},
    }
