"""Linear models: ridge regression, and logistic or multinomial regression, on standardised columns.

The penalty is chosen on the validation part unless it is given, as in scikit-learn's models: ``alpha`` of ``Ridge``,
and 1 / ``C`` of ``LogisticRegression``. The intercept is not penalised.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from array_file import load_arrays, save_arrays
from design_matrix import Design, design_shapes, learn_design, saved_design
from job_failure import JobFailure
from probabilities import softmax, two_classes
from table_parts import joined
from table_schema import BINARY, MULTICLASS, REGRESSION, Schema, Table
from validation_loss import loss

SPEC = {
    "tasks": ["regression", "binary", "multiclass"],
    "hyperparameters": {
        "alpha": {"low": 0, "above": True},
        "max_iter": {"low": 1, "high": 100000, "whole": True, "default": 1000},
    },
}
FILE = "linear.npz"
#: Penalties that are tried, per row of training: from nearly none to where all columns hardly count.
RIDGE_ALPHAS = (1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0, 10.0)
LOGISTIC_ALPHAS = (100.0, 10.0, 1.0, 0.1, 0.01)
CHUNK_ROWS = 50_000
#: Score of a class that no row of training has, below all others.
_NEVER = -50.0


class Linear:
    """A linear model.

    :param coefficients: outputs × columns; one output for a regression and for a binary task.
    :param intercepts: outputs.
    """

    def __init__(
        self, schema: Schema, design: Design, coefficients: np.ndarray, intercepts: np.ndarray
    ) -> None:
        self._schema = schema
        self._design = design
        self.coefficients = coefficients
        self.intercepts = intercepts
        self.judged: np.ndarray | None = None
        self.report: dict[str, Any] = {}

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Predict labels (rows) or probabilities (rows × classes)."""
        scores = self._design.matrix(values) @ self.coefficients.T + self.intercepts
        if self._schema.task == REGRESSION:
            return np.asarray(scores[:, 0])
        return two_classes(scores[:, 0]) if self._schema.task == BINARY else softmax(scores)

    @property
    def link(self) -> str:
        """What makes an answer of a score: ``identity``, ``logit`` or ``softmax``."""
        return {REGRESSION: "identity", BINARY: "logit"}.get(self._schema.task, "softmax")

    def contributions(self, values: np.ndarray, background: np.ndarray) -> np.ndarray:
        """Say what each feature adds to the score of some rows: coefficients × (value - mean of the background).

        :param values: rows × features, and ``background`` others, whose score is the base.
        :return: rows × (features + 1) × outputs; last the base. Each row's sum is its score.
        """
        middle = self._design.matrix(background).mean(axis=0)
        moved = self._design.matrix(values) - middle
        owners = self._design.owners()
        found = np.zeros((len(values), len(self._schema.features) + 1, len(self.intercepts)))
        for column, owner in enumerate(owners.tolist()):
            found[:, owner] += moved[:, [column]] * self.coefficients[:, column]
        found[:, -1] = self.coefficients @ middle + self.intercepts
        return found

    def sizes(self, shares: Mapping[str, Sequence[float]]) -> dict[str, float]:
        """Say how much each feature counts: by how much its part of the score varies over the rows of training.

        A number has deviation 1 there, so that it is its coefficient; a category's comes of how many rows each had.

        :param shares: of a category or truth value: share of the rows that each value had, the missing ones last.
        """
        owners = self._design.owners()
        found: dict[str, float] = {}
        for at, feature in enumerate(self._schema.features):
            own = self.coefficients[:, owners == at]
            given = np.array(shares.get(feature.name, ()), dtype=np.float64)
            if feature.kind != "category":
                varies = np.abs(own[:, 0])  # behind it may stand what a missing one adds
            elif own.shape[1] + 1 != len(given):
                varies = own.std(axis=1)  # of so many categories the card has no shares
            else:
                full = np.column_stack([own, np.zeros(len(own))])  # a missing one adds nothing
                varies = np.sqrt(np.maximum((full**2) @ given - (full @ given) ** 2, 0))
            found[feature.name] = float(varies.sum())
        return found

    def describe(self) -> dict[str, Any]:
        """The penalty, and how much each column counts: its coefficient's size, of all outputs together."""
        return self.report

    def save(self, folder: Path) -> None:
        """Write the arrays."""
        arrays = {"coefficients": self.coefficients, "intercepts": self.intercepts}
        save_arrays(folder / FILE, arrays | self._design.arrays())


