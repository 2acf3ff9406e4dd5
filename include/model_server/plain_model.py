"""A model that this server answers with by itself: packed trees, and a simple way from their sum to the prediction.

The user's module says so through ``packed_model_fn(model_dir)``, whose answer has the attributes of :class:`Packed`.
"""

from __future__ import annotations

import ctypes
import functools
import math
import struct
import sys
from collections.abc import Callable
from typing import Any, Protocol

from model_server.answers import RequestError
from model_server.evaluator import Evaluate
from model_server.tree_check import check_trees

SAMPLE_TOLERANCE = 1e-6  # of a prediction; float32 holds seven digits
MOST_SAMPLES = 1000
#: Nodes that may be visited while nobody else is answered: half a millisecond to a few, by what the caches hold.
INLINE_STEPS = 100_000
OVERHEAD_BYTES = 16 * 1024  # of a loaded model besides its trees, measured: 6 to 12 KB


class Packed(Protocol):
    """What ``packed_model_fn`` answers.

    :param trees: the bytes of a packed ensemble, as include/scripts/packed_trees.py writes them.
    :param exponential: whether the ensemble's prediction is the logarithm of what is asked for.
    :param factor: number of the feature the prediction is multiplied with, which must be above 0; None = there is none.
    :param samples: rows with the predictions they must get; None in a row where a value is missing.
    :param sample_predictions: one for each of them.
    :param model: makes what ``predict_fn`` takes as its model, from a function that evaluates rows (a two-dimensional
        array of float64) and answers an array of float32.
    """

    trees: bytes
    exponential: bool
    factor: int | None
    samples: list[list[float | None]]
    sample_predictions: list[float]
    model: Callable[[Callable[[Any], Any]], Any]


class PlainModel:
    """Answers rows of numbers from packed trees.

    :param packed: from the user's module.
    :param evaluate: the compiled evaluator.
    :raises RequestError: 500 when the trees are not as they must be; nothing of them has been evaluated then.
    """

    __slots__ = (
        "_evaluate",
        "_exponential",
        "_factor",
        "_out",
        "_out_at",
        "_row",
        "_steps",
        "_trees",
        "features",
        "model",
    )

    def __init__(self, packed: Packed, evaluate: Evaluate) -> None:
        self._trees = packed.trees
        self._evaluate = evaluate
        facts = check_trees(packed.trees)
        self.features, self._steps = facts.features, facts.steps
        self._exponential = exponential() if packed.exponential else None
        self._factor = packed.factor
        if packed.factor is not None and not 0 <= packed.factor < self.features:
            raise RequestError(500, f"The packed trees have no feature {packed.factor} to multiply with.")
        self._row = struct.Struct(f"{self.features}d")
        self._out = ctypes.c_float()
        self._out_at = ctypes.addressof(self._out)
        # Without a reference back to self: the memory of a model that is dropped is free at once.
        self.model = packed.model(functools.partial(evaluate_rows, packed.trees, self.features, evaluate))

    @property
    def size_bytes(self) -> int:
        """What the model takes in memory."""
        return sys.getsizeof(self._trees) + OVERHEAD_BYTES

    def is_quick(self, size_bytes: int) -> bool:
        """Whether a request takes so little time that nobody minds who waits for it.

        :param size_bytes: of its body, which is believed to hold as many rows as fit.
        """
        return (size_bytes // self.features + 1) * self._steps <= INLINE_STEPS

    @property
    def is_light(self) -> bool:
        """Whether one row does."""
        return self._steps <= INLINE_STEPS

    def answer_line(self, body: bytes) -> str | None:
        """Answer one line of text/csv. Only in the event loop's thread.

        :return: the prediction; None for anything but one row of as many finite or missing numbers as there are
            features, and for a prediction that is no finite number. The user's functions then say what is wrong with
            it, or answer it all the same.
        """
        line = body.rstrip(b"\r\n")
        cells = line.split(b",")
        if len(cells) != self.features or b"\n" in line or b"\r" in line:
            return None
        if b"" in cells:
            cells = [cell or b"nan" for cell in cells]
        try:
            row = list(map(float, cells))
        except ValueError:
            return None
        # A sum tells most rows' numbers from infinities in one step; it isn't finite where a value is missing either.
        if not math.isfinite(sum(row)) and (math.inf in row or -math.inf in row):
            return None
        factor = 1.0
        if self._factor is not None:
            factor = row[self._factor]
            if not factor > 0:
                return None
        self._evaluate(self._trees, self._row.pack(*row), 1, self._out_at)
        value = self._out.value
        if self._exponential is not None:
            value = float(self._exponential(value)) * factor
        elif self._factor is not None:
            value *= factor
        return repr(value) if math.isfinite(value) else None

    def deviation(self, packed: Packed) -> float:
        """The largest relative difference between sample predictions and what the model answers; the trees' own check.

        :param packed: holds the samples.
        :return: 0 when there are none; infinity when a sample gets no answer, or has no number for one.
        """
        if len(packed.samples) > MOST_SAMPLES or len(packed.samples) != len(packed.sample_predictions):
            raise RequestError(
                500, f"Got {len(packed.samples)} samples; allowed: {MOST_SAMPLES}, each with its prediction."
            )
        worst = 0.0
        for row, expected in zip(packed.samples, packed.sample_predictions, strict=True):
            line = b",".join(b"" if value is None else repr(float(value)).encode() for value in row)
            answer = self.answer_line(line)
            if answer is None or not math.isfinite(expected):
                return math.inf
            got = float(answer)
            worst = max(worst, abs(got - expected) / max(abs(expected), abs(got), 1e-12))
        return worst


def evaluate_rows(trees: bytes, features: int, evaluate: Evaluate, values: Any) -> Any:
    """Evaluate rows, for the user's functions. From any thread.

    :param trees: packed trees that :func:`check_trees` has found to be whole.
    :param features: how many a row has.
    :param evaluate: the compiled evaluator.
    :param values: rows x features, NaN where missing.
    :return: a float32 array.
    """
    import numpy  # noqa: PLC0415 - a server without such models does without it

    rows = numpy.ascontiguousarray(values, dtype=numpy.float64)
    if rows.ndim != 2 or rows.shape[1] != features:
        raise ValueError(f"rows: got an array of {rows.shape}; allowed: rows of {features} values")
    out = numpy.empty(len(rows), dtype=numpy.float32)
    evaluate(trees, rows.tobytes(), len(rows), out.ctypes.data)
    return out


@functools.cache
def exponential() -> Callable[[float], float]:
    """numpy's exponential: the user's functions take it, and the C library's differs in the last digit."""
    import numpy  # noqa: PLC0415

    return numpy.exp
