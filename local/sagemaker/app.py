"""The application: one port and a list of handlers. The first handler that takes a request answers it.

refuse_web_pages   what a browser sends on behalf of a web page is refused: protocol/callers.py
refuse_changes_by_reading  what changes something does not come by GET
health             GET /_local/health
pages              GET /_local/pages: what AWS has consoles for, to look at in a browser: pages/page_requests.py
fault_admin        /_local/faults turns faults on and off: faults/fault_requests.py
inject_faults      requests that meet a fault that is on: faults/fault_requests.py
control plane      header X-Amz-Target: SageMaker.<Operation>, JSON 1.1: protocol/control_plane.py; the operations
                   themselves are in jobs/, registry/ and endpoints/
invoke             signed for sagemaker, POST /endpoints/<name>/invocations: endpoints/runtime.py
service quotas     those of SageMaker, by --quota: services/service_quotas.py
scaling            a scalable target of SageMaker must be a variant of an endpoint: services/scaling.py
moto               everything else: S3, SQS, STS, IAM, CloudWatch Logs: services/moto_services.py
"""

from __future__ import annotations

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
from local.sagemaker.pages import page_requests
from local.sagemaker.pages.page_html import is_page
from local.sagemaker.protocol import callers, wire
from local.sagemaker.protocol.bounded_request import BoundedRequest
from local.sagemaker.protocol.control_plane import ControlPlane
from local.sagemaker.server import SageMakerServer, request_region
from local.sagemaker.services import scaling, service_quotas
from local.sagemaker.services.called import S3, UNKNOWN, read_call
from local.sagemaker.services.moto_services import MotoServices

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
        refuse_changes_by_reading,
        health,
        page_requests.answer,
        fault_admin,
        inject_faults,
        ControlPlane().answer,
        invoke,
        service_quotas.answer,
        scaling.answer,
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
    """Refuse what a web page sends: jobs run the caller's code, and no password protects the server."""
    settings = server.settings
    hosts = settings.allowed_hosts if settings.allow_non_loopback else None
    # A page is what a browser may be led to: by Airflow's links. It can't be read from where the link was.
    may_be_linked = is_page(request.path) and callers.follows_link(request.method, request.fields)
    reason = callers.web_page(request.fields, hosts, linked=may_be_linked)
    return PlainTextResponse(f"Forbidden: {reason}; use {server.url}\n", 403) if reason else None


async def refuse_changes_by_reading(server: SageMakerServer, request: BoundedRequest) -> Response | None:
    """Refuse operations that change something and come by GET or HEAD: a page can have a browser send these.

    Of S3 nothing changes by them. moto's own pages do: they are no part of this server.
    """
    if request.path == "/moto-api" or request.path.startswith("/moto-api/"):
        return PlainTextResponse("Not found: moto's own API is no part of the local SageMaker\n", 404)
    if request.method not in callers.READING_METHODS:
        return None
    operations = request.query_params.getlist("Action")
    if request.service not in S3 or "x-amz-target" in request.fields:
        operations += [name for name in [read_call(request, b"").operation] if name != UNKNOWN]
    if request.fields.get("content-length", "0") != "0" or "transfer-encoding" in request.fields:
        reason = "it can have no body"  # which could name an operation
    elif changing := [name for name in operations if not callers.only_reads(name)]:
        reason = f"{changing[0]} has to come by POST"
    else:
        return None
    return PlainTextResponse(f"{request.method} changes nothing here: {reason}\n", 405)


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
