"""The model server: SageMaker's container contract for one or for many models.

Many (``SAGEMAKER_MULTI_MODEL=true``): ``GET /ping``, ``POST /models``, ``GET /models``, ``GET
/models/{name}``, ``DELETE /models/{name}``, ``POST /models/{name}/invoke``. One: ``GET /ping``, ``POST
/invocations``, the model lies in ``/opt/ml/model``. Listens on the loopback interface at
``SAGEMAKER_BIND_TO_PORT``; SIGTERM finishes the requests that run, then ends. Bodies and codes: AWS
documentation, "Contract for custom containers for multi-model endpoints".
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

# Relative on purpose: inside the image there is no package local_sagemaker.
from .handlers import HandlerError, UserModule  # noqa: TID252
from .models import Model, Models  # noqa: TID252

MAX_BODY_BYTES = 20 * 1024**2
DRAIN_SECONDS = 60.0
DEFAULT_PAGE = 100


class Server(ThreadingHTTPServer):
    """The HTTP server and what it serves.

    :param port: where it listens on 127.0.0.1.
    :param models: the loaded models.
    :param single: the one model of a single-model container, else None.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, port: int, models: Models, single: Model | None) -> None:
        self.models = models
        self.single = single
        self.draining = False
        self._running = 0
        self._idle = threading.Condition()
        super().__init__(("127.0.0.1", port), Handler)

    def request_starts(self) -> None:
        """Count a request that is being answered."""
        with self._idle:
            self._running += 1

    def request_ends(self) -> None:
        """Count it off."""
        with self._idle:
            self._running -= 1
            self._idle.notify_all()

    def drain(self) -> None:
        """Take no new connections and wait for the requests that run."""
        self.draining = True
        self.shutdown()
        with self._idle:
            self._idle.wait_for(lambda: self._running == 0, timeout=DRAIN_SECONDS)


