"""The doctor: what it says of packages, of a real local AWS, and of what Airflow's probe may find."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from packaging.requirements import Requirement

from city_fleet.data.ingest import ingest
from city_fleet.doctor import airflow_checks, airflow_probe, aws_checks, observe_checks, package_checks
from city_fleet.doctor.findings import Finding, Level
from city_fleet.doctor.package_checks import Role
from tests.support.command_line import fleet
from tests.support.factors import create_endpoint
from tests.support.fleets import texas
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.paths import ROOT

HERE = {"AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nonexistent"}


def said(found: list[Finding], level: Level) -> list[str]:
    return [each.what for each in found if each.level is level]


# Packages ---------------------------------------------------------------------------------------------


def test_pinned_packages_are_compared_with_what_is_installed() -> None:
    lines = [
        "# a comment",
        "",
        "-r other.txt",
        "Good_One[extra]==1.2.3",
        "other==2.0  # why",
        "gone==1.0",
        'elsewhere==1.0 ; sys_platform == "amiga"',
        "not a requirement",
    ]
    found = package_checks.check(lines, {"good-one": "1.2.3", "other": "2.1"})
    assert said(found, Level.OK) == ["1 packages are installed as requirements.txt pins them"]
    assert said(found, Level.FAIL) == ["not installed: gone==1.0"]
    assert said(found, Level.WARN) == ["another version than was tested: other 2.1 instead of ==2.0"]


def test_this_environment_is_the_pinned_one() -> None:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    found = package_checks.check(lines, package_checks.installed_versions())
    assert [each.level for each in found] == [Level.OK], found


def test_an_airflow_needs_no_tools_of_a_laptop() -> None:
    needed = package_checks.needs(Role.AIRFLOW, ROOT)
    names = {Requirement(line).name for line in needed}
    assert not names & {"pytest", "pandas", "xgboost", "xgboost-cpu", "sagemaker-core", "aiobotocore", "moto"}
    found = package_checks.check(needed, package_checks.installed_versions(), Role.AIRFLOW)
    assert [each.level for each in found] == [Level.OK], found
    assert {"pytest", "pandas", "xgboost"} <= {
        Requirement(line).name
        for line in package_checks.needs(Role.LAPTOP, ROOT)
        if line and not line.startswith("#")
    }


def test_an_airflow_whose_fleet_asks_for_holidays_or_tables_needs_their_package() -> None:
    needed = package_checks.needs(Role.AIRFLOW, ROOT, holidays=True, parquet=True)
    without = {"boto3": "1.43.1"}
    (missing,) = said(package_checks.check(needed, without, Role.AIRFLOW), Level.FAIL)
    assert "holidays>=0.60" in missing
    assert "pyarrow>=16" in missing
    plain = package_checks.needs(Role.AIRFLOW, ROOT)
    assert not {"holidays>=0.60", "pyarrow>=16"} & set(plain)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["optional-dependencies"] == {
        "holidays": [package_checks.HOLIDAYS_NEED],
        "parquet": [package_checks.PARQUET_NEED],
    }


def test_what_is_too_old_for_an_airflow_fails() -> None:
    found = package_checks.check(
        package_checks.AIRFLOW_NEEDS, {"apache-airflow": "3.2.1", "pydantic": "2.14.4"}, Role.AIRFLOW
    )
    assert said(found, Level.OK) == ["1 packages are installed in versions that City Fleet works with"]
    assert "a version that City Fleet does not work with: apache-airflow 3.2.1 instead of <4,>=3.3" in said(
        found, Level.FAIL
    )
    assert all("docs/install.md" in each.advice for each in found if each.level is not Level.OK)


def test_a_place_is_a_laptop_where_the_checkouts_environment_runs(tmp_path: Path) -> None:
    for prefix, role in (
        (ROOT / ".venv", Role.LAPTOP),
        (tmp_path, Role.AIRFLOW),
        (Path("/usr"), Role.AIRFLOW),
    ):
        assert package_checks.role_here(str(prefix), ROOT) is role, prefix
    assert package_checks.needs(Role.LAPTOP, tmp_path) == []
    (only,) = package_checks.check([], {}, Role.LAPTOP)
    assert only.level is Level.WARN


def test_the_role_decides_what_is_checked() -> None:
    for role, said_of_packages in (
        ("airflow", "versions that City Fleet works with"),
        ("laptop", "pins them"),
    ):
        done = fleet("doctor", "--role", role, "--no-aws", "--no-airflow", "--json")
        packages = [each for each in json.loads(done.stdout) if each["area"] == "packages"]
        assert said_of_packages in packages[0]["what"], role
    assert fleet("doctor", "--role", "phone").returncode == 2


# AWS --------------------------------------------------------------------------------------------------


def look(aws: LocalSageMaker, **fields: Any) -> list[Finding]:
    return aws_checks.check(texas().model_copy(update=fields), aws.client)


def test_a_fleet_that_has_all_it_needs(aws: LocalSageMaker) -> None:
    bucket = "healthy-fleet"
    fleet = texas().model_copy(update={"bucket": bucket})
    ingest(fleet, aws.client("s3"), create_bucket=True)
    endpoint = fleet.endpoint.model_copy(update={"name": create_endpoint(aws)})
    found = look(aws, bucket=bucket, endpoint=endpoint)
    assert [each.level for each in found] == [Level.OK] * 5, found
    assert said(found, Level.OK)[1:] == [
        "role city-fleet exists and SageMaker may assume it",
        "bucket healthy-fleet is there",
        "all 46 cities have raw data",
        "endpoint factors is in service",
    ]


def test_raw_data_that_are_read_in_place_are_looked_for_there(aws: LocalSageMaker) -> None:
    s3, fleet = aws.client("s3"), texas()
    s3.create_bucket(Bucket="doctors-lake")
    s3.put_object(Bucket="doctors-lake", Key="city=Austin/a.csv", Body=b"x")
    cities = {}
    for slug, template in (
        ("austin", "s3://doctors-lake/city={name}/"),
        ("waco", "s3://doctors-lake/city={name}/"),
        ("tyler", "s3://there-is-no-such-lake/{slug}/"),
    ):
        dataset = fleet.cities[slug].dataset.model_copy(update={"raw": template})
        cities[slug] = fleet.cities[slug].model_copy(update={"dataset": dataset})
    found = look(aws, cities=cities)
    assert any(
        "city tyler: s3://there-is-no-such-lake/tyler/: there is no such bucket" in text
        for text in said(found, Level.FAIL)
    )
    assert "1 of 3 cities have no files where dataset.raw leads: waco" in said(found, Level.WARN)


def test_an_algorithm_that_the_endpoints_code_lacks_is_said(aws: LocalSageMaker) -> None:
    fleet = texas()
    endpoint = fleet.endpoint.model_copy(update={"name": create_endpoint(aws)})
    austin = fleet.cities["austin"]
    linear = austin.model_copy(update={"algorithm": austin.algorithm.model_copy(update={"name": "linear"})})
    found = look(aws, endpoint=endpoint, cities={**fleet.cities, "austin": linear})
    (wrong,) = [each for each in found if each.level is Level.FAIL and "lacks" in each.what]
    assert wrong.what == "The code of endpoint 'factors' lacks the algorithm linear; it has: xgboost"
    assert wrong.advice.startswith("Run the DAG texas_housing._endpoint: it brings the code")


def test_what_is_missing_is_said_with_what_to_do(aws: LocalSageMaker) -> None:
    found = look(aws, bucket="no-such-bucket", role="arn:aws:iam::123456789012:role/service/none")
    assert said(found, Level.FAIL) == [
        "there is no role none",
        "there is no bucket no-such-bucket",
        "there is no endpoint texas-housing--laptop",
    ]
    assert all(each.advice for each in found if each.level is not Level.OK)
    aws.client("s3").create_bucket(Bucket="empty-fleet")
    found = look(aws, bucket="empty-fleet")
    (what,) = said(found, Level.WARN)
    assert what.startswith("46 of 46 cities have no raw data: abilene, ")


@pytest.mark.parametrize(
    "trust",
    [
        {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"},
        {"Effect": "Deny", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"},
        {"Effect": "Allow", "Principal": "*", "Action": "sts:TagSession"},
    ],
)
def test_a_role_that_sagemaker_may_not_assume(aws: LocalSageMaker, trust: dict[str, Any]) -> None:
    name = f"wrong-{abs(hash(json.dumps(trust)))}"
    policy = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    aws.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=policy)
    found = look(aws, role=f"arn:aws:iam::123456789012:role/{name}")
    assert f"SageMaker may not assume role {name}" in said(found, Level.FAIL)


def test_a_role_of_another_account(aws: LocalSageMaker) -> None:
    found = look(aws, role="arn:aws:iam::999999999999:role/city-fleet")
    assert "is of account 999999999999, the credentials are of 123456789012" in " ".join(
        said(found, Level.FAIL)
    )


def test_a_bucket_of_another_region(aws: LocalSageMaker) -> None:
    aws.client("s3", "eu-west-1").create_bucket(
        Bucket="far-away", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    found = look(aws, bucket="far-away")
    assert "bucket far-away is in eu-west-1, the fleet in us-east-1" in said(found, Level.FAIL)


def test_an_aws_that_does_not_answer_is_one_failure() -> None:
    def client(service: str) -> Any:
        return boto3.client(
            service,
            region_name="us-east-1",
            endpoint_url="http://127.0.0.1:9",
            aws_access_key_id="a",
            aws_secret_access_key="b",
            config=Config(retries={"total_max_attempts": 1}, proxies={}),
        )

    (found,) = aws_checks.check(texas(), client)
    assert found.level is Level.FAIL
    assert "http://127.0.0.1:9" in found.what


# Airflow ----------------------------------------------------------------------------------------------


def facts(**changes: Any) -> dict[str, Any]:
    """What the probe finds where all is well for the Texas fleet."""
    ids = [f"texas_housing.{slug}" for slug in texas().cities]
    return {
        "version": "3.3.2",
        "python": "3.11.9",
        "settings": {
            "core.dagbag_import_timeout": 30.0,
            "dag_processor.dag_file_processor_timeout": 50,
            "dag_processor.min_file_process_interval": 30,
            "scheduler.max_dagruns_per_loop_to_schedule": 100,
            "triggerer.capacity": 1000,
        },
        "dialect": "postgresql",
        "problem": None,
        "environments": {},
        "pools": {"city_fleet_laptop": {"slots": 50, "include_deferred": True}},
        "dags": dict.fromkeys([*ids, "texas_housing._reaper", "texas_housing._digest"], False),
        "import_errors": [],
        **changes,
    }


def test_an_airflow_that_is_well() -> None:
    found = airflow_checks.check(facts(), [texas()])
    assert {each.level for each in found} == {Level.OK}
    assert "starting the tasks of 47 cities takes one scheduler about 2 minutes on a small machine" in said(
        found, Level.OK
    )


@pytest.mark.parametrize(
    ("version", "level"),
    [
        ("2.11.0", Level.FAIL),
        ("3.0.6", Level.FAIL),
        ("3.2.10", Level.FAIL),
        ("3.3.0", Level.OK),
        ("3.3.2+composer", Level.OK),
        ("3.4.0", Level.WARN),
        ("3.10.0rc1", Level.WARN),
        ("4.0.0", Level.WARN),
    ],
)
def test_the_version_of_airflow_is_judged_by_its_minor(version: str, level: Level) -> None:
    first = airflow_checks.check(facts(version=version), [texas()])[0]
    assert (first.level, version in first.what) == (level, True)
    assert bool(first.advice) == (level is not Level.OK)
    if level is Level.FAIL:
        assert "a retry finds the job that is paid for" in first.what


def test_what_the_doctor_calls_tested_is_what_is_pinned() -> None:
    (pinned,) = re.findall(
        r"^apache-airflow==(\d+)\.(\d+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE
    )
    assert tuple(map(int, pinned)) == airflow_checks.TESTED


def _paused(value: dict[str, Any]) -> None:
    value["dags"].update({"texas_housing.waco": True, "texas_housing._reaper": True})


def _missing(value: dict[str, Any]) -> None:
    del value["dags"]["texas_housing.austin"]


@pytest.mark.parametrize(
    ("spoil", "level", "what"),
    [
        (_paused, Level.WARN, "texas_housing: 1 of 47 cities are paused"),
        (_paused, Level.WARN, "texas_housing._reaper is paused: jobs that nobody waits for"),
        (_missing, Level.WARN, "texas_housing: 1 cities have no DAG: austin"),
        (
            lambda value: value["environments"].update({"texas_housing._endpoint": "rehearsal"}),
            Level.FAIL,
            "texas_housing._endpoint is of environment rehearsal, the fleet file here of laptop",
        ),
        (lambda value: value["pools"].clear(), Level.FAIL, "there is no pool city_fleet_laptop"),
        (
            lambda value: value["pools"]["city_fleet_laptop"].update(include_deferred=False),
            Level.FAIL,
            "pool city_fleet_laptop does not count tasks that wait for their job",
        ),
        (
            lambda value: value["settings"].update({"triggerer.capacity": 20}),
            Level.WARN,
            "47 tasks may wait at a time, one triggerer takes 20",
        ),
        (
            lambda value: value["settings"].update({"scheduler.max_dagruns_per_loop_to_schedule": 20}),
            Level.WARN,
            "[scheduler] max_dagruns_per_loop_to_schedule is 20",
        ),
        (
            lambda value: value["import_errors"].append("city_dags.py"),
            Level.FAIL,
            "DAG files that can't be read",
        ),
        (
            lambda value: value.update(problem="no such table"),
            Level.FAIL,
            "its database can't be read: no such table",
        ),
    ],
)
def test_what_is_wrong_with_airflow(spoil: Callable[[dict[str, Any]], Any], level: Level, what: str) -> None:
    value = facts()
    spoil(value)
    found = [each for each in airflow_checks.check(value, [texas()]) if each.what.startswith(what)]
    assert [each.level for each in found] == [level]
    assert found[0].advice


def test_limits_are_judged_for_as_many_cities_as_there_may_be() -> None:
    def complaints(cities: int) -> set[str]:
        found = airflow_checks.check(facts(dialect="sqlite"), [texas()], cities)
        return {each.what.split("] ")[-1].split(" ")[0] for each in found if each.level is Level.WARN}

    assert complaints(100) == set()
    assert complaints(1500) == {"min_file_process_interval", "max_dagruns_per_loop_to_schedule", "SQLite"}
    assert {"dagbag_import_timeout", "dag_file_processor_timeout"} <= complaints(4000)
    assert "starting" in complaints(15_000)
    found = airflow_checks.check(facts(), [texas()], 4000)
    advice = [each.advice for each in found if "dag_file_processor_timeout" in each.what]
    assert advice == ["Set AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT=110"]


def test_components_that_are_not_healthy_are_named() -> None:
    healthy = {
        name: {"status": "healthy"} for name in ("metadatabase", "scheduler", "dag_processor", "triggerer")
    }
    (found,) = airflow_checks.look_at_health(healthy, "http://localhost")
    assert found.level is Level.OK
    sick = airflow_checks.look_at_health(
        {**healthy, "triggerer": {"status": None}, "scheduler": {"status": "unhealthy"}}, "http://localhost"
    )
    assert said(sick, Level.FAIL) == ["the scheduler is unhealthy", "the triggerer is not running"]
    (silent,) = airflow_checks.look_at_health(None, "http://localhost")
    assert silent.level is Level.WARN


def test_the_probe_reads_settings_and_says_what_is_wrong_with_the_database(tmp_path: Path) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    done = subprocess.run(
        [sys.executable, "-m", "city_fleet.doctor.airflow_probe"],
        env={
            **inherited,
            "PYTHONPATH": str(ROOT / "plugins"),
            "AIRFLOW_HOME": str(tmp_path),
            "AIRFLOW__TRIGGERER__CAPACITY": "77",
            "AIRFLOW__METRICS__STATSD_ON": "True",
            "AIRFLOW__OPENLINEAGE__TRANSPORT": '{"type": "http", "url": "http://secret-name"}',
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/secret-name.db",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = [line for line in done.stdout.splitlines() if line.startswith(airflow_probe.MARK)]
    found = json.loads(line.removeprefix(airflow_probe.MARK))
    assert found["settings"]["triggerer.capacity"] == 77
    assert found["dialect"] == "sqlite"
    assert "no such table" in found["problem"]
    observed = found["observed"]
    assert (observed["traces"], observed["metrics"], observed["lineage"]) == (False, ["statsd_on"], True)
    assert {each.level for each in observe_checks.check(observed)} <= {Level.OK, Level.WARN}
    assert "secret-name" not in line


# The command ------------------------------------------------------------------------------------------


def test_the_command_looks_at_everything_and_exits_by_what_fails(
    aws: LocalSageMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("AIRFLOW")]:
        monkeypatch.delenv(name)
    done = fleet("doctor", "--no-aws", **HERE)
    assert done.returncode == 0
    assert "AIRFLOW_HOME is not set in this shell" in done.stdout
    fleets = len(list((ROOT / "include" / "fleets").glob("*.yaml")))
    assert done.stdout.splitlines()[-1] == f"{1 + fleets} ok, 1 warnings, 0 failures."
    environ = {name: value for name, value in aws.environment.items() if name.startswith("AWS_")}
    done = fleet("doctor", "--no-airflow", "--json", **{**environ, "CITY_FLEET_BUCKET": "not-there"})
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert {
        "area": "AWS, texas_housing",
        "level": "fail",
        "what": "there is no bucket not-there",
    }.items() <= next(
        each for each in found if "bucket" in each["what"] and "texas_housing" in each["area"]
    ).items()


def test_mistakes_of_fleet_files_are_counted(tmp_path: Path) -> None:
    text = (ROOT / "include" / "fleets" / "texas_housing.yaml").read_text()
    (tmp_path / "a.yaml").write_text(text.replace("{name: Waco}", "{gate: {tolerance: x}}"))
    (tmp_path / "b.yaml").write_text("fleet: ]")
    done = fleet("doctor", "--no-aws", "--no-airflow", CITY_FLEET_FLEETS=str(tmp_path))
    assert done.returncode == 1
    assert "a.yaml: mistakes in 1 city" in done.stdout
    assert "b.yaml can't be read" in done.stdout
    empty = fleet("doctor", "--no-aws", "--no-airflow", CITY_FLEET_FLEETS=str(tmp_path / "none"))
    assert (empty.returncode, "no fleet file" in empty.stdout) == (1, True)
