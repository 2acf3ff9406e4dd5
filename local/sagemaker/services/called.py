"""Which operation of which service a request calls, in botocore's words: ``s3``, ``PutObject``."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from urllib.parse import parse_qs

import botocore.session

from local.sagemaker.protocol.bounded_request import BoundedRequest
from local.sagemaker.services.moto_s3 import ObjectAccess, read_access

UNKNOWN = "Unknown"
RUNTIME = "sagemaker-runtime"
#: What requests to S3 are signed for; a presigned one has its signature in its URL.
S3 = ("s3", "s3express", None)
#: How a request names its operation: in a header, in a form, or by method and path.
TARGET, QUERY, REST = "target", "query", "rest"


@dataclass(frozen=True)
class Call:
    """What a request calls.

    :param service: as boto3 spells it.
    :param operation: as botocore spells it; ``Unknown`` when it is none that botocore knows.
    :param access: what an S3 request touches.
    :param protocol: how the request says so: ``TARGET``, ``QUERY`` or ``REST``.
    """

    service: str
    operation: str
    access: ObjectAccess | None = None
    protocol: str = REST


def read_call(request: BoundedRequest, body: bytes) -> Call:
    """Tell what a request calls.

    :param body: the request's; older services name their operation there.
    """
    target = request.headers.get("x-amz-target", "")
    if target.startswith("SageMaker."):
        return Call("sagemaker", target.removeprefix("SageMaker."), protocol=TARGET)
    if request.service == "sagemaker":
        path = request.url.path
        stream = path.endswith("/invocations-response-stream")
        return Call(RUNTIME, f"InvokeEndpoint{'WithResponseStream' if stream else ''}")
    if target:
        return Call(request.service or UNKNOWN, target.rpartition(".")[2], protocol=TARGET)
    if request.service not in S3:
        form = parse_qs(body.decode("latin-1")) if request.method == "POST" else {}
        query = parse_qs(request.url.query)
        action = form.get("Action") or query.get("Action")
        return Call(request.service or UNKNOWN, (action or [UNKNOWN])[0], protocol=QUERY if action else REST)
    access = read_access(request)
    return Call("s3", s3_operation(request, access), access)


def s3_operation(request: BoundedRequest, access: ObjectAccess | None) -> str:
    """Name of the S3 operation: of those that fit, the one that asks for most."""
    query = parse_qs(request.url.query, keep_blank_values=True)
    depth = 0 if access is None else 2 if access.key else 1
    fitting = [
        rule
        for rule in _s3_rules()
        if (rule.method, rule.depth) == (request.method, depth)
        and all(value in query.get(name, ()) if value else name in query for name, value in rule.query)
        and all(name in request.headers for name in rule.headers)
    ]
    if not fitting:
        return UNKNOWN
    return max(fitting, key=lambda rule: len(rule.query) + len(rule.headers)).operation


@dataclass(frozen=True)
class _S3Rule:
    operation: str
    method: str
    depth: int  # 0 the service, 1 a bucket, 2 an object
    query: tuple[tuple[str, str], ...]
    headers: tuple[str, ...]


@functools.cache
def _s3_rules() -> tuple[_S3Rule, ...]:
    model = botocore.session.Session().get_service_model("s3")
    rules = []
    for name in model.operation_names:
        operation = model.operation_model(name)
        path, _, fixed = operation.http["requestUri"].partition("?")
        query = [part.partition("=")[::2] for part in fixed.split("&") if part]
        query = [
            (key, value) for key, value in query if key != "x-id"
        ]  # a mark that botocore adds for itself and does not send
        headers: list[str] = []
        shape = operation.input_shape
        for member in shape.required_members if shape else ():
            serialization = shape.members[member].serialization
            if serialization.get("location") == "querystring":
                query.append((serialization["name"], ""))
            elif member == "CopySource":
                headers.append(serialization["name"])
        depth = 2 if "{Key+}" in path else 1 if "{Bucket}" in path else 0
        if not operation.deprecated:
            rules.append(_S3Rule(name, operation.http["method"], depth, tuple(query), tuple(headers)))
    return tuple(rules)