def fit(
    train: Table, validation: Table, hyperparameters: dict[str, Any], *, seed: int, threads: int
) -> Linear:
    """Choose the penalty on the validation part, then fit both.

    :raises JobFailure: the training part holds one class alone.
    """
    del seed, threads  # nothing is drawn; the libraries' threads are the process's
    best: tuple[float, float, np.ndarray] | None = None
    for alpha, model in _models(train, hyperparameters, hyperparameters.get("alpha")):
        judged = model.predict(validation.values)
        value = loss(validation, judged)
        if best is None or value < best[0]:
            best = value, alpha, judged
    if best is None:
        raise AssertionError("no penalty was tried")
    _, alpha, judged = best
    ((_, model),) = _models(joined(train, validation), hyperparameters, alpha)
    model.judged = judged
    sizes = np.abs(model.coefficients).sum(axis=0)
    model.report = {"alpha": alpha, "columns": len(sizes), "largest_coefficient": float(sizes.max(initial=0))}
    return model


def load(folder: Path, schema: Schema) -> Linear:
    """Read a linear model.

    :raises ArtifactError: it is not as :meth:`Linear.save` writes it.
    """
    outputs = len(schema.classes) if schema.task == MULTICLASS else 1
    shapes = design_shapes(schema) | {"coefficients": (outputs, None), "intercepts": (outputs,)}
    arrays = load_arrays(folder, FILE, shapes)
    design = saved_design(schema, arrays)
    if arrays["coefficients"].shape[1] != design.columns:
        raise ValueError(f"coefficients: allowed: {design.columns} columns")
    return Linear(schema, design, arrays["coefficients"], arrays["intercepts"])


def _models(
    table: Table, hyperparameters: dict[str, Any], alpha: float | None
) -> Iterator[tuple[float, Linear]]:
    """Fit one part with one penalty, or with all that are tried."""
    design = learn_design(table.schema, table.values)
    matrix = design.matrix(table.values)
    if table.schema.task == REGRESSION:
        alphas = [each * len(table) for each in RIDGE_ALPHAS] if alpha is None else [alpha]
        yield from (
            (each, Linear(table.schema, design, *fitted))
            for each, fitted in zip(alphas, _ridge(matrix, table, alphas), strict=True)
        )
        return
    for each in LOGISTIC_ALPHAS if alpha is None else (alpha,):
        yield each, Linear(table.schema, design, *_logistic(matrix, table, each, hyperparameters["max_iter"]))


def _ridge(matrix: np.ndarray, table: Table, alphas: list[float]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Solve the normal equations for all penalties by one decomposition."""
    total = table.weight.sum()
    means = table.weight @ matrix / total
    mean = float(table.weight @ table.label / total)
    columns = matrix.shape[1]
    squares, products = np.zeros((columns, columns)), np.zeros(columns)
    for at in range(0, len(matrix), CHUNK_ROWS):  # a centred copy of all rows would double the memory
        rows = slice(at, at + CHUNK_ROWS)
        centred, weight = matrix[rows] - means, table.weight[rows]
        squares += (centred * weight[:, np.newaxis]).T @ centred
        products += centred.T @ (weight * (table.label[rows] - mean))
    values, vectors = np.linalg.eigh(squares)
    turned = vectors.T @ products
    for alpha in alphas:
        coefficients = vectors @ (turned / (np.maximum(values, 0) + alpha))
        yield coefficients[np.newaxis], np.array([mean - means @ coefficients])


def _logistic(matrix: np.ndarray, table: Table, alpha: float, max_iter: int) -> tuple[np.ndarray, np.ndarray]:
    # Late: it takes longer to import than a ridge regression to fit.
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    label = table.label.astype(np.int64)
    if len(np.unique(label)) < 2:
        raise JobFailure("all rows of the training part are of one class; at least 2 are needed.")
    model = LogisticRegression(C=1 / alpha, max_iter=max_iter)
    # On matrices of this size several threads only wait for each other (for minutes where jobs share the cores), and
    # they add up in another order on another machine.
    with threadpool_limits(limits=1, user_api="blas"), warnings.catch_warnings():
        # With hardly a penalty it comes to no end, and where it has come to by then is judged like all others.
        warnings.simplefilter("ignore")
        model.fit(matrix, label, sample_weight=table.weight)
    if table.schema.task == BINARY:
        return model.coef_, model.intercept_
    coefficients = np.zeros((len(table.schema.classes), matrix.shape[1]))
    intercepts = np.full(len(table.schema.classes), _NEVER)
    if len(model.classes_) == 2:  # scikit-learn takes one score for two classes
        coefficients[model.classes_[1]], intercepts[model.classes_[0]] = model.coef_[0], 0
        intercepts[model.classes_[1]] = model.intercept_[0]
    else:
        coefficients[model.classes_], intercepts[model.classes_] = model.coef_, model.intercept_
    return coefficients, intercepts
