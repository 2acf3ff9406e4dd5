"""S3, SQS, STS, IAM, CloudWatch Logs and whatever else moto knows, in this process and behind the same port."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import io
import logging
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response
from werkzeug.test import run_wsgi_app

from local.sagemaker import disk
from local.sagemaker.protocol.bounded_request import BoundedRequest
from local.sagemaker.reach import Server
from local.sagemaker.services import long_polls, moto_s3
from local.sagemaker.services.called import Call, read_call

# Read by moto when it is imported. No web page may talk to this server, so moto must not invite them.
os.environ["MOTO_DISABLE_GLOBAL_CORS"] = "true"

from moto.core.request import (
    PRESERVED_HEADER_NAMES_ENVIRON_KEY,
    environ_key_for_header,
    should_preserve_original_header_name,
)
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

from local.sagemaker.services import notifications
from local.sagemaker.services.durable_services import DurableServices
from local.sagemaker.services.service_errors import not_answered, not_written, unknowable

log = logging.getLogger(__name__)

#: What is held by whoever reads or writes queues: requests to SQS, and to buckets that notify of what happens in them.
QUEUES = "/sqs"
WORKERS = 16
"""Threads that answer for moto; a pool of their own, because operations of the control plane wait for S3."""


class MotoServices:
    """moto's WSGI application as a handler that takes every request.

    :param folder: where S3, SQS, IAM and CloudWatch Logs are kept; None = in memory only.
    """

    def __init__(self, folder: Path | None) -> None:
        notifications.install()
        self._durable = DurableServices(folder) if folder else None
        self._application = DomainDispatcherApplication(create_backend_app)
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="moto")
        self._locks = moto_s3.BucketLocks()

    async def answer(self, server: Server, request: BoundedRequest) -> Response | None:
        """Answer a request of any service but SageMaker."""
        body = await request.body()
        call = read_call(request, body)
        poll = long_polls.read_poll(call, request.region or "us-east-1", body)
        until = time.monotonic() + poll.seconds
        while True:
            work = functools.partial(contextvars.copy_context().run, self._answer, request, call, poll.body)
            response: Response = await asyncio.get_running_loop().run_in_executor(self._pool, work)
            if not poll.seconds or response.status_code != 200 or long_polls.received(bytes(response.body)):
                return response
            while not poll.has_message():
                left = until - time.monotonic()
                if left <= 0 or server.stopping:
                    return response
                await asyncio.sleep(min(long_polls.LOOK_SECONDS, left))

    def _answer(self, request: BoundedRequest, call: Call, body: bytes) -> Response:
        environ = wsgi_environ(request, body)
        access = call.access
        # One at a time, per bucket or, where what moto holds is written as a whole, per service.
        held = access.buckets if access else (f"/{call.service}",)
        if access and any(map(notifications.notifies, access.buckets)):
            held = (*held, QUEUES)
        with self._locks.hold(held):
            refused = moto_s3.check_conditions(access) if access else None
            if refused is not None:
                return refused
            refused = unknowable(call.service, call.operation)
            if refused is not None:
                return refused
            try:
                response = self._run(environ)
                if self._durable is not None:
                    self._durable.save(call, request.region or "us-east-1", body)
            except NotImplementedError as error:
                return not_answered(call.service, str(error))
            except OSError as error:
                reason = (
                    disk.full(error.filename or tempfile.gettempdir()) if disk.is_full(error) else str(error)
                )
                log.error("%s %s: %s", call.service, call.operation, reason)
                return not_written(call.service, reason)
            return response

    def _run(self, environ: dict[str, Any]) -> Response:
        chunks, status, headers = run_wsgi_app(self._application, environ, buffered=True)
        response = Response(b"".join(chunks), int(status.split(" ", 1)[0]))
        # The headers are moto's own to the letter: HEAD's length of a body that is not there, repeated names.
        response.raw_headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers
        ]
        return response


def wsgi_environ(request: Request, body: bytes) -> dict[str, Any]:
    """What a WSGI server would make of the request, with the raw path that moto wants for S3 keys."""
    scope = request.scope
    host, port = scope.get("server") or ("127.0.0.1", 80)
    raw_path = scope.get("raw_path") or scope["path"].encode()
    query = scope["query_string"].decode("latin-1")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote(raw_path.decode("latin-1"), "latin-1"),
        "QUERY_STRING": query,
        "RAW_URI": raw_path.decode("latin-1") + (f"?{query}" if query else ""),
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    preserved: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        key = environ_key_for_header(name)
        # x_y would otherwise pass for x-y; moto wants the underscore back in S3's metadata only.
        if "_" in name and not should_preserve_original_header_name(name):
            continue
        if should_preserve_original_header_name(name):
            preserved.setdefault(key, name)
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    # The body has arrived whole, whatever way it was sent.
    environ.pop("HTTP_TRANSFER_ENCODING", None)
    environ["CONTENT_LENGTH"] = str(len(body))
    environ[PRESERVED_HEADER_NAMES_ENVIRON_KEY] = preserved
    return environ
