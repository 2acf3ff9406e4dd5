"""A cohort's DAG in a real Airflow: mapped tasks by the cities' names, each with its own end, and the run's note."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from city_fleet.config import load_fleet
from city_fleet.data.ingest import ingest
from tests.support.airflow_database import lay_down
from tests.support.fleets import TEXAS
from tests.support.local_sagemaker import LocalSageMaker, running_server
from tests.support.paths import ROOT

CITIES = {"dallas": "Dallas", "tyler": "Tyler", "waco": "Waco"}
NO_DATA = "tyler"


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSageMaker]:
    with running_server(tmp_path_factory.mktemp("aws")) as server:
        yield server


def fleets(folder: Path) -> Path:
    folder.mkdir()
    head = TEXAS.read_text(encoding="utf-8").split("\ncities:\n")[0]
    head = head.replace("\ndefaults:\n", "\ndefaults:\n  cohort: 10\n  capacity_wait_seconds: 0\n")
    head = head.replace("  retries: 2\n", "  retries: 0\n").replace(
        "num_boost_round: 400", "num_boost_round: 20"
    )
    names = "".join(f"  {slug}: {{name: {name}}}\n" for slug, name in CITIES.items())
    (folder / "texas_housing.yaml").write_text(f"{head}\ncities:\n{names}")
    return folder


def test_a_cohorts_run_shows_each_city_and_ends_as_they_do(aws: LocalSageMaker, tmp_path: Path) -> None:
    foreign = ("AIRFLOW", "CITY_FLEET", "AWS_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    lay_down(tmp_path)
    folder = fleets(tmp_path / "fleets")
    fleet = load_fleet(folder / "texas_housing.yaml", {})
    ingest(fleet, aws.client("s3"), cities=[each for each in CITIES if each != NO_DATA], create_bucket=True)
    environ = {
        **inherited,
        **{name: value for name, value in aws.environment.items() if name.startswith("AWS_")},
        "PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}",
        "CITY_FLEET_FLEETS": str(folder),
        "CITY_FLEET_COMPILED": str(tmp_path / "compiled"),
        "AIRFLOW_HOME": str(tmp_path),
        "CITY_FLEET_WAITER_DELAY_SECONDS": "1",
        "AIRFLOW_CONN_AWS_DEFAULT": "aws://",
        "AIRFLOW__API__BASE_URL": "https://airflow.example/af",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
    }
    script = str(ROOT / "tests" / "airflow" / "cohort_run.py")
    done = subprocess.run(
        [sys.executable, script], env=environ, cwd=ROOT, capture_output=True, text=True, check=False
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-8000:]
    report = json.loads(output.split("REPORT ")[1].splitlines()[0])
    assert report["endpoint"] == "success"
    night = report["night"]
    states = night["tasks"]
    assert states == {
        "begin/-1": "success",
        "train/-1": "success",
        "city/0": "success",
        "city/1": "failed",  # it has no data
        "city/2": "success",
        "record/-1": "success",
        "recorded/-1": "success",
    }, output[-8000:]
    assert night["run"] == "failed"
    assert [night["shown"][f"city/{number}"] for number in range(3)] == list(CITIES.values())
    assert "1 failed; failed: tyler" in str(night["said"]["record/-1/run_note"])
    assert "there are no raw data" in str(night["said"]["city/1/failure"])
    # A mapped task leads to its city, the others to the cities' page as a tab of their DAG.
    tab = "https://airflow.example/af/dags/texas_housing._cohort_001/plugin/city"
    page = "https://airflow.example/af/plugin/city-fleet/af/city-fleet/cities/texas_housing/"
    pages = night["pages"]
    assert [pages[f"city/{number}"] for number in range(3)] == [page + slug for slug in CITIES]
    assert pages["train/-1"] == tab
    s3, keys = aws.client("s3"), fleet.keys

    def recorded(slug: str) -> list[dict[str, Any]]:
        listed = s3.list_objects_v2(Bucket=keys.bucket, Prefix=keys.city_records(slug))["Contents"]
        bodies = [s3.get_object(Bucket=keys.bucket, Key=each["Key"])["Body"].read() for each in listed]
        return [json.loads(each) for each in bodies]

    assert [len(recorded(slug)) for slug in ("dallas", NO_DATA)] == [1, 1]

    # Data that arrive retrain their city alone, though the cohort's DAG runs.
    arrival = report["arrival"]
    assert arrival["run"] == "success", output[-8000:]
    assert arrival["tasks"] == dict.fromkeys(
        ("begin/-1", "train/-1", "city/0", "record/-1", "recorded/-1"), "success"
    )
    assert arrival["shown"]["city/0"] == "Waco"
    jobs = aws.client("sagemaker").list_training_jobs()["TrainingJobSummaries"]
    assert len(jobs) == 2
    ends = [(each["as_of"], each["outcome"]) for each in recorded("waco")]
    assert ends == [("20150601T000000Z", "held"), ("20150701T000000Z", "held")], "each run has one record"
    assert "failed" not in str(arrival["said"]["record/-1/run_note"])
