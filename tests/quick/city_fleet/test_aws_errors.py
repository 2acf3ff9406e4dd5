"""What an error of AWS means is decided in one place, and S3 is asked about state in one place."""

from __future__ import annotations

import ast
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)

from city_fleet import aws_errors

LIBRARY = Path(__file__).resolve().parents[3] / "plugins" / "city_fleet"
MODULES = sorted(path.relative_to(LIBRARY).as_posix() for path in LIBRARY.rglob("*.py"))


def client_error(code: str, message: str = "", status: int = 400) -> ClientError:
    answer: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(answer, "DescribeThing")


@pytest.mark.parametrize(
    ("error", "missing"),
    [
        (client_error("NoSuchKey"), True),
        (client_error("404", "Not Found", 404), True),
        (client_error("ResourceNotFound"), True),
        (client_error("NoSuchEntity"), True),
        (client_error("ValidationException", 'Could not find endpoint "arn:aws:…/e".'), True),
        (client_error("ValidationException", "Requested resource not found."), True),
        (client_error("ValidationException", "ModelPackageGroup arn:aws:…/g does not exist."), True),
        (client_error("ValidationException", "Value 'A_B' fails to satisfy constraint"), False),
        (client_error("ValidationException"), False),
        (client_error("AccessDeniedException", "the policy was not found"), False),
        (client_error("NoSuchBucket", "The specified bucket does not exist"), False),
        (client_error("ThrottlingException"), False),
    ],
)
def test_only_what_is_said_to_be_missing_is_missing(error: ClientError, missing: bool) -> None:
    assert aws_errors.is_missing(error) is missing


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (client_error("ThrottlingException"), True),
        (client_error("SlowDown", status=503), True),
        (client_error("ModelNotReadyException"), True),
        (client_error("Whatever", status=502), True),
        (client_error("Whatever", status=501), False),
        (client_error("AccessDenied", status=403), False),
        (client_error("ResourceLimitExceeded"), False),
        (client_error("PreconditionFailed", status=412), False),
        (EndpointConnectionError(endpoint_url="x"), True),
        (ConnectionClosedError(endpoint_url="x"), True),
        (ReadTimeoutError(endpoint_url="x"), True),
        (ConnectionResetError(), True),
        (socket.gaierror(), True),
        (NoCredentialsError(), False),
        (FileNotFoundError("the CA bundle"), False),
        (ValueError(), False),
    ],
)
def test_what_may_pass_is_worth_another_try(error: Exception, transient: bool) -> None:
    assert aws_errors.is_transient(error) is transient


def test_what_is_refused_is_neither_load_nor_a_lack_of_machines() -> None:
    codes = [
        "ValidationException",
        "AccessDenied",
        "NoSuchBucket",
        "Throttling",
        "CapacityError",
        "InternalError",
    ]
    rules: list[Callable[[ClientError], bool]] = [
        aws_errors.is_refused,
        aws_errors.is_throttled,
        aws_errors.is_no_capacity,
    ]
    found = [[rule(client_error(code)) for rule in rules] for code in codes]
    refused, throttled, no_capacity = [True, False, False], [False, True, False], [False, False, True]
    assert found == [refused, refused, refused, throttled, no_capacity, [False, False, False]]


@pytest.mark.parametrize(
    ("error", "words", "facts"),
    [
        (
            client_error("AccessDenied", "no"),
            "S3 refused DescribeThing: AccessDenied no",
            {"operation": "DescribeThing", "code": "AccessDenied"},
        ),
        (
            NoCredentialsError(),
            "S3 could not be reached: Unable to locate credentials. Is the local stack up (`make up`), or are AWS "
            "credentials set?",
            {},
        ),
    ],
)
def test_an_error_of_aws_is_a_sentence(
    error: ClientError | BotoCoreError, words: str, facts: dict[str, str]
) -> None:
    assert aws_errors.sentence(error, "S3") == words
    assert aws_errors.facts(error) == facts


# The rules, as the source keeps them.

