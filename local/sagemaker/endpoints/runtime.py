"""InvokeEndpoint: finds the container and the model, and passes the request on."""

from __future__ import annotations

import asyncio
import functools
import uuid
from collections.abc import Mapping
from urllib.parse import unquote

import botocore.session
from botocore.model import Shape
from starlette.responses import Response

from local.sagemaker.endpoints.data_capture import Body
from local.sagemaker.endpoints.endpoint_manager import EndpointManager
from local.sagemaker.endpoints.model_client import Answer, NoAnswer
from local.sagemaker.endpoints.runtime_errors import (
    ContainerError,
    ModelError,
    ServiceUnavailable,
    ValidationError,
)
from local.sagemaker.endpoints.variants import Served
from local.sagemaker.errors import UnsupportedOperation, ValidationException
from local.sagemaker.protocol.bounded_request import BoundedRequest
from local.sagemaker.protocol.validation import validate
from local.sagemaker.reach import Server

MAX_BODY_BYTES = 6_291_456
REMEMBERED_CHARACTERS = 1024
PREFIX = "x-amzn-sagemaker-"
TARGET_MODEL = f"{PREFIX}target-model"
TARGET_VARIANT = f"{PREFIX}target-variant"
TARGET_CONTAINER = f"{PREFIX}target-container-hostname"
INFERENCE_ID = f"{PREFIX}inference-id"
#: Headers of the request that reach the container.
PASSED_ON = ("content-type", "accept", f"{PREFIX}custom-attributes", INFERENCE_ID, TARGET_MODEL)
#: Headers of the container's answer that reach the caller.
RETURNED = ("Content-Type", "X-Amzn-SageMaker-Custom-Attributes")
#: Members of the request the stand-in can't honour, by header.
UNSUPPORTED = {
    f"{PREFIX}inference-component": "InferenceComponentName",
    f"{PREFIX}session-id": "SessionId",
    f"{PREFIX}prefix-aware-id": "PrefixAwareId",
    f"{PREFIX}enable-explanations": "EnableExplanations",
}
TIMED_OUT = (
    "Your invocation timed out while waiting for a response from container {}. Review the latency "
    "metrics for "
    "each container in Amazon CloudWatch, resolve the issue, and try again."
)


async def invoke(server: Server, endpoints: EndpointManager, request: BoundedRequest) -> Response:
    """Answer InvokeEndpoint.

    :param server: its settings and account.
    :param endpoints: the endpoints that answer.
    :param request: ``POST /endpoints/{name}/invocations``.
    :raises SageMakerError: an error of the runtime API.
    """
    path, fields = request.path, request.fields
    if path.endswith("-response-stream") or request.method != "POST":
        raise UnsupportedOperation(
            "The local SageMaker answers InvokeEndpoint, not InvokeEndpointWithResponseStream."
        )
    for header in UNSUPPORTED.keys() & fields.keys():
        raise ValidationError(
            f"{UNSUPPORTED[header]}: the local SageMaker does not support it; leave it out."
        )
    name = unquote(path.split("/")[2])
    check_members(name, fields)
    # AWS answers a body that is too large with status 413 and no code.
    if int(fields.get("content-length") or 0) > MAX_BODY_BYTES:
        raise too_large()
    body = await request.body()
    if len(body) > MAX_BODY_BYTES:
        raise too_large()
    entered = endpoints.enter(name, fields.get(TARGET_VARIANT))
    if entered is None:
        raise endpoints.absence(name)
    live, variant = entered
    try:
        served = variant.choose(fields.get(TARGET_CONTAINER), name)
        target = target_model(fields.get(TARGET_MODEL), name, served)
        headers = {header: fields[header] for header in PASSED_ON if header in fields}
        try:
            answer = await _pass_on(server, served, target, headers, body)
        except ServiceUnavailable:
            endpoints.revive(name, live, variant, served)
            raise
        except ContainerError as error:
            raise ModelError(name, error, live.region, server.account_id, served.name) from error
        if live.capture is not None:
            asked = Body(body, fields.get("content-type", ""))
            answered = Body(answer.content, answer.headers.get("content-type", ""))
            live.capture.note(variant.name, asked, answered, fields.get(INFERENCE_ID, ""))
    finally:
        variant.leave()
    response = {"x-Amzn-Invoked-Production-Variant": variant.name, "x-amzn-requestid": str(uuid.uuid4())}
    for header in RETURNED:
        if (value := answer.headers.get(header.lower())) is not None:
            response[header] = value
    return Response(answer.content, headers=response)


