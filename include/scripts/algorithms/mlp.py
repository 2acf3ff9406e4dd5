"""A small neural network by scikit-learn, on standardised columns; answered by numpy.

How many passes over the rows is chosen on the validation part; then both parts are passed as often.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from array_file import load_arrays, save_arrays
from design_matrix import Design, design_shapes, learn_design, saved_design
from learning_curve import Curve
from model_card import SIDE_FOLDER, read_json_member
from probabilities import softmax, two_classes
from table_parts import joined
from table_schema import BINARY, MULTICLASS, REGRESSION, Schema, Table
from validation_loss import loss, loss_name

SPEC = {
    "tasks": ["regression", "binary", "multiclass"],
    "hyperparameters": {
        "hidden": {"low": 1, "high": 1024, "whole": True, "default": 32},
        "layers": {"low": 1, "high": 4, "whole": True, "default": 1},
        "activation": {"choices": ["relu", "tanh"], "default": "tanh"},
        "alpha": {"low": 0, "default": 0.01},
        "learning_rate": {"low": 0, "high": 1, "above": True, "default": 0.005},
        "batch_size": {"low": 1, "high": 100000, "whole": True, "default": 64},
        "max_iter": {"low": 1, "high": 10000, "whole": True, "default": 200},
        "patience": {"low": 1, "high": 10000, "whole": True, "default": 20},
    },
}
FILE, SETTINGS = "mlp.npz", "mlp.json"
MOST_UNITS, MOST_LAYERS = 1024, 4
_ACTIVATIONS = ("relu", "tanh")


class Network:
    """Layers of weights.

    :param layers: weights (inputs × outputs) and biases of each.
    :param unit: mean and deviation of the label that the network learned.
    """

    def __init__(
        self,
        schema: Schema,
        design: Design,
        activation: str,
        layers: list[tuple[np.ndarray, np.ndarray]],
        unit: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        self._schema = schema
        self._design = design
        self._activation = activation
        self._layers = layers
        self._unit = unit
        self.judged: np.ndarray | None = None
        self.curve: Curve | None = None
        self.report: dict[str, Any] = {}

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Predict labels (rows) or probabilities (rows × classes)."""
        signal = self._design.matrix(values)
        for number, (weights, biases) in enumerate(self._layers, start=1):
            signal = signal @ weights + biases
            if number < len(self._layers):
                signal = np.tanh(signal) if self._activation == "tanh" else np.maximum(signal, 0)
        if self._schema.task == REGRESSION:
            return np.asarray(self._unit[0] + self._unit[1] * signal[:, 0])
        return two_classes(signal[:, 0]) if self._schema.task == BINARY else softmax(signal)

    def describe(self) -> dict[str, Any]:
        """The passes over the rows."""
        return self.report

    def save(self, folder: Path) -> None:
        """Write the weights, and what they are."""
        arrays = {"unit": np.array(self._unit)} | self._design.arrays()
        for number, (weights, biases) in enumerate(self._layers):
            arrays |= {f"weights_{number}": weights, f"biases_{number}": biases}
        save_arrays(folder / FILE, arrays)
        how = {"activation": self._activation, "units": [len(biases) for _, biases in self._layers]}
        (folder / SETTINGS).write_text(json.dumps(how) + "\n", encoding="utf-8")


def fit(
    train: Table, validation: Table, hyperparameters: dict[str, Any], *, seed: int, threads: int
) -> Network:
    """Choose the passes on the validation part, then pass both as often."""
    del threads
    trial = _Training(train, hyperparameters, seed)
    best: tuple[float, int, np.ndarray] | None = None
    losses: list[float] = []
    for passes in range(1, hyperparameters["max_iter"] + 1):
        trial.step()
        judged = trial.network().predict(validation.values)
        value = loss(validation, judged)
        losses.append(value)
        if best is None or value < best[0]:
            best = value, passes, judged
        elif passes - best[1] >= hyperparameters["patience"]:
            break
    if best is None:
        raise AssertionError("nothing was passed")
    final = _Training(joined(train, validation), hyperparameters, seed)
    for _ in range(best[1]):
        final.step()
    model = final.network()
    model.judged = best[2]
    model.curve = Curve(loss_name(train.schema.task), "pass", {"validation": losses}, best[1] - 1)
    model.report = {"passes": best[1], "passes_tried": passes}
    return model


