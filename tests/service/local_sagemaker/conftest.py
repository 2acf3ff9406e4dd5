"""Servers for the tests of the local SageMaker."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.local_sagemaker import LocalSageMaker, running_server
from tests.support.waiting import wait_until


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
    """:func:`wait_until` as a fixture."""
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
