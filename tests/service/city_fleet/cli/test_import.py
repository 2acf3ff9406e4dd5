"""./fleet import: models that were fitted elsewhere, on a real endpoint beside each other."""

from __future__ import annotations

import csv
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from city_fleet import naming
from city_fleet.config import load_fleet
from city_fleet.jobs.code_bundle import CodeBundle
from city_fleet.plan import endpoint_name, plan_city
from city_fleet.serving import endpoint_requests, endpoint_state
from city_fleet.state import live, registry
from tests.support.command_line import Done, fleet
from tests.support.fleets import TEXAS
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.parent_jobs import write_texas
from tests.support.paths import IMPORT_PYTHON, ROOT
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(
    not IMPORT_PYTHON.is_file(), reason=".venv-import is not made (make environments)"
)
CITIES = {
    "austin": "",
    "dallas": "approval: manual, gate: {must_beat_naive: false, must_beat_all_baselines: false}, ",
}


@dataclass(frozen=True)
class Bench:
    """A fleet of two cities with an endpoint, and models for the first that were fitted elsewhere.

    :param models: holds ``ridge.skops``, ``ridge.onnx``, ``label.ubj`` and ``own.tar.gz``.
    """

    aws: LocalSageMaker
    path: Path
    models: Path

    def run(self, *arguments: str, **environ: str) -> Done:
        return fleet(
            *arguments,
            *("--fleet", str(self.path)),
            **environ,
            AWS_ENDPOINT_URL=self.aws.url,
            AWS_ACCESS_KEY_ID="local",
            AWS_SECRET_ACCESS_KEY="local",
            AWS_DEFAULT_REGION="us-east-1",
        )

    def take(self, city: str, name: str, *more: str, codes: tuple[int, ...] = (0,)) -> dict[str, Any]:
        done = self.run("import", city, str(self.models / name), "--by", "ann", "--json", *more)
        assert done.returncode in codes, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def object(self, uri: str) -> Any:
        bucket, key = naming.split_uri(uri)
        return json.loads(self.aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())

    def keys(self) -> set[str]:
        pages = self.aws.client("s3").get_paginator("list_objects_v2").paginate(Bucket="city-fleet")
        return {item["Key"] for page in pages for item in page.get("Contents", [])}


