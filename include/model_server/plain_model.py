"""A model that this server answers with by itself: packed trees, and a simple way from their sum to the prediction.

The user's module says so through ``packed_model_fn(model_dir)``, whose answer has the attributes of :class:`Packed`.
"""

from __future__ import annotations

import ctypes
import functools
import math
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from model_server.answers import RequestError
from model_server.evaluator import Evaluate
from model_server.tree_check import check_trees

SAMPLE_TOLERANCE = 1e-6  # of a prediction, or of 1 for a probability; float32 holds seven digits
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
        array of float64) and answers an array of float32; of classes two-dimensional as well.

    Two attributes may be there: ``takes_numbers`` (whether a row of text/csv holds the very numbers that the trees
    take; True where it is not said) and ``labels`` (the classes as text/csv has them; None for a number). A sample of
    classes has a list of probabilities.
    """

    trees: bytes
    exponential: bool
    factor: int | None
    samples: list[list[float | None]]
    sample_predictions: list[Any]
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
        "_labels",
        "_out",
        "_out_at",
        "_row",
        "_steps",
        "_takes_numbers",
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
        self._takes_numbers: bool = getattr(packed, "takes_numbers", True)
        self._labels: Sequence[str] | None = getattr(packed, "labels", None)
        answered = 1 if self._labels is None else len(self._labels)
        if facts.groups not in (answered, 1) or (facts.groups == 1 and answered > 2):
            raise RequestError(
                500, f"The packed trees tell {facts.groups} classes apart, and there are {answered}."
            )
        self._row = struct.Struct(f"{self.features}d")
        self._out = (ctypes.c_float * facts.groups)()
        self._out_at = ctypes.addressof(self._out)
        # Without a reference back to self: the memory of a model that is dropped is free at once.
        self.model = packed.model(
            functools.partial(evaluate_rows, packed.trees, self.features, facts.groups, evaluate)
        )

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

        :return: the prediction, of classes ``label,probability``; None for anything but one row of as many finite or
            missing numbers as there are features, and for a prediction that is no finite number. The user's functions
            then say what is wrong with it, or answer it all the same.
        """
        row = self._read_line(body) if self._takes_numbers else None
        values = None if row is None else self._values(row)
        if values is None:
            return None
        if self._labels is None:
            return repr(values[0])
        best = max(values)
        return f"{self._labels[values.index(best)]},{best!r}"

    def _read_line(self, body: bytes) -> list[float] | None:
        """Read one row of finite or missing numbers; None for anything else."""
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
        return row

    def _values(self, row: list[float]) -> list[float] | None:
        """Evaluate a row.

        :return: the prediction, or a probability for each class; None where a number of them is not finite.
        """
        factor = 1.0
        if self._factor is not None:
            factor = row[self._factor]
            if not factor > 0:
                return None
        self._evaluate(self._trees, self._row.pack(*row), 1, self._out_at)
        if self._labels is not None:
            values = list(self._out)
            if len(values) == 1:  # of two classes
                values.insert(0, 1 - values[0])
            return values if math.isfinite(sum(values)) else None
        value = self._out[0]
        if self._exponential is not None:
            value = float(self._exponential(value)) * factor
        elif self._factor is not None:
            value *= factor
        return [value] if math.isfinite(value) else None

    def deviation(self, packed: Packed) -> float:
        """The largest difference between sample predictions and what the trees answer, of a number relative to it.

        :param packed: holds the samples.
        :return: 0 when there are none; infinity when a sample gets no answer, or has no number for one.
        """
        if len(packed.samples) > MOST_SAMPLES or len(packed.samples) != len(packed.sample_predictions):
            raise RequestError(
                500, f"Got {len(packed.samples)} samples; allowed: {MOST_SAMPLES}, each with its prediction."
            )
        worst = 0.0
        for sample, predicted in zip(packed.samples, packed.sample_predictions, strict=True):
            expected = [predicted] if self._labels is None else predicted
            values = self._values([math.nan if value is None else float(value) for value in sample])
            if values is None or len(values) != len(expected) or not all(map(math.isfinite, expected)):
                return math.inf
            for got, wanted in zip(values, expected, strict=True):
                unit = 1.0 if self._labels is not None else max(abs(wanted), abs(got), 1e-12)
                worst = max(worst, abs(got - wanted) / unit)
        return worst


def evaluate_rows(trees: bytes, features: int, groups: int, evaluate: Evaluate, values: Any) -> Any:
    """Evaluate rows, for the user's functions. From any thread.

    :param trees: packed trees that :func:`check_trees` has found to be whole.
    :param features: how many a row has.
    :param groups: how many numbers are answered for it.
    :param evaluate: the compiled evaluator.
    :param values: rows x features, NaN where missing.
    :return: a float32 array: rows, or rows x groups where there are more than one.
    """
    import numpy  # noqa: PLC0415 - a server without such models does without it

    rows = numpy.ascontiguousarray(values, dtype=numpy.float64)
    if rows.ndim != 2 or rows.shape[1] != features:
        raise ValueError(f"rows: got an array of {rows.shape}; allowed: rows of {features} values")
    out = numpy.empty(len(rows) if groups == 1 else (len(rows), groups), dtype=numpy.float32)
    evaluate(trees, rows.tobytes(), len(rows), out.ctypes.data)
    return out


@functools.cache
def exponential() -> Callable[[float], float]:
    """numpy's exponential: the user's functions take it, and the C library's differs in the last digit."""
    import numpy  # noqa: PLC0415

    return numpy.exp
