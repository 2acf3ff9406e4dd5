"""The real job of many cities at the local SageMaker: channels by manifests, results file by file, a log by city."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from city_fleet.jobs.code_bundle import CodeBundle
from city_fleet.plan import FixedChampion
from tests.support.archives import archive
from tests.support.aws_names import IMAGE_URI, ROLE
from tests.support.cohort_jobs import united
from tests.support.parent_jobs import PlannedJobs, write_texas
from tests.support.paths import SCRIPTS

DEADLINE_SECONDS = 90
QUICK = ({"algorithm": "xgboost", "hyperparameters": {"max_depth": 2, "num_boost_round": 20}},)
CITIES = KILLED, GOOD, LITTLE = ("dallas", "austin", "abilene")
HOOK = f"""
import os, signal
def features(frame, context):
    if context.city == "{KILLED}":
        print("last words", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    return frame
"""


def test_one_job_does_every_city(
    job_server: Any, job_bucket: str, unique: Callable[[str], str], wait_until: Any, tmp_path: Path
) -> None:
    sagemaker, s3, logs = (job_server.client(name) for name in ("sagemaker", "s3", "logs"))
    write_texas(tmp_path / "raw", CITIES, **{LITTLE: 2001})
    target = f"{GOOD}/20140801T000000Z-0123456789ab.tar.gz"
    champion = FixedChampion(target, '"e"', "20140801T000000Z")
    items = [
        united(
            PlannedJobs(
                tmp_path / city,
                tmp_path / "raw",
                city,
                candidates=QUICK,
                champion=champion if city == GOOD else None,
            )
        )
        for city in CITIES
    ]
    settings = {"format_version": 1, "as_of": "20150801T000000Z", "raw_uri": f"s3://{job_bucket}/raw/"}
    scripts = dict(CodeBundle.load(SCRIPTS).files) | {"features.py": HOOK.encode()}
    raw = [f"city={city}/data.csv" for city in CITIES]
    objects = {
        "code.tar.gz": archive(scripts),
        "settings/settings.json": json.dumps(settings | {"cities": items}).encode(),
        "raw.manifest": json.dumps([{"prefix": f"s3://{job_bucket}/raw/"}, *raw]).encode(),
        "champions.manifest": json.dumps([{"prefix": f"s3://{job_bucket}/models/"}, target]).encode(),
        f"models/{target}": b"no archive at all",
        **{f"raw/{key}": (tmp_path / "raw" / key).read_bytes() for key in raw},
    }
    for key, body in objects.items():
        s3.put_object(Bucket=job_bucket, Key=key, Body=body)
    name = unique("cohort")
    channels = {
        "settings": ("S3Prefix", "settings/"),
        "raw": ("ManifestFile", "raw.manifest"),
        "champions": ("ManifestFile", "champions.manifest"),
    }
    sagemaker.create_training_job(
        TrainingJobName=name,
        AlgorithmSpecification={"TrainingImage": IMAGE_URI, "TrainingInputMode": "File"},
        RoleArn=ROLE,
        InputDataConfig=[
            {
                "ChannelName": channel,
                "DataSource": {
                    "S3DataSource": {"S3DataType": kind, "S3Uri": f"s3://{job_bucket}/{key}"},
                },
            }
            for channel, (kind, key) in channels.items()
        ],
        OutputDataConfig={"S3OutputPath": f"s3://{job_bucket}/out", "CompressionType": "NONE"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5},
        StoppingCondition={"MaxRuntimeInSeconds": 600},
        HyperParameters={
            "sagemaker_program": json.dumps("cohort.py"),
            "sagemaker_submit_directory": json.dumps(f"s3://{job_bucket}/code.tar.gz"),
        },
    )

    def ended() -> dict[str, Any] | None:
        job = sagemaker.describe_training_job(TrainingJobName=name)
        return job if job["TrainingJobStatus"] in ("Completed", "Failed", "Stopped") else None

    job = wait_until(ended, DEADLINE_SECONDS, f"{name} ends")
    stream = logs.describe_log_streams(
        logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix=f"{name}/"
    )
    events = logs.get_log_events(
        logGroupName="/aws/sagemaker/TrainingJobs",
        logStreamName=stream["logStreams"][0]["logStreamName"],
        startFromHead=True,
    )["events"]
    lines = [each["message"] for each in events]
    assert job["TrainingJobStatus"] == "Completed", (job.get("FailureReason"), lines)

    def result(key: str) -> Any:
        prefix = job["ModelArtifacts"]["S3ModelArtifacts"].removeprefix(f"s3://{job_bucket}/")
        return json.loads(s3.get_object(Bucket=job_bucket, Key=f"{prefix}/{key}")["Body"].read())

    outcomes = result("outcome.json")["cities"]
    assert {city: each["status"] for city, each in outcomes.items()} == {
        KILLED: "failed",
        GOOD: "evaluated",
        LITTLE: "skipped",
    }
    report = result(f"evaluation/city={GOOD}/evaluation.json")
    assert report["challenger"]["mape"] > 0
    assert "not a readable tar.gz" in report["champion"]["error"]
    assert result(f"report/city={LITTLE}/status.json")["status"] == "too_little_data"
    assert f"{KILLED}: last words" in lines
    assert {line.partition(": ")[0] for line in lines} >= set(CITIES)
