"""A run's three jobs as the library asks for them, one after the other, really run: of a series and of a table."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from city_fleet.config import load_fleet
from city_fleet.jobs import job_requests
from city_fleet.jobs.code_bundle import CodeBundle
from city_fleet.jobs.images import image_uri
from city_fleet.jobs.job_files import raw_manifest, settings_file
from city_fleet.plan import EVALUATE, PREPROCESS, CityPlan, Run, plan_city
from tests.support.fleets import SMALL
from tests.support.local_sagemaker import LocalSageMaker

AS_OF = datetime(2015, 8, 1, tzinfo=UTC)
SERIES = """\
dataset:
  city_column: city
  time: {columns: [date]}
  frequency: day
  available_after: P1D
  target: {column: y, lags: [1, 7]}
"""
TABLE = """\
dataset:
  kind: table
  city_column: city
  task: multiclass
  target: {column: y}
  time: {columns: [date]}
defaults:
  gate: {metric: log_loss}
  algorithm: {image: sklearn, candidates: [linear, knn]}
"""


class Runner:
    """Runs jobs of one city on the local SageMaker."""

    def __init__(self, aws: LocalSageMaker, plan: CityPlan) -> None:
        self.s3, self.sagemaker, self.plan = aws.client("s3"), aws.client("sagemaker"), plan
        self.run = Run("manual__1", hashlib.sha256(str(plan.fleet.path).encode()).hexdigest()[:10], AS_OF)
        self.bundle = CodeBundle.of(plan)
        self.bundle.ensure_uploaded(self.s3, plan.keys)
        self.image = image_uri(plan.city.algorithm, plan.fleet.region)

    def put(self, key: str, body: bytes) -> None:
        self.s3.put_object(Bucket=self.plan.keys.bucket, Key=key, Body=body)

    def json(self, uri: str) -> Any:
        bucket, key = uri.removeprefix("s3://").split("/", 1)
        return json.loads(self.s3.get_object(Bucket=bucket, Key=key)["Body"].read())

    def process(self, step: str, request: dict[str, Any]) -> dict[str, str]:
        """Run a processing job and return its outputs' URIs."""
        name, named = job_requests.named(request, self.plan, self.run, step, 1)
        self.sagemaker.create_processing_job(**named)
        done = self.wait(self.sagemaker.describe_processing_job, "ProcessingJob", name)
        outputs = done["ProcessingOutputConfig"]["Outputs"]
        return {each["OutputName"]: each["S3Output"]["S3Uri"] for each in outputs}

    def train(self, request: dict[str, Any]) -> str:
        name, named = job_requests.named(request, self.plan, self.run, "train", 1)
        self.sagemaker.create_training_job(**named)
        done = self.wait(self.sagemaker.describe_training_job, "TrainingJob", name)
        return str(done["ModelArtifacts"]["S3ModelArtifacts"])

    def wait(self, describe: Any, kind: str, name: str) -> dict[str, Any]:
        for _ in range(600):
            found: dict[str, Any] = describe(**{f"{kind}Name": name})
            if found[f"{kind}Status"] in ("Completed", "Failed", "Stopped"):
                assert found[f"{kind}Status"] == "Completed", (
                    name,
                    found.get("FailureReason"),
                    found.get("ExitMessage"),
                )
                return found
            time.sleep(0.2)
        raise AssertionError(name)

    def all_three(self, raw: dict[str, bytes]) -> dict[str, str]:
        """Run them and return the URIs of what the evaluation left, by name."""
        keys, plan, run, more = self.plan.keys, self.plan, self.run, {"image_uri": self.image}
        for name, body in raw.items():
            self.put(keys.raw(plan.city.slug) + name, body)
        self.put(keys.raw(plan.city.slug) + "arrived_later.csv", b"no data at all\n")
        for file in (settings_file(plan, run, PREPROCESS), raw_manifest(plan, run, list(raw))):
            self.put(file.key, file.body)
        code, installs = self.bundle.prefix_uri(keys), self.bundle.installs
        data = self.process(
            "preprocess",
            job_requests.preprocess_request(
                plan, run, code_uri=code, raw=list(raw), installs=installs, **more
            ),
        )
        artifact = self.train(
            job_requests.train_request(
                plan, run, code_archive_uri=self.bundle.archive_uri(keys), data=data, **more
            )
        )
        inputs = {"code": code, "test": data["test"], "model": artifact}
        left = self.process(
            "evaluate", job_requests.evaluate_request(plan, run, inputs=inputs, installs=installs, **more)
        )
        folder = f"{left['evaluation']}city={plan.city.slug}/"
        return {name: folder + name for name in ("evaluation.json", "holdout.json", "model.tar.gz")}


