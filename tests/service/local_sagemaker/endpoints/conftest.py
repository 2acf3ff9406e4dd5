"""Endpoints for the tests of the local SageMaker's endpoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.endpoint_calls import Endpoints


@pytest.fixture
def fleet(local_sagemaker: Any, bucket: str, unique: Callable[[str], str], wait_until: Any) -> Any:
    fleet = Endpoints(local_sagemaker, bucket, unique, wait_until)
    yield fleet
    for each in fleet.sagemaker.list_endpoints(NameContains=unique(""), MaxResults=100)["Endpoints"]:
        name = each["EndpointName"]
        fleet.settled(name)
        fleet.sagemaker.delete_endpoint(EndpointName=name)
