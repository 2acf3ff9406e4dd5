"""./fleet compile, and the commands that go on while a fleet file can't be used, against real S3."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command_line import Done
from tests.support.command_line import fleet as run_fleet
from tests.support.fleets import SMALL
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.paths import ROOT

Fleet = Callable[..., Done]


@pytest.fixture
def file(tmp_path: Path, aws: LocalSageMaker) -> Path:
    """A good fleet file, of a fleet and a bucket of its own."""
    name = f"f{uuid.uuid4().hex[:12]}"
    aws.client("s3").create_bucket(Bucket=name)
    (tmp_path / "fleets").mkdir()
    path = tmp_path / "fleets" / "mine.yaml"
    text = SMALL.replace("small-data", name).replace("fleet: small", f"fleet: {name}")
    path.write_text(
        f"{text}environment: ${{CITY_FLEET_ENVIRONMENT:-laptop}}\ncities:\n  lake: {{}}\n  pier: {{}}\n"
    )
    return path


@pytest.fixture
def fleet(file: Path, aws: LocalSageMaker, tmp_path: Path) -> Fleet:
    def run(*arguments: str, machine: str = "here", **environ: str) -> Done:
        places = {"CITY_FLEET_FLEETS": str(file.parent), "CITY_FLEET_COMPILED": str(tmp_path / machine)}
        return run_fleet(*arguments, **{**places, **aws.variables, **environ})

    return run


def spoil(file: Path) -> None:
    file.write_text(file.read_text().replace("  city_column", "\tcity_column"))


def test_it_writes_here_and_to_s3_and_check_writes_nothing(fleet: Fleet, file: Path, tmp_path: Path) -> None:
    before = fleet("compile", "--check")
    assert before.returncode == 1
    assert before.stdout.count("missing or out of date") == 2
    assert not (tmp_path / "here").exists()
    done = fleet("compile")
    assert done.returncode == 0, done.stderr
    assert "mine.yaml: 2 cities, form " in done.stdout
    assert "here written, in S3 written." in done.stdout
    assert "here up to date, in S3 up to date." in fleet("compile").stdout
    assert fleet("compile", "--check").returncode == 0
    file.write_text(file.read_text() + "  quay: {retries: many}\n")
    (row,) = json.loads(fleet("compile", "--local", "--json").stdout)
    assert (row["cities"], row["broken"], row["here"], row["s3"]) == (3, 1, "written", None)
    assert fleet("compile", "--check").returncode == 1
    spoil(file)
    failed = fleet("compile")
    assert failed.returncode == 1
    assert "mine.yaml:6: got text that is not YAML" in failed.stderr


@pytest.mark.parametrize("machine", ["here", "another"])
def test_while_the_file_is_broken_commands_go_on(fleet: Fleet, file: Path, machine: str) -> None:
    """Also on a machine that never saw the file when it was right, and with another environment's bucket the same."""
    assert fleet("compile").returncode == 0
    spoil(file)
    for command in (
        ("status",),
        ("waiting",),
        ("digest",),
        ("cities",),
        ("retire", "--dry-run"),
        ("status", "--fleet", str(file)),
    ):
        done = fleet(*command, machine=machine)
        assert done.returncode == 0, (command, done.stderr)
        said = [line for line in done.stderr.splitlines() if "last good form" in line]
        assert len(said) == 1, (command, done.stderr)
        assert said[0].startswith("warning: f")
        assert "mine.yaml:6: got text that is not YAML" in said[0]
    (found,) = json.loads(fleet("status", "--json", machine=machine).stdout)
    assert [city["city"] for city in found["cities"]] == ["lake", "pier"]
    assert found["last_good_form"]["mistakes"][0]["line"] == 6
    assert "Note: Built from the last good form of 20" in fleet("status", machine=machine).stdout
    for name in ("rollback", "unpin", "history", "approve", "reject"):
        done = fleet(name, "lake", machine=machine)
        assert "last good form" in done.stderr, name
        assert "not YAML" not in done.stdout, name
    for command in (
        ("lint",),
        ("plan", "lake"),
        ("backfill", "lake", "--from", "2020-01-01", "--to", "2020-01-02"),
    ):
        done = fleet(*command, machine=machine)
        assert done.returncode == 1, command
        assert "mine.yaml:6: got text that is not YAML" in done.stdout + done.stderr, command
        assert "last good form" not in done.stderr, command


def test_without_a_form_they_say_what_to_do(fleet: Fleet, file: Path) -> None:
    spoil(file)
    done = fleet("status")
    assert done.returncode == 1
    assert "no form of it from before is in" in done.stderr
    assert "./fleet compile" in done.stderr
    assert "mine.yaml:6: got text that is not YAML" in done.stderr
    unreachable = fleet("status", AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert unreachable.returncode == 1
    assert "can't be asked for the last good form" in unreachable.stderr


def test_another_environment_has_forms_of_its_own(fleet: Fleet, file: Path) -> None:
    assert fleet("compile").returncode == 0
    spoil(file)
    assert fleet("status", machine="another").returncode == 0
    other = fleet("status", machine="third", CITY_FLEET_ENVIRONMENT="staging")
    assert "no form of it from before" in other.stderr


def test_a_form_of_the_bucket_that_is_damaged_is_none(fleet: Fleet, file: Path, aws: LocalSageMaker) -> None:
    assert fleet("compile").returncode == 0
    spoil(file)
    s3 = aws.client("s3")
    bucket = next(
        line.partition(": ")[2] for line in file.read_text().splitlines() if line.startswith("bucket")
    )
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert len(keys) == 3
    assert all(key.startswith(f"{bucket}/laptop/state/compiled/") for key in keys)
    for number, key in enumerate(keys):
        before = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        for damage in (b"", b"{}", b"[" * 100_000, before[: len(before) // 2]):
            s3.put_object(Bucket=bucket, Key=key, Body=damage)
            done = fleet("status", machine=f"third-{number}")
            assert done.returncode == 1, key
            assert "no form of it from before" in done.stderr
        s3.put_object(Bucket=bucket, Key=key, Body=before)
    assert fleet("status", machine="fourth").returncode == 0


def test_processes_that_compile_at_once_leave_one_whole_form(file: Path, tmp_path: Path) -> None:
    environment = {
        "PATH": "/usr/bin:/bin",
        "CITY_FLEET_STATE_DIR": "/nonexistent",
        "CITY_FLEET_COMPILED": str(tmp_path / "at-once"),
        "CITY_FLEET_FLEETS": str(file.parent),
    }
    command = [str(ROOT / "fleet"), "compile", "--local"]
    running = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) for _ in range(4)]
    assert [each.communicate(timeout=120) and each.returncode for each in running] == [0, 0, 0, 0]
    (folder,) = (tmp_path / "at-once").iterdir()
    assert len(list(folder.iterdir())) == 2, list(folder.iterdir())
    checked = subprocess.run(
        [*command, "--check"], env=environment, check=False, capture_output=True, timeout=60
    )
    assert checked.returncode == 0, checked.stdout
