"""./fleet compare, and explain of a version: two real models of Austin, registered as two runs would have left them."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from city_fleet import naming
from city_fleet.config import load_fleet
from city_fleet.desk.differences import of_files, of_settings
from city_fleet.state import live, registry
from city_fleet.state.live_pointer import LivePointer, ServedModel
from tests.service.city_fleet.cli.test_try import NO_AWS
from tests.support.command_line import Done, fleet
from tests.support.factors import IMAGE
from tests.support.fleets import TEXAS
from tests.support.local_sagemaker import LocalSageMaker, running_server

FLEET = load_fleet(TEXAS, environ={})
KEYS = FLEET.keys
GROUP = naming.package_group(FLEET.fleet, FLEET.environment, "austin")
OWN = "city=austin"


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two trials that were kept: the fleet file's own settings, and shallower trees on a year less."""
    folders = []
    for name, more in {"deep": [], "shallow": ["--set", "max_depth=2", "--as-of", "2014-08-01"]}.items():
        folder = tmp_path_factory.mktemp("trials") / name
        done = fleet("try", "austin", *more, "--keep", str(folder), "--fleet", str(TEXAS), **NO_AWS)
        assert done.returncode == 0, done.stderr
        folders.append(folder)
    return folders


@pytest.fixture(scope="module")
def aws(trials: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSageMaker]:
    """Both as versions; the first one serves."""
    with running_server(tmp_path_factory.mktemp("aws")) as server:
        s3, sagemaker = server.client("s3"), server.client("sagemaker")
        s3.create_bucket(Bucket=KEYS.bucket)
        sagemaker.create_model_package_group(ModelPackageGroupName=GROUP)
        arns = [register(s3, sagemaker, folder, f"{at}" * 10) for at, folder in enumerate(trials, start=1)]
        version = registry.read(sagemaker, arns[0])
        target = naming.target_model(
            "austin", naming.parse_as_of(version.as_of), version.metadata["artifact_sha256"]
        )
        body = (trials[0] / "evaluation" / OWN / "model.tar.gz").read_bytes()
        s3.put_object(Bucket=KEYS.bucket, Key=KEYS.model(target), Body=body)
        served = ServedModel(
            city="austin",
            target_model=target,
            package_arn=arns[0],
            as_of=version.as_of,
            metrics={"mape": 0.03},
            features=("a",),
            artifact_sha256=version.metadata["artifact_sha256"],
            settings_digest="5e771265" * 2,
            code_digest="c0de" * 4,
        )
        pointer = LivePointer.serving(
            served,
            sequence=1,
            published_at="2015-08-01T00:00:00+00:00",
            published_by="test/run",
            predecessor=None,
        )
        live.move(s3, KEYS, pointer, None)
        yield server


def register(s3: Any, sagemaker: Any, folder: Path, run_key: str) -> str:
    """Leave what a run leaves of a trial in the bucket, and its model in the registry; return the version's ARN."""

    def put(key: str, body: bytes) -> str:
        s3.put_object(Bucket=KEYS.bucket, Key=key, Body=body)
        return KEYS.uri(key)

    run = KEYS.run("austin", run_key)
    settings = (folder / "settings" / "train" / "settings.json").read_bytes()
    put(f"{run}settings/0123/settings.json", settings)
    put(
        f"{run}preprocess/job/report/{OWN}/manifest.json",
        (folder / "report" / OWN / "manifest.json").read_bytes(),
    )
    put(f"{run}train/job/output/output.tar.gz", packed(folder / "training"))
    code = put(f"{KEYS.code(run_key)}sourcedir.tar.gz", packed(folder / "code")).rpartition("sourcedir")[0]
    body = (folder / "evaluation" / OWN / "model.tar.gz").read_bytes()
    report = (folder / "evaluation" / OWN / "evaluation.json").read_bytes()
    uri = put(f"{run}evaluate/job/evaluation/{OWN}/model.tar.gz", body)
    evaluation = put(f"{run}evaluate/job/evaluation/{OWN}/evaluation.json", report)
    as_of, sha256 = json.loads(report)["as_of"], hashlib.sha256(body).hexdigest()
    answer = sagemaker.create_model_package(
        ModelPackageGroupName=GROUP,
        ModelPackageDescription=registry.package_description(as_of, sha256, "texas/test", run_key),
        ModelApprovalStatus="Approved",
        InferenceSpecification={
            "Containers": [{"Image": IMAGE, "ModelDataUrl": uri}],
            "SupportedContentTypes": ["text/csv"],
            "SupportedResponseMIMETypes": ["application/json"],
        },
        ModelMetrics={
            "ModelQuality": {"Statistics": {"ContentType": "application/json", "S3Uri": evaluation}}
        },
        CustomerMetadataProperties={
            "as_of": as_of,
            "artifact_sha256": sha256,
            "run_key": run_key,
            "code_uri": code,
        },
    )
    return str(answer["ModelPackageArn"])


