"""The time limits of InvokeEndpoint and what a turned-off model cache means, on a server object in this process.

S3 and CloudWatch Logs are those of the shared server; jobs, endpoints and model servers are this object's own.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local.sagemaker.endpoints import endpoints, resources, runtime
from local.sagemaker.endpoints.runtime_errors import ModelError, ModelNotReady
from local.sagemaker.protocol.bounded_request import BoundedRequest
from local.sagemaker.server import SageMakerServer
from local.sagemaker.settings import Settings
from tests.support.archives import archive
from tests.support.aws_names import ROLE

IMAGE = "sagemaker-xgboost:3.2-0"
NAME = "limits"
INFERENCE = """
import time
def model_fn(model_dir):
    time.sleep(1.0)
    return []
def input_fn(body, content_type):
    return float(body)
def predict_fn(seconds, model):
    time.sleep(seconds)
    model.append(seconds)
    return len(model)
def output_fn(prediction, accept):
    return str(prediction)
"""


@pytest.fixture
def serve(
    local_sagemaker: Any, bucket: str, tmp_path: Path, wait_until: Callable[..., Any]
) -> Iterator[Callable[..., SageMakerServer]]:
    servers: list[SageMakerServer] = []

    def start(cache: str = "Enabled", **limits: float) -> SageMakerServer:
        s3 = local_sagemaker.client("s3")
        s3.put_object(Bucket=bucket, Key="code.tar.gz", Body=archive({"inference.py": INFERENCE}))
        s3.put_object(Bucket=bucket, Key="models/a.tar.gz", Body=archive({"model.txt": "a"}))
        # Roles and S3 are another process's here, so they can't be looked up in this one.
        settings = Settings(
            images={IMAGE: Path(sys.executable)},
            check_roles=False,
            check_data=False,
            **limits,  # type: ignore[arg-type]
        )
        server = SageMakerServer.create(settings, local_sagemaker.url, tmp_path)
        servers.append(server)
        container = {
            "Image": f"123456789012.dkr.ecr.us-east-1.amazonaws.com/{IMAGE}",
            "Mode": "MultiModel",
            "ModelDataUrl": f"s3://{bucket}/models/",
            "MultiModelConfig": {"ModelCacheSetting": cache},
            "Environment": {
                "SAGEMAKER_PROGRAM": "inference.py",
                "SAGEMAKER_SUBMIT_DIRECTORY": f"s3://{bucket}/code.tar.gz",
            },
        }
        role = ROLE
        variant = {
            "VariantName": "AllTraffic",
            "ModelName": NAME,
            "InstanceType": "ml.m5.large",
            "InitialInstanceCount": 1,
        }
        resources.create_model(
            server, {"ModelName": NAME, "ExecutionRoleArn": role, "Containers": [container]}
        )
        resources.create_endpoint_config(
            server, {"EndpointConfigName": NAME, "ProductionVariants": [variant]}
        )
        endpoints.create_endpoint(server, {"EndpointName": NAME, "EndpointConfigName": NAME})
        wait_until(lambda: server.endpoints.live(NAME), 60, "the endpoint is in service")
        return server

    yield start
    for server in servers:
        server.shutdown()


def request(body: bytes) -> BoundedRequest:
    """An InvokeEndpoint request as it arrives."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [(b"content-type", b"text/csv"), (b"x-amzn-sagemaker-target-model", b"a.tar.gz")]
    path = f"/endpoints/{NAME}/invocations"
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}
    return BoundedRequest(scope | {"scheme": "http", "server": ("127.0.0.1", 80)}, receive, 1 << 20)


def test_a_slow_load_is_not_ready_and_goes_on(serve: Callable[..., SageMakerServer]) -> None:
    server = serve(model_load_timeout_seconds=0.2)

    async def ask() -> tuple[int, bytes]:
        refusals = 0
        while True:
            try:
                return refusals, bytes((await runtime.invoke(server, server.endpoints, request(b"0"))).body)
            except ModelNotReady:
                refusals += 1

    refusals, answer = asyncio.run(asyncio.wait_for(ask(), 30))
    assert refusals >= 2
    assert answer == b"1"


def test_loading_takes_as_long_as_it_is_told(serve: Callable[..., SageMakerServer]) -> None:
    server = serve(model_load_seconds=1.5)

    async def ask() -> list[float]:
        clock = asyncio.get_running_loop().time
        moments = [clock()]
        for _ in range(2):
            assert (await runtime.invoke(server, server.endpoints, request(b"0"))).status_code == 200
            moments.append(clock())
        return [after - before for before, after in itertools.pairwise(moments)]

    first, second = asyncio.run(asyncio.wait_for(ask(), 30))
    assert first > 2.5  # 1.5 s, and the second that the model takes anyway
    assert second < 1.5


def test_a_slow_answer_is_a_model_error(serve: Callable[..., SageMakerServer]) -> None:
    server = serve(invoke_timeout_seconds=0.5)

    async def ask() -> None:
        assert (await runtime.invoke(server, server.endpoints, request(b"0"))).body == b"1"
        with pytest.raises(ModelError, match="Your invocation timed out while waiting") as late:
            await runtime.invoke(server, server.endpoints, request(b"2"))
        assert late.value.members["OriginalStatusCode"] == 0

    asyncio.run(asyncio.wait_for(ask(), 30))


def test_without_a_cache_every_request_loads_the_model(serve: Callable[..., SageMakerServer]) -> None:
    server = serve(cache="Disabled")

    async def ask() -> list[Any]:
        return [
            json.loads((await runtime.invoke(server, server.endpoints, request(b"0"))).body) for _ in range(2)
        ]

    assert asyncio.run(asyncio.wait_for(ask(), 30)) == [1, 1]
