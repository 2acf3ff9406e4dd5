"""Image URIs are the ones that the SageMaker SDK gives."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from pydantic import ValidationError

from city_fleet.config import Algorithm, load_fleet
from city_fleet.config.endpoint_section import Endpoint
from city_fleet.config.image_table import FRAMEWORKS, PYTHON_OF, SCRIPTS_NEED, managed_images, usable_versions
from city_fleet.errors import ConfigError, FleetFileError
from city_fleet.jobs import images
from tests.support.aws_names import IMAGE_URI, ROLE
from tests.support.fleets import TEXAS, texas
from tests.support.paths import SCRIPTS


def test_an_unknown_version_and_region_name_what_is_allowed() -> None:
    with pytest.raises(ConfigError, match=r"'3.2-1'.*3\.2-0"):
        images.image_uri(Algorithm.model_construct(image="xgboost", version="3.2-1"), "us-east-1")
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


@pytest.mark.parametrize(
    ("version", "got"),
    [
        ("3.0-5", "an image with Python 3.10"),
        ("1.7-1", "an image with Python 3.10"),
        ("1.5-1", "an image with an older Python"),
        ("0.90-2", "an image with an older Python"),
        ("2.0-1", "a version that does not exist"),
        ("3.2-1", "a version that does not exist"),
        ("30.2-0", "a version that does not exist"),
    ],
)
def test_a_version_that_can_not_run_the_scripts_is_refused(version: str, got: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Algorithm(version=version)
    (problem,) = caught.value.errors()[0]["ctx"]["problems"]
    assert problem.got == f"'{version}', {got}"
    assert "3.2-0, whose Python runs the job scripts" in problem.allowed


def test_scikit_learns_image_has_versions_of_its_own_and_does_not_serve() -> None:
    algorithm = Algorithm.model_validate({"image": "sklearn", "name": "linear"})
    uri = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.9-0-cpu-py3"
    assert images.image_uri(algorithm, "us-east-1") == uri
    for version, got in (("1.4-2", "an image with Python 3.10"), ("3.2-0", "a version that does not exist")):
        with pytest.raises(ValidationError) as caught:
            Algorithm.model_validate({"image": "sklearn", "version": version})
        (problem,) = caught.value.errors()[0]["ctx"]["problems"]
        assert (problem.got, problem.nearest) == (f"'{version}', {got}", "1.9-0")
        assert "sklearn 1.9-0" in problem.allowed
    # Models of every algorithm may have to be answered for, champions of before among them.
    fleet = texas()
    defaults = fleet.defaults.model_copy(update={"algorithm": algorithm})
    assert images.serving_image_uri(fleet.model_copy(update={"defaults": defaults})) == IMAGE_URI


def test_a_mistake_in_the_defaults_is_one_error_on_its_own_line(tmp_path: Path) -> None:
    text = TEXAS.read_text(encoding="utf-8")
    (region,) = [line for line in text.splitlines() if line.startswith("region:")]
    for right, wrong, field, near in (
        ('version: "3.2-0"', 'version: "3.0-5"', "defaults.algorithm.version", "3.2-0"),
        (region, "region: us-east-9", "region", "us-east-2"),
        (region, "region: eu-southeast-1", "region", "ap-southeast-1"),
    ):
        path = tmp_path / "fleet.yaml"
        path.write_text(text.replace(right, wrong), encoding="utf-8")
        with pytest.raises(FleetFileError) as caught:
            load_fleet(path, {})
        (error,) = caught.value.errors
        assert (error.field, error.city) == (field, None)
        assert error.nearest == near
        written = wrong.splitlines()[0]
        assert error.line is not None
        assert written in path.read_text(encoding="utf-8").splitlines()[error.line - 1]


def test_each_image_that_is_used_holds_what_the_scripts_need() -> None:
    """The scripts parse and import on the oldest Python that is allowed: nothing newer stands in them."""
    for framework in FRAMEWORKS:
        assert set(PYTHON_OF[framework]) <= set(managed_images(framework)), (
            "a version that we know is in the table"
        )
    assert (usable_versions(), usable_versions("sklearn")) == (("3.2-0",), ("1.9-0",))
    for path in SCRIPTS.glob("*.py"):
        ast.parse(path.read_text(encoding="utf-8"), feature_version=SCRIPTS_NEED)
