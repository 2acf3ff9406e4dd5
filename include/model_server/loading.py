"""Makes a model out of an extracted artifact: by itself where it can, else by the user's functions."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Any

from model_server.answers import RequestError
from model_server.evaluator import Evaluate
from model_server.json_log import log
from model_server.memory import folder_bytes, resident_bytes
from model_server.plain_model import SAMPLE_TOLERANCE, PlainModel
from model_server.user_module import UserModule, failure

PLAIN = "plain"
MODULE = "module"


@dataclass(frozen=True)
class Loaded:
    """What a load has made.

    :param value: what the user's ``predict_fn`` takes as its model.
    :param plain: what answers simple requests without the user's functions, None where nothing does.
    :param size_bytes: what it takes in memory; for a value of the user's an estimate: what the process has grown by
        while it was loaded, unless that imported libraries, and at least the size of its files.
    """

    value: Any
    plain: PlainModel | None
    size_bytes: int

    @property
    def path(self) -> str:
        """How it serves: plain or module."""
        return MODULE if self.plain is None else PLAIN


class Loader:
    """Loads artifacts. From threads other than the event loop's; one at a time where memory is measured.

    :param evaluate: the compiled evaluator, None where there is none.
    """

    def __init__(self, module: UserModule, evaluate: Evaluate | None) -> None:
        self._module = module
        self._evaluate = evaluate

    def load(self, name: str, folder: str) -> Loaded:
        """Load an artifact.

        :param name: name of the model, for the log.
        :raises RequestError: 400 for what is not there or damaged, 507 when memory does not suffice, else what the
            user's function raised.
        """
        if not os.path.isdir(folder):
            raise RequestError(400, f"url must be a folder that exists, got {folder!r}.")
        plain = self._plain(name, folder)
        if plain is not None:
            return Loaded(plain.model, plain, plain.size_bytes)
        before, modules = resident_bytes(), len(sys.modules)
        value = self._module.load(folder)
        # What a library takes that is imported on the way, mostly by the first load, stays whatever model goes.
        grown = resident_bytes() - before if len(sys.modules) == modules else 0
        return Loaded(value, None, max(grown, folder_bytes(folder)))

    def _plain(self, name: str, folder: str) -> PlainModel | None:
        offer = self._module.packed_model_fn
        if offer is None or self._evaluate is None:
            return None
        try:
            packed = offer(folder)
            if packed is None:
                return None
            plain = PlainModel(packed, self._evaluate)
            deviation = plain.deviation(packed)
        except RequestError:
            raise
        except MemoryError as error:
            raise RequestError(507, f"Insufficient memory to load the model {name}.") from error
        except Exception as error:
            raise failure(error) from error
        if deviation > SAMPLE_TOLERANCE:
            log("samples_differ", level="warning", model=name, deviation=deviation)
            return None
        return plain