class Handler(BaseHTTPRequestHandler):
    """One connection; HTTP/1.1, so it is kept alive between requests."""

    protocol_version = "HTTP/1.1"
    server_version = "ModelServer/1"
    disable_nagle_algorithm = True
    server: Server

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:
        """No access log: the log belongs to the user's code."""

    def _answer(self) -> None:
        self.server.request_starts()
        try:
            try:
                body = self._read_body()
                status, answer, content_type = self._route(body)
            except HandlerError as error:
                status, content_type = error.status, "application/json"
                answer = json.dumps({"code": error.status, "message": error.message}).encode()
                if self.path.endswith(("/invoke", "/invocations")):
                    # The toolkit's answer to a failed request is the bare text.
                    answer, content_type = error.message.encode(), "text/plain; charset=utf-8"
            self._send(status, answer, content_type)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            self.server.request_ends()

    def _read_body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            self.close_connection = True
            raise HandlerError(411, "Content-Length is required.")
        try:
            length = int(self.headers.get("Content-Length") or 0)
        except ValueError:
            length = -1
        if not 0 <= length <= MAX_BODY_BYTES:
            self.close_connection = True
            raise HandlerError(413 if length > 0 else 400, f"Content-Length must be 0 to {MAX_BODY_BYTES}.")
        return self.rfile.read(length)

    def _route(self, body: bytes) -> tuple[int, bytes, str]:
        url = urlsplit(self.path)
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        single = self.server.single
        match (self.command, *parts):
            case ("GET", "ping"):
                return 200, b"", "application/json"
            case ("POST", "invocations") if single is not None:
                return 200, *self.server.models.invoke(single, body, self.headers)
            case ("POST", "models", name, "invoke") if single is None:
                model = self.server.models.get(name)
                return 200, *self.server.models.invoke(model, body, self.headers)
            case (_, "models", *_) if single is None and len(parts) <= 2:
                return as_json(self._manage(parts[1:], parse_qs(url.query), body))
        raise HandlerError(404, f"{self.command} {url.path} is not part of the container contract.")

    def _manage(self, name: list[str], query: dict[str, list[str]], body: bytes) -> dict[str, Any]:
        """Answer about the loaded models.

        :param name: name of the model in the path, none or one.
        """
        models = self.server.models
        match (self.command, *name):
            case ("POST",):
                name_to_load, folder = read_load_request(body)
                models.load(name_to_load, folder)
                return {"status": f"Model {name_to_load} loaded"}
            case ("GET",):
                start = read_number(query, "next_page_token", 0, minimum=0)
                page, following = models.page(start, read_number(query, "limit", DEFAULT_PAGE, minimum=1))
                more = {} if following is None else {"nextPageToken": str(following)}
                return {"models": [describe(model) for model in page], **more}
            case ("GET", one):
                return describe(models.get(one))
            case ("DELETE", one):
                models.unload(one)
                return {"status": f"Model {one} unloaded"}
        raise HandlerError(405, f"{self.command} is not allowed here.")

    def _send(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if self.server.draining or self.close_connection:
            self.close_connection = True
            self.send_header("Connection", "close")
        # One write for head and body: two small packets would wait for each other.
        self._headers_buffer.append(b"\r\n" + body)  # type: ignore[attr-defined]
        self.flush_headers()


def as_json(answer: dict[str, Any]) -> tuple[int, bytes, str]:
    """A 200 answer in JSON.

    :param answer: the object.
    """
    return 200, json.dumps(answer).encode(), "application/json"


def describe(model: Model) -> dict[str, str]:
    """A model as the contract lists it.

    :param model: the model.
    """
    return {"modelName": model.name, "modelUrl": model.url}


def read_load_request(body: bytes) -> tuple[str, str]:
    """Name and folder of a model to load.

    :param body: ``{"model_name": …, "url": …}``.
    :raises HandlerError: 400 when it is anything else.
    """
    try:
        request = json.loads(body)
        name, folder = request["model_name"], request["url"]
    except (ValueError, KeyError, TypeError) as error:
        raise HandlerError(400, 'The body must be {"model_name": "…", "url": "…"}.') from error
    if not (isinstance(name, str) and name and isinstance(folder, str) and os.path.isdir(folder)):
        raise HandlerError(400, "model_name must be a name and url a folder that exists.")
    return name, folder


def read_number(query: dict[str, list[str]], name: str, default: int, *, minimum: int) -> int:
    """A whole number of the query string.

    :param query: parsed query.
    :param name: which one.
    :param default: when it is absent.
    :param minimum: the least allowed.
    """
    text = query.get(name, [str(default)])[0]
    if not text.isdecimal() or int(text) < minimum:
        raise HandlerError(400, f"{name} must be a whole number from {minimum}, got {text!r}.")
    return int(text)


def main() -> int:
    """Import the user's module, listen, serve until SIGTERM.

    :return: 0 after a clean end.
    """
    base = Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
    submitted = os.environ.get("SAGEMAKER_SUBMIT_DIRECTORY", "")
    # The host has fetched and extracted an archive on S3 into /opt/ml/code; any other value is a local
    # folder.
    code_dir = base / "code" if submitted.startswith("s3://") or not submitted else Path(submitted)
    module = UserModule(
        code_dir,
        os.environ.get("SAGEMAKER_PROGRAM", "inference.py"),
        os.environ.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", "application/json"),
    )
    models = Models(module, int(os.environ.get("LOCAL_SAGEMAKER_MODEL_MEMORY_BYTES", "0")))
    single = None
    if os.environ.get("SAGEMAKER_MULTI_MODEL") != "true":
        folder = str(base / "model")
        try:
            single = Model("model", folder, module.load(folder))
        except HandlerError as error:
            print(error.message, file=sys.stderr, flush=True)
            return 1
    server = Server(int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080")), models, single)
    drained = threading.Thread(target=server.drain)
    signal.signal(signal.SIGTERM, lambda *_: drained.start() if drained.ident is None else None)
    print(f"Model server listens on 127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever(poll_interval=0.1)
    drained.join()
    return 0
