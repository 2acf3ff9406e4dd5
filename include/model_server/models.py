"""Which models are in memory. All in the event loop's thread: state only changes between awaits, so without locks."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor

from model_server.answers import RequestError
from model_server.json_log import log
from model_server.loading import Loaded, Loader
from model_server.memory import give_back
from model_server.metrics import Metrics
from model_server.plain_model import PlainModel

TRIM_SECONDS = 5.0


class Model:
    """A model in memory.

    :param number: rises from load to load.
    :param name: its opaque name.
    :param url: folder of the extracted artifact.
    :param loaded: what the load has made.
    """

    __slots__ = ("answered", "loaded", "name", "number", "plain", "turn", "url", "users")

    def __init__(self, number: int, name: str, url: str, loaded: Loaded) -> None:
        self.number = number
        self.name = name
        self.url = url
        self.loaded = loaded
        self.plain: PlainModel | None = loaded.plain
        self.answered = False  # a request, since it was loaded
        self.users = 0  # requests that are being answered with it, or wait to be
        # User code need not be thread-safe: the managed image gives each model a process of its own.
        self.turn = asyncio.Lock()


class Models:
    """The models of a server, the least recently used first.

    :param workers: one thread; loads happen one after another there, none in the event loop.
    :param limit_bytes: what all of them may take together; 0 = no limit.
    :param evicts: whether others make room for a new one. If so, a model that had to go is loaded again when it is
        asked for; if not, what does not fit is refused with 507, which asks the host to unload another one.
    :param waiting: how many requests may wait for loads.
    """

    def __init__(
        self,
        loader: Loader,
        workers: Executor,
        metrics: Metrics,
        *,
        limit_bytes: int = 0,
        evicts: bool = True,
        waiting: int = 256,
    ) -> None:
        self._loader = loader
        self._workers = workers
        self._metrics = metrics
        self._limit_bytes = limit_bytes
        self._evicts = evicts
        self._waiting_limit = waiting
        self._waiting = 0
        self._loads = 0
        self.ready: OrderedDict[str, Model] = OrderedDict()
        self._gone: dict[str, str] = {}  # folders of models that had to make room
        self._loading: dict[str, asyncio.Task[Model]] = {}
        self.used_bytes = 0
        self._trim: asyncio.TimerHandle | None = None

    async def load(self, name: str, url: str) -> None:
        """Load a model that is asked for by the host.

        :param name: its opaque name.
        :param url: folder of the extracted artifact.
        :raises RequestError: 409 when it is in memory or being loaded, 507 when there is no room, else why it can't be
            loaded.
        """
        if name in self.ready or name in self._loading:
            raise RequestError(409, f"Model {name} is already loaded.")
        self._gone.pop(name, None)
        await asyncio.shield(self._start(name, url))

    async def get(self, name: str) -> Model:
        """A model that is asked for by a request and may have to be loaded again.

        :raises RequestError: 404 when it was never loaded, 503 when too many wait.
        """
        model = self.ready.get(name)
        if model is not None:
            self.ready.move_to_end(name)
            self._metrics.hits += 1
            return model
        self._metrics.misses += 1
        task = self._loading.get(name)
        if task is None:
            if name not in self._gone:
                raise RequestError(404, f"Model {name} is not loaded.")
            self._check_queue()
            task = self._start(name, self._gone[name])
        else:
            self._check_queue()
        self._waiting += 1
        try:
            return await asyncio.shield(task)
        finally:
            self._waiting -= 1

    async def unload(self, name: str) -> None:
        """Forget a model; requests that run keep it until they have been answered.

        :raises RequestError: 404 when it is not loaded.
        """
        task = self._loading.get(name)
        if task is not None:  # else it would be there after its end was told
            await asyncio.wait([task])
        model = self.ready.pop(name, None)
        if model is None:
            if self._gone.pop(name, None) is None:
                raise RequestError(404, f"Model {name} is not loaded.")
            return
        self._dropped(model)

    def page(self, start: int, limit: int) -> tuple[list[Model], int | None]:
        """Some of the models in memory.

        :param start: how many to leave out.
        :return: the models in the order they were loaded, and where the next page starts, None at the end.
        """
        models = sorted(self.ready.values(), key=lambda model: model.number)
        end = start + limit
        return models[start:end], end if end < len(models) else None

    def _check_queue(self) -> None:
        if self._waiting >= self._waiting_limit:
            self._metrics.rejected += 1
            raise RequestError(503, f"{self._waiting} requests wait for models that are being loaded.")

    def _start(self, name: str, url: str) -> asyncio.Task[Model]:
        task = asyncio.get_running_loop().create_task(self._load(name, url))
        self._loading[name] = task
        task.add_done_callback(lambda done: self._ended(name, done))
        return task

    def _ended(self, name: str, task: asyncio.Task[Model]) -> None:
        self._loading.pop(name, None)
        if not task.cancelled():
            task.exception()  # a waiting request has raised it, or all of them have gone

    async def _load(self, name: str, url: str) -> Model:
        began = time.perf_counter()
        loop = asyncio.get_running_loop()
        try:
            loaded = await loop.run_in_executor(self._workers, self._loader.load, name, url)
            self._make_room(name, loaded.size_bytes)
        except RequestError as error:
            self._metrics.loads["none", f"{error.status // 100}xx"] += 1
            log("load_failed", level="warning", model=name, status=error.status, reason=error.message[:500])
            raise
        self._loads += 1
        model = Model(self._loads, name, url, loaded)
        self.used_bytes += loaded.size_bytes
        self.ready[name] = model
        self._gone.pop(name, None)
        self._metrics.loads[loaded.path, "ok"] += 1
        self._metrics.load_seconds.observe(time.perf_counter() - began)
        return model

    def _make_room(self, name: str, size_bytes: int) -> None:
        if not self._limit_bytes or self.used_bytes + size_bytes <= self._limit_bytes:
            return
        left = self.used_bytes + size_bytes - self._limit_bytes
        chosen = []
        if self._evicts and size_bytes <= self._limit_bytes:
            for model in self.ready.values():
                if model.users == 0:
                    chosen.append(model)
                    left -= model.loaded.size_bytes
                    if left <= 0:
                        break
        if left > 0:
            self._trim_soon()
            raise RequestError(
                507,
                f"Insufficient memory to load the model {name}: it takes {size_bytes} bytes, and {self.used_bytes} of "
                f"{self._limit_bytes} are taken.",
            )
        for model in chosen:
            del self.ready[model.name]
            self._gone[model.name] = model.url
            self._metrics.evictions += 1
            self._dropped(model)

    def _dropped(self, model: Model) -> None:
        self.used_bytes -= model.loaded.size_bytes
        self._trim_soon()

    def _trim_soon(self) -> None:
        """Give memory back, but not after every single model: it takes milliseconds."""
        if self._trim is None:
            loop = asyncio.get_running_loop()
            work: Callable[[], None] = give_back

            def trim() -> None:
                self._trim = None
                loop.run_in_executor(self._workers, work)

            self._trim = loop.call_later(TRIM_SECONDS if self._evicts else 0.0, trim)
