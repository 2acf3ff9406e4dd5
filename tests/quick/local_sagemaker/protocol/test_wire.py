"""botocore is the oracle of the wire, both ways: what it writes we read, what we write it reads."""

from __future__ import annotations

import itertools
import re
from datetime import UTC, datetime
from typing import Any

import botocore.session
import pytest
from botocore.model import Shape
from botocore.parsers import create_parser
from botocore.serialize import create_serializer

from local.sagemaker import errors
from local.sagemaker.app import load_operations
from local.sagemaker.protocol import wire
from local.sagemaker.protocol.operations import OPERATIONS
from local.sagemaker.protocol.validation import compile_pattern, validate
from tests.support.aws_names import ROLE

load_operations()

BOTOCORE = botocore.session.Session().get_service_model("sagemaker")


MOMENT = datetime(2014, 1, 1, 12, 30, tzinfo=UTC)

#: Texts that are tried for a pattern, most telling first.
CANDIDATES = (
    "austin",
    "12",
    "s3://bucket/prefix/",
    "s3://b",
    ROLE,
    "arn:aws:sagemaker:us-east-1:123456789012:cluster/austincity12",
    "arn:aws:sagemaker:us-east-1:123456789012:hub-content/hub/Model/austin/1.0.0",
    "arn:aws:sagemaker:us-east-1:123456789012:hub-content/hub/DataSet/austin",
    "arn:aws:sagemaker:us-east-1:123456789012:model-package/austin/1",
    "arn:aws:lambda:us-east-1:123456789012:function:austin",
    "arn:aws:ec2:us-east-1:123456789012:capacity-reservation/cr-12345678",
    "arn:aws:s3express:us-east-1:123456789012:bucket/austin",
    "arn:aws:redshift:us-east-1:123456789012:cluster:austin",
    "arn:aws:sagemaker:us-east-1:123456789012:mlflow-app/austin",
    "/opt/ml/input",
    "text/csv",
    "4K",
    "fs-12345678",
    "arn:aws:sagemaker:us-east-1:123456789012:pipeline/austin/execution/austin",
    "arn:aws:sns:us-east-1:123456789012:austin",
    "1.2.3",
    "2014-01-01T00:00:00Z",
    "sha256:" + "a" * 64,
    "https://bucket/key",
    "-P1D",
    "arn:aws:cloudformation:us-east-1:123456789012:stack/austin/1",
    "arn:aws:sagemaker:us-east-1:123456789012:job/austin/1",
    "arn:aws:sagemaker:us-east-1:aws:hub-content/hub/Model/austin",
)


def value_of(shape: Shape, *, every_member: bool = False, depth: int = 0) -> Any:
    """A value that a shape allows.

    :param every_member: with optional members too; recursive shapes end after a few levels.
    """
    kind = shape.type_name
    if kind == "structure":
        optional = every_member and depth < 8
        wanted = shape.members if optional else shape.required_members
        return {
            name: value_of(shape.members[name], every_member=every_member, depth=depth + 1) for name in wanted
        }
    if kind == "list":
        length = max(shape.metadata.get("min", 0), 1 if every_member else 0)
        return [value_of(shape.member, every_member=every_member, depth=depth + 1) for _ in range(length)]
    if kind == "map":
        if not every_member and not shape.metadata.get("min", 0):
            return {}
        return {value_of(shape.key): value_of(shape.value, every_member=every_member, depth=depth + 1)}
    if kind == "string":
        return text_of(shape)
    number = max(shape.metadata.get("min", 0), 1)
    return {
        "boolean": True,
        "integer": number,
        "long": number,
        "float": number + 0.5,
        "double": number + 0.5,
        "timestamp": MOMENT,
        "blob": b"\x00bytes",
    }[kind]


def text_of(shape: Shape) -> str:
    """A text that a string shape allows.

    :raises AssertionError: if no candidate fits: add one.
    """
    if shape.enum:
        return str(shape.enum[0])
    low, high = shape.metadata.get("min", 0), shape.metadata.get("max", 10**6)
    pattern = shape.metadata.get("pattern")
    resource = re.search(r":([a-z-]+)\\?/", pattern or "")
    own = (f"arn:aws:sagemaker:us-east-1:123456789012:{resource[1]}/austin",) if resource else ()
    for candidate in (*CANDIDATES, *own):
        text = candidate if len(candidate) >= low else candidate + "a" * (low - len(candidate))
        if len(text) <= high and (pattern is None or compile_pattern(pattern).fullmatch(text)):
            return text
    raise AssertionError(f"no candidate fits {shape.name}: {shape.metadata}")


