"""Nearest neighbours: the average of the most similar rows of training, on standardised columns.

How many is chosen on the validation part unless it is given. Equally far rows count in their order. Of a classification
the classes' shares among all rows count as one neighbour more, so that no class is ruled out by a few rows.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from array_file import load_arrays, save_arrays
from design_matrix import Design, design_shapes, learn_design, saved_design
from model_card import SIDE_FOLDER, read_json_member
from probabilities import class_frequencies
from table_parts import joined, rows_of
from table_schema import REGRESSION, Schema, Table
from validation_loss import loss

SPEC = {
    "tasks": ["regression", "binary", "multiclass"],
    "hyperparameters": {
        "n_neighbors": {"low": 1, "high": 1000, "whole": True},
        "weights": {"choices": ["uniform", "distance"], "default": "uniform"},
        "smoothing": {"low": 0, "high": 1000, "default": 1},
        "max_rows": {"low": 10, "high": 100000, "whole": True, "default": 20000},
    },
}
FILE, SETTINGS = "knn.npz", "knn.json"
TRIED = (3, 5, 10, 20, 40, 80)
#: Numbers that are kept: 32 MB.
MOST_CELLS = 4_000_000
CHUNK_CELLS = 4_000_000
#: Digits of a squared distance, so that equal rows are equally far whatever order sums are taken in.
DIGITS = 9


class Neighbours:
    """Rows of training, to be looked up.

    :param matrix: rows × columns.
    :param label: rows.
    :param weight: rows.
    :param count: how many neighbours.
    :param by_distance: whether a neighbour counts by 1 / its distance.
    :param smoothing: how many neighbours all rows together count as, of a classification.
    """

    def __init__(
        self,
        schema: Schema,
        design: Design,
        rows: tuple[np.ndarray, np.ndarray, np.ndarray],
        how: tuple[int, bool, float],
    ) -> None:
        self._schema = schema
        self._design = design
        self.matrix, self.label, self.weight = rows
        self.count, self._by_distance, self._smoothing = how
        self._squares = (self.matrix**2).sum(axis=1)
        self._prior = (
            None
            if schema.task == REGRESSION
            else class_frequencies(self.label, self.weight, len(schema.classes))
        )
        self.judged: np.ndarray | None = None
        self.report: dict[str, Any] = {}

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Predict labels (rows) or probabilities (rows × classes)."""
        asked = self._design.matrix(values)
        chunk = max(1, CHUNK_CELLS // len(self.matrix))
        parts = [self._answer(asked[at : at + chunk]) for at in range(0, len(asked), chunk)]
        return np.concatenate(parts)

    def _answer(self, asked: np.ndarray) -> np.ndarray:
        squares = (asked**2).sum(axis=1)[:, np.newaxis] + self._squares - 2 * asked @ self.matrix.T
        count = min(self.count, len(self.matrix))
        near = _nearest(np.round(squares, DIGITS), count)
        weight = self.weight[near]
        if self._by_distance:
            far = np.sqrt(((asked[:, np.newaxis] - self.matrix[near]) ** 2).sum(axis=2))
            exact = far == 0
            # As in scikit-learn: where a row is met exactly, nothing else counts.
            weight *= np.where(exact.any(axis=1, keepdims=True), exact, 1 / np.where(exact, 1, far))
        if self._prior is None:
            return np.asarray((weight * self.label[near]).sum(axis=1) / weight.sum(axis=1))
        classes = len(self._schema.classes)
        shares = np.zeros((len(asked), classes))
        labels = self.label[near].astype(np.int64)
        np.add.at(shares, (np.arange(len(asked))[:, np.newaxis], labels), weight)
        shares /= shares.sum(axis=1, keepdims=True)
        return (count * shares + self._smoothing * self._prior) / (count + self._smoothing)

    def describe(self) -> dict[str, Any]:
        """How many neighbours, of how many rows."""
        return self.report

    def save(self, folder: Path) -> None:
        """Write the rows, and how they are used."""
        arrays = {"matrix": self.matrix, "label": self.label, "weight": self.weight}
        save_arrays(folder / FILE, arrays | self._design.arrays())
        how = {
            "n_neighbors": self.count,
            "by_distance": self._by_distance,
            "smoothing": float(self._smoothing),
        }
        (folder / SETTINGS).write_text(json.dumps(how) + "\n", encoding="utf-8")


def fit(
    train: Table, validation: Table, hyperparameters: dict[str, Any], *, seed: int, threads: int
) -> Neighbours:
    """Choose how many neighbours on the validation part, then keep rows of both."""
    del threads
    given = hyperparameters.get("n_neighbors")
    tried = [given] if given else [count for count in TRIED if count <= max(TRIED[0], len(train) // 2)]
    best: tuple[float, int, np.ndarray] | None = None
    for count in tried:
        judged = _kept(train, count, hyperparameters, seed).predict(validation.values)
        value = loss(validation, judged)
        if best is None or value < best[0]:
            best = value, count, judged
    if best is None:
        raise AssertionError("no number was tried")
    model = _kept(joined(train, validation), best[1], hyperparameters, seed)
    model.judged = best[2]
    model.report = {"n_neighbors": best[1], "rows_kept": len(model.matrix)}
    return model


def load(folder: Path, schema: Schema) -> Neighbours:
    """Read the rows.

    :raises ArtifactError: they are not as :meth:`Neighbours.save` writes them.
    """
    shapes = design_shapes(schema) | {"matrix": (None, None), "label": (None,), "weight": (None,)}
    arrays = load_arrays(folder, FILE, shapes)
    how = read_json_member(folder.parent, f"{SIDE_FOLDER}/{SETTINGS}", "it says how many neighbours count")
    design = saved_design(schema, arrays)
    matrix, label, weight = (arrays[name] for name in ("matrix", "label", "weight"))
    count, by_distance, smoothing = how["n_neighbors"], how["by_distance"], how["smoothing"]
    if not 1 <= len(matrix) == len(label) == len(weight) or matrix.shape[1] != design.columns:
        raise ValueError("rows, labels and weights do not go together")
    if schema.task != REGRESSION and not np.isin(label, np.arange(len(schema.classes))).all():
        raise ValueError("a label is the number of no class")
    if type(count) is not int or not 1 <= count <= 1000 or type(by_distance) is not bool:
        raise ValueError("n_neighbors or by_distance is not as it can be")
    if not isinstance(smoothing, float) or not 0 <= smoothing <= 1000 or not (weight > 0).all():
        raise ValueError("smoothing or a weight is not as it can be")
    return Neighbours(schema, design, (matrix, label, weight), (count, by_distance, smoothing))


def _nearest(squares: np.ndarray, count: int) -> np.ndarray:
    """Find the nearest rows, of equally far ones the first.

    :param squares: asked rows × kept rows.
    :return: asked rows × count, the nearest first: as a stable sort of all would have them, for a part of its time.
    """
    found = np.empty((len(squares), count), dtype=np.intp)
    farthest = np.partition(squares, count - 1, axis=1)[:, count - 1]
    for row, most, into in zip(squares, farthest, found, strict=True):
        near = np.flatnonzero(row <= most)
        into[:] = near[np.argsort(row[near], kind="stable")[:count]]
    return found


def _kept(part: Table, count: int, hyperparameters: dict[str, Any], seed: int) -> Neighbours:
    """Keep the rows of a part, or as many drawn ones as there may be."""
    design = learn_design(part.schema, part.values)
    most = min(hyperparameters["max_rows"], max(1, MOST_CELLS // max(1, design.columns)))
    if len(part) > most:
        drawn = np.random.default_rng(seed).choice(len(part), most, replace=False)
        part = rows_of(part, np.sort(drawn))
    how = count, hyperparameters["weights"] == "distance", hyperparameters["smoothing"]
    return Neighbours(part.schema, design, (design.matrix(part.values), part.label, part.weight), how)
