"""Linear models, networks and neighbours of any library as the project's algorithms of these names.

An algorithm's design brings columns to mean 0 and deviation 1, and bounds them. A foreign model knows no bound, so its
columns are made so small (by a power of two, which costs no digit) that none is met; its weights grow as much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from algorithms.knn import MOST_CELLS, Neighbours
from algorithms.linear import Linear
from algorithms.mlp import MOST_LAYERS, MOST_UNITS, Network
from design_matrix import BOUND, Design
from refusal import Refused
from table_schema import MULTICLASS, REGRESSION, Schema

#: Columns are divided by this: no value that a file or a request can hold comes near the bound.
SMALL = 2.0**200
TANH, RELU, SIGMOID, IDENTITY = ACTIVATIONS = ("tanh", "relu", "sigmoid", "identity")
_LARGEST_WEIGHT = 1e200


@dataclass(frozen=True)
class Prepared:
    """What a model does with each of its inputs before it reckons: ``value * factor + plus``.

    :param fill: inputs; what stands for a missing value before that, NaN where nothing does.
    """

    factor: np.ndarray
    plus: np.ndarray
    fill: np.ndarray

    @classmethod
    def nothing(cls, inputs: int) -> Prepared:
        """Inputs as they are."""
        return cls(np.ones(inputs), np.zeros(inputs), np.full(inputs, np.nan))

    def then(self, factor: np.ndarray | float, plus: np.ndarray | float) -> Prepared:
        """Multiply and add once more."""
        return replace(self, factor=self.factor * factor, plus=self.plus * factor + plus)

    def filled(self, value: np.ndarray) -> Prepared:
        """Let numbers stand for missing values, as they are at this place."""
        if not np.isfinite(value).all() or (self.factor == 0).any():
            raise Refused("what stands for a missing value is no number")
        return replace(self, fill=np.where(np.isnan(self.fill), (value - self.plus) / self.factor, self.fill))

    @property
    def takes_missing(self) -> bool:
        """Whether something stands for each missing value."""
        return not np.isnan(self.fill).any()

    def check(self) -> None:
        """Refuse numbers that are none."""
        if not np.isfinite(self.factor).all() or not np.isfinite(self.plus).all():
            raise Refused("what it does with its inputs (a scaler's numbers) holds what is no number")


@dataclass(frozen=True)
class Inputs:
    """A model's inputs, as the city has them.

    :param columns: for each input the feature's number in the city's rows.
    :param usual: features; stands for a missing value that the model does not take.
    """

    schema: Schema
    columns: Sequence[int]
    prepared: Prepared
    usual: np.ndarray


def linear_model(
    inputs: Inputs,
    weights: np.ndarray,
    intercepts: np.ndarray,
) -> Linear:
    """Make a linear model.

    :param weights: outputs × inputs, :param intercepts: outputs; of a binary task one, the positive class's logit.
    :raises Refused: a weight is not a number, or their shapes are not those of the task.
    """
    schema, columns, prepared = inputs.schema, inputs.columns, inputs.prepared
    _check(weights, intercepts, len(columns), _outputs(schema))
    prepared.check()
    intercepts = intercepts + weights @ prepared.plus
    spread = np.zeros((len(weights), len(schema.features)))
    for at, column in enumerate(columns):
        spread[:, column] += weights[:, at] * prepared.factor[at] * SMALL
    return Linear(schema, _design(inputs), spread, intercepts)


def network_model(
    inputs: Inputs,
    layers: Sequence[tuple[np.ndarray, np.ndarray]],
    activations: Sequence[str],
) -> Network:
    """Make a network.

    :param layers: weights (inputs × outputs) and biases of each, the last one without an activation.
    :param activations: of each layer but the last, one of :data:`ACTIVATIONS`.
    :raises Refused: it is larger than servers take, or mixes activations.
    """
    schema, columns, prepared = inputs.schema, inputs.columns, inputs.prepared
    plain = [(np.array(weights, np.float64), np.array(biases, np.float64)) for weights, biases in layers]
    plain, kind = _one_activation(plain, list(activations))
    sizes = [len(biases) for _, biases in plain]
    if not 1 <= len(plain) - 1 <= MOST_LAYERS or max(sizes[:-1]) > MOST_UNITS:
        raise Refused(
            f"it has hidden layers of {sizes[:-1]} units; allowed: 1 to {MOST_LAYERS} of up to {MOST_UNITS}"
        )
    before = len(columns)
    for weights, biases in plain:
        _check(weights.T, biases, before, len(biases))
        before = len(biases)
    if before != _outputs(schema):
        raise Refused(
            f"it answers {before} numbers for a row; allowed: {_outputs(schema)}, by the city's task"
        )
    prepared.check()
    first, biases = plain[0]
    biases = biases + prepared.plus @ first
    spread = np.zeros((len(schema.features), first.shape[1]))
    for at, column in enumerate(columns):
        spread[column] += first[at] * prepared.factor[at] * SMALL
    return Network(schema, _design(inputs), kind, [(spread, biases), *plain[1:]], (0.0, 1.0))


def neighbours_model(
    inputs: Inputs,
    rows: np.ndarray,
    label: np.ndarray,
    how: tuple[int, bool],
) -> Neighbours:
    """Make nearest neighbours.

    :param rows: rows × inputs, as they are after what is prepared; distances are taken between such.
    :param label: rows; targets, or numbers of the city's classes.
    :param how: how many neighbours count, and whether by 1 / their distance.
    :raises Refused: there are too many, or what is no number.
    """
    schema, columns, prepared = inputs.schema, inputs.columns, inputs.prepared
    count, by_distance = how
    if rows.ndim != 2 or rows.shape[1] != len(columns) or label.shape != (len(rows),):
        raise Refused("its rows and labels do not go together")
    if not np.isfinite(rows).all() or not np.isfinite(label).all():
        raise Refused("its rows or labels hold what is no number")
    if not 1 <= count <= min(1000, len(rows)) or rows.size > MOST_CELLS or len(set(columns)) != len(columns):
        raise Refused(
            f"it keeps {len(rows)} rows of {len(columns)} inputs and asks {count} neighbours; "
            f"allowed: {MOST_CELLS} numbers, "
            "and 1 to 1000 neighbours of the rows there are"
        )
    if schema.task != REGRESSION and not np.isin(label, np.arange(len(schema.classes))).all():
        raise Refused("a label is the number of no class")
    prepared.check()
    # Distances only shrink together: one factor for all columns, so that the farthest row lies far within the bound.
    middle = rows.mean(axis=0)
    shrink = max(float(np.abs(rows - middle).max(initial=0)), 1e-300) / (BOUND / 4)
    features = len(schema.features)
    mean, scale = np.zeros(features), np.full(features, SMALL)
    matrix = np.zeros((len(rows), features))
    for at, column in enumerate(columns):
        if prepared.factor[at] == 0:
            raise Refused("an input is multiplied by 0")
        mean[column] = (middle[at] - prepared.plus[at]) / prepared.factor[at]
        scale[column] = shrink / abs(prepared.factor[at])
        matrix[:, column] = (rows[:, at] - middle[at]) / shrink * np.sign(prepared.factor[at])
    design = replace(_design(inputs), mean=mean, scale=scale)
    return Neighbours(
        schema, design, (matrix, label.astype(np.float64), np.ones(len(rows))), (count, by_distance, 0.0)
    )


def _design(inputs: Inputs) -> Design:
    schema, columns, prepared, usual = inputs.schema, inputs.columns, inputs.prepared, inputs.usual
    count = len(schema.features)
    fill = np.where(np.isfinite(usual), usual, 0.0)
    for at, column in enumerate(columns):
        if not np.isnan(prepared.fill[at]):
            fill[column] = prepared.fill[at]
    return Design((0,) * count, fill, np.zeros(count), np.full(count, SMALL), np.zeros(count))


def _check(weights: np.ndarray, intercepts: np.ndarray, inputs: int, outputs: int) -> None:
    if weights.shape != (outputs, inputs) or intercepts.shape != (outputs,):
        raise Refused(
            f"its weights are of shape {weights.shape}; allowed: {(outputs, inputs)}, numbers of the task × inputs"
        )
    for each in (weights, intercepts):
        if not np.isfinite(each).all() or np.abs(each).max(initial=0) > _LARGEST_WEIGHT:
            raise Refused("a weight of it is not a number, or a monstrous one")


def _one_activation(
    layers: list[tuple[np.ndarray, np.ndarray]], activations: list[str]
) -> tuple[list[tuple[np.ndarray, np.ndarray]], str]:
    """Bring all layers to one activation: what does nothing is multiplied out, sigmoid is tanh of another size."""
    if len(activations) != len(layers) - 1 or not all(each in ACTIVATIONS for each in activations):
        raise AssertionError(f"{len(layers)} layers with activations {activations}")
    at = 0
    while at < len(activations):
        weights, biases = layers[at]
        after, more = layers[at + 1]
        if (
            weights.ndim != 2
            or after.ndim != 2
            or weights.shape[1] != after.shape[0]
            or biases.shape != weights.shape[1:]
        ):
            raise Refused("the shapes of its layers do not go together")
        if activations[at] == IDENTITY:
            layers[at : at + 2] = [(weights @ after, biases @ after + more)]
            del activations[at]
            continue
        if activations[at] == SIGMOID:  # 1 / (1 + exp(-x)) = (1 + tanh(x / 2)) / 2
            layers[at] = weights / 2, biases / 2
            layers[at + 1] = after / 2, more + after.sum(axis=0) / 2
            activations[at] = TANH
        at += 1
    if len(set(activations)) > 1:
        raise Refused("its layers have different activations, relu and tanh or sigmoid; allowed: one for all")
    return layers, (activations or [TANH])[0]


def _outputs(schema: Schema) -> int:
    return len(schema.classes) if schema.task == MULTICLASS else 1


def layered_model(
    inputs: Inputs,
    layers: Sequence[tuple[np.ndarray, np.ndarray]],
    activations: Sequence[str],
) -> tuple[Linear | Network, str]:
    """Make a network, or a linear model where no layer but the last is left.

    :return: it, and the name of its algorithm.
    """
    plain, kind = _one_activation([*layers], [*activations])
    if len(plain) == 1:
        weights, biases = plain[0]
        return linear_model(inputs, weights.T, biases), "linear"
    return network_model(inputs, plain, [kind] * (len(plain) - 1)), "mlp"
