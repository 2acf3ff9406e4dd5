"""Constraints that botocore does not check, in SageMaker's own words."""

from __future__ import annotations

import time
from typing import Any

import botocore.session
import pytest
import regex

from local.sagemaker.protocol import validation, wire
from local.sagemaker.protocol.errors import ValidationException

LONG_NAME = "a" * 64
ROLE = "arn:aws:iam::123456789012:role/city-fleet"


def model(**members: Any) -> dict[str, Any]:
    return {
        "ModelName": "austin",
        "ExecutionRoleArn": ROLE,
        "PrimaryContainer": {"Image": "image:1"},
        **members,
    }


def message(operation: str, request: dict[str, Any]) -> str:
    with pytest.raises(ValidationException) as caught:
        validation.validate(wire.operation_model(operation).input_shape, request)
    assert (caught.value.code, caught.value.status) == ("ValidationException", 400)
    return caught.value.message


def test_one_violation_is_told_in_sagemakers_words(subtests: pytest.Subtests) -> None:
    for operation, request_, violation in [
        (
            "CreateModel",
            model(ModelName="my_model"),
            r"Value 'my_model' at 'modelName' failed: Member must satisfy regular expression"
            r" pattern: [a-zA-Z0-9]([\-a-zA-Z0-9]*[a-zA-Z0-9])?",
        ),
        (
            "CreateModel",
            model(ModelName=LONG_NAME),
            f"Value '{LONG_NAME}' at 'modelName' failed: Member must have length less than or equal to 63",
        ),
        (
            "CreateModel",
            model(ExecutionRoleArn="arn:aws:iam::1:role/x", ModelName="austin"),
            r"Value 'arn:aws:iam::1:role/x' at 'executionRoleArn' failed: Member must satisfy"
            r" regular expression pattern: arn:aws[a-z\-]*:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+",
        ),
        (
            "CreateModel",
            {"ExecutionRoleArn": ROLE},
            "Value null at 'modelName' failed: Member must not be null",
        ),
        (
            "CreateModel",
            model(PrimaryContainer={"Image": "image:1", "Mode": "ManyModels"}),
            "Value 'ManyModels' at 'primaryContainer.mode' failed: Member must satisfy enum"
            " value set: [SingleModel, MultiModel]",
        ),
        (
            "CreateModel",
            model(Tags=[{"Key": "city", "Value": "MAPE 7% > 5%"}]),
            r"Value 'MAPE 7% > 5%' at 'tags.1.member.value' failed: Member must satisfy regular"
            r" expression pattern: ([\p{L}\p{Z}\p{N}_.:/=+\-@]*)",
        ),
        (
            "CreateModel",
            model(VpcConfig={"Subnets": ["subnet-1"], "SecurityGroupIds": ["no spaces"]}),
            r"Value '[no spaces]' at 'vpcConfig.securityGroupIds' failed: Member must satisfy"
            r" constraint: [Member must have length less than or equal to 32, Member must have length"
            r" greater than or equal to 0, Member must satisfy regular expression pattern: [-0-9a-zA-Z]+]",
        ),
        (
            "CreateModel",
            model(PrimaryContainer={"Image": "image:1", "Environment": {"NO SPACE": "1"}}),
            r"Value '{NO SPACE=1}' at 'primaryContainer.environment' failed: Map keys must"
            r" satisfy constraint: [Member must have length less than or equal to 1024, Member must have"
            r" length greater than or equal to 0, Member must satisfy regular expression pattern:"
            r" [a-zA-Z_][a-zA-Z0-9_]*]",
        ),
        (
            "ListModels",
            {"MaxResults": 101},
            "Value '101' at 'maxResults' failed: Member must have value less than or equal to 100",
        ),
        (
            "ListModels",
            {"MaxResults": 0},
            "Value '0' at 'maxResults' failed: Member must have value greater than or equal to 1",
        ),
        (
            "CreateEndpointConfig",
            {"EndpointConfigName": "austin", "ProductionVariants": []},
            "Value '[]' at 'productionVariants' failed: Member must have length greater than or equal to 1",
        ),
    ]:
        with subtests.test(operation=operation):
            expected = violation.replace(" failed: ", " failed to satisfy constraint: ")
            assert message(operation, request_) == f"1 validation error detected: {expected}"


def test_all_violations_are_told_at_once() -> None:
    told = message("CreateModel", model(ModelName="_" * 64, Tags=[{"Key": "city"}]))
    assert told.startswith("3 validation errors detected: Value '____")
    assert "length less than or equal to 63; Value '____" in told
    assert told.endswith("at 'tags.1.member.value' failed to satisfy constraint: Member must not be null")


def test_a_long_hyperparameter_names_the_map() -> None:
    shape = wire.operation_model("CreateTrainingJob").input_shape.members["HyperParameters"]
    told = list(validation._check(shape, {"eta": "1" * 2501}, "hyperParameters"))
    assert len(told) == 1
    assert (
        "at 'hyperParameters' failed to satisfy constraint: Map value must satisfy constraint: [" in told[0]
    )
    assert "length less than or equal to 2500" in told[0]


def test_the_value_of_a_sensitive_member_is_not_shown() -> None:
    shape = wire.operation_model("CreateModelPackage").input_shape
    told = list(validation._check(shape, {"ModelCard": {"ModelCardContent": "x" * 100_001}}, ""))
    assert told[0].startswith("Value at 'modelCard.modelCardContent' failed")


def test_a_valid_request_is_let_through() -> None:
    validation.validate(wire.operation_model("CreateModel").input_shape, model())
    validation.validate(None, {})


def test_every_pattern_of_the_service_model_compiles_and_the_table_has_no_other() -> None:
    service = botocore.session.Session().get_service_model("sagemaker")
    patterns = {service.shape_for(name).metadata.get("pattern") for name in service.shape_names} - {None}
    broken = set()
    for pattern in patterns:
        validation.compile_pattern(pattern)
        try:
            regex.compile(pattern)
        except regex.error:
            broken.add(pattern)
    assert broken == set(validation.PATTERNS)


def test_a_pattern_means_the_whole_value() -> None:
    assert message("DescribeModel", {"ModelName": "austin\n"}).startswith(
        "1 validation error detected: Value"
    )


def test_a_hostile_value_does_not_hang_the_server() -> None:
    started = time.monotonic()
    message("DescribeModel", {"ModelName": "a" * 60_000 + "_"})
    assert time.monotonic() - started < 3 * validation.PATTERN_TIMEOUT_SECONDS
