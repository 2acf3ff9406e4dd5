"""The retrain function's own code; Airflow and Secrets Manager are HTTP servers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any

import pytest

from tests.support.account import account_client, running_account
from tests.support.airflow_server import FakeDag, running_airflow
from tests.support.arrival_airflow import ArrivalAirflow
from tests.support.lambda_runtime import load_handler
from tests.support.paths import ROOT

FUNCTION = ROOT / "include" / "lambda" / "retrain"
TAGS = ("fleet:houses", "environment:laptop")
CITIES = ("austin", "dallas", "el_paso", "houston", "waco")
KEYS = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture
def airflow() -> Iterator[ArrivalAirflow]:
    """An Airflow with five cities, a DAG of the whole fleet, and one of somebody else."""
    airflow = ArrivalAirflow()
    airflow.dags = {f"houses.{city}": FakeDag(tags=TAGS) for city in CITIES}
    airflow.dags |= {"houses._endpoint": FakeDag(tags=TAGS), "sales": FakeDag()}
    airflow.tokens = set()
    with running_airflow(airflow):
        yield airflow


@pytest.fixture(scope="session")
def account_url() -> Iterator[str]:
    with running_account() as url:
        yield url


@pytest.fixture
def secret(account_url: str) -> Iterator[tuple[Any, str]]:
    """A client of Secrets Manager, and the ARN of the secret with Airflow's login."""
    client = account_client(account_url, "secretsmanager")
    login = json.dumps({"username": "admin", "password": "secret"})
    arn = client.create_secret(Name="airflow", SecretString=login)["ARN"]
    yield client, arn
    client.delete_secret(SecretId=arn, ForceDeleteWithoutRecovery=True)


@pytest.fixture
def environment(airflow: ArrivalAirflow, account_url: str, secret: tuple[Any, str]) -> dict[str, str]:
    """What Lambda sets for the function, and where AWS is."""
    return {
        **KEYS,
        "AWS_ENDPOINT_URL": account_url,
        "CITY_FLEET_BUCKET": "city-fleet",
        "CITY_FLEET_FLEET": "houses",
        "CITY_FLEET_ENVIRONMENT": "laptop",
        "CITY_FLEET_AIRFLOW_URL": airflow.url,
        "CITY_FLEET_AIRFLOW_SECRET_ARN": secret[1],
    }


Load = Callable[[dict[str, str]], ModuleType]


@pytest.fixture(scope="session")
def load() -> Load:
    """Loads the handler's module once more, as Lambda starts a container with these variables."""

    return partial(load_handler, "retrain")


@pytest.fixture
def function(load: Load, environment: dict[str, str]) -> ModuleType:
    """The function as one container of Lambda has it."""
    return load(environment)