def check_members(endpoint: str, fields: Mapping[str, str]) -> None:
    """Check the request's members against the service model, as the control plane does.

    :param endpoint: name of the endpoint.
    :param fields: the request's header, by name in lower case.
    :raises ValidationError: that names every violation.
    """
    members = tuple(
        (member, fields[header]) for header, member in input_headers().items() if header in fields
    )
    # A caller's are mostly the same from request to request: short ones are remembered.
    short = sum(len(value) for _, value in members) <= REMEMBERED_CHARACTERS
    message = (_remembered_violations if short else violations)(endpoint, members)
    if message is not None:
        raise ValidationError(message)


def violations(endpoint: str, members: tuple[tuple[str, str], ...]) -> str | None:
    """The constraints of the service model that a request violates, in one message; None when there are none.

    :param endpoint: name of the endpoint.
    :param members: those that are headers, with their values.
    """
    try:
        validate(input_shape(), {"EndpointName": endpoint, "Body": b"", **dict(members)})
    except ValidationException as error:
        return error.message
    return None


_remembered_violations = functools.lru_cache(maxsize=4096)(violations)


@functools.cache
def input_shape() -> Shape:
    """The shape of an InvokeEndpoint request."""
    service = botocore.session.Session().get_service_model("sagemaker-runtime")
    return service.operation_model("InvokeEndpoint").input_shape


@functools.cache
def input_headers() -> dict[str, str]:
    """Members of an InvokeEndpoint request that are headers, by header in lower case."""
    return {
        shape.serialization["name"].lower(): member
        for member, shape in input_shape().members.items()
        if shape.serialization.get("location") == "header"
    }


def target_model(target: str | None, endpoint: str, served: Served) -> str | None:
    """The model a request is for; None for a container with one model.

    :param target: the request's TargetModel, if it names one.
    :param endpoint: name of the endpoint.
    :param served: the container that answers.
    :raises ValidationError: when the request names a model for a single-model container, or none for a multi-model one.
    """
    if served.cache is not None and not target:
        raise ValidationError(
            f"Request {uuid.uuid4()} is missing a target model header. Endpoint {endpoint} is a multi-model "
            "endpoint: name the model with TargetModel."
        )
    if served.cache is None and target:
        raise ValidationError(
            f"Endpoint {endpoint} is not a multi-model endpoint and does not support target model header."
        )
    return target


async def _pass_on(
    server: Server, served: Served, target: str | None, headers: dict[str, str], body: bytes
) -> Answer:
    if served.cache is None or target is None:
        cold_seconds, limit = served.cold_seconds(), server.settings.invoke_timeout_seconds
        await asyncio.sleep(min(cold_seconds, limit))
        if cold_seconds >= limit:
            raise ContainerError(0, TIMED_OUT.format(served.name))
        return await _send(server, served, "/invocations", headers, body)
    async with served.cache.lease(target) as model:
        return await _send(server, served, f"/models/{model.name}/invoke", headers, body)


async def _send(server: Server, served: Served, path: str, headers: dict[str, str], body: bytes) -> Answer:
    timeout_seconds = server.settings.invoke_timeout_seconds
    try:
        answer = await served.client.request("POST", path, body, headers, timeout_seconds)
    except TimeoutError as error:
        raise ContainerError(0, TIMED_OUT.format(served.name)) from error
    except NoAnswer as error:
        raise ServiceUnavailable(str(error)) from error
    if answer.status >= 400:
        raise ContainerError(answer.status, answer.message)
    return answer


def too_large() -> ValidationError:
    """The answer to a body that is too large."""
    return ValidationError(f"HTTP content length exceeded {MAX_BODY_BYTES} bytes.", status=413)
