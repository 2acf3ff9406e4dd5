"""The SageMaker SDK's ModelTrainer as it is published: its own scripts, its channels, the metrics that it reads."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.notebooks import in_environment, needs_notebooks

TRAIN = """
import json, os, pathlib
rows = pathlib.Path(os.environ["SM_CHANNEL_TRAIN"], "train.csv").read_text().split()
print("args", json.loads(os.environ["SM_HPS"]))
print(f"rows={len(rows)};")
pathlib.Path(os.environ["SM_MODEL_DIR"], "model.txt").write_text(str(len(rows)))
"""
CLIENT = """
import sys
import boto3
from sagemaker.core.helper.session_helper import Session
from sagemaker.core.training.configs import Compute, InputData, MetricDefinition, SourceCode
from sagemaker.train import ModelTrainer
bucket, role, image = sys.argv[1:]
no_telemetry = {"SchemaVersion": "1.0", "SageMaker": {"PythonSDK": {"Modules": {"TelemetryOptOut": True}}}}
trainer = ModelTrainer(
    sagemaker_session=Session(default_bucket=bucket, sagemaker_config=no_telemetry),
    role=role,
    training_image=image,
    base_job_name=bucket,
    source_code=SourceCode(source_dir="source", entry_script="train.py"),
    compute=Compute(instance_type="ml.m5.large", instance_count=1),
    hyperparameters={"depth": 3, "city": "austin"},
).with_metric_definitions([MetricDefinition(name="rows", regex="rows=([0-9]+);")])
trainer.train(input_data_config=[InputData(channel_name="train", data_source="data")], wait=True)
job = trainer._latest_training_job
job.refresh()
print(job.training_job_status, [(each.metric_name, each.value) for each in job.final_metric_data_list])
"""


@needs_notebooks
@pytest.mark.skipif(shutil.which("pip3") is None, reason="the SDK's own script wants a pip3 on the PATH")
def test_a_script_of_ones_own_is_trained(
    local_sagemaker: Any, bucket: str, unique: Callable[[str], str], tmp_path: Path
) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "train.py").write_text(TRAIN, encoding="utf-8")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.csv").write_text("1\n2\n3\n", encoding="utf-8")
    role = "arn:aws:iam::123456789012:role/city-fleet"
    image = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:3.2-0"
    said = in_environment(
        CLIENT,
        bucket,
        role,
        image,
        cwd=tmp_path,
        environ=dict(local_sagemaker.variables) | {"HOME": str(tmp_path)},
    )
    assert said.splitlines()[-1] == "Completed [('rows', 3.0)]"
    sagemaker = local_sagemaker.client("sagemaker")
    (found,) = sagemaker.list_training_jobs(NameContains=bucket)["TrainingJobSummaries"]
    job = sagemaker.describe_training_job(TrainingJobName=found["TrainingJobName"])
    assert sorted(each["ChannelName"] for each in job["InputDataConfig"]) == ["code", "sm_drivers", "train"]
    assert job["AlgorithmSpecification"]["ContainerEntrypoint"] == ["/bin/bash"]
