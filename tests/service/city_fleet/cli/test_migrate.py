"""./fleet migrate, and every other command before it was run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from city_fleet.state import live
from tests.support.command_line import Done, fleet
from tests.support.fleets import SMALL
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.old_layout import BUCKET, OldInstallation


class Upgraded:
    """An installation of before, and the command line of today."""

    def __init__(self, aws: LocalSageMaker, folder: Path) -> None:
        self.aws, self.folder = aws, folder
        self.old = OldInstallation(aws)
        text = SMALL.replace("fleet: small", f"fleet: {self.old.fleet}\nenvironment: {self.old.environment}")
        text = text.replace("small-data", BUCKET) + "cities: {austin: , waco: }\n"
        (folder / "town.yaml").write_text(text, encoding="utf-8")

    def run(self, *arguments: str) -> Done:
        return fleet(*arguments, CITY_FLEET_FLEETS=str(self.folder), **self.aws.variables)


@pytest.fixture
def upgraded(aws: LocalSageMaker, tmp_path: Path) -> Upgraded:
    return Upgraded(aws, tmp_path)


def test_before_it_every_command_that_writes_names_it(upgraded: Upgraded, subtests: pytest.Subtests) -> None:
    upgraded.old.city("austin")
    before = upgraded.old.objects()
    for arguments in (
        ("rollback", "austin"),
        ("unpin", "austin"),
        ("promote", "austin", "--reason", "why not"),
        ("rebuild",),
        ("rebuild", "austin"),
        ("remove", "austin", "--without-airflow"),
        ("retire",),
        ("retire", "austin"),
        ("approve", "austin"),
        ("reject", "--night", "2014-04-01"),
        ("history", "austin"),
    ):
        with subtests.test(" ".join(arguments)):
            done = upgraded.run(*arguments)
            assert done.returncode == 1
            said = done.stdout + done.stderr
            assert f"`./fleet migrate --fleet {upgraded.old.fleet}` moves it, once" in said
            assert f"s3://city-fleet/{upgraded.old.fleet}/live/austin.json: an earlier version" in said
    assert upgraded.old.objects() == before
    with subtests.test("doctor"):
        found = json.loads(upgraded.run("doctor", "--no-airflow", "--json").stdout)
        (layout,) = [each for each in found if "awaits being moved" in each["what"]]
        assert layout["level"] == "fail"
        assert layout["advice"].startswith(f"./fleet migrate --fleet {upgraded.old.fleet} moves it")
    with subtests.test("status"):
        done = upgraded.run("status")
        assert f"`./fleet migrate --fleet {upgraded.old.fleet}` moves it" in done.stdout + done.stderr


def test_it_says_what_it_does_and_what_comes_next(upgraded: Upgraded) -> None:
    old = upgraded.old
    old.city("austin")
    planned = upgraded.run("migrate", "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "objects would be copied, 5 versions, austin/20140301T000000Z-" in planned.stdout
    assert "Next:" not in planned.stdout
    refused = upgraded.run("migrate", "--delete-old")
    assert refused.returncode == 1
    assert "has not moved all of it yet. Nothing was deleted. Run it first" in refused.stderr
    done = upgraded.run("migrate")
    assert done.returncode == 0, done.stderr
    assert f"1 city, 1 with a live model, moved to s3://city-fleet/{old.fleet}/production/." in done.stdout
    endpoint = f"{old.fleet}--production"
    for step in (
        f"  1. Run the DAG {old.fleet}._endpoint: endpoint {endpoint} then serves from s3://city-fleet/{old.fleet}/production",
        f"     To keep the name of the old endpoint, set endpoint.name: {old.fleet}-production in town.yaml first.",
        f"CITY_FLEET_ENVIRONMENT=production and CITY_FLEET_ENDPOINT={endpoint}.",
        f"  3. ./fleet migrate --fleet {old.fleet} --delete-old deletes what is left.",
    ):
        assert step in done.stdout
    found = live.read(old.s3, old.keys, "austin")
    assert found is not None
    assert found.pointer.sequence == 3
    again = upgraded.run("migrate", "--json")
    assert json.loads(again.stdout) == [{"fleet": old.fleet, "environment": "production", "cities": []}]
    early = upgraded.run("migrate", "--delete-old")
    assert (
        f"there is no endpoint {endpoint}. Nothing was deleted. Run the DAG {old.fleet}._endpoint"
        in early.stderr
    )
    old.serve(old.keys, endpoint)
    would = upgraded.run("migrate", "--delete-old", "--dry-run")
    assert "5 versions of the layout of before would be deleted." in would.stdout
    gone = upgraded.run("migrate", "--delete-old")
    assert gone.returncode == 0, gone.stderr
    assert f"aws sagemaker delete-endpoint --endpoint-name {old.fleet}-production" in gone.stdout
    assert {key.split("/")[1] for key in old.objects()} == {"production"}
    assert "nothing is left of an earlier layout" in upgraded.run("migrate", "--delete-old").stdout
    assert upgraded.run("history", "austin").returncode == 0
    assert upgraded.run("rollback", "austin").returncode == 0


def test_a_fleet_without_anything_of_before_is_left_alone(upgraded: Upgraded) -> None:
    done = upgraded.run("migrate")
    assert (done.returncode, done.stdout) == (
        0,
        f"{upgraded.old.fleet}: there is nothing of an earlier layout.\n",
    )
    assert upgraded.old.objects() == {}