S3_CALLS = {
    *("get_object", "put_object", "head_object", "copy_object", "delete_object", "delete_objects"),
    *("list_objects", "list_objects_v2", "head_bucket", "create_bucket"),
    *("upload_file", "upload_fileobj", "download_file", "download_fileobj"),
}
#: Calls of S3 that are not about state, and why.
OTHER_S3_CALLS = {
    ("data/ingest.py", "head_bucket"): "a bucket is no object",
    ("data/ingest.py", "create_bucket"): "a bucket is no object",
    (
        "infrastructure/deployment.py",
        "head_bucket",
    ): "whether the bucket is there already, which no template can ask",
    (
        "infrastructure/large_template.py",
        "put_object",
    ): "the version that was written is what CloudFormation reads",
    ("infrastructure/large_template.py", "delete_object"): "that very version",
    ("doctor/aws_checks.py", "head_bucket"): "the doctor looks at the bucket itself, and at its region",
}
#: Words that are spelled like an error's code, and what they are.
OTHER_WORDS = {
    ("jobs/job_faults.py", "CapacityError"): "how a job's FailureReason begins",
    ("prediction/embedded_metrics.py", "Error"): "a property of a metric's line",
}
CLIENTS = {"s3", "sagemaker", "runtime", "client", "logs", "iam", "sts"}


def nodes(module: str) -> Iterator[ast.AST]:
    return ast.walk(ast.parse((LIBRARY / module).read_text(encoding="utf-8")))


def error_codes() -> set[str]:
    """Return every code that aws_errors knows."""
    sets = [value for value in vars(aws_errors).values() if isinstance(value, frozenset)]
    return {str(code) for codes in sets for code in codes if not isinstance(code, int)} | {
        *("NoSuchBucket", "ResourceInUse", "ModelError", "PreconditionFailed", "ConditionalRequestConflict"),
        *("304", "409", "412"),
    }


def compared_codes(module: str) -> list[str]:
    """Return where a module reads the code of an error, or holds one of the codes in a comparison or a set."""
    codes, parts = error_codes(), []
    for node in nodes(module):
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            parts += [node.slice] if node.slice.value == "Error" else []
        elif isinstance(node, ast.Compare):
            parts += [node.left, *node.comparators]
        elif isinstance(node, ast.Set | ast.Tuple | ast.List):
            parts += node.elts
    return [
        f"{module}:{part.lineno}: {part.value}"
        for part in parts
        if isinstance(part, ast.Constant)
        and part.value in {*codes, "Error"}
        and (module, part.value) not in OTHER_WORDS
    ]


def test_no_other_module_compares_error_codes() -> None:
    others = [module for module in MODULES if module not in {"aws_errors.py"}]
    assert [place for module in others for place in compared_codes(module)] == []


def s3_calls(module: str) -> Iterator[str]:
    """Yield the calls of a module that look like S3's; a paginator's by the name of its operation."""
    for node in nodes(module):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            first = node.args[0] if node.args else None
            paginates = node.func.attr == "get_paginator" and isinstance(first, ast.Constant)
            call = first.value if paginates and isinstance(first, ast.Constant) else node.func.attr
            if call in S3_CALLS:
                yield str(call)


def test_no_other_module_asks_s3_about_state() -> None:
    others = [module for module in MODULES if module not in {"state/objects.py"}]
    found = {(module, call) for module in others for call in s3_calls(module)}
    assert found == {*OTHER_S3_CALLS}, "those that are not about state are listed with a reason"


def test_every_client_has_a_type() -> None:
    untyped = [
        f"{module}:{node.lineno}: {node.arg}"
        for module in MODULES
        for node in nodes(module)
        if isinstance(node, ast.arg)
        and node.arg in CLIENTS
        and (
            node.annotation is None or (isinstance(node.annotation, ast.Name) and node.annotation.id == "Any")
        )
    ]
    assert untyped == []


def test_the_rules_see_what_they_forbid() -> None:
    assert compared_codes("aws_errors.py")
    assert {"get_object", "put_object", "list_objects_v2"} <= {*s3_calls("state/objects.py")}
