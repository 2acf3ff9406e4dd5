"""A machine that meets a fleet file when it is broken builds its DAGs from the form that a task has kept in S3."""

from __future__ import annotations

import socket
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException

from city_fleet.config import load_fleet
from city_fleet.orchestration import shared_forms
from city_fleet.orchestration.city_dags import city_dags
from city_fleet.orchestration.fleet_dags import fleet_dags
from city_fleet.orchestration.fleet_tasks.compile_operator import COMPILE
from city_fleet.orchestration.shared_forms import shared_form
from tests.support.fleets import SMALL
from tests.support.local_sagemaker import LocalSageMaker


@pytest.fixture
def file(tmp_path: Path, aws: LocalSageMaker, monkeypatch: pytest.MonkeyPatch) -> Path:
    name = f"f{uuid.uuid4().hex[:12]}"
    aws.client("s3").create_bucket(Bucket=name)
    for variable, value in {**aws.variables, "AIRFLOW_CONN_AWS_DEFAULT": "aws://"}.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("CITY_FLEET_COMPILED", str(tmp_path / "scheduler"))
    monkeypatch.setattr(shared_forms, "_patience", shared_forms._Patience(60))
    (tmp_path / "fleets").mkdir()
    path = tmp_path / "fleets" / "mine.yaml"
    path.write_text(SMALL.replace("small-data", name) + "cities:\n  lake: {}\n  pier: {}\n")
    return path


def compile_task(file: Path) -> Any:
    (dag,) = fleet_dags(file.parent, only="small._reconcile", fetch=shared_form)
    return dag.get_task(COMPILE)


def on_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("CITY_FLEET_COMPILED", str(tmp_path / name))


def test_the_task_keeps_the_form_and_a_worker_finds_it(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aws: LocalSageMaker
) -> None:
    digest = compile_task(file).execute({})
    assert compile_task(file).execute({}) == digest
    file.write_text(file.read_text() + "  quay: {}\n")
    assert compile_task(file).execute({}) != digest
    file.write_text(file.read_text().replace("  city_column", "\tcity_column"))
    with pytest.raises(AirflowSkipException, match=r"mine\.yaml:6"):
        compile_task(file).execute({})

    on_another_machine(tmp_path, monkeypatch, "worker")
    (dag,) = city_dags(file.parent, only="small.quay", fetch=shared_form)
    assert len(dag.tasks) == 10
    assert not (tmp_path / "worker").exists(), "a task needs one city alone"
    found = [dag.dag_id for dag in city_dags(file.parent, fetch=shared_form)]
    assert found == ["small.lake", "small.pier", "small.quay"]
    assert (tmp_path / "worker").is_dir()

    (tmp_path / "file").write_text("")
    on_another_machine(tmp_path, monkeypatch, "file/read-only")
    assert len(list(city_dags(file.parent, fetch=shared_form))) == 3
    assert len(list(fleet_dags(file.parent, fetch=shared_form))) == 5


def test_s3_that_can_t_be_asked_is_a_broken_dag_as_ever(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text("fleet: small\nbucket: small-data\n\tx")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    (dag,) = city_dags(file.parent, fetch=shared_form)
    assert dag.dag_id == "mine._fleet_file"
    assert "can't be asked for the last good form" in caplog.text


def test_an_s3_that_hangs_costs_a_dag_file_seconds_for_all_fleets_together(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Airflow would kill the file after 30 seconds, and the good fleets with it."""
    broken = "fleet: {}\nbucket: small-data\n\tx"
    for number in range(6):
        (file.parent / f"broken_{number}.yaml").write_text(broken.format(f"b{number}"))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        found = {dag.dag_id for dag in city_dags(file.parent, fetch=shared_form)}
        assert time.monotonic() - start < 25
    assert {"small.lake", "small.pier"} < found
    assert len(found) == 8
    assert caplog.text.count("S3 was too slow before") == 5


def test_no_other_file_is_believed_while_the_file_can_be_read(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may write to the bucket must not replace a reviewed fleet file."""
    compile_task(file).execute({})
    on_another_machine(tmp_path, monkeypatch, "worker")

    def never(lines: Any) -> None:
        raise AssertionError("S3 was asked")

    (dag,) = city_dags(file.parent, only="small.lake", fetch=never)
    assert dag.dag_id == "small.lake"
    assert load_fleet(file).last_good is None
