"""S3, SQS, STS, IAM, CloudWatch Logs and whatever else moto knows, in this process and behind the same port."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import io
import logging
import os
import re
import sys
import tempfile
import time
from collections.abc import Mapping
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
from local.sagemaker.services import (
    long_polls,
    moto_s3,
    s3_conditions,
    s3_deletes,
    s3_integrity,
    s3_limits,
    s3_uploads,
)
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
from local.sagemaker.services.service_errors import Refusal, failed, not_answered, not_written, unknowable

log = logging.getLogger(__name__)

#: What is held by whoever reads or writes queues: requests to SQS, and to buckets that notify of what happens in them.
QUEUES = "/sqs"
#: How the pages begin with which Flask answers for what it has no route for.
_PAGE = b"<!doctype html>"
#: A page that is asked for and is longer than S3's.
_MAX_KEYS = re.compile(r"((?:^|[?&])max-keys=)0*[1-9]\d{3,}(?=&|$)")
WORKERS = 16
"""Threads that answer for moto; a pool of their own, because operations of the control plane wait for S3."""


class MotoServices:
    """moto's WSGI application as a handler that takes every request.

    :param folder: where S3, SQS, IAM and CloudWatch Logs are kept; None = in memory only.
    """

    def __init__(self, folder: Path | None) -> None:
        notifications.install()
        s3_uploads.install()
        self._durable = DurableServices(folder) if folder else None
        self._application = DomainDispatcherApplication(create_app)
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
        try:
            return (self._answer_s3 if call.service == "s3" else self._answer_whole)(request, call, body)
        except Refusal as refusal:
            return refusal.answer(call)
        except NotImplementedError:
            return not_answered(call)
        except ImportError as error:
            return not_answered(call, str(error))
        except OSError as error:
            reason = disk.full(error.filename or tempfile.gettempdir()) if disk.is_full(error) else str(error)
            log.error("%s %s: %s", call.service, call.operation, reason)
            return not_written(call, reason)
        except Exception as error:  # a bug of moto's or of ours: the log has the rest
            log.exception("%s %s failed", call.service, call.operation)
            return failed(call, error)

    def _answer_whole(self, request: BoundedRequest, call: Call, body: bytes) -> Response:
        with self._locks.hold((f"/{call.service}",)):  # it is written as a whole, per service
            return unknowable(call) or self._work(request, call, wsgi_environ(request, body), body)

    def _answer_s3(self, request: BoundedRequest, call: Call, body: bytes) -> Response:
        s3_limits.check_request(request, call)
        if request.method in ("PUT", "POST"):
            checked = s3_integrity.check_body(
                request.fields, body, of_object=call.operation == s3_uploads.COMPLETE
            )
            body, checksums = checked.payload, checked.checksums
        else:
            checksums = {}
        # One at a time, per bucket.
        buckets = call.access.buckets if call.access else ("/s3",)
        held = (*buckets, QUEUES) if any(map(notifications.notifies, buckets)) else buckets
        with self._locks.hold(held):
            s3_uploads.check_upload(call, request.fields, body)
            unchanged = s3_conditions.check_conditions(request, call)
            if unchanged is not None:
                return unchanged
            deletion = s3_deletes.read_deletion(call, body)
            if deletion is not None:
                body = deletion.body
                if not body:
                    return deletion.answer(None)
            response = self._work(request, call, s3_environ(request, body, checksums), body)
            return deletion.answer(response) if deletion is not None else response

    def _work(self, request: BoundedRequest, call: Call, environ: dict[str, Any], body: bytes) -> Response:
        response = self._run(environ)
        if response.status_code in (404, 405) and bytes(response.body).startswith(_PAGE):
            return not_answered(call, f"moto has no {request.method} {request.path}")
        if self._durable is not None:
            self._durable.save(call, request.region or "us-east-1", body)
        return response

    def _run(self, environ: dict[str, Any]) -> Response:
        chunks, status, headers = run_wsgi_app(self._application, environ, buffered=True)
        response = Response(b"".join(chunks), int(status.split(" ", 1)[0]))
        # The headers are moto's own to the letter: HEAD's length of a body that is not there, repeated names.
        response.raw_headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers
        ]
        return response


def create_app(service: str | None) -> Any:
    """moto's application of a service.

    :raises NotImplementedError: if it has none.
    """
    if service is None:
        raise NotImplementedError
    return create_backend_app(service)


def s3_environ(request: BoundedRequest, body: bytes, checksums: Mapping[str, str]) -> dict[str, Any]:
    """What a WSGI server would make of a request to S3, without what has been seen to already.

    :param body: without chunks.
    :param checksums: what is known of the body, by algorithm; moto keeps and answers it where the algorithm is named.
    """
    environ = wsgi_environ(request, body)
    for field in s3_conditions.CHECKED:
        environ.pop(environ_key_for_header(field), None)
    for name in ("QUERY_STRING", "RAW_URI"):
        environ[name] = _MAX_KEYS.sub(rf"\g<1>{s3_limits.MAX_KEYS}", environ[name])
    if request.fields.get("x-amz-content-sha256", "").startswith("STREAMING-"):
        environ[environ_key_for_header("x-amz-content-sha256")] = "UNSIGNED-PAYLOAD"
    for name, value in checksums.items():
        environ[environ_key_for_header(f"{s3_integrity.PREFIX}{name}")] = value
        environ[environ_key_for_header("x-amz-sdk-checksum-algorithm")] = name.upper()
    return environ


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
