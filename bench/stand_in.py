"""A local SageMaker of a bench's own, and how its requests are counted where they arrive."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

REPOSITORY = Path(__file__).resolve().parents[1]
IMAGE = "sagemaker-xgboost:3.2-0"
REGION = "us-east-1"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}


class StandIn:
    """A running server.

    :param url: where it listens.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        """A boto3 client."""
        if service not in self._clients:
            self._clients[service] = boto3.client(
                service,
                region_name=REGION,
                endpoint_url=self.url,
                aws_access_key_id="local",
                aws_secret_access_key="local",  # noqa: S106
                config=Config(proxies={}, max_pool_connections=32),
            )
        return self._clients[service]

    def create_role(self, name: str) -> str:
        """A role that jobs may take; its ARN."""
        answer = self.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TRUST))
        return str(answer["Role"]["Arn"])

    def connect_airflow(self) -> None:
        """Make this server Airflow's connection ``aws_default`` in this process."""
        connection = {
            "conn_type": "aws",
            "login": "local",
            "password": "local",
            "extra": {"endpoint_url": self.url, "region_name": REGION},
        }
        os.environ["AIRFLOW_CONN_AWS_DEFAULT"] = json.dumps(connection)

    def count(self, *matches: dict[str, str]) -> None:
        """Count requests from now on: by ``operation`` and ``name``, both globs.

        A fault that adds no time only counts.
        """
        self._faults("PUT", [{"kind": "latency", "seconds": 0, **match} for match in matches])

    def counted(self) -> list[int]:
        """How many each of the matches has seen."""
        return [int(fault["seen"]) for fault in self._faults("GET")["faults"]]

    def _faults(self, method: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_local/faults", data, method=method)  # noqa: S310
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return json.load(answer)


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[StandIn]:
    """Start a server of one's own, and stop it in the end."""
    found = REPOSITORY / ".venv-image" / "bin" / "python"
    python = found if found.exists() else Path(sys.executable)
    with tempfile.TemporaryDirectory() as folder:
        ready = Path(folder) / "ready.json"
        command = [sys.executable, "-m", "local.sagemaker", "--port", "0", "--data-dir", f"{folder}/data"]
        command += ["--ready-file", str(ready), "--image", f"{IMAGE}={python}", *arguments]
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
        try:
            until(lambda: ready.exists() or process.poll() is not None)
            yield StandIn(json.loads(ready.read_text())["url"])
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def until(condition: Callable[[], bool]) -> None:
    """Poll until a condition is true."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "not within 120 s"
        time.sleep(0.05)
