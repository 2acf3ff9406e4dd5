"""The commands that move live pointers, as a person on call types them: what they print and how they exit."""

from __future__ import annotations

import getpass
import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from city_fleet.state import live
from tests.support.command_line import Done, fleet
from tests.support.factors import ENDPOINT, ENVIRONMENT, KEYS, City, create_endpoint
from tests.support.fleets import SMALL
from tests.support.local_sagemaker import LocalSageMaker


class OnCall:
    """A person on call, with a fleet file and a shell."""

    def __init__(self, aws: LocalSageMaker, folder: Path) -> None:
        self.aws = aws
        self.folder = folder
        self.cities: list[City] = []

    def city(self) -> City:
        """Return a new city, which is in the fleet file."""
        self.cities.append(City(self.aws))
        self.write(*(city.slug for city in self.cities))
        return self.cities[-1]

    def write(self, *cities: str, name: str = KEYS.fleet) -> None:
        """Write a fleet file."""
        text = SMALL.replace("fleet: small", f"fleet: {name}\nenvironment: {ENVIRONMENT}")
        text = text.replace("bucket: small-data", f"bucket: {KEYS.bucket}")
        text += f"endpoint: {{name: {ENDPOINT if name == KEYS.fleet else name}}}\n"
        text += "cities:\n" + "".join(f"  {slug}: {{}}\n" for slug in cities or ("none",))
        (self.folder / f"{name}.yaml").write_text(text, encoding="utf-8")

    def run(self, *arguments: str, **environ: str) -> Done:
        """Run ./fleet."""
        return fleet(*arguments, **{**self.aws.variables, "CITY_FLEET_FLEETS": str(self.folder), **environ})


@pytest.fixture
def desk(aws: LocalSageMaker, tmp_path: Path) -> OnCall:
    create_endpoint(aws)
    desk = OnCall(aws, tmp_path)
    desk.write()
    return desk


def test_a_bad_model_is_taken_back_looked_at_and_let_go(desk: OnCall) -> None:
    city = desk.city()
    first, second = city.go_live(1.1, month=1), city.go_live(1.2, month=2)
    done = desk.run("rollback", city.slug, "--by", "ann", "--reason", "prices ten times too high")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"{city.slug}: rolled back from {second.target_model} to {first.target_model}, which went live with "
        "sequence 1; pinned as sequence 3.\n"
    )
    history = desk.run("history", city.slug)
    assert (history.returncode, history.stderr) == (0, "")
    header, *rows = history.stdout.splitlines()
    assert header.split() == ["seq", "from", "until", "as_of", "version", "MAPE", "moved"]
    at = city.chain()[-1].moved_at.removesuffix("+00:00").replace("T", " ")
    assert [" ".join(row.split()) for row in rows] == [
        f"1 2014-01-01 00:00:00 2014-02-01 00:00:00 20140101T000000Z 1 10.0% publish, by factors.{city.slug}/month-1",
        f"2 2014-02-01 00:00:00 {at} 20140201T000000Z 2 20.0% publish, by factors.{city.slug}/month-2",
        f"* 3 {at} now 20140101T000000Z 1 10.0% rollback to 1, pinned, by ann: prices ten times too high",
    ]
    done = desk.run("unpin", city.slug, "--by", "bob")
    assert done.returncode == 0
    assert done.stdout == (
        f"{city.slug}: unpinned as sequence 4; {first.target_model} serves until a new model goes live.\n"
    )
    done = desk.run("unpin", city.slug)
    assert (done.returncode, done.stdout) == (0, f"{city.slug}: unchanged: it is not pinned.\n")


