"""./fleet explain: the real scripts of a city on this machine, by the image's Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.service.city_fleet.cli.test_try import NO_AWS
from tests.support.command_line import Done, fleet
from tests.support.fleets import TEXAS


def explain(*arguments: str) -> Done:
    return fleet("explain", *arguments, "--fleet", str(TEXAS), **NO_AWS)


def in_json(*arguments: str) -> dict[str, Any]:
    done = explain(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_a_city_without_a_champion_gets_a_model_here_and_it_is_explained(tmp_path: Path) -> None:
    picture = tmp_path / "austin.svg"
    done = explain("Austin", "--row", "2015-06", "--picture", str(picture))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[1] == "Austin: a model trained here (xgboost, data until 2015-08-01)"
    assert any(line.startswith("inventory_lag_1 ") and line.endswith("█") for line in lines)
    assert any(line.startswith("Its answer for 2015-06-01: ") and "actual 270,200" in line for line in lines)
    assert any(line.startswith("Off on 177 held-out rows, from 2010-08-01 to 2015-07-01") for line in lines)
    assert any(line.startswith("  validation ") for line in lines)
    assert all(len(line) <= 80 for line in lines[1:-1]), [line for line in lines[1:-1] if len(line) > 80]
    assert ElementTree.fromstring(picture.read_text(encoding="utf-8")).tag.endswith("svg")


def test_a_row_of_ones_own_is_answered_as_the_endpoint_would(tmp_path: Path) -> None:
    held = in_json("austin", "--row", "2015-06")
    row = {each["name"]: each["value"] for each in held["row"]["features"]}
    path = tmp_path / "row.json"
    path.write_text(json.dumps({"features": row, "prediction": 1}), encoding="utf-8")
    mine = in_json("austin", "--row", str(path))
    assert mine["row"]["prediction"] == held["row"]["prediction"]
    assert mine["row"]["features"] == held["row"]["features"]
    assert mine["row"]["actual"] is None
    row["inventory_lag_1"] = 12.0
    other = in_json("austin", "--row", json.dumps(row))
    assert other["row"]["prediction"] < mine["row"]["prediction"]  # months of inventory press prices
    total = other["row"]["base_prediction"] + sum(each["amount"] for each in other["row"]["features"])
    assert total == pytest.approx(other["row"]["prediction"], rel=1e-6)


def test_what_is_not_there_is_said_with_what_is() -> None:
    done = explain("austin", "--row", "2033-01")
    assert done.returncode == 1
    assert "There is no held-out row '2033-01'; allowed: periods from 2010-08-01 to 2015-07-01" in done.stderr
    assert explain("austin", "--row", '{"a": 1}').returncode == 1
    assert explain("austin", "--row", "[1").returncode == 1
    assert explain("austin", "--version", "newest").returncode == 2
    assert explain("austin", "--version", "3", "--set", "max_depth=2").returncode == 2
    assert explain("austin", "--picture", "austin.png").returncode == 2
