"""The task of the ``_retire`` DAG, against a real registry and real S3."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException

from city_fleet.config import load_fleet
from city_fleet.orchestration.fleet_dags import fleet_dags
from city_fleet.state import retire_marks
from city_fleet.state.retire_marks import Mark, Marks, model_unit
from tests.support.fleets import SMALL
from tests.support.local_sagemaker import LocalSageMaker, running_server
from tests.support.town import BUCKET, Town


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSageMaker]:
    with running_server(tmp_path_factory.mktemp("aws")) as server:
        server.client("s3").create_bucket(Bucket=BUCKET)
        yield server


@pytest.fixture
def towns(aws: LocalSageMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Town]:
    """Two cities with a model that has not been needed for long, and the environment of a task."""
    name = f"f{uuid.uuid4().hex[:8]}"
    text = SMALL.replace("fleet: small", f"fleet: {name}").replace("small-data", BUCKET)
    (tmp_path / "f.yaml").write_text(text + "retire: {keep_newest: 1}\ncities: {austin: , waco: }\n")
    for variable, value in aws.environment.items():
        if variable.startswith("AWS_"):
            monkeypatch.setenv(variable, value)
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", "aws://")
    made = [Town(aws, name, slug) for slug in ("austin", "waco")]
    for town in made:
        town.publish(0)
        town.publish(1)
        unit = model_unit(town.target(0))
        marks = Marks({unit: Mark(datetime.now(UTC) - timedelta(days=20))}, frozenset({unit}))
        retire_marks.update(town.s3, town.keys, town.slug, lambda _, marks=marks: marks)
    return made


def execute(folder: Path, *, dry_run: bool = False) -> Any:
    name = load_fleet(folder / "f.yaml").fleet
    (dag,) = fleet_dags(folder, only=f"{name}._retire")
    return dag.get_task("retire").execute({"params": {"dry_run": dry_run}})


def test_it_deletes_and_counts(towns: list[Town], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    would = execute(tmp_path, dry_run=True)
    assert [town.left()[0] for town in towns] == [{0, 1}, {0, 1}]
    done = execute(tmp_path)
    assert done == would
    assert (done["cities"], done["models"], done["versions"], done["size_bytes"]) == (2, 2, 2, 200)
    assert [town.left()[:2] for town in towns] == [({1}, {1}), ({1}, {1})]
    log = capsys.readouterr().out
    assert "waco: would delete 1 model, 0 runs and 1 version: 1 object, 100 B" in log
    assert "waco: deleted 1 model" in log
    assert f"  models/{towns[1].target(0)}" in log
    assert execute(tmp_path)["models"] == 0


def test_a_city_that_fails_fails_the_task_after_the_others_were_done(
    towns: list[Town], tmp_path: Path
) -> None:
    towns[0].put(towns[0].keys.live("austin"), b"no pointer")
    with pytest.raises(AirflowException, match=r"1 cities could not be dealt with.*austin"):
        execute(tmp_path)
    assert [town.left()[0] for town in towns] == [{0, 1}, {1}]
