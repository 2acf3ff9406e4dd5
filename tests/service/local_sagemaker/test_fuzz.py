"""Hostile requests: whatever is sent, the server answers an error that the API has, soon.

The requests (hostile.py) name roles, buckets, models and packages that exist, so that they come far. FUZZ_EXAMPLES
makes it longer (`make fuzz`); without it the same requests are sent each time.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import socket
import string
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.parsers import create_parser
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local.sagemaker.app import load_operations
from local.sagemaker.protocol.operations import OPERATIONS
from tests.support.archives import archive
from tests.support.aws_names import IMAGE_URI, ROLE
from tests.support.hostile import ANYTHING, SERVICE, requests
from tests.support.local_sagemaker import running_server
from tests.support.waiting import wait_until

load_operations()

LONG = os.environ.get("FUZZ_EXAMPLES", "")
EXAMPLES = int(LONG or 0) or 500
SEEDED = settings(
    max_examples=EXAMPLES,
    derandomize=not LONG,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
#: An answer that takes longer is a hang.
HANG_SECONDS = 20
PARSER = create_parser("json")
MODELS = ("a.tar.gz", "/a.tar.gz", "../data/a.csv", "%2e%2e/a", "a.tar.gz/", "/", ".", "", "A" * 5000)
INFERENCE = """
def model_fn(model_dir):
    return model_dir
def input_fn(body, content_type):
    return body
def predict_fn(data, model):
    return data
def output_fn(prediction, accept):
    return prediction
