"""./fleet try --notebook: executed; its last cell trains on the local SageMaker by the SDK's ModelTrainer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import fleet
from tests.support.fleets import TEXAS
from tests.support.local_sagemaker import LocalSageMaker, running_server
from tests.support.notebooks import execute, needs_notebooks, pictures, texts

#: Nobody answers there.
NO_AWS = {
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
}
SMALL = ("--set", "num_boost_round=20", "--set", "dataset.backtest_periods=12", "--fleet", str(TEXAS))


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[LocalSageMaker]:
    with running_server(tmp_path) as server:
        server.client("s3").create_bucket(Bucket="city-fleet")
        yield server


def trial(folder: Path) -> Path:
    """The archive of a model of today's data."""
    done = fleet("try", "austin", "--keep", str(folder / "kept"), *SMALL, **NO_AWS)
    assert done.returncode == 0, done.stderr
    return folder / "kept" / "evaluation" / "city=austin" / "model.tar.gz"


def serve(files: Path, archive: Path) -> None:
    """Have a model be the one that serves, as the command would leave it for the notebook."""
    (files / "champion").mkdir()
    shutil.copy(archive, files / "champion" / "model.tar.gz")
    path = files / "settings" / "evaluate.json"
    asked = json.loads(path.read_text(encoding="utf-8"))
    target = "austin/20150801T000000Z-0123456789ab.tar.gz"
    asked["cities"][0]["champion"] = {"target_model": target, "etag": '"e"', "as_of": "20150801T000000Z"}
    path.write_text(json.dumps(asked), encoding="utf-8")


@needs_notebooks
def test_it_is_executed_and_its_job_has_the_request_and_the_model(
    aws: LocalSageMaker, tmp_path: Path
) -> None:
    path = tmp_path / "austin.ipynb"
    done = fleet("try", "austin", "--notebook", str(path), *SMALL, **aws.variables)
    assert done.returncode == 0, done.stderr
    serve(tmp_path / "austin-files", trial(tmp_path))
    made = execute(path, aws.variables)
    shown = texts(made)
    assert pictures(made) == 4
    assert any("ready" in text and "rows" not in text.splitlines()[0] for text in shown)
    assert any("last known value" in text and "second" in text and "serves" in text for text in shown)
    assert "its model has the bytes of the one above" in shown[-1]

    sagemaker = aws.client("sagemaker")
    (job,) = sagemaker.list_training_jobs()["TrainingJobSummaries"]
    described = sagemaker.describe_training_job(TrainingJobName=job["TrainingJobName"])
    sent = json.loads((tmp_path / "austin-files" / "job.json").read_text(encoding="utf-8"))["request"]
    tags = sagemaker.list_tags(ResourceArn=described["TrainingJobArn"])["Tags"]
    assert tags == sent.pop("Tags")
    sent["OutputDataConfig"] = {"KmsKeyId": "", **sent["OutputDataConfig"]}
    # Nothing beside the request either: only what SageMaker itself says of a job.
    of_sagemaker = {
        *("TrainingJobName", "TrainingJobArn", "ModelArtifacts", "TrainingJobStatus", "SecondaryStatus"),
        *("CreationTime", "TrainingStartTime", "TrainingEndTime", "LastModifiedTime", "ProfilingStatus"),
        *("SecondaryStatusTransitions", "TrainingTimeInSeconds", "BillableTimeInSeconds", "ResponseMetadata"),
        *("EnableNetworkIsolation", "EnableInterContainerTrafficEncryption"),
    }
    assert {name: value for name, value in described.items() if name not in of_sagemaker} == sent


@needs_notebooks
@pytest.mark.long
def test_without_sagemaker_all_but_the_job_runs(tmp_path: Path) -> None:
    path = tmp_path / "berlin.ipynb"
    small = ("--set", "algorithm.candidates=[knn]", "--fleet", "restaurants")
    done = fleet("try", "berlin", "--notebook", str(path), *small, **NO_AWS)
    assert done.returncode == 0, done.stderr
    made = execute(path, {})
    assert "ON_AWS = True lets the job run on AWS" in "".join(texts(made))
    assert pictures(made) == 4


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "austin.ipynb"

    def attempt(*more: str) -> Any:
        return fleet("try", "austin", "--notebook", str(path), *SMALL, *more, **NO_AWS)

    assert attempt().returncode == 0
    again = attempt()
    assert again.returncode == 1
    assert "got something that is there already" in again.stderr
    path.rename(tmp_path / "mine.ipynb")
    assert "austin-files" in attempt().stderr
    path = tmp_path / "notes.txt"
    assert "FILE.ipynb" in attempt().stderr
    assert attempt("--keep", str(tmp_path / "kept")).returncode == 2
    path = tmp_path / "other.ipynb"
    assert attempt("--data", str(tmp_path / "missing.csv")).returncode == 1
    assert not list(tmp_path.glob("other*"))