def packed(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path in sorted(each for each in folder.rglob("*") if "__pycache__" not in each.parts):
            archive.add(path, arcname=path.relative_to(folder).as_posix(), recursive=False)
    return buffer.getvalue()


def run(command: str, *arguments: str, aws: LocalSageMaker | None = None) -> Done:
    environ = {**NO_AWS} if aws is None else {**aws.variables}
    return fleet(command, *arguments, "--fleet", str(TEXAS), **environ)


def in_json(command: str, *arguments: str, aws: LocalSageMaker | None = None) -> dict[str, Any]:
    done = run(command, *arguments, "--json", aws=aws)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_two_versions_are_held_against_each_other_on_the_same_rows(
    aws: LocalSageMaker, trials: list[Path]
) -> None:
    found = in_json("compare", "austin", "v1", "2", aws=aws)
    assert [found["models"][side]["name"] for side in ("first", "second")] == ["v1", "v2"]
    name = "candidates.xgboost.hyperparameters.max_depth"
    assert found["differences"]["settings"] == [{"name": name, "first": 4, "second": 2}]
    assert found["differences"]["raw"] == found["differences"]["code"] == []
    same = found["same_rows"]
    assert [each["problem"] for each in same["models"]] == [None, None]
    # What the older one has judged, and what came after it: the year that it has not learned.
    report = json.loads((trials[0] / "evaluation" / OWN / "evaluation.json").read_text(encoding="utf-8"))
    assert 100 < same["rows"] <= report["rows"]
    assert same["metrics"]["first"]["mape"] != same["metrics"]["second"]["mape"]
    assert found["better"]["side"] in ("first", "second")
    assert 0.5 <= found["better"]["confidence"] <= 1
    assert [len(each["forecasts"]) for each in same["next"]] == [3, 3]
    ahead = [[row["period"] for row in each["forecasts"]] for each in same["next"]]
    assert ahead[0] == ahead[1] == ["2015-08-01", "2015-09-01", "2015-10-01"]  # both know the same values


def test_people_read_it_and_what_serves_and_kept_trials_count_too(
    aws: LocalSageMaker, trials: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run("compare", "Austin", "live", str(trials[1]), aws=aws)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Austin: v1 (live) and ")
    assert any(line.startswith("candidates.xgboost.max_depth ") and line.endswith("2") for line in lines)
    assert "scripts: the same" in lines
    assert any(line.startswith("both on the same held-out rows ") for line in lines)
    assert any("paired test over" in line for line in lines)
    assert any(line.startswith("2015-09-01 ") and line.endswith("%") for line in lines)
    # As one types it: from the folder that they lie in.
    monkeypatch.chdir(trials[0].parent)
    alike = in_json("compare", "austin", trials[0].name, trials[0].name)
    assert alike["differences"] == {"settings": [], "raw": [], "code": []}
    assert alike["same_rows"]["metrics"]["first"] == alike["same_rows"]["metrics"]["second"]


def test_a_version_and_what_serves_are_explained(aws: LocalSageMaker, trials: list[Path]) -> None:
    found = in_json("explain", "austin", "--version", "v2", "--row", "2013-06", aws=aws)
    assert found["model"] == "v2"
    training = json.loads((trials[1] / "training" / OWN / "training.json").read_text(encoding="utf-8"))
    assert found["curve"] == training["candidates"][0]["history"]
    served = in_json("explain", "austin", aws=aws)
    assert served["model"] == "v1, which serves"
    assert served["residuals"]["of_rows"] == 177
    report = json.loads((trials[0] / "evaluation" / OWN / "evaluation.json").read_text(encoding="utf-8"))
    assert served["importances"] == report["importances"]


def test_what_is_not_there_is_said(aws: LocalSageMaker, trials: list[Path], tmp_path: Path) -> None:
    done = run("compare", "austin", "v1", "v9", aws=aws)
    assert done.returncode == 2
    assert "has no version '9'; it has: 1, 2" in done.stderr
    done = run("compare", "austin", str(trials[0]), str(tmp_path))
    assert done.returncode == 1
    assert f"got no evaluation/{OWN}/model.tar.gz" in done.stderr
    done = run("compare", "dallas", "live", "v1", aws=aws)
    assert done.returncode == 1
    assert "nothing serves dallas" in done.stderr
    assert run("compare", "austin", "live", str(trials[0])).returncode == 1


def test_settings_that_differ_are_named_by_their_paths() -> None:
    first = {"seed": 0, "dataset": {"features": [{"column": "sales", "lags": [1]}, {"column": "listings"}]}}
    second = {"seed": 0, "dataset": {"features": [{"column": "sales", "lags": [1, 2]}], "horizon": 3}}
    found = of_settings(first, second)
    assert found is not None
    assert [(each.name, each.first, each.second) for each in found] == [
        ("dataset.features.sales.lags", [1], [1, 2]),
        ("dataset.features.listings", True, None),
        ("dataset.horizon", None, 3),
    ]
    assert of_settings(None, second) is None
    changed = of_files({"a": "1", "b": "2"}, {"b": "3", "c": "4"})
    assert changed is not None
    assert [each.name for each in changed] == ["a", "b", "c"]
