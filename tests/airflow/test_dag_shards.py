"""The cities of large fleets are spread over DAG files; small ones leave all files but one idle."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag

from city_fleet.config.parts import Part, shard_of, shards_for
from city_fleet.orchestration import dag_shards
from city_fleet.orchestration.dag_shards import DAG_FILES, files_needed, shard_dags
from tests.support import dag_processor
from tests.support.fleets import SMALL, TEXAS
from tests.support.paths import ROOT

FILES = ["city_dags.py", *(f"city_dags_{index:02d}.py" for index in range(1, DAG_FILES))]
# What a process has imported after it has run an idle DAG file with Airflow's SDK there.
IDLE = """
import runpy, sys, json
import airflow.sdk, airflow.providers.amazon.aws.operators.sagemaker
sys.path.insert(0, "plugins")
before = set(sys.modules)
found = runpy.run_path(sys.argv[1])
dags = [name for name in found if "." in name]
print("ANSWER " + json.dumps([dags, sorted(set(sys.modules) - before)]))
"""


def cities(number: int) -> str:
    return "cities:\n" + "".join(f"  c{index}: {{name: City {index}}}\n" for index in range(number))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CITY_FLEET_COMPILED", str(tmp_path / "compiled"))
    (tmp_path / "fleets").mkdir()
    monkeypatch.setenv("CITY_FLEET_FLEETS", str(tmp_path / "fleets"))
    return tmp_path / "fleets"


def test_there_is_a_dag_file_for_each_shard() -> None:
    assert sorted(path.name for path in (ROOT / "dags").glob("city_dags*.py")) == FILES
    for index, name in enumerate(FILES):
        text = (ROOT / "dags" / name).read_text(encoding="utf-8")
        assert re.findall(r"shard_dags\((\d+),", text) == [str(index)]


def test_few_cities_stand_in_one_file_and_ten_thousand_in_all(folder: Path) -> None:
    assert files_needed(folder) == 1
    (folder / "texas.yaml").write_text(TEXAS.read_text(encoding="utf-8"))
    assert files_needed(folder) == 1
    for number, files in ((200, 2), (1000, 8), (3168, DAG_FILES), (10_000, DAG_FILES)):
        (folder / "large.yaml").write_text(SMALL + cities(number))
        assert files_needed(folder) == files, number
        largest = max(sum(shard_of(f"c{i}", files) == each for i in range(number)) for each in range(files))
        assert largest < 700, (number, largest)
    (folder / "large.yaml").write_text(SMALL + "cities: {from: many.csv}\n")
    (folder / "many.csv").write_text("city\n" + "".join(f"c{index}\n" for index in range(3000)))
    assert files_needed(folder) == 8


def test_a_city_stays_in_its_shard_and_shards_of_few_are_made_of_those_of_many() -> None:
    assert [shard_of(slug, 16) for slug in ("austin", "waco", "city_1")] == [12, 3, 14]
    for slug in map(str, range(500)):
        for many in (2, 4, 8, 16):
            assert shard_of(slug, many // 2) == shard_of(slug, many) % (many // 2)
            assert shard_of(slug, many) in Part(shard_of(slug, 2), 2).shards(many)
    assert [shards_for(number, 100, 8) for number in (0, 100, 101, 250, 10_000)] == [1, 1, 2, 4, 8]


def test_a_file_that_was_cut_short_goes_on_in_as_many_files_as_before(folder: Path) -> None:
    file = folder / "large.yaml"
    file.write_text(SMALL + cities(2000))
    assert files_needed(folder) == 16
    shard_dags(1)
    file.write_text("")
    assert files_needed(folder) == 4
    everywhere = [set(shard_dags(index)) for index in range(2)]
    assert everywhere[0].isdisjoint(everywhere[1])
    assert all(400 < len(each) < 600 for each in everywhere)


def test_every_dag_is_in_one_file_and_a_task_finds_it_in_any(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dag_shards, "_PER_FILE", 20)
    (folder / "small.yaml").write_text(SMALL + cities(40) + "  bad: {retries: x}\n")
    (folder / "broken.yaml").write_text("fleet: [")
    found: list[str] = []
    for index in range(DAG_FILES):
        found += shard_dags(index)
    assert len(found) == len(set(found)) == 42
    assert {"small.bad", "small.c7", "broken._fleet_file"} < set(found)
    for index in range(DAG_FILES):
        assert list(shard_dags(index, only="small.c7", starts=True)) == ["small.c7"]
    # Airflow's commands ask all files for one DAG, and take a second one of the same id for a mistake.
    for dag_id in ("small.c7", "small.bad", "broken._fleet_file"):
        asked = [name for index in range(DAG_FILES) for name in shard_dags(index, only=dag_id)]
        assert asked == [dag_id]
        assert list(shard_dags(next(i for i in range(DAG_FILES) if dag_id in shard_dags(i)), only=dag_id))


def test_a_shard_that_fails_takes_nobody_elses_along(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even what no DAG file should ever raise: the others are files of their own for Airflow."""
    monkeypatch.setattr(dag_shards, "_PER_FILE", 20)
    (folder / "small.yaml").write_text(SMALL + cities(40))
    real = dag_shards.shard_dags

    def fail(index: int, only: str | None = None, **rest: Any) -> dict[str, Any]:
        if index == 1:
            raise MemoryError
        return real(index, only, **rest)

    monkeypatch.setattr(dag_shards, "shard_dags", fail)
    bag = DagBag(dag_folder=str(ROOT / "dags"), bundle_name="dags-folder")
    assert [Path(name).name for name in bag.import_errors] == ["city_dags_01.py"]
    assert 20 < len([name for name in bag.dag_ids if name.startswith("small.c")]) < 40


def test_an_idle_file_imports_nothing_of_the_settings(folder: Path) -> None:
    (folder / "small.yaml").write_text(SMALL + cities(40))
    command = [sys.executable, "-c", IDLE, str(ROOT / "dags" / "city_dags_07.py")]
    done = subprocess.run(
        command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    dags, imported = json.loads(done.stdout.partition("ANSWER ")[2])
    assert dags == []
    assert [name for name in imported if name.startswith("city_fleet")] == [
        "city_fleet",
        "city_fleet.config",
        "city_fleet.config.current_form",
        "city_fleet.config.parts",
        "city_fleet.config.places",
        "city_fleet.errors",
        "city_fleet.orchestration",
        "city_fleet.orchestration.dag_shards",
        "city_fleet.orchestration.unbuilt_dags",
        "city_fleet.outgoing_text",
    ]
    assert len(imported) < 15, imported


def test_airflows_own_processor_finds_every_city_and_a_command_leaves_all_where_they_are(
    tmp_path: Path,
) -> None:
    """``airflow tasks list`` writes what it has found of the DAG files into the database (Airflow 3.3.2)."""
    home = dag_processor.home(tmp_path)
    (home / "fleets" / "small.yaml").write_text(SMALL + cities(300))
    errors, before = dag_processor.looked(home)
    assert errors == {}
    found = {dag_id: rest for dag_id, rest in before.items() if dag_id.startswith("small.c")}
    assert len(found) == 300
    assert {rest[3] for rest in found.values()} == {"city_dags.py", "city_dags_01.py"}
    assert not any(rest[0] for rest in found.values())

    said = dag_processor.airflow(home, sys.executable, "-m", "airflow", "tasks", "list", "small.c7")
    assert "preprocess" in said.split()
    errors, after = dag_processor.found(home)
    assert errors == {}
    assert after == before
