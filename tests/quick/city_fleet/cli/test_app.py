"""The command line is all there: no module of it is left out of ``app``."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from city_fleet.cli.app import app
from tests.support.fleets import SMALL
from tests.support.paths import ROOT

CLI = ROOT / "plugins" / "city_fleet" / "cli"


def test_every_module_of_the_command_line_is_reached_from_app() -> None:
    known = {
        path.stem: path.read_text(encoding="utf-8") for path in CLI.glob("*.py") if path.stem != "__init__"
    }
    reached, waiting = {"app"}, ["app"]
    while waiting:
        text = known[waiting.pop()]
        found = {*re.findall(r"from city_fleet\.cli\.(\w+) import", text)}
        found |= {*re.findall(r"from city_fleet\.cli import (\w+)", text)}
        waiting += found - reached
        reached |= found
    assert len(reached) > 20
    assert reached == set(known), "no command is made of these; app.py lists commands in COMMANDS"


def test_a_fleet_is_named_to_lint_as_to_other_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By --fleet or as FILE, by name or by file, each once, and also where its file can't be read."""
    monkeypatch.setenv("CITY_FLEET_FLEETS", str(tmp_path))
    (tmp_path / "small.yaml").write_text(SMALL + "cities: {a: {name: Alpha Beach}}\n")
    (tmp_path / "other.yaml").write_text("fleet: [broken\n")
    file = str(tmp_path / "small.yaml")
    good = [["--fleet", "small"], [file], ["--fleet", file], ["--fleet", "small", file]]
    for arguments in good:
        done = CliRunner().invoke(app, ["lint", *arguments])
        assert (done.exit_code, done.output.count("1 city, no mistakes")) == (0, 1), done.output
    done = CliRunner().invoke(app, ["lint", "--fleet", "other"])
    assert (done.exit_code, done.output.count("can run")) == (1, 1), done.output
    assert "1 city" not in done.output
    done = CliRunner().invoke(app, ["lint", "--fleet", "smal"])
    assert done.exit_code == 2
    assert "Did you mean 'small'?" in done.output


def test_a_number_out_of_its_range_is_refused_in_our_words() -> None:
    said = {
        ("plan", "--cities", "0"): "got '0'; allowed: a number from 1 to 1,000,000",
        ("plan", "--cities", "many"): "got 'many'; allowed: a whole number from 1 to 1,000,000",
        ("plan", "--within", "999"): "got '999'; allowed: a number from 0.1 to 744",
        ("history", "austin", "--limit=-1"): "got '-1'; allowed: a number from 0 on",
    }
    for arguments, expected in said.items():
        done = CliRunner().invoke(app, list(arguments))
        assert (done.exit_code, expected in done.output) == (2, True), done.output