def test_forward_again_by_the_name_of_the_login(desk: OnCall) -> None:
    city = desk.city()
    for month in (1, 2):
        city.go_live(1 + month / 10, month)
    desk.run("rollback", city.slug)
    done = desk.run("rollback", city.slug, "--to", "2014-02-01", USER="zoe", LOGNAME="zoe")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{city.slug}: went forward from ")
    assert city.answer() == pytest.approx(1.2)
    desk.run("unpin", city.slug)
    done = desk.run("rollback", city.slug, "--to", "2")
    assert done.stdout.endswith(", which serves, is pinned as sequence 6.\n")
    assert [state.moved_by for state in city.chain()][2:4] == [getpass.getuser(), "zoe"]


def test_what_was_passed_over_is_said(desk: OnCall) -> None:
    city = desk.city()
    city.go_live(1.1, month=1)
    second = city.go_live(1.2, month=2)
    city.go_live(1.3, month=3)
    city.remove_artifact(second)
    dry = desk.run("rollback", city.slug, "--dry-run")
    assert dry.returncode == 0
    first_line, second_line = dry.stdout.splitlines()
    assert first_line.startswith(f"{city.slug}: would roll back from ")
    assert second_line.startswith(f"{city.slug}:   passed over sequence 2 ({second.target_model}): s3://")
    assert len(city.chain()) == 3


def test_many_cities_at_once_as_json(desk: OnCall) -> None:
    good, alone = desk.city(), desk.city()
    for month in (1, 2):
        good.go_live(1 + month / 10, month)
    only = alone.go_live(1.1, month=1)
    done = desk.run("rollback", good.slug, alone.slug, "--json", "--by", "ann")
    assert (done.returncode, done.stderr) == (1, "")
    first, second = json.loads(done.stdout)
    assert (first["fleet"], first["city"], first["outcome"], first["error"]) == (
        KEYS.fleet,
        good.slug,
        "moved",
        None,
    )
    assert (first["after"]["restores"], first["after"]["moved_by"]) == (1, "ann")
    assert (second["city"], second["outcome"], second["after"]) == (alone.slug, "failed", None)
    assert second["error"]["error"] == "PublishError"
    assert first.keys() == second.keys()
    text = desk.run("rollback", good.slug, alone.slug)
    assert text.returncode == 1
    assert text.stdout == "2 cities: 2 could not be done.\n"
    assert [line.partition(":")[0] for line in text.stderr.splitlines()] == [good.slug, alone.slug]
    assert f"{alone.slug}: there is nothing to roll back to: no model that served before it" in text.stderr
    assert alone.pointer == only


def test_a_whole_night_is_taken_back(desk: OnCall) -> None:
    """Of three cities two have published since; one of them for the first time."""
    night, quiet, new = desk.city(), desk.city(), desk.city()
    evening = datetime.now(UTC).isoformat(timespec="seconds")
    quiet.go_live(1.1, month=1)
    night.go_live(1.1, month=1)
    night.go_live(1.2, month=2, at=evening)
    new.go_live(1.3, month=2, at=evening)
    dry = desk.run("rollback", "--since", evening, "--dry-run")
    assert "would roll back" in dry.stdout
    assert night.answer() == pytest.approx(1.2)
    done = desk.run("rollback", "--since", evening, "--reason", "raw data of last night")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines[:-1]] == [night.slug]
    assert lines[-1].endswith("could not be done.")
    assert "1 moved" in lines[-1]
    assert (
        f"{new.slug}: there is nothing to roll back to: no model that served before {evening} can"
        in done.stderr
    )
    assert night.answer() == pytest.approx(1.1)
    again = desk.run("rollback", "--since", evening, night.slug)
    assert again.returncode == 0
    assert again.stdout.startswith(f"{night.slug}: unchanged: ")
    assert len(quiet.chain()) == 1
    nothing = desk.run("rollback", "--since", "2099-01-01")
    assert (nothing.returncode, nothing.stdout) == (
        0,
        "No model was published since 2099-01-01; there is nothing to do.\n",
    )
    assert json.loads(desk.run("rollback", "--since", "2099-01-01", "--json").stdout) == []


