"""Image URIs are the ones that the SageMaker SDK gives."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from city_fleet.config import Algorithm
from city_fleet.config.settings import Endpoint
from city_fleet.errors import ConfigError
from city_fleet.jobs import images
from tests.support.aws_names import IMAGE_URI, ROLE
from tests.support.fleets import texas


def test_an_unknown_version_and_region_name_what_is_allowed() -> None:
    with pytest.raises(ConfigError, match=r"'3.2-1'.*3\.2-0"):
        images.image_uri(Algorithm(version="3.2-1"), "us-east-1")
    with pytest.raises(ConfigError, match="Did you mean 'eu-west-1'"):
        images.image_uri(Algorithm(), "eu-west-11")


@pytest.mark.parametrize(
    ("chosen", "region", "expected"),
    [
        ("managed", "us-east-1", IMAGE_URI),
        ("own", "eu-west-1", "123456789012.dkr.ecr.eu-west-1.amazonaws.com/city-fleet-model-server:1"),
        ("own", "cn-north-1", "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/city-fleet-model-server:1"),
        (
            "210987654321.dkr.ecr.us-east-1.amazonaws.com/team/serve:2",
            "us-east-1",
            "210987654321.dkr.ecr.us-east-1.amazonaws.com/team/serve:2",
        ),
    ],
)
def test_what_serves_is_the_managed_image_our_own_or_any(chosen: str, region: str, expected: str) -> None:
    role = ROLE
    endpoint = Endpoint.model_validate({"image": chosen})
    fleet = texas().model_copy(update={"endpoint": endpoint, "region": region, "role": role})
    assert images.serving_image_uri(fleet) == expected


def test_an_image_that_is_neither_is_refused() -> None:
    for wrong in (
        "mine",
        "Own",
        "docker.io/library/python:3",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com/x",
    ):
        with pytest.raises(ValidationError, match="image"):
            Endpoint.model_validate({"image": wrong})
