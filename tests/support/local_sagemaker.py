"""The real local SageMaker, as a process of its own on a free port."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from tests.support.paths import IMAGE_PYTHON, ROOT
from tests.support.waiting import wait_until

ROLE = "city-fleet"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}
IMAGE = "sagemaker-xgboost:3.2-0"
SKLEARN_IMAGE = "sagemaker-scikit-learn:1.9-0-cpu-py3"
START_DEADLINE_SECONDS = 60


@dataclass
class LocalSageMaker:
    """A running server.

    :param process: its process; the test may signal it.
    """

    url: str
    data_dir: Path
    process: subprocess.Popen[bytes]
    log: Path
    _clients: dict[tuple[str, str], Any] = field(default_factory=dict)

    def client(self, service: str, region: str = "us-east-1") -> Any:
        """A boto3 client without retries, so that a test sees every error."""
        if (service, region) not in self._clients:
            self._clients[service, region] = boto3.client(
                service,
                region_name=region,
                endpoint_url=self.url,
                aws_access_key_id="local",
                aws_secret_access_key="local",
                config=Config(retries={"total_max_attempts": 1}, proxies={}),
            )
        return self._clients[service, region]

    @property
    def variables(self) -> dict[str, str]:
        """What makes any AWS program talk to this server, and to no other."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_PAGER": "",
        }

    @property
    def environment(self) -> dict[str, str]:
        """This process's environment with :attr:`variables` instead of its own AWS."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return inherited | self.variables

    def stop(self) -> int:
        """Stop the server as a person would; returns its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


@contextlib.contextmanager
def running_server(
    folder: Path, *arguments: str, within: Sequence[str] = (), module: str = "local.sagemaker"
) -> Iterator[LocalSageMaker]:
    """Start a server on a free port and stop it in the end. The role city-fleet is there.

    :param folder: folder for its data, log and ready file; what a server that is gone has left there is used.
    :param arguments: more of its command line; later ones win.
    :param within: a command that becomes the one behind it.
    :param module: what is run in its place.
    """
    ready_file, log = folder / "ready.json", folder / "server.log"
    ready_file.unlink(missing_ok=True)
    command = [*within, sys.executable, "-m", module, "--port", "0", "--data-dir", str(folder / "data")]
    command += ["--ready-file", str(ready_file), "--image", f"{IMAGE}={IMAGE_PYTHON}"]
    command += ["--image", f"{SKLEARN_IMAGE}={IMAGE_PYTHON}", *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_until(
            lambda: ready_file.exists() or process.poll() is not None,
            START_DEADLINE_SECONDS,
            "the server starts",
        )
        assert ready_file.exists(), log.read_text()
        url = json.loads(ready_file.read_text())["url"]
        server = LocalSageMaker(url, folder / "data", process, log)
        iam = server.client("iam")
        with contextlib.suppress(iam.exceptions.EntityAlreadyExistsException):
            iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=json.dumps(TRUST))
        yield server
        server.stop()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
