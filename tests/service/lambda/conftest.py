"""The predict function's own code against a real endpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support import forecast_city, table_artifacts
from tests.support.forecast_city import ForecastCity
from tests.support.lambda_runtime import load_handler
from tests.support.local_sagemaker import running_server
from tests.support.paths import ROOT
from tests.support.recorded_calls import kept_recording
from tests.support.serving import KEYS, Serving, serve

FUNCTION = ROOT / "include" / "lambda" / "predict"


@pytest.fixture(scope="session")
def folder() -> Path:
    """The function's folder."""
    return FUNCTION


@pytest.fixture(scope="session")
def environment(serving: Serving) -> dict[str, str]:
    """What Lambda sets for the function, and where AWS is."""
    return {
        **serving.server.environment,
        "CITY_FLEET_BUCKET": KEYS.bucket,
        "CITY_FLEET_FLEET": KEYS.fleet,
        "CITY_FLEET_ENVIRONMENT": KEYS.environment,
        "CITY_FLEET_ENDPOINT": serving.endpoint,
        "CITY_FLEET_POINTER_TTL_SECONDS": "0",
        "CITY_FLEET_DEADLINE_SECONDS": "20",
    }


@pytest.fixture(scope="session")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with running_server(tmp_path_factory.mktemp("lambda")) as server:
        server.client("s3").create_bucket(Bucket=KEYS.bucket)
        serving = serve(server, tmp_path_factory.mktemp("models"))
        for number, city in enumerate(("austin", "waco", "san_antonio")):
            serving.publish(city, number)
        tables = table_artifacts.make(tmp_path_factory.mktemp("tables"))
        table_artifacts.publish(serving, tables, "mixed_two", "houston")
        yield serving


@pytest.fixture(scope="session")
def fort_worth(serving: Serving, tmp_path_factory: pytest.TempPathFactory) -> ForecastCity:
    """A city that is live, and can be asked by its name."""
    made = forecast_city.make(tmp_path_factory.mktemp("forecast"), city="fort_worth", name="Fort Worth")
    made.publish(serving)
    return made


@pytest.fixture(scope="session")
def forecast(fort_worth: ForecastCity) -> dict[str, Any]:
    """What its evaluation forecast."""
    return fort_worth.forecast


@pytest.fixture(scope="session")
def load() -> Callable[[dict[str, str]], ModuleType]:
    """Loads the handler's module once more, as Lambda starts a container with these variables."""

    return partial(load_handler, "predict")


@pytest.fixture(scope="session")
def function(load: Callable[[dict[str, str]], ModuleType], environment: dict[str, str]) -> ModuleType:
    """The function as one container of Lambda has it."""
    return load(environment)


class Context:
    """What Lambda says of a call."""

    def __init__(self, remaining_ms: int = 28_000) -> None:
        self.remaining_ms = remaining_ms

    def get_remaining_time_in_millis(self) -> int:
        return self.remaining_ms


@pytest.fixture(scope="session")
def context() -> type[Context]:
    """Makes contexts of calls."""
    return Context


@pytest.fixture(scope="session", name="http_event")
def http_event_fixture() -> Callable[..., dict[str, Any]]:
    """:func:`http_event`, for tests, which can't import this file."""
    return http_event


def http_event(body: str | None, **changes: Any) -> dict[str, Any]:
    """Return an event of an HTTP API as API Gateway sends it (payload format 2.0)."""
    method, path = changes.pop("method", "POST"), changes.pop("path", "/predict")
    stage = changes.pop("stage", "$default")
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "POST /predict",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {
            "accept": "*/*",
            "content-length": str(len(body or "")),
            "content-type": "application/json",
            "host": "a1b2c3d4e5.execute-api.us-east-1.amazonaws.com",
            "user-agent": "curl/8.5.0",
            "x-amzn-trace-id": "Root=1-653f7a80-3d5c1b2a7c9e4f0012345678",
            "x-forwarded-for": "203.0.113.7",
            "x-forwarded-port": "443",
            "x-forwarded-proto": "https",
        },
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "a1b2c3d4e5",
            "domainName": "a1b2c3d4e5.execute-api.us-east-1.amazonaws.com",
            "domainPrefix": "a1b2c3d4e5",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "203.0.113.7",
                "userAgent": "curl/8.5.0",
            },
            "requestId": "NbJqVh2NIAMEVjA=",
            "routeKey": "POST /predict",
            "stage": stage,
            "time": "30/Oct/2023:09:42:24 +0000",
            "timeEpoch": 1698658944000,
        },
        "body": body,
        "isBase64Encoded": False,
    }
    if body is None:
        del event["body"]
    return event | changes


@pytest.fixture(scope="session", autouse=True)
def calls() -> Iterator[None]:
    """Record what the code asks of AWS in these tests, where ``make calls`` wants to know."""
    with kept_recording():
        yield