@pytest.fixture(scope="module")
def bench(aws: LocalSageMaker, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("imported")
    text = TEXAS.read_text(encoding="utf-8")
    head = text[: text.index("\ncities:")].replace("fleet: texas_housing", "fleet: imported_texas")
    body = "".join(f"  {slug}: {{{own}name: {slug.title()}}}\n" for slug, own in CITIES.items())
    path = folder / "imported_texas.yaml"
    path.write_text(f"{head}\ncities:\n{body}", encoding="utf-8")
    found, s3, sagemaker = load_fleet(path, {}), aws.client("s3"), aws.client("sagemaker")
    write_texas(folder / "raw", tuple(CITIES))
    for slug in CITIES:
        data = folder / "raw" / f"city={slug}" / "data.csv"
        s3.upload_file(str(data), "city-fleet", f"{found.keys.raw(slug)}data.csv")
    bundle = CodeBundle.of(plan_city(found, "austin"))
    bundle.ensure_uploaded(s3, found.keys)
    model = endpoint_state.wanted_model(found, bundle)
    sagemaker.create_model(**model)
    config = endpoint_requests.endpoint_config_request(found, model_name=model["ModelName"])
    sagemaker.create_endpoint_config(**config)
    name = config["EndpointConfigName"]
    sagemaker.create_endpoint(**endpoint_requests.endpoint_request(found, endpoint_config_name=name))
    made = Bench(aws, path, folder / "models")
    for slug in CITIES:
        done = made.run("try", slug, "--keep", str(folder / slug))
        assert done.returncode == 0, done.stderr
    made.models.mkdir()
    script = ROOT / "tests" / "support" / "fit_texas.py"
    subprocess.run([IMPORT_PYTHON, script, folder / "austin", "austin", made.models], check=True, timeout=300)
    (made.models / "dallas").mkdir()
    subprocess.run(
        [IMPORT_PYTHON, script, folder / "dallas", "dallas", made.models / "dallas"], check=True, timeout=300
    )
    (folder / "austin" / "evaluation" / "city=austin" / "model.tar.gz").rename(made.models / "own.tar.gz")

    def in_service() -> bool:
        status = sagemaker.describe_endpoint(EndpointName=endpoint_name(found))["EndpointStatus"]
        return bool(status == "InService")

    wait_until(in_service, 60, "the endpoint is in service")
    return made


def test_a_model_of_each_kind_serves_in_turn_and_says_where_it_comes_from(bench: Bench) -> None:
    item = load_fleet(bench.path, {})
    before = bench.keys()
    tried = bench.take("austin", "ridge.skops", "--dry-run")
    assert (tried["outcome"], tried["version"]) == ("planned", None)
    assert bench.keys() == before
    ridge = bench.take("austin", "ridge.skops", "--reason", "the analysts' own")
    assert (ridge["outcome"], ridge["algorithm"]) == ("live", "linear")
    now = live.read(bench.aws.client("s3"), item.keys, "austin")
    assert now is not None
    assert now.pointer.target_model == ridge["target_model"]
    assert now.pointer.moved_by == "ann"
    package = registry.read(bench.aws.client("sagemaker"), ridge["package_arn"])
    assert package.metadata["origin"] == "import of skops: SimpleImputer _ StandardScaler _ Ridge"
    assert package.metadata["origin_file"] == "ridge.skops"
    record = bench.object(ridge["record_uri"])
    assert record["outcome"] == "live"
    assert record["origin"]["sha256"] == package.metadata["origin_sha256"]
    assert record["origin"]["by"] == "ann"
    assert record["origin"]["compared"]["rows"] == 1000
    # Publishing has asked the endpoint for every held-out row. Who beats whom from here on is the gate's matter: a
    # person lets go what it holds.
    served = {"linear": ridge["target_model"]}
    for name, more in (("ridge.onnx", ()), ("label.ubj", ("--predicts", "label")), ("own.tar.gz", ())):
        report = bench.take("austin", name, *more, codes=(0, 1))
        assert (report["outcome"] == "live") == report["decision"]["promote"]
        assert report["decision"]["metrics"]["champion"]
        version = str(report["version"])
        if not report["decision"]["promote"]:
            done = bench.run("promote", "austin", "--version", version, "--reason", "beside", "--by", "ann")
            assert done.returncode == 0, done.stderr
        found = live.read(bench.aws.client("s3"), item.keys, "austin")
        assert found is not None
        assert found.pointer.package_arn == report["package_arn"]
        served[name] = found.pointer.target_model
    answers = {name: predicted(bench, target_model) for name, target_model in served.items()}
    assert len(set(served.values())) == 4
    # The same model by two ways, and others.
    assert answers["ridge.onnx"] == pytest.approx(answers["linear"], rel=1e-5)
    assert len({round(answer) for answer in answers.values()}) == 3


def predicted(bench: Bench, target_model: str) -> float:
    """Ask the endpoint with a model for the first held-out row."""
    item = load_fleet(bench.path, {})
    with (bench.models.parent / "austin" / "test" / "city=austin" / "test.csv").open(newline="") as file:
        header, first = list(csv.reader(file))[:2]
    row = first[header.index("step") :]
    answer = bench.aws.client("sagemaker-runtime").invoke_endpoint(
        EndpointName=endpoint_name(item), TargetModel=target_model, ContentType="text/csv", Body=",".join(row)
    )
    return float(answer["Body"].read())


def test_a_model_waits_for_a_person_where_its_city_asks_for_one(bench: Bench) -> None:
    report = bench.take("dallas", "dallas/ridge.skops")
    assert report["outcome"] == "pending"
    assert report["target_model"] is None
    assert bench.object(report["record_uri"])["outcome"] == "pending"
    done = bench.run("approve", "dallas", "--reason", "looked at it", "--by", "ben")
    assert done.returncode == 0, done.stdout + done.stderr
    now = live.read(bench.aws.client("s3"), load_fleet(bench.path, {}).keys, "dallas")
    assert now is not None
    assert now.pointer.package_arn == report["package_arn"]


def test_what_is_refused_leaves_nothing(bench: Bench, tmp_path: Path) -> None:
    before = bench.keys()
    files = {
        "evil.json": (b"\x80\x04\x95cos\nsystem\n", "it is a pickle"),
        "cut.ubj": ((bench.models / "label.ubj").read_bytes()[:5000], "can't read it"),
        "none.onnx": (b"", "got 0 bytes"),
    }
    for name, (content, said) in files.items():
        path = tmp_path / name
        path.write_bytes(content)
        done = bench.run("import", "austin", str(path), "--by", "ann")
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr.splitlines()[-1].startswith(f"{name}: ")
        assert said in done.stderr
    dies = tmp_path / "python"
    dies.write_text("#!/bin/sh\nkill -SEGV $$\n", encoding="utf-8")
    dies.chmod(0o755)
    done = bench.run(
        "import", "austin", str(bench.models / "label.ubj"), "--by", "ann", CITY_FLEET_IMPORT_PYTHON=str(dies)
    )
    assert done.returncode == 1
    assert "the process that read it was ended by SIGSEGV" in done.stderr
    assert bench.keys() == before
    done = bench.run("import", "austin", str(tmp_path / "not.there"), "--by", "ann")
    assert done.returncode == 1
    assert "can't be read" in done.stderr
    assert bench.run("import", "austin", "x", "--format", "pickle").returncode == 2