def rows(seed: int = 5) -> bytes:
    """Days with a number that goes on as it was, and a class that follows from a column."""
    random = np.random.default_rng(seed)
    days = np.arange("2015-01-01", "2015-07-30", dtype="datetime64[D]")
    lines = ["city,date,x,color,y"]
    value = 50.0
    for day in days:
        value += random.normal()
        color = random.choice(["red", "green", "blue"])
        lines.append(f"a,{day},{random.normal():.3f},{color},{{y}}".replace("{y}", f"{value:.3f}"))
    return ("\n".join(lines) + "\n").encode()


@pytest.fixture
def bucket(aws: LocalSageMaker, tmp_path: Path) -> str:
    name = f"three-jobs-{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:10]}"
    aws.client("s3").create_bucket(Bucket=name)
    return name


def planned(tmp_path: Path, bucket: str, section: str) -> CityPlan:
    path = tmp_path / "fleet.yaml"
    head = (
        SMALL[: SMALL.index("dataset:")]
        .replace("small-data", bucket)
        .replace("role/small", "role/city-fleet")
    )
    path.write_text(f"{head}{section}cities: {{a: }}\n", encoding="utf-8")
    return plan_city(load_fleet(path, {}), "a")


def test_a_series_and_its_canonical_archive(aws: LocalSageMaker, tmp_path: Path, bucket: str) -> None:
    runner = Runner(aws, planned(tmp_path, bucket, SERIES))
    left = runner.all_three({"days.csv": rows()})
    report = runner.json(left["evaluation.json"])
    body = (
        aws.client("s3").get_object(Bucket=bucket, Key=left["model.tar.gz"].split("/", 3)[3])["Body"].read()
    )
    assert report["artifact_sha256"] == hashlib.sha256(body).hexdigest()
    assert report["city"] == "a"
    assert report["challenger"]["mae"] > 0


def test_a_table_of_classes(aws: LocalSageMaker, tmp_path: Path, bucket: str) -> None:
    runner = Runner(aws, planned(tmp_path, bucket, TABLE))
    header, *lines = rows().decode().splitlines()
    classes = {"red": "warm", "green": "cold", "blue": "cold"}
    table = [",".join([*line.split(",")[:4], classes[line.split(",")[3]]]) for line in lines]
    left = runner.all_three({"days.csv": "\n".join([header, *table, ""]).encode()})
    report = runner.json(left["evaluation.json"])
    assert report["task"] == "multiclass"
    # The class follows from a column, so a model knows it and the frequencies don't.
    assert report["challenger"]["accuracy"] > 0.95 > report["naive"]["accuracy"]
    assert set(runner.json(left["holdout.json"])["rows"][0]["predicted"]) == {"cold", "warm"}


def test_the_same_run_has_the_same_jobs(tmp_path: Path, bucket: str) -> None:
    plan = planned(tmp_path, bucket, SERIES)
    run = Run("manual__1", "0123456789", AS_OF)
    other = replace(run, run_id="scheduled__2")
    assert settings_file(plan, run, PREPROCESS) == settings_file(plan, other, EVALUATE)