def test_requests_of_botocore_are_read(subtests: pytest.Subtests) -> None:
    for operation, every_member in itertools.product(sorted(OPERATIONS), (False, True)):
        with subtests.test(every_member=every_member, operation=operation):
            model = BOTOCORE.operation_model(operation)
            request = value_of(model.input_shape, every_member=every_member)
            written = create_serializer("json").serialize_to_request(request, model)
            assert written["headers"]["X-Amz-Target"] == wire.TARGET_PREFIX + operation
            assert written["headers"]["Content-Type"] == wire.CONTENT_TYPE

            read = wire.parse_request(operation, written["body"])

            assert read == request
            validate(model.input_shape, read)


def test_results_are_read_by_botocore(subtests: pytest.Subtests) -> None:
    for operation, every_member in itertools.product(sorted(OPERATIONS), (False, True)):
        with subtests.test(every_member=every_member, operation=operation):
            shape = BOTOCORE.operation_model(operation).output_shape
            result = {} if shape is None else value_of(shape, every_member=every_member)
            response = wire.result_response(operation, {**result, "_private": "stays here"})

            read = create_parser("json").parse(
                {
                    "body": response.body,
                    "headers": dict(response.headers),
                    "status_code": response.status_code,
                },
                shape,
            )

            metadata = read.pop("ResponseMetadata")
            assert metadata["RequestId"] == response.headers["x-amzn-requestid"]
            assert read == result


@pytest.mark.parametrize(
    "error",
    [
        errors.ValidationException("No."),
        errors.ResourceInUse("Taken."),
        errors.ResourceLimitExceeded("Full."),
        errors.UnsupportedOperation("Not here."),
        errors.SageMakerError("Boom.", "ModelError", 424, {"OriginalStatusCode": 400}),
    ],
    ids=lambda error: error.code,
)
def test_errors_are_read_by_botocore(error: errors.SageMakerError) -> None:
    response = wire.error_response(error)
    read = create_parser("json").parse(
        {"body": response.body, "headers": dict(response.headers), "status_code": response.status_code}, None
    )
    assert read["Error"] == {"Code": error.code, "Message": error.message}
    assert response.headers["x-amzn-errortype"] == error.code
    assert read["ResponseMetadata"]["HTTPStatusCode"] == error.status


def test_a_body_that_is_not_the_protocols_is_refused(subtests: pytest.Subtests) -> None:
    for body, code, words in [
        (b"{", "SerializationException", "not JSON"),
        (b"[]", "SerializationException", "must be a JSON object"),
        (b"\xff", "SerializationException", "not JSON"),
        (b'{"MaxResults": NaN}', "SerializationException", "NaN"),
        (b"[" * 100_000, "SerializationException", "not JSON"),
        (
            b'{"MaxResults": "ten"}',
            "SerializationException",
            "'MaxResults': expected a whole number, got str",
        ),
        (
            b'{"MaxResults": true}',
            "SerializationException",
            "'MaxResults': expected a whole number, got bool",
        ),
        (b'{"MaxResults": 1.5}', "SerializationException", "expected a whole number, got float"),
        (b'{"NameContains": 1}', "SerializationException", "'NameContains': expected a string, got int"),
        (b'{"CreationTimeAfter": 1e300}', "SerializationException", "not a point in time"),
        (b'{"CreationTimeAfter": "soon"}', "SerializationException", "not a point in time"),
        (b'{"NameHolds": "a"}', "ValidationException", "Unknown member 'NameHolds' in the request"),
    ]:
        with subtests.test(body=body):
            with pytest.raises(errors.SageMakerError) as caught:
                wire.parse_request("ListModels", body)
            assert caught.value.code == code
            assert words in caught.value.message


def test_null_is_a_member_that_is_not_there() -> None:
    assert wire.parse_request("ListModels", b'{"NameContains": null, "MaxResults": 3}') == {"MaxResults": 3}


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"ModelName": "a", "Colour": "red"}, "has no member 'Colour'"),
        ({"ModelName": 1}, "DescribeModel.ModelName: expected string, got int"),
        ({"EnableNetworkIsolation": "yes"}, "expected boolean, got str"),
        ({"CreationTime": datetime(2014, 1, 1)}, "no time zone"),
        ({"PrimaryContainer": {"_private": 1}}, "ContainerDefinition has no member '_private'"),
    ],
)
def test_a_result_the_shape_does_not_allow_is_a_loud_bug(result: dict[str, Any], words: str) -> None:
    with pytest.raises(wire.ResponseShapeError) as caught:
        wire.serialise_result("DescribeModel", result)
    assert words in str(caught.value)


def test_members_that_are_none_are_left_out() -> None:
    assert (
        wire.serialise_result("DescribeModel", {"ModelName": "a", "VpcConfig": None}) == b'{"ModelName":"a"}'
    )
