"""What is built from the last good form of a fleet file says so. test_mistake_alert.py has Airflow's own processor."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from airflow.serialization.serialized_objects import DagSerialization

from city_fleet.orchestration.city_dags import city_dags
from city_fleet.orchestration.fleet_dags import fleet_dags
from city_fleet.outgoing_text import markdown
from city_fleet.plan import PURPOSES
from tests.support.fleets import SMALL

GOOD = SMALL + "cities:\n  lake: {}\n  pier: {schedule: '0 3 * * *'}\n"
TAB = GOOD.replace("  city_column", "\tcity_column")
DAGS = {"small.lake", "small.pier", *(f"small._{name}" for name in PURPOSES)}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of fleet files; it was good once and has a tab now."""
    monkeypatch.setenv("CITY_FLEET_COMPILED", str(tmp_path / "compiled"))
    (tmp_path / "fleets").mkdir()
    file = tmp_path / "fleets" / "small.yaml"
    file.write_text(GOOD)
    list(city_dags(tmp_path / "fleets"))
    file.write_text(TAB)
    return tmp_path / "fleets"


def test_every_dag_says_what_it_was_built_from(folder: Path) -> None:
    found = {dag.dag_id: dag for dag in [*city_dags(folder), *fleet_dags(folder)]}
    assert set(found) == DAGS
    for dag in found.values():
        DagSerialization.to_dict(dag)
        assert dag.doc_md is not None
        assert dag.doc_md.startswith("Built from the last good form of 20")
        assert markdown("small.yaml:6: got text that is not YAML") in dag.doc_md
        assert "last-good-form" in dag.tags


@pytest.mark.parametrize("dag_id", ["small.pier", "small._digest"])
def test_a_task_that_starts_says_so_in_its_log(
    folder: Path, caplog: pytest.LogCaptureFixture, dag_id: str
) -> None:
    build = fleet_dags if "._" in dag_id else city_dags
    with caplog.at_level(logging.WARNING):
        (dag,) = build(folder, only=dag_id)
    assert dag.dag_id == dag_id
    (said,) = [record.getMessage() for record in caplog.records if "last good form" in record.getMessage()]
    assert "small.yaml:6" in said
