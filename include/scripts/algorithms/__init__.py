"""The algorithms: a module of this folder is one, by its file's name, as docs/steps.md says what it must have."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from table_schema import Schema, Table

FOLDER = Path(__file__).parent


class Predictor(Protocol):
    """What answers. It may have members more:

    ``contributions(values, background)``: what each feature adds to the score of a row: rows × (features + 1) ×
    outputs, last what a row of the background (rows × features) has on average; ``link`` says what makes an answer of
    the score: ``identity``, ``log``, ``logit`` or ``softmax``. Without them an explanation asks for many answers.

    ``sizes(shares)``: feature → how much it counts, in the score's unit; ``shares`` as the artifact's card has them.
    Without it values are shuffled and the answers' errors watched, unless ``describe`` has ``importance_gain``.
    """

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Predict.

        :param values: rows × features of float64, NaN where missing.
        :return: labels (rows) for a regression, probabilities (rows × classes) otherwise; float64.
        """
        ...


class Fitted(Predictor, Protocol):
    """What training leaves. It may have a member more:

    ``judged``: predictions for the rows of validation by a model that has not seen them. Without it, candidates are
    compared by a model that is fitted once more, to the training part alone.

    ``curve``: how it learned (``learning_curve.Curve``), for training.json.
    """

    def describe(self) -> dict[str, Any]:
        """Say what is worth knowing, as JSON holds it."""
        ...

    def save(self, folder: Path) -> None:
        """Write files (JSON, and arrays without pickle) into the artifact's ``city_fleet`` folder."""
        ...


class Algorithm(Protocol):
    """A module of this folder."""

    SPEC: Mapping[str, Any]

    def fit(
        self, train: Table, validation: Table, hyperparameters: dict[str, Any], *, seed: int, threads: int
    ) -> Fitted:
        """Choose on validation what is to be chosen, then fit both parts."""
        ...

    def load(self, folder: Path, schema: Schema) -> Predictor:
        """Read what :meth:`Fitted.save` wrote, without trusting it.

        :raises ArtifactError: for what is not as it would be written.
        """
        ...


def names() -> list[str]:
    """The names of the algorithms that are there."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")


def algorithm(name: str) -> Algorithm:
    """Import an algorithm. Its libraries come with it, so no sooner than it is needed.

    :raises KeyError: there is none of that name.
    """
    if name not in names():  # a name may come from an artifact: nothing but these files is ever imported
        raise KeyError(name)
    return cast("Algorithm", importlib.import_module(f"{__name__}.{name}"))


def digest(name: str) -> str:
    """The SHA-256 of an algorithm's module."""
    return hashlib.sha256((FOLDER / f"{name}.py").read_bytes()).hexdigest()
