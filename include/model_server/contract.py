"""SageMaker's container contract: how each request is answered.

Many models (``SAGEMAKER_MULTI_MODEL=true``): ``POST /models``, ``GET /models``, ``GET /models/{name}``, ``DELETE
/models/{name}``, ``POST /models/{name}/invoke``. One: ``POST /invocations``, the model lies in ``/opt/ml/model``. Both:
``GET /ping``, ``GET /metrics``. Bodies and codes: AWS documentation, "Contract for custom containers for multi-model
endpoints"; paging as multi-model-server does it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from model_server.answers import RequestError, answer, error_answer, json_answer
from model_server.http_head import Fields
from model_server.memory import resident_bytes
from model_server.metrics import Metrics
from model_server.models import Model, Models
from model_server.settings import Settings
from model_server.turns import Turns
from model_server.user_module import ANY, CSV, UserModule

DEFAULT_PAGE = 100
SINGLE = "model"
#: A plain model's request goes through the user's functions without a thread up to this size: they take microseconds.
INLINE_BYTES = 4096
#: Bodies above this size take turns: one at a time has the user's functions, so that smaller ones always get a thread.
LARGE_BYTES = 64 * 1024
LARGEST_LOAD_BYTES = 16 * 1024
_INVOKE_PREFIX, _INVOKE_SUFFIX = "/models/", "/invoke"
# The answer says whether its model had to be loaded first: SageMaker hands the header on to the caller, and its own
# metric of cache hits is one for the whole endpoint.
_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes: city-fleet-cold="
_COLD, _WARM = f"{_ATTRIBUTES}1\r\n", f"{_ATTRIBUTES}0\r\n"
_CSV_HEAD = "HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\n"
_PONG = json_answer({"status": "Healthy"})
_PING_OK, _INVOKE_OK = ("ping", 2), ("invoke", 2)
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Contract:
    """Answers requests. In the event loop's thread; the user's functions run in threads."""

    def __init__(self, settings: Settings, models: Models, module: UserModule, metrics: Metrics) -> None:
        self._settings = settings
        self._models = models
        self._module = module
        self._metrics = metrics
        self._threads = ThreadPoolExecutor(settings.threads, thread_name_prefix="invoke")
        self._large_thread = ThreadPoolExecutor(1, thread_name_prefix="large")
        self._large = Turns()
        self._most = settings.threads + settings.queue
        self._running = 0
        self._csv_accepts = {CSV, None, ANY} if module.default_accept == CSV else {CSV}

    def handle(self, method: str, target: str, fields: Fields, body: bytes) -> bytes | Awaitable[bytes]:
        """Answer a request.

        :param method: GET, POST, …
        :param target: path and query, as they came.
        :return: the answer's bytes, or an awaitable of them that never raises.
        """
        if method == "POST":
            name = None
            if self._settings.multi_model:
                if target.endswith(_INVOKE_SUFFIX) and target.startswith(_INVOKE_PREFIX):
                    name = target[8:-7]
                    if "%" in name:
                        name = unquote(name)
            elif target == "/invocations":
                name = SINGLE
            if name is not None:
                began = time.perf_counter()
                plain = self._plain_answer(name, fields, body)
                if plain is not None:
                    self._metrics.requests[_INVOKE_OK] += 1
                    self._metrics.invoke_seconds.observe(time.perf_counter() - began)
                    return plain
                return self._invoke(name, fields, body, began)
        elif target == "/ping" and method == "GET":
            self._metrics.requests[_PING_OK] += 1
            return _PONG
        return self._manage(method, target, body)

    def close(self) -> None:
        """Stop the threads once nothing runs any more."""
        for threads in (self._threads, self._large_thread):
            threads.shutdown(wait=False, cancel_futures=True)

    def _plain_answer(self, name: str, fields: Fields, body: bytes) -> bytes | None:
        if (
            fields.content_type != CSV
            or fields.accept not in self._csv_accepts
            or len(body) > LARGE_BYTES  # a look at it would take the loop milliseconds
        ):
            return None
        models = self._models
        model = models.ready.get(name)
        if model is None or model.plain is None or not model.plain.is_light:
            return None
        value = model.plain.answer_line(body)
        if value is None:
            return None
        models.ready.move_to_end(name)
        self._metrics.hits += 1
        self._metrics.plain += 1
        content = value.encode()
        return f"{_CSV_HEAD}{_temperature(model)}Content-Length: {len(content)}\r\n\r\n".encode() + content

    async def _invoke(self, name: str, fields: Fields, body: bytes, began: float) -> bytes:
        try:
            model = await self._models.get(name)
            content = self._plain_answer(name, fields, body)
            if content is None:
                content = await self._by_module(model, fields, body)
            status = 200
        except RequestError as error:
            status = error.status
            content = error_answer(status, error.message, as_text=True)
        self._metrics.requests["invoke", status // 100] += 1
        self._metrics.invoke_seconds.observe(time.perf_counter() - began)
        return content

    async def _by_module(self, model: Model, fields: Fields, body: bytes) -> bytes:
        value, url = model.loaded.value, model.url
        if model.plain is not None and len(body) <= INLINE_BYTES and model.plain.is_quick(len(body)):
            return answer(200, *self._module.invoke(value, url, body, fields.values), _temperature(model))
        if self._running >= self._most:
            self._metrics.rejected += 1
            raise RequestError(503, f"{self._running} requests are being answered or wait.")
        self._running += 1
        model.users += 1
        try:
            if len(body) > LARGE_BYTES:
                async with self._large.turn(len(body)):
                    return await self._in_thread(self._large_thread, model, fields, body)
            return await self._in_thread(self._threads, model, fields, body)
        finally:
            model.users -= 1
            self._running -= 1

    async def _in_thread(
        self, threads: ThreadPoolExecutor, model: Model, fields: Fields, body: bytes
    ) -> bytes:
        # What goes with packed trees keeps no state: a small request need not wait for a large one to its own model.
        turn = model.turn if model.plain is None else contextlib.nullcontext()
        async with turn:
            done = await asyncio.get_running_loop().run_in_executor(
                threads, self._module.invoke, model.loaded.value, model.url, body, fields.values
            )
        return answer(200, *done, _temperature(model))

    async def _manage(self, method: str, target: str, body: bytes) -> bytes:
        kind = "other"
        try:
            url = urlsplit(target)
            parts = [unquote(part) for part in url.path.strip("/").split("/")]
            match (method, *parts):
                case ("GET", "metrics"):
                    kind, status, content = "metrics", 200, answer(200, self._metrics_text(), METRICS_TYPE)
                case (_, "models", *rest) if self._settings.multi_model and len(rest) <= 1:
                    kind, status = (
                        {"POST": "load", "DELETE": "unload", "GET": "list"}.get(method, "other"),
                        200,
                    )
                    content = json_answer(await self._about_models(method, rest, parse_qs(url.query), body))
                case _:
                    raise RequestError(404, f"{method} {url.path} is not part of the container contract.")
        except RequestError as error:
            status, content = error.status, error_answer(error.status, error.message)
        except ValueError as error:
            status, content = 400, error_answer(400, f"The request target can't be read: {error}")
        self._metrics.requests[kind, status // 100] += 1
        return content

    async def _about_models(
        self, method: str, name: list[str], query: dict[str, list[str]], body: bytes
    ) -> dict[str, Any]:
        models = self._models
        match (method, *name):
            case ("POST",):
                name_to_load, folder = read_load_request(body)
                await models.load(name_to_load, folder)
                return {"status": f"Model {name_to_load} loaded"}
            case ("GET",):
                start = read_number(query, "next_page_token", 0, minimum=0)
                page, following = models.page(start, read_number(query, "limit", DEFAULT_PAGE, minimum=1))
                more = {} if following is None else {"nextPageToken": str(following)}
                return {"models": [describe(model) for model in page], **more}
            case ("GET", one):
                model = models.ready.get(one)
                if model is None:
                    raise RequestError(404, f"Model {one} is not loaded.")
                return describe(model)
            case ("DELETE", one):
                await models.unload(one)
                return {"status": f"Model {one} unloaded"}
        raise RequestError(405, f"{method} is not allowed here.")

    def _metrics_text(self) -> bytes:
        return self._metrics.text(
            {
                "models": ("Models in memory.", len(self._models.ready)),
                "models_bytes": ("What they take.", self._models.used_bytes),
                "models_limit_bytes": ("What they may take; 0 = no limit.", self._settings.memory_bytes),
                "running": ("Requests in the user's functions, or waiting for them.", self._running),
                "resident_bytes": ("What the process takes.", resident_bytes()),
            }
        )


def _temperature(model: Model) -> str:
    """The header line that says whether this is a model's first answer since it was loaded."""
    if model.answered:
        return _WARM
    model.answered = True
    return _COLD


