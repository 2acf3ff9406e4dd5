"""A run without its record is no success, whatever its other tasks say: real Airflow, real jobs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.local_sagemaker import LocalSageMaker, running_server
from tests.support.paths import ROOT

# Three months are too little data for a model, so the run ends well after its first job.
DATA = """city,year,month,sales,volume,median,listings,inventory
Austin,2000,1,1025,173053635,133700,3084,2.0
Austin,2000,2,1277,226038438,134000,2989,2.0
Austin,2000,3,1603,298557656,136700,3042,2.0
"""


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSageMaker]:
    with running_server(tmp_path_factory.mktemp("aws")) as server:
        s3 = server.client("s3")
        s3.create_bucket(Bucket="city-fleet")
        s3.put_object(Bucket="city-fleet", Key="texas_housing/raw/city=austin/a.csv", Body=DATA.encode())
        yield server


def fleets(folder: Path) -> Path:
    folder.mkdir()
    texas = (ROOT / "include" / "fleets" / "texas_housing.yaml").read_text().split("\ncities:\n")[0]
    texas = texas.replace("\ndefaults:\n", "\ndefaults:\n  capacity_wait_seconds: 0\n")
    (folder / "texas_housing.yaml").write_text(f"{texas}\ncities:\n  austin: {{name: Austin}}\n")
    return folder


def test_a_run_whose_record_can_not_be_written_fails(aws: LocalSageMaker, tmp_path: Path) -> None:
    foreign = ("AIRFLOW", "CITY_FLEET", "AWS_")
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith(foreign)},
        **aws.variables,
        "PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}",
        "CITY_FLEET_FLEETS": str(fleets(tmp_path / "fleets")),
        "CITY_FLEET_WAITER_DELAY_SECONDS": "1",
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW_CONN_AWS_DEFAULT": "aws://",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
    }
    command = [sys.executable, str(ROOT / "tests" / "airflow" / "record_run.py")]
    done = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, check=False)
    output = done.stdout + done.stderr
    assert "REPORT " in output, output[-5000:]
    report = json.loads(output.split("REPORT ")[1].splitlines()[0])
    good, bad = report["good"], report["bad"]
    assert (good["run"], good["tasks"]["preprocess"]) == ("success", "skipped"), output[-5000:]
    assert (good["tasks"]["record"], good["tasks"]["recorded"]) == ("success", "success")
    assert (bad["run"], bad["tasks"]["preprocess"]) == ("failed", "skipped")
    assert (bad["tasks"]["record"], bad["tasks"]["recorded"]) == ("failed", "upstream_failed")
    assert "task record: AWS has refused for 0 seconds (capacity_wait_seconds)" in output
