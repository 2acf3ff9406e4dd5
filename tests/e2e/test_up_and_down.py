"""`up`, `status`, `env` and `down` as a person types them: one stack, from nothing to nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from local import ROOT
from local.stack import processes, records
from local.stack.layout import HOST, free_port
from local.stack.programs import COMPONENTS
from local.stack.secrets_file import SECRETS_FILE
from local.stack.stack import Stack
from tests.support.fleets import TEXAS
from tests.support.waiting import wait_until

# Those that `up` trains, one of which waits for a person, and one that it leaves alone: its models would wait too.
CITIES = {
    "austin": {"name": "Austin"},
    "dallas": {"name": "Dallas"},
    "lubbock": {"name": "Lubbock", "approval": "manual"},
    "waco": {"name": "Waco", "approval": "manual"},
}
AUGUST = (
    b"city,year,month,sales,volume,median,listings,inventory\nAustin,2015,8,2900,930000000,259000,7000,3.0\n"
)


def _stack(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "local.stack", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def _write_fleet(folder: Path) -> Path:
    """Write the Texas fleet with a few cities: what every other one would train says nothing about `up`."""
    folder.mkdir()
    document = yaml.safe_load(TEXAS.read_text(encoding="utf-8")) | {"cities": CITIES}
    path = folder / TEXAS.name
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return path


def test_nothing_is_up_to_begin_with(tmp_path: Path) -> None:
    state = tmp_path / "up"
    assert _stack("status", "--state-dir", state).returncode == 1
    down = _stack("down", "--state-dir", state)
    assert (down.returncode, down.stdout.strip()) == (0, "Nothing is up.")
    env = _stack("env", "--state-dir", state)
    assert (env.returncode, env.stderr.startswith("error: Nothing is up")) == (1, True)
    wrapper = subprocess.run(
        [ROOT / "bin" / "airflow", "version"],
        env={**os.environ, "CITY_FLEET_STATE_DIR": str(state)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert wrapper.returncode == 1
    assert "run `make up` first" in wrapper.stderr


@pytest.mark.parametrize("variable", ["UI_PORT", "SAGEMAKER_PORT"])
def test_a_taken_port_starts_nothing(tmp_path: Path, variable: str) -> None:
    state = tmp_path / "up"
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        ports = {"UI_PORT": free_port(), "SAGEMAKER_PORT": free_port(), variable: taken.getsockname()[1]}
        done = _stack(
            *("up", "--state-dir", state),
            *("--ui-port", str(ports["UI_PORT"]), "--sagemaker-port", str(ports["SAGEMAKER_PORT"])),
        )
    assert done.returncode == 1
    assert f"Port {ports[variable]} on 127.0.0.1 is taken" in done.stderr
    assert f"{variable}={ports[variable] + 1}" in done.stderr
    assert processes.marked(state) == []


def test_one_command_at_a_time_works_on_a_state_directory(tmp_path: Path) -> None:
    state = tmp_path / "up"
    with records.exclusive(state):
        done = _stack("down", "--state-dir", state)
    assert done.returncode == 1
    assert "Another command works on" in done.stderr


@pytest.mark.e2e
def test_up_twice_up_after_a_kill_and_down(state_dir: Path, tmp_path: Path) -> None:
    # One fleet: an endpoint of each would be waited for at every start.
    fleet = str(_write_fleet(tmp_path / "fleets"))
    ports = ("--ui-port", str(free_port()), "--sagemaker-port", str(free_port()), "--fleet", fleet)
    first = _stack("up", "--state-dir", state_dir, *ports, AWS_PROFILE="production")
    assert first.returncode == 0, first.stdout + first.stderr
    stack = Stack.find(state_dir)
    assert stack is not None
    assert [record.name for record in stack.records] == ["sagemaker", *COMPONENTS]

    # It ends with something alive: the scheduler has trained cities, which answer, and one waits for a person.
    ended = {line.split("  ")[1]: line for line in first.stdout.splitlines() if line.startswith("  ")}
    assert sum("  live  " in line and "2013-09-01: " in line for line in ended.values()) >= 2, first.stdout
    assert "awaits approval" in ended["Lubbock"]
    assert "./fleet predict " in first.stdout.partition("Next:")[2]
    assert "one a night" in first.stdout

    # What it printed is true: the login works, and nobody gets in without one.
    password = first.stdout.split("password ")[1].split()[0]
    login = httpx.post(f"{stack.layout.ui_url}/auth/token", json={"username": "admin", "password": password})
    assert login.status_code == 201
    assert httpx.get(f"{stack.layout.ui_url}/api/v2/dags").status_code == 401
    assert stack.airflow.request("GET", "/pools/city_fleet_laptop")["include_deferred"] is True

    # Raw data and endpoint are there, as boto3 sees them in the environment that `env` prints.
    shown = _stack("env", "--state-dir", state_dir).stdout
    assert f"export AWS_ENDPOINT_URL={stack.layout.sagemaker_url}" in shown
    sagemaker, s3 = stack.client("sagemaker"), stack.client("s3")
    endpoint = sagemaker.describe_endpoint(EndpointName="texas-housing--laptop")
    assert endpoint["EndpointStatus"] == "InService"
    assert s3.list_objects_v2(Bucket="city-fleet", Prefix="texas_housing/raw/city=austin/")["KeyCount"] == 1

    # Loopback only, and a second `up` changes nothing.
    pids = {process.pid for process in processes.marked(state_dir)}
    listening = [
        connection
        for connection in psutil.net_connections("tcp")
        if connection.pid in pids and connection.status == psutil.CONN_LISTEN
    ]
    assert {connection.laddr.ip for connection in listening} == {HOST}
    second = _stack("up", "--state-dir", state_dir, *ports)
    assert (second.returncode, second.stdout.splitlines()[0]) == (0, "The stack is up already.")
    assert stack.memory_mib() < 3 * 1024

    # After a kill it goes on where it ended.
    put = s3.put_object(
        Bucket="city-fleet", Key="texas_housing/laptop/live/waco.json", Body=b'{"sequence": 1}'
    )
    sagemaker.create_model_package_group(ModelPackageGroupName="texas-housing--laptop--tyler")
    package = sagemaker.create_model_package(ModelPackageGroupName="texas-housing--laptop--tyler")[
        "ModelPackageArn"
    ]

    # Somebody has brought in a month more than the fleet's own file has.
    s3.put_object(Bucket="city-fleet", Key="texas_housing/raw/city=waco/august.csv", Body=AUGUST)

    server = next(record for record in stack.records if record.name == "sagemaker")
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: server.find() is None, 20, "the server is gone")
    assert _stack("down", "--state-dir", state_dir).returncode == 0

    again = _stack("up", "--state-dir", state_dir, *ports)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "error" not in again.stdout
    kept = s3.get_object(Bucket="city-fleet", Key="texas_housing/raw/city=waco/august.csv")
    assert kept["Body"].read() == AUGUST
    stack = Stack.find(state_dir)
    assert stack is not None
    found = s3.get_object(Bucket="city-fleet", Key="texas_housing/laptop/live/waco.json")
    assert (found["ETag"], found["Body"].read()) == (put["ETag"], b'{"sequence": 1}')
    described = sagemaker.describe_model_package(ModelPackageName=package)
    assert described["ModelPackageVersion"] == 1
    wait_until(
        lambda: (
            sagemaker.describe_endpoint(EndpointName="texas-housing--laptop")["EndpointStatus"] == "InService"
        ),
        20,
        "the endpoint is in service again",
    )
    after = sagemaker.describe_endpoint(EndpointName="texas-housing--laptop")
    assert after["CreationTime"] == endpoint["CreationTime"]
    runtime = stack.client("sagemaker-runtime")
    with pytest.raises(runtime.exceptions.ClientError, match="Failed to download model data"):
        runtime.invoke_endpoint(EndpointName="texas-housing--laptop", TargetModel="none.tar.gz", Body=b"1")
    assert len(stack.airflow.request("GET", "/dags/texas_housing._endpoint/dagRuns")["dag_runs"]) == 2

    # A component that dies is told by name.
    assert _stack("status", "--state-dir", state_dir).returncode == 0
    scheduler = next(record for record in stack.records if record.name == "scheduler")
    os.kill(scheduler.pid, signal.SIGKILL)
    wait_until(lambda: scheduler.find() is None, 20, "the scheduler is gone")
    status = _stack("status", "--state-dir", state_dir)
    assert status.returncode == 1
    assert [line.split()[:2] for line in status.stdout.splitlines() if "scheduler" in line.split()[:1]] == [
        ["scheduler", "ended"]
    ]
    third = _stack("up", "--state-dir", state_dir, *ports)
    assert "without scheduler" in third.stderr

    down = _stack("down", "--state-dir", state_dir)
    assert down.returncode == 0
    assert processes.marked(state_dir) == []
    assert not stack.layout.env_file.exists()
    assert (state_dir / SECRETS_FILE).exists()
