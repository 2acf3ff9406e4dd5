"""The application: one port and a list of handlers. The first handler that takes a request answers it.

refuse_web_pages   what a browser sends on behalf of a web page is refused
health             GET /_local/health
fault_admin        /_local/faults turns faults on and off: faults/fault_requests.py
inject_faults      requests that meet a fault that is on: faults/fault_requests.py
control plane      header X-Amz-Target: SageMaker.<Operation>, JSON 1.1: protocol/control_plane.py; the operations
                   themselves are in jobs/, registry/ and endpoints/
invoke             signed for sagemaker, POST /endpoints/<name>/invocations: endpoints/runtime.py
moto               everything else: S3, STS, IAM, CloudWatch Logs: services/moto_services.py
"""

from __future__ import annotations

import functools
import importlib
import logging
import pkgutil
import re
import time
from collections.abc import Awaitable, Callable

from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from local.sagemaker import __version__, endpoints, jobs, registry
from local.sagemaker.endpoints import runtime
from local.sagemaker.errors import InternalFailure, SageMakerError, UnsupportedOperation
from local.sagemaker.faults import fault_requests
from local.sagemaker.protocol import wire
from local.sagemaker.protocol.bounded_request import BoundedRequest
from local.sagemaker.protocol.control_plane import ControlPlane
from local.sagemaker.server import SageMakerServer, request_region
from local.sagemaker.services.moto_services import MotoServices
from local.sagemaker.settings import is_loopback

Handler = Callable[[SageMakerServer, BoundedRequest], Awaitable[Response | None]]

#: Operations are registered by modules of these packages, and of no others.
OPERATION_PACKAGES = (endpoints, jobs, registry)

log = logging.getLogger(__name__)

_INVOCATIONS = re.compile(r"/endpoints/[^/]+/invocations")


def create_app(server: SageMakerServer) -> ASGIApp:
    """The ASGI application of a server."""
    load_operations()
    moto = MotoServices(server.data_dir if server.settings.data_dir else None)
    handlers: list[Handler] = [
        refuse_web_pages,
        health,
        fault_admin,
        inject_faults,
        ControlPlane().answer,
        invoke,
        moto.answer,
    ]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = BoundedRequest(scope, receive, server.settings.max_body_bytes)
        request_region.set(request.region)
        try:
            response = await first_answer(handlers, server, request)
        except SageMakerError as error:
            response = wire.error_response(error)
        except ClientDisconnect:
            return
        except Exception as error:  # a bug of ours: the caller gets a 500 that names it, the log has the rest
            log.exception("%s %s failed", request.method, request.url.path)
            response = wire.error_response(InternalFailure(f"{type(error).__name__}: {error}"))
        await (request.answer_instead or response)(scope, receive, send)

    return app


def load_operations() -> None:
    """Fill the register of operations: a module registers its own when it is imported."""
    for package in OPERATION_PACKAGES:
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)


async def first_answer(handlers: list[Handler], server: SageMakerServer, request: BoundedRequest) -> Response:
    """The answer of the first handler that takes the request."""
    for handler in handlers:
        response = await handler(server, request)
        if response is not None:
            return response
    raise LookupError(f"no handler took {request.method} {request.url.path}")  # the last one takes everything


async def refuse_web_pages(server: SageMakerServer, request: BoundedRequest) -> Response | None:
    """Refuse what a web page sends: jobs run the caller's code, and no password protects the server.

    A browser adds Origin to what pages send across sites; a page whose name was made to resolve to this
    machine (DNS rebinding) sends that name as host.
    """
    host = host_name(request.fields.get("host", ""))
    if "origin" in request.fields:
        reason = "web pages may not use the local SageMaker (the request has an Origin header)"
    elif not server.settings.allow_non_loopback and not is_loopback(host):
        reason = f"the local SageMaker is not called {host!r}; use {server.url}"
    else:
        return None
    return PlainTextResponse(f"Forbidden: {reason}\n", 403)


@functools.lru_cache(maxsize=64)
def host_name(field: str) -> str:
    """The name in a Host field, without the port."""
    return re.sub(r":\d*$", "", field)


async def health(server: SageMakerServer, request: BoundedRequest) -> Response | None:
    """Answer that the server is up, how many jobs it runs and which faults are on."""
    if request.path != "/_local/health":
        return None
    return JSONResponse(
        {
            "status": "ok",
            "version": __version__,
            "running_jobs": server.jobs.running,
            "warm_interpreters": server.runner.warm,
            "faults": server.faults.summary(),
            "uptime_seconds": round(time.monotonic() - server.started, 3),
        }
    )


async def fault_admin(server: SageMakerServer, request: BoundedRequest) -> Response | None:
    """Turn faults on and off."""
    return await fault_requests.admin(server.faults, request)


async def inject_faults(server: SageMakerServer, request: BoundedRequest) -> Response | None:
    """Answer a request that meets a fault. The server's own requests meet none."""
    return await fault_requests.inject(server.faults, server.aws.access_key, request)


async def invoke(server: SageMakerServer, request: BoundedRequest) -> Response | None:
    """Answer InvokeEndpoint. Refuse what else is signed for sagemaker: moto would answer with made-up data."""
    if request.service != "sagemaker":
        return None
    if not _INVOCATIONS.fullmatch(request.path):
        raise UnsupportedOperation(f"The local SageMaker does not answer {request.method} {request.path}.")
    return await runtime.invoke(server, server.endpoints, request)
