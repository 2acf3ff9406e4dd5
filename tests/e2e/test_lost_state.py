"""`make up` where an earlier stack has lost part of its state, or can't start: what is there stays there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from local import ROOT
from local.stack import processes
from local.stack.layout import HOST, Layout, free_port
from local.stack.stack import Stack


def _up(state: Path, ui_port: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    ports = ("--ui-port", str(ui_port), "--sagemaker-port", str(free_port()), "--fleet", "texas_housing")
    return subprocess.run(
        [sys.executable, "-m", "local.stack", "up", "--state-dir", str(state), *ports, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def _content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _listed(stack: Stack, prefix: str) -> dict[str, str]:
    found = stack.client("s3").list_objects_v2(Bucket="city-fleet", Prefix=prefix).get("Contents", [])
    return {each["Key"]: each["ETag"] for each in found}


@pytest.mark.parametrize("arguments", [(), ("--fresh",)])
def test_a_start_that_fails_at_a_taken_port_leaves_every_file(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    state = tmp_path / "up"
    # Airflow's database is gone: the state for which everything else was deleted once.
    for name in ("sagemaker/services.sqlite3", "sagemaker/objects/ab/abcdef", "airflow/airflow.cfg"):
        (state / name).parent.mkdir(parents=True, exist_ok=True)
        (state / name).write_bytes(name.encode())
    before = _content(state)
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        done = _up(state, taken.getsockname()[1], *arguments)
    assert done.returncode == 1
    assert "is taken" in done.stderr
    assert _content(state) == before
    assert processes.marked(state) == []


def test_a_demo_deletes_nothing_but_a_demos_folder(tmp_path: Path) -> None:
    state = tmp_path / "up"
    (state / "sagemaker").mkdir(parents=True)
    (state / "sagemaker" / "services.sqlite3").write_bytes(b"kept")
    done = subprocess.run(
        [sys.executable, "-m", "local.stack", "demo", "--state-dir", str(state)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 1
    assert "holds what is no demo's" in done.stderr
    assert _content(state) == {"sagemaker/services.sqlite3": b"kept"}


@pytest.mark.e2e
@pytest.mark.skipif(
    not os.environ.get("CITY_FLEET_TEST_LOST_DATABASE"),
    reason="starts an Airflow of its own three times: make test-lost-database",
)
def test_without_airflows_database_s3_registry_and_endpoint_stay(state_dir: Path) -> None:
    layout = Layout(state_dir=state_dir)
    first = _up(state_dir, free_port())
    assert first.returncode == 0, first.stdout + first.stderr
    stack = Stack.find(state_dir)
    assert stack is not None
    stack.client("s3").put_object(Bucket="city-fleet", Key="kept", Body=b"kept" * 100)
    stack.client("sagemaker").create_model_package_group(ModelPackageGroupName="kept")
    before = _listed(stack, "texas_housing/raw/")
    stack.stop()
    for path in layout.airflow_home.glob("airflow.db*"):
        path.unlink()

    again = _up(state_dir, free_port())
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"{layout.database} is missing" in again.stdout
    assert "make up FRESH=1" in again.stdout
    stack = Stack.find(state_dir)
    assert stack is not None
    assert stack.client("s3").get_object(Bucket="city-fleet", Key="kept")["Body"].read() == b"kept" * 100
    assert stack.client("sagemaker").describe_model_package_group(ModelPackageGroupName="kept")
    assert _listed(stack, "texas_housing/raw/") == before
    stack.stop()

    fresh = _up(state_dir, free_port(), "--fresh")
    assert fresh.returncode == 0, fresh.stdout + fresh.stderr
    assert "is missing" not in fresh.stdout
    stack = Stack.find(state_dir)
    assert stack is not None
    assert _listed(stack, "kept") == {}
    stack.stop()
