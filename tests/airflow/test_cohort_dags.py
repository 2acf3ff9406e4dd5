"""The DAGs of cohorts: one job, a mapped task per city, and a parse that stays small at thousands of cities."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization

from city_fleet.config.parts import Part, shard_of
from city_fleet.orchestration import dag_shards
from city_fleet.orchestration.city_dags import city_dags
from city_fleet.orchestration.cohort_tasks.cohort_city_operator import CohortCityOperator
from tests.support.fleets import SMALL, TEXAS


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CITY_FLEET_COMPILED", str(tmp_path / "compiled"))
    (tmp_path / "fleets").mkdir()
    monkeypatch.setenv("CITY_FLEET_FLEETS", str(tmp_path / "fleets"))
    return tmp_path / "fleets"


def texas(folder: Path) -> dict[str, DAG]:
    text = TEXAS.read_text(encoding="utf-8")
    (folder / "texas.yaml").write_text(text.replace("\ndefaults:\n", "\ndefaults:\n  cohort: 10\n"))
    return {dag.dag_id: dag for dag in city_dags(folder)}


def test_a_cohort_has_one_job_and_a_task_for_each_city(folder: Path) -> None:
    dags = texas(folder)
    cohorts = {name: dag for name, dag in dags.items() if "._cohort_" in name}
    assert {"texas_housing.lubbock", "texas_housing.texas"} == set(dags) - set(cohorts)
    dag = dags["texas_housing._cohort_001"]
    assert [(task.task_id, sorted(task.downstream_task_ids)) for task in dag.topological_sort()] == [
        ("begin", ["city", "train"]),
        ("train", ["city"]),
        ("city", ["record"]),
        ("record", ["recorded"]),
        ("recorded", []),
    ]
    assert dag.task_dict["record"].is_teardown
    assert dag.task_dict["city"].is_mapped
    assert set(dag.params) == {"as_of", "force", "repeat", "cities"}
    assert "broken" not in dag.tags
    assert {task.pool for task in dag.tasks if task.task_id in ("train", "city")} == {"city_fleet_laptop"}


def test_what_airflow_stores_of_a_cohort_is_small_stable_and_says_nothing_of_settings(folder: Path) -> None:
    stored = [
        json.dumps(DagSerialization.to_dict(texas(folder)["texas_housing._cohort_001"]), sort_keys=True)
        for _ in range(2)
    ]
    assert stored[0] == stored[1]
    assert len(stored[0]) < 16_000
    assert "<cohort texas_housing.cohort_001>" in stored[0]
    assert "arn:aws:iam" not in stored[0]
    back = DagSerialization.from_dict(json.loads(stored[0]))
    assert back.task_dict["city"].is_mapped


def test_a_mapped_task_becomes_one_city(folder: Path) -> None:
    dag = texas(folder)["texas_housing._cohort_001"]
    mapped: Any = dag.task_dict["city"]
    slug = mapped.partial_kwargs["cohort"].slugs[0]
    task = mapped.unmap({"slug": slug})
    assert isinstance(task, CohortCityOperator)
    assert (task.plan.city.slug, task.where) == (slug, f"City {slug!r}, step cohort")
    assert task.shown == task.plan.city.shown_name


def test_a_task_start_reads_its_cohort_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = "".join(f"  c{index}:\n" for index in range(2000))
    path = folder / "large.yaml"
    path.write_text(f"{SMALL}defaults: {{cohort: 50}}\ncities:\n{body}  own: {{approval: manual}}\n")
    files = dag_shards.files_needed(folder)
    started = time.process_time()
    found = [dag for index in range(files) for dag in city_dags(folder, None, Part(index, files))]
    seconds = time.process_time() - started
    ids = sorted(dag.dag_id for dag in found)
    assert len(ids) == len(set(ids)) == 41
    assert "small.own" in ids
    assert seconds < 30  # the file is read once; a limit that only a pass per city would break
    opened: list[str] = []
    real = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda at: (opened.append(at.name), real(at))[1])
    (dag,) = city_dags(folder, only="small._cohort_007")
    assert dag.dag_id == "small._cohort_007"
    assert len([name for name in opened if name.startswith("shard")]) == 1
    # Of the commands that ask every file for one DAG, the file that holds it answers.
    answers = [index for index in range(files) if dag_shards.shard_dags(index, "small._cohort_007")]
    assert answers == [shard_of("_cohort_007", files)]
    assert set(dag_shards.shard_dags(0, "small._cohort_007", starts=True)) == {"small._cohort_007"}


def test_a_city_that_is_broken_takes_nobody_along(folder: Path) -> None:
    body = "".join(f"  c{index}:\n" for index in range(9))
    (folder / "small.yaml").write_text(
        f"{SMALL}defaults: {{cohort: 4}}\ncities:\n{body}  wrong: {{retries: -1}}\n"
    )
    dags = {dag.dag_id: dag for dag in city_dags(folder)}
    broken = {name for name, dag in dags.items() if "broken" in dag.tags}
    assert broken == {"small.wrong"}
    members = [
        slug
        for name, dag in dags.items()
        if "_cohort_" in name
        for slug in dag.task_dict["city"].partial_kwargs["cohort"].slugs
    ]
    assert sorted(members) == [f"c{index}" for index in range(9)]
