"""The package for Amazon MWAA, unpacked as MWAA does: Airflow reads every DAG from there alone, without a checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from city_fleet.config import load_fleets
from city_fleet.config.places import FLEETS_VARIABLE
from local.stack import mwaa_package
from tests.support.paths import ROOT

MINE = {
    "CITY_FLEET_ENVIRONMENT": "production",
    "CITY_FLEET_BUCKET": "my-bucket",
    "CITY_FLEET_ROLE": "arn:aws:iam::123456789012:role/city-fleet",
}
# Serialising asks Airflow for the timetable, so it proves that the plugin was found.
READ = """
import json, os, sys
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization
import city_fleet
bag = DagBag(os.environ["AIRFLOW_HOME"] + "/dags")
ids = sorted(bag.dags)
for fleet in {each.partition(".")[0] for each in ids}:
    DagSerialization.to_dict(bag.dags[next(each for each in ids if each.startswith(fleet + ".") and "._" not in each)])
tags = sorted({tag for dag in bag.dags.values() for tag in dag.tags if "environment" in tag})
json.dump({"errors": bag.import_errors, "ids": ids, "tags": tags, "library": city_fleet.__file__}, sys.__stdout__)
"""


def uv() -> str:
    command = [sys.executable, ROOT / "local" / "stack" / "bootstrap.py", "--print-uv"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_unpacked_as_mwaa_does_airflow_reads_every_dag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(FLEETS_VARIABLE, raising=False)
    command = [uv(), "build", "--quiet", "--wheel", "--python", sys.executable, "--out-dir", tmp_path, ROOT]
    subprocess.run(command, check=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    mwaa_package.build(wheel, tmp_path / "out", MINE, "3.3.1")

    home, packages = tmp_path / "airflow", tmp_path / "packages"
    (home / "plugins").mkdir(parents=True)
    (tmp_path / "out" / "dags").rename(home / "dags")
    with zipfile.ZipFile(tmp_path / "out" / "plugins.zip") as archive:
        archive.extractall(home / "plugins")

    def here(name: str) -> str:
        """A file of the package, for a home that is not MWAA's."""
        text = (tmp_path / "out" / name).read_text(encoding="utf-8")
        return text.replace(mwaa_package.HOME, str(home))

    requirements = here("requirements.txt")
    constraints = home / "plugins" / mwaa_package.CONSTRAINTS
    assert str(constraints) in requirements
    assert constraints.is_file()
    # This Airflow is not MWAA's, which the constraint would rightly refuse.
    wanted = [line for line in requirements.splitlines() if not line.startswith(("#", "--constraint"))]
    (tmp_path / "requirements.txt").write_text("\n".join(wanted) + "\n", encoding="utf-8")
    install = [uv(), "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(packages)]
    subprocess.run([*install, "-r", str(tmp_path / "requirements.txt")], check=True, timeout=300)
    (tmp_path / "startup.sh").write_text(here("startup.sh"), encoding="utf-8")

    foreign = ("AIRFLOW", "AWS_", "CITY_FLEET", "PYTHONPATH")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    done = subprocess.run(
        ["bash", "-c", '. "$0" && exec "$@"', tmp_path / "startup.sh", sys.executable, "-c", READ],
        env={
            **clean,
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AWS_DEFAULT_REGION": "us-east-1",
            "PYTHONPATH": str(packages),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["errors"] == {}
    assert found["library"].startswith(str(packages))
    # Those of this checkout: what is read is the package's alone, and says of which environment it is.
    fleets = load_fleets(ROOT / "include" / "fleets")
    cities = {fleet.dag_id_of(slug) for fleet in fleets for slug in fleet.cities}
    assert cities <= set(found["ids"])
    assert {each.partition(".")[0] for each in found["ids"]} == {fleet.fleet for fleet in fleets}
    assert found["tags"] == ["environment:production"]
