"""The commands about models that wait for a person: what they print, what they do, and how they exit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from city_fleet.approval import approvals
from city_fleet.champions import breaker
from city_fleet.champions.approval_states import ModelState
from tests.support.command_line import Done, fleet
from tests.support.desk import PENDING, Desk
from tests.support.factors import KEYS, create_endpoint
from tests.support.local_sagemaker import LocalSageMaker

MARCH = "20140301T000000Z"


@pytest.fixture
def desk(aws: LocalSageMaker, tmp_path: Path) -> Desk:
    create_endpoint(aws)
    s3 = aws.client("s3")
    for item in s3.list_objects_v2(Bucket=KEYS.bucket, Prefix="factors/laptop/state/breaker/").get(
        "Contents", []
    ):
        s3.delete_object(Bucket=KEYS.bucket, Key=item["Key"])
    return Desk(aws, tmp_path)


def run(desk: Desk, *arguments: str) -> Done:
    return fleet(
        *arguments,
        AWS_ENDPOINT_URL=desk.server.url,
        AWS_ACCESS_KEY_ID="local",
        AWS_SECRET_ACCESS_KEY="local",
        CITY_FLEET_FLEETS=str(Path(desk.fleet.path).parent),
    )


def test_what_waits_is_listed_approved_and_live(desk: Desk) -> None:
    version = desk.wait(1.1, 3)
    listed = run(desk, "waiting")
    assert listed.returncode == 0, listed
    line, count = listed.stdout.splitlines()
    assert line.startswith(
        f"factors  {desk.slug}, version 1 as of {MARCH}, data until 2014-02-01, awaits approval until 20"
    )
    assert count == "1 model is awaiting approval."
    (row,) = json.loads(run(desk, "waiting", "--json").stdout)
    assert (row["city"], row["as_of"], row["data_until"]) == (desk.slug, MARCH, "2014-02-01")

    planned = run(desk, "approve", desk.slug, "--dry-run")
    assert planned.returncode == 0, planned
    assert planned.stdout == (
        f"{desk.slug}, version 1: planned: it is waiting and would be approved: publish.\n"
    )
    assert desk.pointer is None
    done = run(desk, "approve", desk.slug, "--by", "ann", "--reason", "checked")
    assert done.returncode == 0, done
    assert done.stdout.startswith(f"{desk.slug}, version 1: live: approved by ann: checked; MAPE 10.0%")
    assert desk.state(version.arn) is ModelState.LIVE
    assert run(desk, "waiting").stdout == "0 models are awaiting approval.\n"


def test_a_rejected_model_stays_away(desk: Desk) -> None:
    version = desk.wait(1.1, 3)
    done = run(desk, "reject", desk.slug, "--by", "ann", "--json")
    assert done.returncode == 0, done
    (row,) = json.loads(done.stdout)["cities"]
    assert (row["outcome"], row["reasons"]) == ("rejected", ["rejected by ann"])
    assert desk.state(version.arn) is ModelState.REJECTED
    assert desk.pointer is None


def test_where_nothing_waits_the_way_on_is_said(desk: Desk) -> None:
    done = run(desk, "approve", desk.slug)
    assert (done.returncode, done.stderr) == (
        1,
        f"city {desk.slug!r}: there is nothing to approve: no version is awaiting approval\n",
    )
    desk.train(3.0, 3, status="Rejected")
    done = run(desk, "approve", desk.slug)
    assert "the newest version is 1, Rejected: name it with --version 1" in done.stderr
    assert run(desk, "approve", desk.slug, "--version", "1", "--by", "ann").returncode == 0
    assert desk.answer() == pytest.approx(3.0)
    done = run(desk, "approve", desk.slug, "--version", "7")
    assert (done.returncode, done.stderr) == (
        1,
        f"city {desk.slug!r}: the registry has no version 7 of this city; it has: 1\n",
    )


def test_an_approval_that_something_stands_against_exits_with_1(desk: Desk) -> None:
    version = desk.wait(1.1, 1)
    desk.go_live(1.2, 2)
    done = run(desk, "approve", desk.slug, "--version", "1")
    assert done.returncode == 1
    assert "version 1: superseded: the model that serves was made as of 20140201T000000Z" in done.stdout
    assert desk.state(version.arn) is ModelState.SUPERSEDED
    done = run(desk, "approve", desk.slug, "--version", "1")
    assert done.returncode == 1
    assert "refused: a newer model of the city has taken its place" in done.stdout


def test_rejecting_what_serves_says_that_it_serves_on(desk: Desk) -> None:
    served = desk.go_live(1.2, 2)
    done = run(desk, "reject", desk.slug, "--version", "1", "--by", "ann", "--reason", "too high")
    assert done.returncode == 0, done
    assert "was rejected by ann: too high. It still serves; `./fleet rollback" in done.stdout
    assert desk.pointer == served


def stop(desk: Desk) -> None:
    for number in range(3):
        breaker.mark(desk.s3, KEYS, MARCH, f"city_{number}", ("poisoned",))
    assert breaker.stop_or_read(desk.s3, KEYS, MARCH, desk.fleet.breaker)


@pytest.mark.parametrize(
    ("verb", "outcome", "state"), [("approve", "live", "approved"), ("reject", "rejected", "rejected")]
)
def test_a_whole_night_is_decided_at_once(desk: Desk, verb: str, outcome: str, state: str) -> None:
    candidate, _ = desk.train(1.1, 3, status=PENDING)
    stop(desk)
    night = breaker.read(desk.s3, KEYS, MARCH)
    assert night is not None
    approvals.wait_for_person(desk.planned, desk.version(candidate.package_arn), night.sentence)
    other = desk.wait(1.1, 4)
    planned = run(desk, verb, "--night", "2014-03-01", "--dry-run")
    assert planned.returncode == 0, planned
    assert "so the rest of that night awaits approval." in planned.stdout
    done = run(desk, verb, "--night", "2014-03-01", "--by", "ann", "--reason", "a known gap", "--json")
    assert done.returncode == 0, done
    answer = json.loads(done.stdout)
    assert [(row["city"], row["version"], row["outcome"]) for row in answer["cities"]] == [
        (desk.slug, 1, outcome)
    ]
    assert answer["nights"] == [
        f"Night {MARCH}: 3 of the 3 challengers judged so far in the night {MARCH} are unfit; the rest of that "
        f"night was {state} by ann: a known gap."
    ]
    night = breaker.read(desk.s3, KEYS, MARCH)
    assert night is not None
    assert (night.state, night.by) == (state, "ann")
    assert desk.state(other.arn) is ModelState.WAITING


def test_a_night_of_which_nothing_waits_says_so(desk: Desk) -> None:
    done = run(desk, "approve", "--night", "2014-05-01T00:00")
    assert (done.returncode, done.stdout) == (0, "No model of 2014-05-01T00:00 is awaiting approval.\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["approve"], "name cities, or a night with --night"),
        (["approve", "austin", "--night", "2014-01-01"], "name cities, or a night with --night"),
        (["reject", "austin", "waco", "--version", "1"], "--version is about one city"),
        (["approve", "--night", "last night"], "--night: got 'last night'"),
    ],
)
def test_wrong_usage_is_said_and_exits_with_2(desk: Desk, arguments: list[str], sentence: str) -> None:
    done = run(desk, *arguments)
    assert done.returncode == 2
    assert sentence in " ".join(done.stderr.split())


def test_a_city_that_is_unknown_or_broken_is_named(desk: Desk) -> None:
    done = run(desk, "approve", "atlantis")
    assert done.returncode == 2
    assert "has no city 'atlantis'" in done.stderr
    path = Path(desk.fleet.path)
    path.write_text(path.read_text() + "  waco: {gate: {tolerence: 1}}\n")
    done = run(desk, "approve", "waco")
    assert done.returncode == 1
    assert "Did you mean 'tolerance'?" in done.stderr


def test_several_cities_are_done_although_one_can_not(
    desk: Desk, aws: LocalSageMaker, tmp_path: Path
) -> None:
    """What one run has left is gone; the other model goes live all the same."""
    folder = tmp_path / "other"
    folder.mkdir()
    other = Desk(aws, folder)
    path = Path(desk.fleet.path)
    path.write_text(path.read_text() + f"  {other.slug}: {{}}\n")
    broken = desk.wait(1.1, 3)
    good = other.wait(1.1, 3)
    bucket, key = broken.metadata["evaluation_uri"].removeprefix("s3://").split("/", 1)
    desk.s3.delete_object(Bucket=bucket, Key=key)
    done = run(desk, "approve", desk.slug, other.slug)
    assert done.returncode == 1
    assert f"{desk.slug}: failed: s3://" in done.stderr
    assert "`./fleet promote`, which checks it by the artifact's own samples" in done.stderr
    assert f"{other.slug}, version 1: live" in done.stdout
    assert other.state(good.arn) is ModelState.LIVE