"""


class Target:
    """The server under fire.

    :param url: where it listens.
    """

    def __init__(self, url: str) -> None:
        self.host, self.port = str(urlsplit(url).hostname), int(urlsplit(url).port or 80)
        #: Of names that nobody has.
        self.numbers = itertools.count(1)
        self._connection = http.client.HTTPConnection(self.host, self.port, timeout=HANG_SECONDS)

    def send(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        """Send a request; a connection that was closed is opened again."""
        try:
            self._connection.request(method, path, body, headers)
            response = self._connection.getresponse()
            return response.status, response.read()
        except TimeoutError:
            raise AssertionError(
                f"no answer within {HANG_SECONDS} s to {method} {path} {body[:2000]!r}"
            ) from None
        except (http.client.HTTPException, ConnectionError):
            self._connection.close()
            self._connection.request(method, path, body, headers)
            response = self._connection.getresponse()
            return response.status, response.read()

    def call(self, operation: str, body: bytes) -> tuple[int, bytes]:
        """Send a request to the control plane."""
        headers = {"X-Amz-Target": f"SageMaker.{operation}", "Content-Type": "application/x-amz-json-1.1"}
        return self.send("POST", "/", body, headers)

    def wait_until_well(self) -> None:
        """Whatever happened, the server still answers."""
        status, body = self.send("GET", "/_local/health", b"", {})
        assert status == 200, body


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A server with one of everything; jobs that come to run end soon."""
    folder = tmp_path_factory.mktemp("fuzz")
    with running_server(folder, "--max-running-jobs", "1", "--stop-grace-seconds", "1") as server:
        s3, sagemaker = server.client("s3"), server.client("sagemaker")
        s3.create_bucket(Bucket="fuzzed")
        for key, content in {
            "data/a.csv": b"1",
            "model.tar.gz": archive({"model.txt": "1"}),
            "models/a.tar.gz": archive({"model.txt": "1"}),
            "code.tar.gz": archive({"inference.py": INFERENCE}),
        }.items():
            s3.put_object(Bucket="fuzzed", Key=key, Body=content)
        for name, environment in (
            ("austin", {}),
            (
                "live",
                {
                    "SAGEMAKER_PROGRAM": "inference.py",
                    "SAGEMAKER_SUBMIT_DIRECTORY": "s3://fuzzed/code.tar.gz",
                },
            ),
        ):
            container = {"Image": IMAGE_URI, "Mode": "MultiModel", "ModelDataUrl": "s3://fuzzed/models/"}
            sagemaker.create_model(
                ModelName=name, ExecutionRoleArn=ROLE, Containers=[{**container, "Environment": environment}]
            )
            variant = {"VariantName": "all", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
            sagemaker.create_endpoint_config(
                EndpointConfigName=name, ProductionVariants=[{**variant, "ModelName": name}]
            )
        sagemaker.create_endpoint(EndpointName="live", EndpointConfigName="live")
        sagemaker.create_model_package_group(ModelPackageGroupName="austin")
        sagemaker.create_model_package(ModelPackageGroupName="austin", ModelApprovalStatus="Approved")
        wait_until(
            lambda: sagemaker.describe_endpoint(EndpointName="live")["EndpointStatus"] == "InService",
            60,
            "the endpoint is in service",
        )
        target = Target(server.url)
        yield target
        target.wait_until_well()
        assert "Traceback" not in server.log.read_text(), server.log.read_text()


def check(operation: str, status: int, body: bytes) -> None:
    """An answer is a result, or an error that says something; never the server's own fault."""
    assert status < 500 or (status == 501 and b"UnsupportedOperation" in body), (operation, status, body)
    if operation not in OPERATIONS:
        return
    shape = SERVICE.operation_model(operation).output_shape
    read = PARSER.parse({"body": body, "headers": {}, "status_code": status}, shape)
    if status >= 300:
        assert read["Error"]["Code"], body
        assert read["Error"]["Message"], body


# Deletions last: they take away what the others name.
@pytest.mark.parametrize("operation", sorted(OPERATIONS, key=lambda name: (name.startswith("Delete"), name)))
def test_requests_of_any_shape(target: Target, operation: str) -> None:
    @settings(SEEDED, max_examples=max(10, EXAMPLES // 10))
    @given(requests(operation))
    def send(request: dict[str, Any]) -> None:
        for member, value in request.items():
            if value == "fresh":
                request[member] = f"fresh-{next(target.numbers)}"
        status, body = target.call(operation, json.dumps(request).encode())
        check(operation, status, body)
        if status == 200 and operation.startswith("Create"):
            describe(target, operation.replace("Create", "Describe"), request | json.loads(body))

    send()


def describe(target: Target, operation: str, known: dict[str, Any]) -> None:
    """Whatever was taken can be described."""
    (member,) = SERVICE.operation_model(operation).input_shape.required_members
    name = known["ModelPackageArn"] if member == "ModelPackageName" else known[member]
    status, body = target.call(operation, json.dumps({member: name}).encode())
    check(operation, status, body)
    assert status == 200, body


@SEEDED
@given(
    st.sampled_from(sorted(OPERATIONS)) | st.sampled_from(("", "ListApps", "\x7f", "é", "../x", "A" * 5000)),
    st.binary(max_size=60)
    | ANYTHING.map(lambda value: json.dumps(value).encode())
    | st.sampled_from(
        (b"[" * 900 + b"]" * 900, b'{"a":' * 2000, b"\xef\xbb\xbf{}", b'{"a":1,"a":2}', b"1" * 9000)
    ),
)
def test_bodies_that_are_anything(target: Target, operation: str, body: bytes) -> None:
    operation = operation.encode().decode("latin-1")
    if all(32 <= ord(character) < 127 for character in operation):
        check(operation, *target.call(operation, body))


def nested(depth: int) -> dict[str, Any]:
    """A search expression of a depth."""
    expression: dict[str, Any] = {"Filters": [{"Name": "TrainingJobName", "Value": "a"}]}
    for _ in range(depth):
        expression = {"SubExpressions": [expression]}
    return expression


def test_expressions_nested_deeply(target: Target, subtests: pytest.Subtests) -> None:
    for depth in [10, 49, 50, 200, 2000, 20_000]:
        with subtests.test(depth=depth):
            head, _, tail = json.dumps(nested(1)).partition(json.dumps(nested(0)))
            deep = head * depth + json.dumps(nested(0)) + tail * depth
            body = f'{{"Resource": "TrainingJob", "SearchExpression": {deep}}}'.encode()
            status, answer = target.call("Search", body)
            check("Search", status, answer)
            assert (status == 200) == (depth < 50), answer


@SEEDED
@given(
    method=st.sampled_from(("GET", "POST", "PUT", "DELETE")),
    name=st.sampled_from(("live", "live", "none", "%00", "%ff", "..", "a" * 300)),
    action=st.sampled_from(("invocations", "async-invocations", "invocations-response-stream", "")),
    headers=st.dictionaries(
        st.sampled_from(
            (
                "X-Amzn-SageMaker-Target-Model",
                "X-Amzn-SageMaker-Target-Variant",
                "X-Amzn-SageMaker-Custom-Attributes",
                "X-Amzn-SageMaker-Inference-Id",
                "X-Amzn-SageMaker-Session-Id",
                "Content-Type",
                "Accept",
            )
        ),
        st.sampled_from(MODELS) | st.text(string.ascii_letters + string.punctuation, max_size=40),
        max_size=4,
    ),
    body=st.binary(max_size=50),
)
def test_invocations_of_any_kind(
    target: Target, *, method: str, name: str, action: str, headers: dict[str, str], body: bytes
) -> None:
    scope = "AWS4-HMAC-SHA256 Credential=local/20140101/us-east-1/sagemaker/aws4_request, Signature=0"
    path = f"/endpoints/{name}/{action}"
    status, answer = target.send(method, path, body, {**headers, "Authorization": scope})
    assert status < 500 or (status == 501 and b"UnsupportedOperation" in answer), (path, headers, answer)


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nX-Amz-Target: SageMaker.ListModels\r\nContent-Length: 99\r\n\r\n{",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x00\xff\r\n\r\n",
        b"A" * 100_000,
    ],
)
def test_what_is_not_http_leaves_the_server_well(target: Target, head: bytes) -> None:
    with socket.create_connection((target.host, target.port), timeout=HANG_SECONDS) as connection:
        connection.sendall(head)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass
    target.wait_until_well()