def describe(model: Model) -> dict[str, str]:
    """A model as the contract lists it."""
    return {"modelName": model.name, "modelUrl": model.url}


def read_load_request(body: bytes) -> tuple[str, str]:
    """Name and folder of a model to load.

    :param body: ``{"model_name": …, "url": …}``.
    :raises RequestError: 400 when it is anything else.
    """
    try:
        if len(body) > LARGEST_LOAD_BYTES:  # it is read while nobody else is answered
            raise ValueError(len(body))
        request = json.loads(body)
        name, folder = request["model_name"], request["url"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RequestError(400, 'The body must be {"model_name": "…", "url": "…"}.') from error
    if not (isinstance(name, str) and name and isinstance(folder, str) and folder and "\0" not in folder):
        raise RequestError(400, "model_name must be a name and url a folder that exists.")
    return name, folder


def read_number(query: dict[str, list[str]], name: str, default: int, *, minimum: int) -> int:
    """A whole number of the query string.

    :param default: when it is absent.
    :param minimum: the least allowed.
    :raises RequestError: 400 when it is anything else.
    """
    text = query.get(name, [str(default)])[0]
    if not (text.isascii() and text.isdecimal() and len(text) <= 12 and int(text) >= minimum):
        raise RequestError(400, f"{name} must be a whole number from {minimum}, got {text[:50]!r}.")
    return int(text)
