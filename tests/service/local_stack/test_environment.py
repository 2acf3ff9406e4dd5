"""Ports, secrets, and an environment that leads nowhere but to this stack."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from local.stack import environment
from local.stack.errors import StackError
from local.stack.layout import HOST, Layout
from local.stack.ports import require_free_port
from local.stack.secrets_file import stack_secrets
from local.stack.stack import Stack


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_taken_port_names_port_listener_and_variable() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StackError) as caught:
            require_free_port(port, "UI_PORT")
    message = str(caught.value)
    assert f"Port {port} on 127.0.0.1 is taken" in message
    assert f"process {os.getpid()}" in message
    assert f"UI_PORT={port + 1}" in message


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_number_that_is_no_port_is_refused(port: int) -> None:
    with pytest.raises(StackError, match="allowed: 1 to 65535"):
        require_free_port(port, "SAGEMAKER_PORT")


def test_secrets_are_drawn_once_and_private(state_dir: Path) -> None:
    layout = Layout(state_dir=state_dir)
    first = stack_secrets(layout)
    environment.write_environment(layout)
    assert stack_secrets(layout) == first
    assert stack_secrets(Layout(state_dir=state_dir / "other")) != first
    assert [_mode(path) for path in (layout.env_file, layout.passwords_file)] == [0o600, 0o600]
    assert _mode(state_dir) == 0o700
    assert json.loads(layout.passwords_file.read_text()) == {"admin": first["ui_password"]}


def test_a_shell_reads_from_stack_env_what_was_meant(tmp_path: Path) -> None:
    layout = Layout(state_dir=tmp_path / "it's a $state; dir")
    environment.write_environment(layout)
    script = 'set -a; . "$1"; set +a; exec env -0'
    shown = subprocess.run(
        ["sh", "-c", script, "sh", str(layout.env_file)], capture_output=True, check=True
    ).stdout
    read = dict(entry.split("=", 1) for entry in shown.decode().split("\0") if entry)
    wanted = environment.build_environment(layout)
    assert {name: read.get(name) for name in wanted} == wanted
    # What a person starts by hand is not the stack's to end.
    assert environment.MARKER not in read


def test_settings_of_another_airflow_or_account_stay_out(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = {
        "AWS_PROFILE": "production",
        "AWS_SESSION_TOKEN": "secret",
        "AWS_ENDPOINT_URL_S3": "https://elsewhere",
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW_CONN_OTHER": "aws://",
        "CITY_FLEET_BUCKET": "production",
        "VIRTUAL_ENV": "/somewhere",
    }
    for name, value in foreign.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NO_PROXY", "intranet")
    whole = environment.process_environment(Layout(state_dir=state_dir))
    assert not [name for name, value in foreign.items() if whole.get(name) == value]
    assert whole["NO_PROXY"] == "intranet,127.0.0.1,localhost"
    assert whole["AWS_ENDPOINT_URL"] == "http://127.0.0.1:8585"


def test_everything_listens_on_loopback(state_dir: Path) -> None:
    layout = Layout(state_dir=state_dir)
    for url in (layout.ui_url, layout.sagemaker_url, layout.execution_url):
        assert url.startswith("http://127.0.0.1:")
    assert environment.build_environment(layout)["AIRFLOW__API__HOST"] == "127.0.0.1"


def test_a_layout_may_replace_settings_and_have_more_triggerers(state_dir: Path) -> None:
    name = "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD"
    layout = Layout(state_dir=state_dir, triggerers=2, airflow_settings={name: "6"})
    assert environment.build_environment(layout)[name] == "6"
    stack = Stack(layout)
    assert [each for each in stack.components if each.startswith("triggerer")] == ["triggerer", "triggerer-2"]
    with pytest.raises(StackError, match=r"'sagemaker' can't be started again; allowed: nothing"):
        stack.restart("sagemaker")
