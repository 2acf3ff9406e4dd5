"""Fixtures that start the real server, as a process of its own on a free port."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

REPOSITORY = Path(__file__).resolve().parents[3]
ROLE = "city-fleet"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}
IMAGE = "sagemaker-xgboost:3.2-0"
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
    def environment(self) -> dict[str, str]:
        """Environment in which any AWS program talks to this server."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return inherited | {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_PAGER": "",
        }

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


def image_python() -> Path:
    """Interpreter that stands for the managed image, or this one where that environment is not made."""
    found = REPOSITORY / ".venv-image" / "bin" / "python"
    return found if found.exists() else Path(sys.executable)


@contextlib.contextmanager
def running_server(folder: Path, *arguments: str) -> Iterator[LocalSageMaker]:
    """Start a server on a free port and stop it in the end. The role city-fleet is there.

    :param folder: folder for its data, log and ready file; what a server that is gone has left there is used.
    :param arguments: more of its command line; later ones win.
    """
    ready_file, log = folder / "ready.json", folder / "server.log"
    ready_file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "local.sagemaker", "--port", "0", "--data-dir", str(folder / "data")]
    command += ["--ready-file", str(ready_file), "--image", f"{IMAGE}={image_python()}", *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=output, stderr=subprocess.STDOUT)
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


def wait_until(condition: Callable[[], Any], deadline_seconds: float, what: str) -> Any:
    """Poll until a condition is true.

    :param condition: what is asked, until its answer is true.
    :returns: that answer.
    """
    end = time.monotonic() + deadline_seconds
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < end, f"{what}: not within {deadline_seconds} s"
        time.sleep(0.05)


@pytest.fixture(scope="session")
def local_sagemaker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSageMaker]:
    """A server that all tests share: use names of your own (see ``unique``) and never stop it."""
    with running_server(tmp_path_factory.mktemp("server"), "--stop-grace-seconds", "2") as server:
        yield server


@pytest.fixture(scope="session")
def plain_sagemaker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSageMaker]:
    """As ``local_sagemaker``, but each job starts an interpreter of its own."""
    arguments = ("--stop-grace-seconds", "2", "--no-warm-runner")
    with running_server(tmp_path_factory.mktemp("plain"), *arguments) as server:
        yield server


@pytest.fixture(params=["warm", "plain"])
def job_server(request: pytest.FixtureRequest) -> LocalSageMaker:
    """Both servers in turn, for what must not depend on how jobs are started."""
    name = {"warm": "local_sagemaker", "plain": "plain_sagemaker"}[request.param]
    server: LocalSageMaker = request.getfixturevalue(name)
    return server


@pytest.fixture
def job_bucket(job_server: LocalSageMaker, unique: Callable[[str], str]) -> str:
    """An empty S3 bucket of ``job_server``."""
    name = unique("bucket")
    job_server.client("s3").create_bucket(Bucket=name)
    return name


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., LocalSageMaker]]:
    """Starts servers of the test's own: ``start_server("--max-running-jobs", "1")``.

    ``folder`` is where another server has been: ``start_server(folder=killed.data_dir.parent)``.
    """
    with contextlib.ExitStack() as stack:
        count = 0

        def start(*arguments: str, folder: Path | None = None) -> LocalSageMaker:
            nonlocal count
            count += 1
            if folder is None:
                folder = tmp_path / f"server-{count}"
                folder.mkdir()
            return stack.enter_context(running_server(folder, *arguments))

        yield start


@pytest.fixture(scope="session")
def run_server() -> Callable[..., contextlib.AbstractContextManager[LocalSageMaker]]:
    """:func:`running_server`, for fixtures of a module."""
    return running_server


@pytest.fixture(name="wait_until", scope="session")
def wait_until_fixture() -> Callable[[Callable[[], Any], float, str], Any]:
    """:func:`wait_until`, for tests, which can't import this file."""
    return wait_until


@pytest.fixture
def unique(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Makes names that no other test uses: ``unique("model")``."""
    digest = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:8]
    return lambda name: f"{name}-{digest}"


@pytest.fixture
def bucket(local_sagemaker: LocalSageMaker, unique: Callable[[str], str]) -> str:
    """An empty S3 bucket."""
    name = unique("bucket")
    local_sagemaker.client("s3").create_bucket(Bucket=name)
    return name
