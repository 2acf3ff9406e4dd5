"""The models a container has loaded."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
import threading
from dataclasses import dataclass, field
from typing import Any

# Relative on purpose: inside the image there is no package local_sagemaker.
from .handlers import HandlerError, UserModule  # noqa: TID252


@dataclass
class Model:
    """One loaded model. The lock makes requests to it sequential: user code need not be thread-safe,
    because the managed image gives each model a worker process of its own."""

    name: str
    url: str
    value: Any = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class Models:
    """The loaded models by name.

    :param module: the user's functions.
    :param memory_bytes: what this process may take; 0 = no limit. A model that does not fit is refused with 507,
        which asks the host to unload another one.
    """

    def __init__(self, module: UserModule, memory_bytes: int = 0) -> None:
        self._module = module
        self._memory_bytes = memory_bytes
        self._models: dict[str, Model] = {}
        self._loading: set[str] = set()
        self._lock = threading.Lock()

    def load(self, name: str, url: str) -> None:
        """Load a model.

        :param name: its opaque name.
        :param url: folder of the extracted artifact.
        :raises HandlerError: 409 when it is loaded or being loaded, else what ``model_fn`` raised.
        """
        with self._lock:
            if name in self._models or name in self._loading:
                raise HandlerError(409, f"Model {name} is already loaded.")
            self._loading.add(name)
        try:
            model = Model(name, url, self._module.load(url))
            if self._memory_bytes and resident_bytes() > self._memory_bytes:
                del model
                give_back()
                raise HandlerError(507, f"Insufficient memory to load the model {name}.")
            with self._lock:
                self._models[name] = model
        finally:
            with self._lock:
                self._loading.discard(name)

    def unload(self, name: str) -> None:
        """Forget a model; a request that runs keeps it until it has been answered.

        :param name: its name.
        :raises HandlerError: 404 when it is not loaded.
        """
        with self._lock:
            if self._models.pop(name, None) is None:
                raise HandlerError(404, f"Model {name} is not loaded.")
        if self._memory_bytes:
            give_back()

    def get(self, name: str) -> Model:
        """One loaded model.

        :param name: its name.
        :raises HandlerError: 404 when it is not loaded.
        """
        model = self._models.get(name)
        if model is None:
            raise HandlerError(404, f"Model {name} is not loaded.")
        return model

    def page(self, start: int, limit: int) -> tuple[list[Model], int | None]:
        """Some of the loaded models, in loading order.

        :param start: how many to leave out.
        :param limit: how many at most.
        :return: the models and where the next page starts, None at the end.
        """
        with self._lock:
            models = list(self._models.values())
        end = start + limit
        return models[start:end], end if end < len(models) else None

    def invoke(self, model: Model, body: bytes, headers: Any) -> tuple[bytes, str]:
        """Answer a request to one model.

        :param model: the model.
        :param body: body of the request.
        :param headers: headers of the request.
        """
        with model.lock:
            return self._module.invoke(model.value, model.url, body, headers)


def resident_bytes() -> int:
    """Memory this process takes; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def give_back() -> None:
    """Give memory that is not needed any more back to the system, where it can be told to."""
    gc.collect()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)
