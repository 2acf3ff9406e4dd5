"""InvokeEndpoint: finds the container and the model, and passes the request on."""

from __future__ import annotations

import uuid
from urllib.parse import unquote

import httpx
from starlette.requests import Request
from starlette.responses import Response

from local_sagemaker.containers import ModelContainer
from local_sagemaker.errors import UnsupportedOperation
from local_sagemaker.model_cache import container_message
from local_sagemaker.runtime_errors import ContainerError, ModelError, ServiceUnavailable, ValidationError
from local_sagemaker.server import Server
from local_sagemaker.variants import Variant

MAX_BODY_BYTES = 6_291_456
PREFIX = "X-Amzn-SageMaker-"
TARGET_MODEL = f"{PREFIX}Target-Model"
TARGET_VARIANT = f"{PREFIX}Target-Variant"
#: Headers of the request that reach the container.
PASSED_ON = ("Content-Type", "Accept", f"{PREFIX}Custom-Attributes", f"{PREFIX}Inference-Id", TARGET_MODEL)
#: Members of the request the stand-in can't honour, by header.
UNSUPPORTED = {
    f"{PREFIX}Target-Container-Hostname": "TargetContainerHostname",
    f"{PREFIX}Inference-Component": "InferenceComponentName",
    f"{PREFIX}Session-Id": "SessionId",
    f"{PREFIX}Enable-Explanations": "EnableExplanations",
}
TIMED_OUT = (
    "Your invocation timed out while waiting for a response from container primary. Review the latency "
    "metrics for "
    "each container in Amazon CloudWatch, resolve the issue, and try again."
)


async def invoke(server: Server, request: Request) -> Response:
    """Answer InvokeEndpoint.

    :param server: the server.
    :param request: ``POST /endpoints/{name}/invocations``.
    :raises SageMakerError: an error of the runtime API.
    """
    path = request.url.path
    if path.endswith("-response-stream") or request.method != "POST":
        raise UnsupportedOperation(
            "The local SageMaker answers InvokeEndpoint, not InvokeEndpointWithResponseStream."
        )
    for header, member in UNSUPPORTED.items():
        if header in request.headers:
            raise ValidationError(f"{member}: the local SageMaker does not support it; leave it out.")
    name = unquote(path.split("/")[2])
    # AWS answers a body that is too large with status 413 and no code.
    if int(request.headers.get("content-length") or 0) > MAX_BODY_BYTES:
        raise too_large()
    body = await request.body()
    if len(body) > MAX_BODY_BYTES:
        raise too_large()
    live = server.endpoints.live(name)
    if live is None:
        raise server.endpoints.absence(name)
    variant = live.choose(request.headers.get(TARGET_VARIANT))
    target = request.headers.get(TARGET_MODEL)
    if variant.cache is not None and not target:
        raise ValidationError(
            f"Request {uuid.uuid4()} is missing a target model header. Endpoint {name} is a multi-model "
            f"endpoint: "
            "name the model with TargetModel."
        )
    if variant.cache is None and target:
        raise ValidationError(
            f"Endpoint {name} is not a multi-model endpoint and does not support target model header."
        )
    headers = {header: request.headers[header] for header in PASSED_ON if header in request.headers}
    try:
        with variant.in_use():
            response = await _pass_on(server, variant, target, headers, body)
    except ServiceUnavailable:
        server.endpoints.revive(name, live, variant)
        raise
    except ContainerError as error:
        raise ModelError(name, error, live.region, server.account_id) from error
    answer = {"x-Amzn-Invoked-Production-Variant": variant.name, "x-amzn-requestid": str(uuid.uuid4())}
    for header in ("Content-Type", f"{PREFIX}Custom-Attributes"):
        if header in response.headers:
            answer[header] = response.headers[header]
    return Response(response.content, headers=answer)


async def _pass_on(
    server: Server, variant: Variant, target: str | None, headers: dict[str, str], body: bytes
) -> httpx.Response:
    if variant.cache is None or target is None:
        return await _send(server, variant.container, "/invocations", headers, body)
    async with variant.cache.lease(target) as model:
        return await _send(server, variant.container, f"/models/{model.name}/invoke", headers, body)


async def _send(
    server: Server, container: ModelContainer, path: str, headers: dict[str, str], body: bytes
) -> httpx.Response:
    try:
        response = await server.endpoints.http.post(
            f"{container.url}{path}",
            content=body,
            headers=headers,
            timeout=server.settings.invoke_timeout_seconds,
        )
    except httpx.TimeoutException as error:
        raise ContainerError(0, TIMED_OUT) from error
    except httpx.HTTPError as error:
        raise ServiceUnavailable(f"The model server of the endpoint does not answer: {error!r}") from error
    if response.status_code >= 400:
        raise ContainerError(response.status_code, container_message(response))
    return response


def too_large() -> ValidationError:
    """The answer to a body that is too large."""
    return ValidationError(f"HTTP content length exceeded {MAX_BODY_BYTES} bytes.", status=413)
