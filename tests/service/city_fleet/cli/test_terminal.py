"""What a terminal of 80 and of 120 columns shows. A person has looked at tests/golden/terminal; so look before you
write it anew: ``UPDATE_GOLDEN=1``."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.service.city_fleet.cli.test_status import StatusFleet
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.paths import ROOT
from tests.support.terminal import in_terminal, without_colours

GOLDEN = ROOT / "tests" / "golden" / "terminal"
#: As long as the name of the fleet in the test.
NAME = "texas_housing"
WIDTHS = (80, 120)
FAILED = (
    "train of job texas-housing--laptop--waco--train-3f0c failed: AlgorithmError: ExecuteUserScriptError: "
    "include/scripts/train.py: the schemas of train (12 features) and validation (11 features) differ; clear the task "
    "preprocess, so that both are made by the same settings"
)


def held(name: str, width: int, shown: str) -> None:
    """Compare what is shown with the golden file."""
    path = GOLDEN / f"{name}-{width}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(shown, encoding="utf-8")
    assert shown == path.read_text(encoding="utf-8"), path
    # Commands to be copied, and sentences, are the terminal's to wrap.
    tables = [line for line in shown.splitlines() if not re.match(r"    \./fleet |texas_housing \(", line)]
    assert max(map(len, tables)) <= width, path


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("command", ["", "run", "backfill", "pause", "predict"])
def test_the_help(command: str, width: int) -> None:
    shown = in_terminal([str(ROOT / "fleet"), *command.split(), "-h"], width)
    held(f"help-{command or 'fleet'}", width, shown)


@pytest.fixture
def fleet(aws: LocalSageMaker, tmp_path: Path) -> StatusFleet:
    fleet = StatusFleet(aws, tmp_path, "  austin: {name: Austin}\n  waco:\n")
    fleet.publish("austin", data_until="2013-11-01")
    fleet.end_run("austin", "live", reasons=["MAPE 4% beats 5%"])
    fleet.end_run("waco", "failed", reasons=[FAILED])
    fleet("status")
    return fleet


@pytest.mark.parametrize("width", WIDTHS)
def test_the_status_fits_and_never_cuts_a_cause(fleet: StatusFleet, width: int) -> None:
    environ = {"CITY_FLEET_FLEETS": str(fleet.folder), **fleet.aws.variables}
    painted = in_terminal([str(ROOT / "fleet"), "status"], width, **environ)
    shown = without_colours(painted).replace(fleet.name, NAME)
    shown = re.sub(r"at \d{4}-\d\d-\d\d \d\d:\d\d UTC", "at 2014-01-02 08:00 UTC", shown)
    shown = re.sub(r"\b\d\d\.\d y\b", "12.9 y", shown)
    held("status", width, shown)
    assert "clear the task preprocess" in re.sub(r"\s+", " ", shown)
    assert "\x1b[33mNOT_DEPLOYED\x1b[0m" in painted
    assert "\x1b" not in in_terminal([str(ROOT / "fleet"), "status"], width, NO_COLOR="1", **environ)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_mistake(tmp_path: Path, width: int) -> None:
    (tmp_path / "houses.yaml").write_text("fleet: houses\nshedule: '@daily'\n", encoding="utf-8")
    shown = in_terminal(
        [str(ROOT / "fleet"), "cities", "--fleet", "housse"], width, CITY_FLEET_FLEETS=str(tmp_path)
    )
    held("mistake", width, shown.replace(str(tmp_path), "include/fleets"))
