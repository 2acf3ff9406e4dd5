"""The server as a process: how it starts, whom it refuses and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from tests.support.paths import ROOT


def start(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a server that is expected to end by itself."""
    command = [sys.executable, "-m", "local.sagemaker", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_it_tells_where_it_listens_and_ends_cleanly(start_server: Callable[..., Any]) -> None:
    server = start_server()
    ready = json.loads((server.data_dir.parent / "ready.json").read_text())
    assert ready == {"url": server.url, "pid": server.process.pid}
    assert server.log.read_text() == f"The local SageMaker listens on {server.url}\n"
    health = httpx.get(f"{server.url}/_local/health", trust_env=False).json()
    assert (health["status"], health["running_jobs"]) == ("ok", 0)
    assert server.stop() == 0
    assert not (server.data_dir.parent / "ready.json").exists()
    assert server.log.read_text().count("\n") == 1  # no access log, no traceback


def test_a_kept_connection_answers_again_and_again_and_is_closed_when_that_is_asked_for(
    local_sagemaker: Any,
) -> None:
    host, port = local_sagemaker.url.removeprefix("http://").split(":")
    request = f"GET /_local/health HTTP/1.1\r\nHost: {host}\r\n"
    with socket.create_connection((host, int(port)), timeout=30) as client:
        client.sendall(f"{request}\r\n{request}\r\n{request}Connection: close\r\n\r\n".encode())
        received = b""
        while piece := client.recv(65536):
            received += piece
    assert received.count(b"HTTP/1.1 200 OK\r\n") == received.count(b'"status":"ok"') == 3


def test_it_ends_on_ctrl_c(start_server: Callable[..., Any]) -> None:
    server = start_server()
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(timeout=30) == 0


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = start("--port", str(port), "--data-dir", str(tmp_path / "data"))
    assert ended.returncode == 1
    assert f"port {port} on 127.0.0.1 is taken by another program" in ended.stderr
    assert "--port" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_data_folder_belongs_to_one_server(local_sagemaker: Any) -> None:
    ended = start("--port", "0", "--data-dir", str(local_sagemaker.data_dir))
    assert ended.returncode == 1
    assert f"--data-dir {local_sagemaker.data_dir} is in use by another local SageMaker" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "0.0.0.0"], "--host 0.0.0.0 is not a loopback address"),
        (["--port", "70000"], "got '70000'; allowed: a number from 0 to 65535"),
        (["--image", "xgboost"], "allowed: REPOSITORY:TAG=PYTHON"),
        (["--image", "xgboost:1=/nowhere/python"], "/nowhere/python is not an interpreter"),
        (["--max-running-jobs", "0"], "allowed: a whole number from 1"),
        (["--stop-grace-seconds", "soon"], "allowed: seconds from 0 to 86400"),
    ],
)
def test_a_wrong_argument_is_explained(arguments: list[str], words: str) -> None:
    ended = start(*arguments)
    assert ended.returncode == 2
    assert words in ended.stderr


def test_web_pages_are_refused(local_sagemaker: Any) -> None:
    port = local_sagemaker.url.rpartition(":")[2]
    target = {"X-Amz-Target": "SageMaker.ListModels"}
    for headers in ({"Origin": "https://example.com"}, {"Host": f"example.com:{port}"}):
        answer = httpx.post(
            local_sagemaker.url, headers={**target, **headers}, content=b"{}", trust_env=False
        )
        assert answer.status_code == 403, headers
    preflight = httpx.options(
        local_sagemaker.url,
        headers={"Origin": "https://example.com", "Access-Control-Request-Method": "POST"},
        trust_env=False,
    )
    assert preflight.status_code == 403
    assert "access-control-allow-origin" not in preflight.headers
    for host in (f"localhost:{port}", f"[::1]:{port}"):
        answer = httpx.post(
            local_sagemaker.url, headers={**target, "Host": host}, content=b"{}", trust_env=False
        )
        assert answer.status_code == 200, host


def test_a_body_that_is_too_large_is_refused(start_server: Callable[..., Any]) -> None:
    server = start_server("--max-body-mb", "1")
    s3 = server.client("s3")
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="fits", Body=b"x" * 1024**2)
    with pytest.raises(ClientError) as caught:
        s3.put_object(Bucket="bucket", Key="large", Body=b"x" * (1024**2 + 1))
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413


def test_a_hostile_request_is_answered(local_sagemaker: Any) -> None:
    port = int(local_sagemaker.url.rpartition(":")[2])
    for raw in (
        b"GET / HTTP/1.1\r\nHost: [bad\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nX-Amz-Target: SageMaker.\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /endpoints/a/invocations HTTP/1.1\r\nHost: localhost\r\nAuthorization: Credential=\r\n"
        b"Content-Length: 0\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(raw)
            assert connection.recv(64).startswith(b"HTTP/1.1 "), raw


def test_a_second_signal_ends_it_at_once(start_server: Callable[..., Any], wait_until: Any) -> None:
    server = start_server()
    os.kill(server.process.pid, signal.SIGTERM)
    os.kill(server.process.pid, signal.SIGTERM)
    wait_until(lambda: server.process.poll() is not None, 30, "the server ends")
