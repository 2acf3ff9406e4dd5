"""The ``_cities`` DAG: there where a list has a source, and writing only where DAG files are read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from airflow.sdk.exceptions import AirflowFailException
from moto import mock_aws

from city_fleet.config import load_fleet
from city_fleet.orchestration.fleet_dags import fleet_dags
from tests.support.fleets import SMALL


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A fleet of ten cities whose source has eleven."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", "aws://")
    monkeypatch.setenv("CITY_FLEET_COMPILED", str(tmp_path / "compiled"))
    slugs = "\n".join(f"c{number}" for number in range(10))
    fleets = tmp_path / "fleets"
    fleets.mkdir()
    (fleets / "cities.csv").write_text(f"city\n{slugs}\n", encoding="utf-8")
    text = f"{SMALL}city_list: {{source: 's3://lake/cities.csv'}}\ncities: {{from: cities.csv}}\n"
    (fleets / "small.yaml").write_text(text, encoding="utf-8")
    (fleets / "other.yaml").write_text(SMALL.replace("small", "other") + "cities: {a: }\n", encoding="utf-8")
    with mock_aws():
        s3 = boto3.client("s3", region_name="us-east-1")
        s3.create_bucket(Bucket="lake")
        s3.put_object(Bucket="lake", Key="cities.csv", Body=f"city\n{slugs}\nnew\n".encode())
        yield fleets


def execute(folder: Path, *, yes: bool = False) -> Any:
    (dag,) = fleet_dags(folder, "small._cities")
    task: Any = dag.get_task("pull")
    return task.execute({"params": {"yes": yes}})


def test_only_a_fleet_with_a_source_has_the_dag(folder: Path) -> None:
    found = {dag.dag_id for dag in fleet_dags(folder)}
    assert "small._cities" in found
    assert "other._cities" not in found


def test_new_cities_come_in_where_dag_files_are_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "LocalExecutor")
    assert execute(folder) == {"cities": 11, "added": 1, "removed": 0}
    assert "new" in load_fleet(folder / "small.yaml", {}).cities
    assert execute(folder) == {"cities": 11, "added": 0, "removed": 0}


def test_a_worker_elsewhere_writes_nothing_and_says_who_has_to(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    with pytest.raises(
        AirflowFailException, match=r"1 cities more.*Run `./fleet cities --pull --fleet small`"
    ):
        execute(folder)
    assert "new" not in load_fleet(folder / "small.yaml", {}).cities


def test_a_list_without_most_cities_is_taken_only_by_a_person(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "LocalExecutor")
    boto3.client("s3", region_name="us-east-1").put_object(
        Bucket="lake", Key="cities.csv", Body=b"city\nc1\n"
    )
    with pytest.raises(AirflowFailException, match="without 9 of the 10 cities"):
        execute(folder)
    assert execute(folder, yes=True)["removed"] == 9
    assert list(load_fleet(folder / "small.yaml", {}).cities) == ["c1"]