def test_a_held_model_is_promoted_by_name(desk: OnCall) -> None:
    city = desk.city()
    champion = city.go_live(1.01, month=1)
    held, _ = city.train(1.2, month=2, status="Rejected")
    arguments = ["promote", city.slug, "--reason", "holds against the newest listings", "--by", "ann"]
    dry = desk.run(*arguments, "--dry-run")
    assert dry.stdout.splitlines() == [
        f"{city.slug}: would be promoted:",
        f"{city.slug}:   {held.target_model} would go live; version 2 is Rejected in the registry.",
    ]
    assert city.pointer == champion
    done = desk.run(*arguments, "--pin")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"{city.slug}: {held.target_model} is live instead of {champion.target_model}, as sequence 2, pinned.",
        f"{city.slug}:   version 2 was Rejected in the registry and is Approved now.",
    ]
    assert city.status(held) == "Approved"
    again = desk.run(*arguments, "--version", "2", "--json")
    (report,) = json.loads(again.stdout)
    assert (again.returncode, report["outcome"]) == (0, "unchanged")
    assert report["notes"][0].startswith("it is live already, and pinned, by ann")
    by_date = desk.run(*arguments, "--as-of", "2014-01-01")
    assert by_date.returncode == 0
    assert city.pointer is not None
    assert city.pointer.target_model == champion.target_model


def test_promoting_what_is_not_there(desk: OnCall) -> None:
    city = desk.city()
    city.go_live(1.01, month=1)
    done = desk.run("promote", city.slug, "--version", "7", "--reason", "x")
    assert (done.returncode, done.stdout) == (1, "")
    assert "has no version '7'; it has: 1." in done.stderr
    done = desk.run("promote", city.slug, "--as-of", "2013-01-01", "--reason", "x", "--json")
    (report,) = json.loads(done.stdout)
    assert (done.returncode, report["error"]["error"]) == (1, "UnknownName")


def test_lost_pointers_are_rebuilt(desk: OnCall) -> None:
    lost, sound, never = desk.city(), desk.city(), desk.city()
    first = lost.go_live(1.1, month=1)
    sound.go_live(1.1, month=1)
    desk.aws.client("s3").delete_object(Bucket=KEYS.bucket, Key=KEYS.live(lost.slug))
    problem = desk.run("history", lost.slug)
    assert problem.returncode == 1
    assert (
        f"{lost.slug}: the live pointer is missing; `./fleet rebuild {lost.slug}` restores it."
        in problem.stderr
    )
    refused = desk.run("rollback", lost.slug)
    assert refused.returncode == 1
    assert f"`./fleet rebuild {lost.slug}` restores the pointer" in refused.stderr
    dry = desk.run("rebuild", "--dry-run")
    assert dry.returncode == 0
    assert dry.stdout.splitlines() == [
        f"{lost.slug}: the live pointer would be restored as sequence 2, {first.target_model}.",
        f"{lost.slug}:   the live pointer is missing.",
        f"{lost.slug}:   from sequence 1 of the history, publish by {first.moved_by}.",
        "3 cities: 1 planned, 2 unchanged.",
    ]
    done = desk.run("rebuild", "--by", "ann")
    assert done.returncode == 0
    assert done.stdout.splitlines()[0].startswith(
        f"{lost.slug}: the live pointer is restored as sequence 2, "
    )
    named = desk.run("rebuild", sound.slug, never.slug)
    assert named.stdout.splitlines() == [
        f"{sound.slug}: unchanged: the live pointer is sound.",
        f"{never.slug}: unchanged: no model of it ever went live.",
        "2 cities: 2 unchanged.",
    ]


def test_a_city_that_left_the_fleet_file(desk: OnCall) -> None:
    """Its model serves on, so it can be rolled back; its lost pointer is restored only when it is named."""
    city = desk.city()
    for month in (1, 2):
        city.go_live(1 + month / 10, month)
    desk.write()
    assert desk.run("history", city.slug).returncode == 0
    assert desk.run("rollback", city.slug).returncode == 0
    assert city.answer() == pytest.approx(1.1)
    city.s3.delete_object(Bucket=KEYS.bucket, Key=KEYS.live(city.slug))
    done = desk.run("rebuild")
    assert city.pointer is None
    assert "not in the fleet file, and therefore not restored: " in done.stderr
    assert city.slug in done.stderr
    assert desk.run("rebuild", city.slug).returncode == 0
    assert city.pointer is not None


