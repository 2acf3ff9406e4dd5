"""A real local SageMaker for the modules that talk to AWS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.local_sagemaker import LocalSageMaker, running_server
from tests.support.recorded_calls import kept_recording


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSageMaker]:
    with running_server(tmp_path_factory.mktemp("aws")) as server:
        server.client("s3").create_bucket(Bucket="city-fleet")
        yield server


@pytest.fixture(scope="session", autouse=True)
def calls() -> Iterator[None]:
    """Record what the code asks of AWS in these tests, where ``make calls`` wants to know."""
    with kept_recording():
        yield
