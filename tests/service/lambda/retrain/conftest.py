"""The retrain function's own code; Airflow and Secrets Manager are HTTP servers."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.support.airflow_server import FakeDag, running_airflow
from tests.support.arrival_airflow import ArrivalAirflow
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
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def secret(account_url: str) -> Iterator[tuple[Any, str]]:
    """A client of Secrets Manager, and the ARN of the secret with Airflow's login."""
    client = boto3.client(
        "secretsmanager",
        endpoint_url=account_url,
        region_name="us-east-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",
    )
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

    def load(environment: dict[str, str]) -> ModuleType:
        spec = importlib.util.spec_from_file_location("retrain_handler", FUNCTION / "handler.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        before = dict(os.environ)
        os.environ.clear()
        os.environ.update(environment)
        sys.modules[spec.name] = module  # where its dataclasses look for their annotations
        try:
            spec.loader.exec_module(module)
        finally:
            del sys.modules[spec.name]
            os.environ.clear()
            os.environ.update(before)
        return module

    return load


@pytest.fixture
def function(load: Load, environment: dict[str, str]) -> ModuleType:
    """The function as one container of Lambda has it."""
    return load(environment)
