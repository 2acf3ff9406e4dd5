"""The server's process: from its environment to its end."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

from model_server.answers import RequestError
from model_server.code_fetch import fetch_code
from model_server.connection import Connections
from model_server.contract import SINGLE, Contract
from model_server.evaluator import load_evaluator
from model_server.json_log import log
from model_server.loading import Loader
from model_server.memory import map_large_blocks
from model_server.metrics import Metrics
from model_server.models import Models
from model_server.settings import BadSetting, Settings, read_settings
from model_server.user_module import UserModule
from model_server.web_pages import is_loopback

BACKLOG = 1024
#: How long a thread that evaluates may keep the event loop from going on; Python's own is 25 times as much.
SWITCH_SECONDS = 0.0002


def main() -> int:
    """Import the user's module, listen, serve until SIGTERM.

    :return: 0 after a clean end, 1 when a model of its own can't be loaded, 2 for a wrong setting.
    """
    try:
        settings = read_settings(os.environ)
    except BadSetting as error:
        print(error, file=sys.stderr, flush=True)
        return 2
    map_large_blocks()
    sys.setswitchinterval(SWITCH_SECONDS)
    fetch_code(settings)
    module = UserModule(settings.code_folder, settings.program, settings.default_accept)
    loader = Loader(module, load_evaluator() if module.packed_model_fn else None)
    gc.freeze()  # what is there by now stays; the collector need not look at it again
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(serve(settings, loader, module))


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - faster, but not in every image
    except ImportError:
        return None
    factory: type[asyncio.AbstractEventLoop] = uvloop.Loop
    return factory


async def serve(settings: Settings, loader: Loader, module: UserModule) -> int:
    """Serve until SIGTERM or SIGINT, then answer what has been asked.

    :return: the exit code.
    """
    metrics = Metrics()
    workers = ThreadPoolExecutor(1, thread_name_prefix="load")
    models = Models(
        loader,
        workers,
        metrics,
        limit_bytes=settings.memory_bytes if settings.multi_model else 0,
        evicts=settings.evicts,
        waiting=settings.queue,
    )
    if not settings.multi_model:
        try:
            await models.load(SINGLE, str(settings.base / "model"))
        except RequestError as error:
            print(error.message, file=sys.stderr, flush=True)
            return 1
    contract = Contract(settings, models, module, metrics)
    connections = Connections(
        contract.handle,
        most=settings.connections,
        body_bytes=settings.body_bytes,
        request_seconds=settings.request_seconds,
        idle_seconds=settings.idle_seconds,
        on_loopback=is_loopback(settings.host),
    )
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    server = await loop.create_server(connections.make, settings.host, settings.port, backlog=BACKLOG)
    port = server.sockets[0].getsockname()[1]
    kind, multi = type(loop).__module__, settings.multi_model
    log("listening", host=settings.host, port=port, multi_model=multi, loop=kind)
    clock = loop.create_task(connections.tick())
    await told.wait()
    log("draining", connections=len(connections.open))
    server.close()
    connections.drain()
    deadline = loop.time() + settings.drain_seconds
    while connections.open and loop.time() < deadline:
        await asyncio.sleep(0.02)
    clock.cancel()
    contract.close()
    workers.shutdown(wait=False, cancel_futures=True)
    log("stopped", left=len(connections.open))
    sys.stdout.flush()
    if connections.open:
        os._exit(0)  # threads of the user's would keep the process alive beyond its time
    return 0
