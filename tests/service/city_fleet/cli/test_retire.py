"""./fleet retire as a person runs it."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from city_fleet.state import retire_marks
from city_fleet.state.retire_marks import Mark, Marks
from tests.support.command_line import Done, fleet
from tests.support.fleets import SMALL
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.town import BUCKET, Town


class RetiringFleet:
    """A fleet file with three cities, of which two have models, and a shell."""

    def __init__(self, aws: LocalSageMaker, folder: Path) -> None:
        name = f"f{uuid.uuid4().hex[:8]}"
        text = SMALL.replace("fleet: small", f"fleet: {name}").replace("small-data", BUCKET)
        text += "retire: {keep_newest: 2, keep_predecessors: 1}\ncities: {abilene: , austin: , waco: }\n"
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
        self.folder, self.name, self.aws = folder, name, aws
        self.austin, self.waco = Town(aws, name, "austin"), Town(aws, name, "waco")
        for town in (self.austin, self.waco):
            for night in range(4):
                town.publish(night)

    def fleet(self, *arguments: str) -> Done:
        return fleet(*arguments, CITY_FLEET_FLEETS=str(self.folder), **self.aws.variables)


@pytest.fixture
def desk(aws: LocalSageMaker, tmp_path: Path) -> RetiringFleet:
    return RetiringFleet(aws, tmp_path)


def test_a_dry_run_says_what_would_be_marked_and_changes_nothing(desk: RetiringFleet) -> None:
    done = desk.fleet("retire", "--dry-run")
    assert (done.returncode, done.stderr) == (0, "")
    # Everything served a moment ago.
    assert done.stdout == (
        f"{desk.name}: 2 cities; would delete nothing; would mark 0; 0 wait for the end of their grace period.\n"
    )
    assert not desk.austin.has(desk.austin.keys.retired("austin"))


def test_a_named_city_is_shown_in_detail(desk: RetiringFleet) -> None:
    desk.austin.train(6, "PendingManualApproval")
    text = desk.fleet("retire", "austin", "--dry-run").stdout
    assert f"  models/{desk.austin.target(3)}  stays: serves now\n" in text
    assert f"  models/{desk.austin.target(0)}  stays: served until " in text
    assert f"  models/{desk.austin.target(6)}  stays: waits for approval\n" in text
    assert "waco" not in text


def long_ago(town: Town, nights: list[int]) -> None:
    """Let a rejected, unregistered and unpublished past be old enough to go."""
    since = datetime.now(UTC) - timedelta(days=20)
    marks = {retire_marks.model_unit(town.target(night)): Mark(since, "Approved") for night in nights}
    retire_marks.update(town.s3, town.keys, town.slug, lambda _: Marks(marks, frozenset(marks)))


def test_what_goes_is_counted_and_gone(desk: RetiringFleet) -> None:
    long_ago(desk.waco, [0, 1])
    would = desk.fleet("retire", "--dry-run").stdout
    assert "waco: would delete 2 models, 0 runs and 2 versions: 2 objects, 200 B; " in would
    assert desk.waco.left()[0] == {0, 1, 2, 3}
    done = desk.fleet("retire")
    assert (done.returncode, done.stderr) == (0, "")
    assert "waco: deleted 2 models, 0 runs and 2 versions: 2 objects, 200 B; " in done.stdout
    assert done.stdout.splitlines()[-1].startswith(f"{desk.name}: 2 cities; deleted 2 models")
    assert desk.waco.left()[0] == {2, 3}
    assert desk.waco.left()[1] == {2, 3}


def test_json_says_of_every_unit_what_becomes_of_it(desk: RetiringFleet) -> None:
    long_ago(desk.waco, [0])
    (report,) = json.loads(desk.fleet("retire", "waco", "--dry-run", "--json").stdout)
    assert (report["fleet"], report["city"], report["problem"]) == (desk.name, "waco", None)
    assert (report["models"], report["versions"], report["objects"], report["size_bytes"]) == (1, 1, 1, 100)
    assert report["units"][f"models/{desk.waco.target(0)}"] == "goes"
    assert report["units"][f"models/{desk.waco.target(3)}"] == "stays: serves now"


def test_a_city_that_fails_is_named_and_the_others_are_done(desk: RetiringFleet) -> None:
    long_ago(desk.waco, [0])
    desk.austin.put(desk.austin.keys.retired("austin"), b"{}")
    done = desk.fleet("retire")
    assert done.returncode == 1
    assert "state/retired/austin.json: holds no marks" in done.stderr
    assert desk.waco.left()[0] == {1, 2, 3}
    (austin, _) = json.loads(desk.fleet("retire", "--json").stdout)
    assert "holds no marks" in austin["problem"]


def test_a_city_that_left_the_fleet_file_is_found_by_what_it_has(desk: RetiringFleet) -> None:
    gone = Town(desk.aws, desk.name, "zavala")
    gone.publish(0)
    assert "stays: serves now" in desk.fleet("retire", "zavala", "--dry-run").stdout
    done = desk.fleet("retire", "wacco", "--dry-run")
    assert done.returncode == 2
    assert "Did you mean 'waco'?" in done.stderr
    assert desk.fleet("retire", "abilene", "--dry-run").returncode == 0


def test_aws_that_is_not_to_be_reached_is_said(desk: RetiringFleet) -> None:
    desk.aws = LocalSageMaker("http://127.0.0.1:9", desk.aws.data_dir, desk.aws.process, desk.aws.log)
    done = desk.fleet("retire", "austin")
    assert done.returncode == 1
    assert "AWS could not be reached" in done.stderr
    assert "Traceback" not in done.stderr
