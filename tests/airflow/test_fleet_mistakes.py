"""A mistake in a fleet file is red on Airflow's home, and takes no DAG of another file along.

Airflow's own dag-processor reads the DAG files here, and the answer is in its database.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from city_fleet.errors import CityFleetError
from city_fleet.orchestration.fleet_mistakes import raise_on_mistakes
from tests.support.fleets import SMALL
from tests.support.paths import ROOT

GOOD = SMALL + "cities:\n  lake: {}\n  pier: {}\n"
# What the UI asks for: import errors, and which DAGs are scheduled.
ASK = """
import json
from sqlalchemy import select
from airflow.models.dag import DagModel
from airflow.models.errors import ParseImportError
from airflow.utils.session import create_session
with create_session() as session:
    errors = [(one.filename, one.stacktrace) for one in session.scalars(select(ParseImportError))]
    dags = [(one.dag_id, one.is_stale, one.has_import_errors) for one in session.scalars(select(DagModel))]
print("ANSWER " + json.dumps([errors, dags]))
"""


def airflow(home: Path, *command: str) -> str:
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "CITY_FLEET_FLEETS": str(home / "fleets"),
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("airflow")
    (folder / "fleets").mkdir()
    airflow(folder, sys.executable, "-m", "airflow", "db", "migrate")
    return folder


def looked(home: Path) -> tuple[dict[str, str], dict[str, list[Any]]]:
    """Let the dag-processor look once; return the import errors by file, and the DAGs."""
    airflow(home, sys.executable, "-m", "airflow", "dag-processor", "--num-runs", "1")
    said = airflow(home, sys.executable, "-c", ASK)
    errors, dags = json.loads(said.partition("ANSWER ")[2])
    return dict(errors), {dag_id: rest for dag_id, *rest in dags}


def test_a_mistake_is_red_until_it_is_mended_and_takes_no_dag_along(home: Path) -> None:
    file = home / "fleets" / "small.yaml"
    file.write_text(GOOD.replace("lake: {}", "lake: {retries: many}"))
    (home / "fleets" / "tab.yaml").write_text(
        GOOD.replace("small", "other").replace("  city_column", "\tcity_column")
    )
    errors, dags = looked(home)
    (name,) = errors
    assert name == "fleet_mistakes.py"
    said = errors[name]
    assert "2 mistakes in the fleet files" in said
    assert "small.yaml:12: city 'lake', field 'retries': got 'many'; allowed: a whole number" in said
    assert "tab.yaml:6: got text that is not YAML" in said
    assert "./fleet lint" in said
    assert {"small.lake", "small.pier", "small._reaper", "small._digest", "tab._fleet_file"} < set(dags)
    assert all(state == [False, False] for state in dags.values()), dags

    file.write_text(GOOD)
    (home / "fleets" / "tab.yaml").unlink()
    errors, dags = looked(home)
    assert errors == {}
    assert dags["small.lake"] == [False, False]


@pytest.fixture
def said(tmp_path: Path) -> Callable[[], str]:
    def ask() -> str:
        with pytest.raises(CityFleetError) as caught:
            raise_on_mistakes(tmp_path / "fleets")
        text = str(caught.value)
        text.encode()
        return text

    return ask


def test_a_folder_that_is_not_there_is_a_mistake_and_an_empty_one_is_none(
    tmp_path: Path, said: Callable[[], str]
) -> None:
    assert "There is no folder of fleet files" in said()
    assert "CITY_FLEET_FLEETS" in said()
    (tmp_path / "fleets").mkdir()
    raise_on_mistakes(tmp_path / "fleets")


def test_many_mistakes_stay_readable(tmp_path: Path, said: Callable[[], str]) -> None:
    (tmp_path / "fleets").mkdir()
    cities = "".join(f"  c{number}: {{retries: many}}\n" for number in range(500))
    (tmp_path / "fleets" / "small.yaml").write_text(SMALL + "cities:\n" + cities)
    assert said().startswith("500 mistakes in the fleet files.")
    assert "… and 480 more." in said()
    assert len(said().splitlines()) == 23


def test_a_name_that_is_no_text_can_be_stored(tmp_path: Path, said: Callable[[], str]) -> None:
    (tmp_path / "fleets").mkdir()
    try:
        (tmp_path / "fleets" / os.fsdecode(b"\xff.yaml")).write_text("fleet: [\n")
    except OSError:
        pytest.skip("no such name on this file system")
    assert said().startswith("1 mistake in the fleet files.")
