"""./fleet as a person runs it: what it prints, where, and how it exits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import fleet, fleet_script
from tests.support.fleets import SMALL, TEXAS
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.paths import ROOT

BROKEN_CITY = SMALL + "cities:\n  a: {}\n  b: {gate: {tolerance: x}}\n"


@pytest.fixture(autouse=True)
def _in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "fleets"
    path.mkdir()
    (path / "broken_city.yaml").write_text(BROKEN_CITY, encoding="utf-8")
    return path


def test_the_projects_own_fleets_are_good() -> None:
    done = fleet_script("lint")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "include/fleets/flights.yaml: 8 cities, no mistakes.",
        "include/fleets/house_sales.yaml: 14 cities, no mistakes.",
        "include/fleets/restaurants.yaml: 8 cities, no mistakes.",
        "include/fleets/texas_housing.yaml: 47 cities, no mistakes.",
    ]
    assert "warning" not in done.stdout


def test_lint_prints_each_mistake_and_fails(folder: Path) -> None:
    (folder / "worse.yaml").write_text("fleet: ]", encoding="utf-8")
    done = fleet("lint", CITY_FLEET_FLEETS=str(folder))
    assert done.returncode == 1
    lines = [line for line in done.stdout.splitlines() if not line.startswith("warning: ")]
    first, second, third, fourth = lines
    assert first == (
        f"error: {folder}/broken_city.yaml:13: city 'b', field 'gate.tolerance': got 'x'; "
        "allowed: a number from 0 to 1."
    )
    assert second == f"{folder}/broken_city.yaml: 1 mistake; 1 city can run."
    assert third.startswith(f"error: {folder}/worse.yaml:1: got text that is not YAML")
    assert fourth == f"{folder}/worse.yaml: 1 mistake; 0 cities can run."


def test_lint_of_named_files_as_json(folder: Path) -> None:
    done = fleet("lint", "--json", str(TEXAS), str(folder / "broken_city.yaml"), str(folder / "none.yaml"))
    assert done.returncode == 1
    texas, broken, missing = json.loads(done.stdout)
    assert (texas["cities"], texas["errors"], texas["warnings"]) == (47, [], [])
    (error,) = broken["errors"]
    assert (error["line"], error["city"], error["field"]) == (13, "b", "gate.tolerance")
    assert missing["errors"][0]["got"] == "no such file"


def test_warnings_do_not_fail(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_text(SMALL.replace("P1D", "P0D") + "cities: {a: }\n", encoding="utf-8")
    done = fleet("lint", str(path))
    assert done.returncode == 0
    assert f"warning: {path}:9: field 'dataset.available_after': " in done.stdout


def test_an_empty_folder_is_said(tmp_path: Path) -> None:
    for command in ("lint", "cities", "ingest"):
        done = fleet(command, CITY_FLEET_FLEETS=str(tmp_path))
        assert done.returncode == 1
        assert "got no fleet file" in done.stderr


def test_schema_is_printed_and_checked() -> None:
    printed = fleet("schema")
    assert json.loads(printed.stdout)["title"] == "City Fleet fleet file"
    assert (ROOT / "include" / "fleets" / "fleet.schema.json").read_text(encoding="utf-8") == printed.stdout
    assert fleet("schema", "--check").returncode == 0


def test_cities_are_listed_with_what_breaks_them(folder: Path) -> None:
    done = fleet("cities", "--json", CITY_FLEET_FLEETS=str(folder))
    good, broken = json.loads(done.stdout)
    assert good == {
        "fleet": "small",
        "city": "a",
        "name": "a",
        "dag": "small.a",
        "broken": False,
        "error": None,
    }
    assert broken["broken"] is True
    assert "field 'gate.tolerance'" in broken["error"]
    text = fleet("cities", CITY_FLEET_FLEETS=str(folder)).stdout.splitlines()
    assert text[0] == "small  a  a"
    assert text[1].startswith("small  b  broken: ")
    assert len(fleet("cities", "--fleet", "texas_housing").stdout.splitlines()) == 47


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["cities", "--fleet", "texas_housin"], 2, "Did you mean 'texas_housing'?"),
        (["ingest", "--fleet", "texas_housing", "autsin"], 2, "Did you mean 'austin'?"),
        (["cities", "--fleet", "include/fleets/texas.yaml"], 1, "Did you mean 'texas_housing.yaml'?"),
    ],
)
def test_an_unknown_name_proposes_the_nearest(arguments: list[str], code: int, said: str) -> None:
    done = fleet(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    as_json = fleet(*arguments, "--json")
    assert as_json.returncode == code
    assert said.split("'")[1] in as_json.stdout
    json.loads(as_json.stdout)


def test_a_broken_fleet_file_is_named_by_its_stem(folder: Path) -> None:
    (folder / "worse.yaml").write_text("fleet: ]", encoding="utf-8")
    done = fleet("cities", "--fleet", "worse", CITY_FLEET_FLEETS=str(folder))
    assert done.returncode == 1
    assert "text that is not YAML" in done.stderr
    assert fleet("cities", "--fleet", "small", CITY_FLEET_FLEETS=str(folder)).returncode == 0


@pytest.mark.parametrize("arguments", [["lint", "--nope"], ["publsh"], ["cities", "--fleet"]])
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    assert fleet(*arguments).returncode == 2


def test_a_file_and_a_city_of_several_fleets_need_the_fleet(folder: Path) -> None:
    (folder / "second.yaml").write_text(
        SMALL.replace("fleet: small", "fleet: second") + "cities: {a: }\n", encoding="utf-8"
    )
    done = fleet("ingest", "a", CITY_FLEET_FLEETS=str(folder))
    assert done.returncode == 2
    assert "city 'a' is in several fleets: small, second." in " ".join(done.stderr.split())
    done = fleet("ingest", "--file", "x.csv", CITY_FLEET_FLEETS=str(folder))
    assert done.returncode == 2
    assert "--file needs --fleet: there are small, second" in " ".join(done.stderr.split())


def test_ingest_against_the_local_sagemaker(aws: LocalSageMaker) -> None:
    environ = {
        "AWS_ENDPOINT_URL": aws.url,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "CITY_FLEET_BUCKET": "from-the-cli",
    }
    # Of the repository's fleets one has these cities.
    arguments = ["ingest", "austin", "waco", "--json"]
    missing = fleet_script(*arguments, **environ)
    assert missing.returncode == 1
    assert json.loads(missing.stdout)["field"] == "bucket"
    first = fleet_script(*arguments, "--create-bucket", **environ)
    assert first.returncode == 0, first.stderr
    (report,) = json.loads(first.stdout)
    assert [(city["city"], city["status"]) for city in report["cities"]] == [
        ("austin", "uploaded"),
        ("waco", "uploaded"),
    ]
    second = fleet_script("ingest", "--fleet", str(TEXAS), "waco", **environ)
    assert second.stdout.splitlines() == [
        "unchanged  waco  187 rows  s3://from-the-cli/texas_housing/raw/city=waco/txhousing.csv",
        "texas_housing: 0 of 1 cities uploaded, 1 unchanged.",
    ]


def test_a_citys_raw_data_are_shown_and_removed(aws: LocalSageMaker, tmp_path: Path) -> None:
    """A full export under a new name, a city that is spelled otherwise, a file of somebody else, and its removal."""
    environ = {
        "AWS_ENDPOINT_URL": aws.url,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "CITY_FLEET_FLEETS": str(tmp_path / "fleets"),
    }
    (tmp_path / "fleets").mkdir()
    text = SMALL.replace("small-data", "cli-raw-data") + "cities: {pier: {name: Pier}, quay: {name: Quay}}\n"
    (tmp_path / "fleets" / "small.yaml").write_text(text, encoding="utf-8")

    def ingest(name: str, days: int, *more: str, late: str = "Pier") -> subprocess.CompletedProcess[str]:
        rows = [f"{late if day > 20 else 'Pier'},2020-01-{day:02},1" for day in range(1, days + 1)]
        path = tmp_path / name
        path.write_text("\n".join(["city,date,y", *rows, "Quay,2020-01-01,1", ""]), encoding="utf-8")
        return fleet("ingest", "--file", str(path), *more, **environ)

    assert ingest("full_1.csv", 20, "--create-bucket").returncode == 0
    assert ingest("full_2.csv", 22).returncode == 0
    odd = ingest("full_3.csv", 25, late="PIER")
    assert odd.returncode == 1
    assert (
        "5 rows say 'PIER' (2020-01-21 to 2020-01-25), which no city of the fleet file is called"
        in odd.stderr
    )
    assert "Nothing of city 'pier' was replaced." in odd.stderr
    assert "small: 1 of 1 cities uploaded, 0 unchanged, 1 refused." in odd.stdout
    s3 = aws.client("s3")
    s3.put_object(
        Bucket="cli-raw-data", Key="small/raw/city=pier/sync/other.csv", Body=b"city,date,y\nx,2020-01-02,1\n"
    )
    s3.put_object(Bucket="cli-raw-data", Key="small/raw/city=pier/_SUCCESS", Body=b"")
    shown = json.loads(fleet("data", "pier", "--json", **environ).stdout)
    facts = [
        [file[key] for key in ("name", "rows", "first", "last", "by_ingest", "source")]
        for file in shown["files"]
    ]
    assert facts == [
        ["_SUCCESS", None, None, None, False, None],
        ["full_2.csv", 22, "2020-01-01", "2020-01-22", True, "full_2.csv"],
        ["sync/other.csv", 1, "2020-01-02", "2020-01-02", False, None],
    ]
    lines = fleet("data", "pier", **environ).stdout.splitlines()
    assert lines[0] == "pier: s3://cli-raw-data/small/raw/city=pier/"
    assert [line.split()[1] for line in lines[2:]] == ["no", "22", "1"]
    name = "sync/other.csv"
    assert fleet("data", "pier", "--remove", name, "--json", **environ).returncode == 2
    unsure = fleet("data", "pier", "--remove", name, "--confirm", "other.csv", **environ)
    assert (unsure.returncode, unsure.stdout) == (1, "")
    assert "nothing was removed" in unsure.stderr
    wrong = fleet("data", "pier", "--remove", "full_9.csv", "--confirm", "full_9.csv", **environ)
    assert "Did you mean 'full_2.csv'?" in wrong.stderr
    done = fleet("data", "pier", "--remove", name, "--confirm", name, "--json", **environ)
    assert json.loads(done.stdout)["left"] == ["_SUCCESS", "full_2.csv"]
    last = fleet("data", "pier", "--remove", "full_2.csv", "--confirm", "full_2.csv", **environ)
    assert "no raw data are left; its next run fails" in last.stdout


def test_raw_data_that_are_read_in_place_are_shown_and_stay(aws: LocalSageMaker, tmp_path: Path) -> None:
    environ = {
        "AWS_ENDPOINT_URL": aws.url,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "CITY_FLEET_FLEETS": str(tmp_path / "fleets"),
    }
    (tmp_path / "fleets").mkdir()
    text = SMALL.replace("small-data", "cli-own").replace(
        "city_column: city", "raw: s3://cli-lake/sales/city={name}/"
    )
    (tmp_path / "fleets" / "small.yaml").write_text(
        f"{text}cities: {{ost: {{name: Köln Ost}}}}\n", encoding="utf-8"
    )
    s3, key = aws.client("s3"), "sales/city=K%C3%B6ln%20Ost/year=2020/a.csv"
    for bucket in ("cli-own", "cli-lake"):
        s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket="cli-lake", Key=key, Body=b"date;y\n2020-01-02;1\n2020-01-05;2\n")
    (file,) = json.loads(fleet("data", "ost", "--json", **environ).stdout)["files"]
    assert [file[name] for name in ("name", "rows", "first", "last", "by_ingest")] == [
        key.removeprefix("sales/"), 2, "2020-01-02", "2020-01-05", False,
    ]  # fmt: skip
    refused = fleet("data", "ost", "--remove", file["name"], "--confirm", file["name"], **environ)
    assert refused.returncode == 1
    assert "City Fleet deletes nothing there" in refused.stderr
    gone = json.loads(fleet("remove", "ost", "--without-airflow", "--by", "ann", "--json", **environ).stdout)
    assert "cli-lake" not in json.dumps(gone)
    assert s3.list_objects_v2(Bucket="cli-lake")["KeyCount"] == 1
    plan = json.loads(fleet("plan", "ost", "--look", "--json", **environ).stdout)
    assert plan["looked"]
    lint = fleet("lint", **environ)
    assert lint.returncode == 0, lint.stdout + lint.stderr


def test_the_stacks_environment_is_loaded_and_the_shells_aws_left_out(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "stack.env").write_text(
        f"AWS_ENDPOINT_URL=http://127.0.0.1:9\nAWS_ACCESS_KEY_ID=local\nAWS_SECRET_ACCESS_KEY=local\n"
        f"AWS_MAX_ATTEMPTS=1\nCITY_FLEET_FLEETS={folder}\n",
        encoding="utf-8",
    )
    state = {"CITY_FLEET_STATE_DIR": str(tmp_path)}
    listed = fleet_script("cities", "--json", AWS_PROFILE="nowhere", **state)
    assert [city["fleet"] for city in json.loads(listed.stdout)] == ["small", "small"]
    done = fleet_script("ingest", "--fleet", str(TEXAS), AWS_PROFILE="nowhere", **state)
    assert done.returncode == 1
    assert "http://127.0.0.1:9" in done.stderr
    own = fleet_script("cities", "--json", CITY_FLEET_FLEETS=str(TEXAS.parent), **state)
    assert "texas_housing" in {city["fleet"] for city in json.loads(own.stdout)}, (
        "a folder that is asked for wins"
    )


def test_it_starts_without_airflow_pandas_or_boto3() -> None:
    code = "import sys, city_fleet.cli.app; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    environ: dict[str, Any] = {**os.environ, "PYTHONPATH": str(ROOT / "plugins")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
    )
    assert not {"airflow", "pandas", "boto3", "botocore", "numpy"} & set(done.stdout.split())