def test_a_city_without_a_model(desk: OnCall) -> None:
    city = desk.city()
    done = desk.run("history", city.slug)
    assert (done.returncode, done.stdout) == (
        0,
        f"{city.slug}: no model of this city has ever been live in fleet 'factors'.\n",
    )
    done = desk.run("rollback", city.slug)
    assert done.returncode == 1
    assert (
        f"{city.slug}: no model of it is live (s3://city-fleet/factors/laptop/live/{city.slug}.json does not"
        in done.stderr
    )


def test_the_history_is_as_long_as_it_is_wanted(desk: OnCall) -> None:
    city = desk.city()
    for month in range(1, 6):
        city.go_live(1 + month / 10, month)
    city.s3.put_object(Bucket=KEYS.bucket, Key=KEYS.history(city.slug, 4), Body=b"{}")
    done = desk.run("history", city.slug, "--limit", "2")
    lines = done.stdout.splitlines()
    assert lines[0] == "3 older changes are not shown; --limit 0 shows all."
    assert lines[2].split()[:3] == ["4", "?", "2014-05-01"]
    assert "is not a live pointer" in lines[2]
    report = json.loads(desk.run("history", city.slug, "--limit", "0", "--json").stdout)
    assert (report["city"], report["older"], report["problem"]) == (city.slug, 0, None)
    assert [state["sequence"] for state in report["states"]] == [1, 2, 3, 4, 5]
    assert [state["live"] for state in report["states"]] == [False] * 4 + [True]


@pytest.mark.parametrize(
    "command", [["history"], ["rollback"], ["unpin"], ["rebuild"], ["promote", "--reason", "x"]]
)
def test_an_unknown_city_proposes_the_nearest(desk: OnCall, command: list[str]) -> None:
    desk.write("austin", "waco")
    for environ in ({}, {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}):
        done = desk.run(*command, "autsin", **environ)
        assert (done.returncode, done.stdout) == (2, "")
        assert "fleet 'factors' has no city 'autsin'" in done.stderr
        assert done.stderr.endswith("Did you mean 'austin'?\n")
    as_json = desk.run(*command, "autsin", "--json")
    assert (as_json.returncode, json.loads(as_json.stdout)["nearest"]) == (2, "austin")


@pytest.mark.parametrize(
    "arguments",
    [
        ["rollback"],
        ["rollback", "a", "--since", "yesterday"],
        ["rollback", "a", "--to", "yesterday"],
        ["rollback", "a", "--to", "1", "--since", "2014-01-01"],
        ["rollback", "a", "b", "--to", "1"],
        ["rollback", "a", "--by", " "],
        ["unpin"],
        ["promote", "a"],
        ["promote", "a", "--reason", " "],
        ["promote", "a", "--reason", "x", "--version", "1", "--as-of", "2014-01-01"],
        ["promote", "a", "--reason", "x", "--version", "0"],
        ["promote", "a", "--reason", "x", "--as-of", "yesterday"],
        ["history"],
        ["history", "a", "--limit", "-1"],
    ],
)
def test_wrong_usage_exits_with_2(desk: OnCall, arguments: list[str]) -> None:
    desk.write("a", "b")
    done = desk.run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: ./fleet ")


