"""A mistake in a fleet file is red on Airflow's home, and takes no DAG of another file along.

Airflow's own dag-processor reads the DAG files here, and the answer is in its database.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from city_fleet.errors import CityFleetError
from city_fleet.orchestration.fleet_mistakes import raise_on_mistakes
from tests.support import dag_processor
from tests.support.fleets import SMALL

GOOD = SMALL + "cities:\n  lake: {}\n  pier: {}\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dag_processor.home(tmp_path_factory.mktemp("airflow"))


def test_a_mistake_is_red_until_it_is_mended_and_takes_no_dag_along(home: Path) -> None:
    file = home / "fleets" / "small.yaml"
    file.write_text(GOOD.replace("lake: {}", "lake: {retries: many}"))
    (home / "fleets" / "tab.yaml").write_text(
        GOOD.replace("small", "other").replace("  city_column", "\tcity_column")
    )
    errors, dags = dag_processor.looked(home)
    (name,) = errors
    assert name == "fleet_mistakes.py"
    said = errors[name]
    assert "2 mistakes in the fleet files" in said
    assert "small.yaml:12: city 'lake', field 'retries': got 'many'; allowed: a whole number" in said
    assert "tab.yaml:6: got text that is not YAML" in said
    assert "./fleet lint" in said
    assert {"small.lake", "small.pier", "small._reaper", "small._digest", "tab._fleet_file"} < set(dags)
    assert all(state[:2] == [False, False] for state in dags.values()), dags

    file.write_text(GOOD)
    (home / "fleets" / "tab.yaml").unlink()
    errors, dags = dag_processor.looked(home)
    assert errors == {}
    assert dags["small.lake"][:2] == [False, False]


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
