"""What becomes of a model: one of this project's algorithms, and the model's own library beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from table_schema import BINARY, REGRESSION, Schema


class Savable(Protocol):
    """What an algorithm's ``fit`` would have left."""

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Predict labels (rows) or probabilities (rows × classes)."""
        ...

    def describe(self) -> dict[str, Any]:
        """Say what is worth knowing."""
        ...

    def save(self, folder: Any) -> None:
        """Write files into the artifact's ``city_fleet`` folder."""
        ...


@dataclass(frozen=True)
class Converted:
    """A model as this project serves it.

    :param algorithm: whose artifact it becomes.
    :param answer: the model's own library: rows × features of the city (float64) → rows, or rows × the city's classes.
    :param takes_missing: whether the library answers for rows with missing values.
    :param model: what it was, as its library calls it.
    :param libraries: what has read it: name → version.
    :param notes: what whoever imports it should know, a sentence each.
    :param schema: of its rows, where it is not the city's own.
    :param backtest: of an artifact of this project: how its model was judged when it was trained; else empty.
    """

    algorithm: str
    predictor: Savable
    answer: Callable[[np.ndarray], np.ndarray]
    takes_missing: bool
    model: str
    libraries: Mapping[str, str]
    notes: Sequence[str] = ()
    schema: Schema | None = None
    backtest: bytes = b""


def probabilities(schema: Schema, answer: np.ndarray, order: Sequence[int] | None = None) -> np.ndarray:
    """Bring what a library answers into the form of this project's.

    :param answer: of a classification rows × the model's classes.
    :param order: for each class of the city the model's column; None where they are the same.
    :return: rows, or rows × classes.
    """
    answer = np.asarray(answer, np.float64)
    if schema.task == REGRESSION:
        return answer.reshape(len(answer))
    if schema.task == BINARY and (answer.ndim == 1 or answer.shape[1] == 1):
        positive = answer.reshape(len(answer))
        answer = np.column_stack([1 - positive, positive])
    return answer if order is None else answer[:, list(order)]