def test_several_fleets_need_a_name_where_it_matters(desk: OnCall) -> None:
    city = desk.city()
    for month in (1, 2):
        city.go_live(1 + month / 10, month)
    desk.write(city.slug, name="other")
    done = desk.run("rollback", city.slug)
    assert done.returncode == 2
    assert "in several fleets: factors, other" in " ".join(done.stderr.split())
    done = desk.run("rollback", "--since", "2014-01-01")
    assert done.returncode == 2
    assert "needs --fleet: there are factors, other" in " ".join(done.stderr.split())
    assert desk.run("rollback", city.slug, "--fleet", "factors").returncode == 0


def test_an_endpoint_that_is_missing_changes_nothing(desk: OnCall) -> None:
    city = desk.city()
    city.go_live(1.1, month=1)
    second = city.go_live(1.2, month=2)
    path = desk.folder / "factors.yaml"
    path.write_text(path.read_text().replace("name: factors}", "name: nowhere}"))
    done = desk.run("rollback", city.slug)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{city.slug}: endpoint 'nowhere' does not answer with " in done.stderr
    assert "not found" in done.stderr
    assert city.pointer == second


def test_aws_that_cannot_be_reached_is_said_without_a_traceback(desk: OnCall) -> None:
    desk.write("austin")
    dead = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}
    for arguments in (
        ["history", "austin"],
        ["rollback", "austin"],
        ["rollback", "--since", "2014-01-01"],
        ["rebuild"],
    ):
        done = desk.run(*arguments, **dead)
        assert done.returncode == 1
        assert "AWS could not be reached: " in done.stderr
        assert "Traceback" not in done.stderr
    desk.write("austin", name="factors")
    path = desk.folder / "factors.yaml"
    path.write_text(path.read_text().replace(f"bucket: {KEYS.bucket}", "bucket: no-such-bucket"))
    done = desk.run("rebuild", "austin")
    assert (done.returncode, "AWS refused" in done.stderr) == (1, True)


def test_a_pointer_that_cannot_be_read_is_said(desk: OnCall) -> None:
    city = desk.city()
    city.go_live(1.1, month=1)
    city.s3.put_object(Bucket=KEYS.bucket, Key=KEYS.live(city.slug), Body=b"{}")
    for command in ("rollback", "unpin"):
        done = desk.run(command, city.slug)
        assert done.returncode == 1
        assert "is not a live pointer" in done.stderr
    done = desk.run("history", city.slug, "--json")
    assert (done.returncode, "is not a live pointer" in json.loads(done.stdout)["problem"]) == (1, True)
    assert desk.run("rebuild", city.slug).returncode == 0


@pytest.mark.parametrize("command", ["history", "rollback", "unpin", "promote", "rebuild"])
def test_help_has_examples_and_exit_codes(command: str) -> None:
    done = fleet(command, "--help")
    assert done.returncode == 0
    assert done.stdout.count(f"./fleet {command} ") >= 2
    assert "Exit codes: 0 " in done.stdout


def test_the_commands_start_without_pandas_or_airflow(aws: LocalSageMaker, desk: OnCall) -> None:
    city = desk.city()
    city.go_live(1.1, month=1)
    code = (
        "import sys\nfrom city_fleet.cli.app import main\n"
        f"try:\n    main(['history', {city.slug!r}])\nexcept SystemExit as end:\n    assert end.code == 0, end.code\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    environ: dict[str, Any] = {**aws.environment, "PYTHONPATH": os.pathsep.join(sys.path)}
    environ["CITY_FLEET_FLEETS"] = str(desk.folder)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not {"airflow", "pandas", "numpy"} & set(done.stdout.splitlines()[-1].split())


def test_a_pointer_of_an_earlier_version_is_shown(desk: OnCall) -> None:
    city = desk.city()
    first = city.go_live(1.1, month=1)
    old = json.loads(replace(first, move=live.PUBLISH).to_json())
    for name in ("move", "moved_at", "moved_by", "reason", "restores"):
        del old[name]
    city.s3.put_object(Bucket=KEYS.bucket, Key=KEYS.live(city.slug), Body=json.dumps(old).encode())
    assert f"publish, by factors.{city.slug}/month-1" in desk.run("history", city.slug).stdout
