"""A list of thousands with thousands of mistakes: a screenful of text, all of them as JSON, in a moment."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from city_fleet.cli.app import app
from city_fleet.errors import SCREENFUL
from tests.support.fleets import SMALL

CITIES = 10_000


@pytest.fixture
def fleets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fleet of 10,000 cities, of whom 2,000 have an impossible number, 1,000 an unknown metric, one no slug."""
    wrong = {0: "many,", 1: "-5,", 2: ",mappe"}
    rows = [f"c{number},c{number},{wrong.get(number % 10, ',')}" for number in range(CITIES - 1)]
    text = "\n".join(["city,name,retries,gate.metric", *rows, "???,,,"])
    (tmp_path / "cities.csv").write_text(text, encoding="utf-8")
    (tmp_path / "many.yaml").write_text(SMALL + "cities: {from: cities.csv}\n", encoding="utf-8")
    monkeypatch.setenv("CITY_FLEET_FLEETS", str(tmp_path))
    monkeypatch.setenv("CITY_FLEET_COMPILED", str(tmp_path / "compiled"))
    return tmp_path


def test_lint_shows_each_kind_and_counts_the_rest(fleets: Path) -> None:
    started = time.process_time()
    found = CliRunner().invoke(app, ["lint"])
    took = time.process_time() - started
    assert found.exit_code == 1
    lines = found.stdout.splitlines()
    errors = [line for line in lines if line.startswith(("error:", "  …", "…"))]
    assert len(errors) <= SCREENFUL
    assert "city 'c0', field 'retries': got 'many'; allowed: a whole number from 0 to 20." in errors[0]
    assert errors[1] == "  … and 1,999 more like it: line 3, 12, 13, 22, 23, …"
    assert "got 'mappe'" in errors[2]
    assert errors[3].startswith("  … and 999 more like it: line 14,")
    assert "'???' as a slug" in errors[4], "the only one of its kind is shown as well"
    assert lines[-1].endswith("many.yaml: 3001 mistakes; 6999 cities can run.")
    # About a second of CPU; the bound only catches work that grows with the square of the cities.
    assert took < 15
    (report,) = json.loads(CliRunner().invoke(app, ["lint", "--json"]).stdout)
    assert len(report["errors"]) == 3001


def test_a_file_of_mistakes_alone_is_a_screenful_too(fleets: Path) -> None:
    with (fleets / "many.yaml").open("a", encoding="utf-8") as file:
        file.write("ownre: somebody\n")
    found = CliRunner().invoke(app, ["plan", "c3"])
    assert found.exit_code == 1
    assert len(found.stderr.splitlines()) <= SCREENFUL
    assert "more like it" in found.stderr


def test_cities_lists_all_in_a_pipe_and_the_broken_ones_alone(fleets: Path) -> None:
    assert len(CliRunner().invoke(app, ["cities"]).stdout.splitlines()) == CITIES
    broken = CliRunner().invoke(app, ["cities", "--broken"]).stdout.splitlines()
    assert len(broken) == 3001
    assert all("broken:" in line for line in broken)