def load(folder: Path, schema: Schema) -> Network:
    """Read a network.

    :raises ArtifactError: it is not as :meth:`Network.save` writes it.
    """
    how = read_json_member(folder.parent, f"{SIDE_FOLDER}/{SETTINGS}", "it says what the layers are")
    units, activation = how["units"], how["activation"]
    outputs = len(schema.classes) if schema.task == MULTICLASS else 1
    if not isinstance(units, list) or not 2 <= len(units) <= MOST_LAYERS + 1 or units[-1] != outputs:
        raise ValueError("units: allowed: the sizes of 2 to 5 layers, the last one of the task")
    if not all(type(each) is int and 1 <= each <= MOST_UNITS for each in units[:-1]):
        raise ValueError(f"units: allowed: whole numbers from 1 to {MOST_UNITS}")
    if activation not in _ACTIVATIONS:
        raise ValueError("activation: allowed: relu, tanh")
    shapes: dict[str, tuple[int | None, ...]] = design_shapes(schema) | {"unit": (2,)}
    before: int | None = None
    for number, size in enumerate(units):
        shapes |= {f"weights_{number}": (before, size), f"biases_{number}": (size,)}
        before = size
    arrays = load_arrays(folder, FILE, shapes)
    design = saved_design(schema, arrays)
    if len(arrays["weights_0"]) != design.columns:
        raise ValueError(f"weights_0: allowed: {design.columns} rows")
    layers = [(arrays[f"weights_{number}"], arrays[f"biases_{number}"]) for number in range(len(units))]
    mean, deviation = arrays["unit"].tolist()
    return Network(schema, design, activation, layers, (mean, deviation))


class _Training:
    """A network while it learns.

    :param part: the rows that it passes.
    """

    def __init__(self, part: Table, hyperparameters: dict[str, Any], seed: int) -> None:
        from sklearn.neural_network import MLPClassifier, MLPRegressor  # noqa: PLC0415
        from threadpoolctl import threadpool_limits  # noqa: PLC0415

        self._one_thread = threadpool_limits

        self._schema = schema = part.schema
        self._design = learn_design(schema, part.values)
        self._matrix = self._design.matrix(part.values)
        self._weight, label = part.weight, part.label
        self._unit = (0.0, 1.0)
        if schema.task == REGRESSION:
            self._unit = float(label.mean()), float(label.std()) or 1.0
            label = (label - self._unit[0]) / self._unit[1]
        self._label = label if schema.task == REGRESSION else label.astype(np.int64)
        kind = MLPRegressor if schema.task == REGRESSION else MLPClassifier
        self._network = kind(
            hidden_layer_sizes=(hyperparameters["hidden"],) * hyperparameters["layers"],
            activation=hyperparameters["activation"],
            alpha=hyperparameters["alpha"],
            learning_rate_init=hyperparameters["learning_rate"],
            batch_size=min(hyperparameters["batch_size"], len(label)),
            random_state=seed,
        )

    def step(self) -> None:
        """Pass the rows once."""
        more = {} if self._schema.task == REGRESSION else {"classes": np.arange(len(self._schema.classes))}
        # Several threads only wait for each other on layers of this size, and add up in another order elsewhere.
        with self._one_thread(limits=1, user_api="blas"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of passes that are not enough: that is what is found out here
            self._network.partial_fit(self._matrix, self._label, sample_weight=self._weight, **more)

    def network(self) -> Network:
        """What has been learned so far."""
        layers = list(zip(self._network.coefs_, self._network.intercepts_, strict=True))
        if self._schema.task == MULTICLASS and len(self._schema.classes) == 2:
            # scikit-learn takes one score for two classes: the second's, beside 0 for the first.
            weights, biases = layers[-1]
            layers[-1] = np.pad(weights, ((0, 0), (1, 0))), np.pad(biases, (1, 0))
        return Network(self._schema, self._design, self._network.activation, layers, self._unit)
