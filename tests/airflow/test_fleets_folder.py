"""Airflow and the command line read the same fleet files, whatever `CITY_FLEET_FLEETS` says and wherever they start."""

from __future__ import annotations

import json
import os
import runpy
from pathlib import Path

import pytest
from airflow.sdk import DAG
from typer.testing import CliRunner

from city_fleet.cli.app import app
from city_fleet.config.places import FLEETS_VARIABLE, PROJECT_ROOT
from tests.airflow.conftest import ROOT
from tests.support.fleets import SMALL

OWN = {"flights", "house_sales", "restaurants", "texas_housing"}
OTHER = {"small"}


def fleets_of_dags() -> set[str]:
    found: set[str] = set()
    for file in ("city_dags.py", "fleet_dags.py"):
        dags = [
            value for value in runpy.run_path(str(ROOT / "dags" / file)).values() if isinstance(value, DAG)
        ]
        found |= {dag.dag_id.partition(".")[0] for dag in dags}
    return found


def fleets_of_commands() -> set[str]:
    done = CliRunner().invoke(app, ["cities", "--json"])
    return {city["fleet"] for city in json.loads(done.stdout)}


@pytest.mark.parametrize(
    ("variable", "fleets"),
    [
        ("not set", OWN),
        ("", OWN),
        ("include/fleets", OWN),
        ("{absolute}", OTHER),
        ("{relative to the root}", OTHER),
    ],
)
def test_both_read_the_same_folder(
    variable: str, fleets: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "fleets"
    folder.mkdir()
    (folder / "small.yaml").write_text(SMALL + "cities:\n  a: {}\n", encoding="utf-8")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    values = {"{absolute}": str(folder), "{relative to the root}": os.path.relpath(folder, ROOT)}
    if variable == "not set":
        monkeypatch.delenv(FLEETS_VARIABLE, raising=False)
    else:
        monkeypatch.setenv(FLEETS_VARIABLE, values.get(variable, variable))
    assert fleets_of_dags() == fleets
    assert fleets_of_commands() == fleets


def test_the_project_root_is_the_repository() -> None:
    assert PROJECT_ROOT == ROOT
