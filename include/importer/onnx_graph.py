"""What an ONNX graph reckons, followed operator by operator with numbers' names in their place.

A value on its way is one of a few kinds: inputs that are multiplied and added to, sums of a linear model or network,
sums of trees, or what follows for people (labels). What comes out at the end is compared with onnxruntime's own
answers, so that a wrong idea of an operator can't pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from onnx_checks import array_of, attributes_of
from onnx_trees import forest_of
from plain_layers import IDENTITY as NOTHING
from plain_layers import Prepared
from plain_trees import IDENTITY, SIGMOID, SOFTMAX, Forest
from refusal import Refused, shown

_SAME = {
    "Identity",
    "Cast",
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Dropout",
    "ZipMap",
    "FeatureVectorizer",
}
_FOR_PEOPLE = {"ArgMax", "ArrayFeatureExtractor", "LabelEncoder", "Gather"}


@dataclass(frozen=True)
class Rows:
    """Inputs, prepared.

    :param names: of each; None where the model does not say.
    """

    names: tuple[str, ...] | None
    prepared: Prepared


@dataclass(frozen=True)
class Sums:
    """Layers over prepared inputs; the last one has no activation yet.

    :param layers: weights (inputs × outputs) and biases.
    :param activations: of each layer but the last.
    :param link: what is done to the sums at last.
    """

    rows: Rows
    layers: tuple[tuple[np.ndarray, np.ndarray], ...]
    activations: tuple[str, ...]
    link: str = IDENTITY


@dataclass(frozen=True)
class Trees:
    """Sums of trees.

    :param positive: whether one output is the probability (or logit) of the second of two classes.
    """

    rows: Rows
    forest: Forest
    positive: bool = False


@dataclass(frozen=True)
class Complement:
    """One minus a probability."""

    of: Sums | Trees


@dataclass(frozen=True)
class ForPeople:
    """Labels, and what else no model is made of."""


Value = Rows | Sums | Trees | Complement | ForPeople | np.ndarray


@dataclass(frozen=True)
class Read:
    """What a graph reckons.

    :param value: what comes out, :param output: the name of that.
    :param classes: of a classifier, in the order of its answers; None where it does not say.
    """

    value: Sums | Trees
    output: str
    classes: Sequence[Any] | None


def follow(model: Any) -> Read:
    """Follow a checked graph from its inputs to its outputs.

    :raises Refused: it reckons something that plain arrays can't.
    """
    graph = model.graph
    values: dict[str, Value] = {tensor.name: array_of(tensor) for tensor in graph.initializer}
    values |= _inputs(graph, set(values))
    classes: Sequence[Any] | None = None
    for node in graph.node:
        attributes = attributes_of(node)
        operands = [values[name] for name in node.input if name and name in values]
        if len(operands) != sum(bool(name) for name in node.input):
            raise Refused(f"operator {node.op_type} takes what nothing has made; the file is damaged")
        if node.op_type in ("TreeEnsembleClassifier", "LinearClassifier"):
            classes = attributes.get("classlabels_strings") or attributes.get("classlabels_int64s")
            classes = classes or attributes.get("classlabels_ints")
            value = _operate(node.op_type, operands, attributes)
            made: list[Value] = [ForPeople(), value]
        else:
            made = [_operate(node.op_type, operands, attributes)]
        values |= dict(zip(node.output, made, strict=False))
    for output in graph.output:
        found = values.get(output.name)
        if isinstance(found, Sums | Trees):
            return Read(found, output.name, classes)
    raise Refused(
        "none of its outputs is a prediction (of a classifier: probabilities) that plain arrays can answer"
    )


def _inputs(graph: Any, constants: set[str]) -> dict[str, Value]:
    given = [each for each in graph.input if each.name not in constants]
    shapes = [[dim.dim_value for dim in each.type.tensor_type.shape.dim] for each in given]
    if not given or any(len(shape) > 2 for shape in shapes):
        raise Refused(
            "its inputs are not rows of numbers; allowed: one input of rows × features, or one per feature"
        )
    if len(given) == 1:
        width = shapes[0][1] if len(shapes[0]) == 2 else 0
        if width < 1:
            raise Refused(
                "it does not say how many features a row has; export it with a fixed second dimension"
            )
        if width > 32_767:
            raise Refused(f"a row of it has {width} features; allowed: 32767")
        return {given[0].name: Rows(None, Prepared.nothing(width))}
    if len(given) > 2000:
        raise Refused(f"it has {len(given)} inputs; allowed: 2000")
    return {each.name: Rows((each.name,), Prepared.nothing(1)) for each in given}


def _operate(kind: str, operands: list[Value], attributes: Mapping[str, Any]) -> Value:
    if kind == "Constant":
        return np.asarray(next(iter(attributes.values()), None))
    if operands and all(isinstance(each, np.ndarray) for each in operands):
        if kind == "Cast":
            return operands[0]
        raise Refused(f"operator {kind} reckons with constants alone; export it with constants folded")
    if kind in _FOR_PEOPLE or any(isinstance(each, ForPeople) for each in operands):
        return ForPeople()
    value = next((each for each in operands if not isinstance(each, np.ndarray)), None)
    if value is None:
        raise Refused(f"operator {kind} takes nothing")
    if kind in ("Concat", "FeatureVectorizer"):
        return _joined(operands)
    return value if kind in _SAME else _reckoned(kind, operands, value, attributes)


def _reckoned(kind: str, operands: list[Value], value: Value, attributes: Mapping[str, Any]) -> Value:
    found: Value | None = None
    if kind in ("Add", "Sub", "Mul", "Div", "Neg", "Scaler"):
        found = _elementwise(kind, operands, value, attributes)
    elif kind in ("Gemm", "MatMul"):
        found = _multiplied(kind, operands, value, attributes)
    elif isinstance(value, Rows):
        if kind == "Imputer":
            found = _imputed(value, attributes)
        elif kind in ("LinearRegressor", "LinearClassifier"):
            found = _linear(kind, value, attributes)
        elif kind in ("TreeEnsembleRegressor", "TreeEnsembleClassifier"):
            found = _trees(kind, value, attributes)
    return _activated(kind, value, attributes) if found is None else found


def _joined(operands: list[Value]) -> Value:
    if len(operands) == 2 and isinstance(operands[0], Complement) and operands[0].of == operands[1]:
        return operands[1]  # both probabilities of two classes
    rows = [each for each in operands if isinstance(each, Rows)]
    if len(rows) != len(operands):
        raise Refused("it puts values side by side that are no inputs")
    names = [each.names for each in rows]
    return Rows(
        None if None in names else tuple(name for each in names for name in each or ()),
        Prepared(
            *(
                np.concatenate([getattr(each.prepared, part) for each in rows])
                for part in ("factor", "plus", "fill")
            )
        ),
    )


def _elementwise(kind: str, operands: list[Value], value: Value, attributes: Mapping[str, Any]) -> Value:
    if kind == "Scaler":
        if not isinstance(value, Rows):
            raise Refused("a Scaler of it stands behind its model")
        offset, scale = (
            np.asarray(attributes.get(name, [fill]), np.float64)
            for name, fill in (("offset", 0), ("scale", 1))
        )
        return _moved(value, scale, -offset * scale)
    if kind == "Neg":
        return _moved(value, -1.0, 0.0)
    if len(operands) != 2:
        raise Refused(f"operator {kind} has {len(operands)} operands; allowed: 2")
    first = isinstance(operands[0], np.ndarray)
    constant = operands[0] if first else operands[1]
    if not isinstance(constant, np.ndarray):
        raise Refused(
            f"operator {kind} takes two values that both depend on the row; allowed: one and a constant"
        )
    number = np.asarray(constant, np.float64).ravel()
    if kind == "Sub" and first:
        if (
            number.size == 1
            and number[0] == 1
            and isinstance(value, Sums | Trees)
            and _link(value) == SIGMOID
        ):
            return Complement(value)
        if number.size == 1 and number[0] == 1 and isinstance(value, Trees) and value.positive:
            return Complement(value)
        return _moved(value, -1.0, number)
    if kind == "Div" and first:
        raise Refused("it divides by a value of the row")
    with np.errstate(divide="ignore"):
        factor = {"Mul": number, "Div": 1 / number}.get(kind, np.ones(1))
    return _moved(value, factor, {"Add": number, "Sub": -number}.get(kind, np.zeros(1)))


def _moved(value: Value, factor: np.ndarray | float, plus: np.ndarray | float) -> Value:
    """Multiply by a factor and add a number, one for all or for each of the values."""
    factor, plus = np.asarray(factor, np.float64), np.asarray(plus, np.float64)
    if isinstance(value, Rows):
        _fits(factor, plus, len(value.prepared.factor))
        return replace(value, prepared=value.prepared.then(factor, plus))
    if isinstance(value, Sums) and value.link == IDENTITY:
        weights, biases = value.layers[-1]
        _fits(factor, plus, len(biases))
        return replace(value, layers=(*value.layers[:-1], (weights * factor, biases * factor + plus)))
    if isinstance(value, Trees) and value.forest.link == IDENTITY and factor.size == plus.size == 1:
        return replace(value, forest=value.forest.scaled(float(factor.ravel()[0]), float(plus.ravel()[0])))
    raise Refused("it goes on reckoning with probabilities or labels")


def _fits(factor: np.ndarray, plus: np.ndarray, count: int) -> None:
    if factor.size not in (1, count) or plus.size not in (1, count):
        raise Refused(
            f"it adds or multiplies {max(factor.size, plus.size)} numbers; allowed: 1, or {count}, one for each"
        )


def _imputed(value: Rows, attributes: Mapping[str, Any]) -> Rows:
    replaced = attributes.get("replaced_value_float", 0.0)
    filled = np.asarray(attributes.get("imputed_value_floats", []), np.float64)
    count = len(value.prepared.factor)
    if not np.isnan(replaced) or filled.size not in (1, count):
        raise Refused("its Imputer fills other values than NaN, or not each input")
    return replace(value, prepared=value.prepared.filled(np.broadcast_to(filled, count)))


def _multiplied(kind: str, operands: list[Value], value: Value, attributes: Mapping[str, Any]) -> Sums:
    if not isinstance(operands[0], Rows | Sums) or not all(
        isinstance(each, np.ndarray) for each in operands[1:]
    ):
        raise Refused(f"operator {kind} multiplies otherwise than rows with weights")
    weights = np.asarray(operands[1], np.float64)
    biases = np.zeros(1)
    if kind == "Gemm":
        if attributes.get("transA"):
            raise Refused("a Gemm of it turns rows and columns around (transA)")
        weights = (weights.T if attributes.get("transB") else weights) * attributes.get("alpha", 1.0)
        if len(operands) > 2:
            biases = np.asarray(operands[2], np.float64).ravel() * attributes.get("beta", 1.0)
    if weights.ndim != 2 or biases.size not in (1, weights.shape[1]):
        raise Refused(f"a {kind} of it has weights of shape {weights.shape}; allowed: inputs × outputs")
    layer = weights, np.broadcast_to(biases, weights.shape[1]).copy()
    if isinstance(value, Rows):
        return Sums(value, (layer,), ())
    if not isinstance(value, Sums) or value.link != IDENTITY:
        raise Refused(f"operator {kind} stands behind probabilities or trees")
    # Behind a layer that has its activation already there is one that does nothing.
    activations = value.activations
    if len(activations) < len(value.layers):
        activations = (*activations, NOTHING)
    return replace(value, layers=(*value.layers, layer), activations=activations)


def _linear(kind: str, value: Rows, attributes: Mapping[str, Any]) -> Sums:
    inputs = len(value.prepared.factor)
    weights = np.asarray(attributes.get("coefficients", []), np.float64)
    if not weights.size or weights.size % inputs:
        raise Refused(f"its {kind} has {weights.size} coefficients for {inputs} inputs")
    weights = weights.reshape(-1, inputs).T
    intercepts = np.asarray(attributes.get("intercepts", np.zeros(weights.shape[1])), np.float64)
    if intercepts.size not in (1, weights.shape[1]):
        raise Refused(f"its {kind} has {intercepts.size} intercepts for {weights.shape[1]} outputs")
    post = str(attributes.get("post_transform", "NONE"))
    links = {"NONE": IDENTITY, "LOGISTIC": SIGMOID, "SOFTMAX": SOFTMAX}
    if post not in links:
        raise Refused(f"it has post_transform {shown(post)}; allowed: {', '.join(links)}")
    layer = weights, np.broadcast_to(intercepts, weights.shape[1]).copy()
    return Sums(value, (layer,), (), links[post])


def _trees(kind: str, value: Rows, attributes: Mapping[str, Any]) -> Trees:
    if kind == "TreeEnsembleRegressor":
        return Trees(value, forest_of(attributes, "target", int(attributes.get("n_targets", 1))))
    labels = attributes.get("classlabels_strings") or attributes.get("classlabels_int64s") or []
    ids = set(np.asarray(attributes.get("class_ids", []), np.int64).tolist())
    if len(labels) == 2 and len(ids) == 1:
        # One weight for two classes is that of the second, whichever it is said to be of.
        renamed = dict(attributes, class_ids=np.zeros(len(attributes["class_ids"]), np.int64))
        base = np.asarray(attributes.get("base_values", []), np.float64)
        return Trees(
            value, forest_of(renamed | {"base_values": base[-1:]} if base.size else renamed, "class", 1), True
        )
    return Trees(value, forest_of(attributes, "class", len(labels)))


def _activated(kind: str, value: Value, attributes: Mapping[str, Any]) -> Value:
    named = {"Relu": "relu", "Tanh": "tanh", "Sigmoid": "sigmoid"}
    if kind == "Normalizer" and isinstance(value, Sums | Trees) and attributes.get("norm") == "L1":
        return value  # probabilities that are brought to a sum of 1, which a forest's are
    if kind in ("Sigmoid", "Softmax") and isinstance(value, Trees) and value.forest.link == IDENTITY:
        link = SIGMOID if kind == "Sigmoid" else SOFTMAX
        return replace(value, forest=replace(value.forest, link=link), positive=kind == "Sigmoid")
    if isinstance(value, Sums) and value.link == IDENTITY and len(value.activations) < len(value.layers):
        if kind == "Softmax":
            return replace(value, link=SOFTMAX)
        if kind in named:
            return replace(value, activations=(*value.activations, named[kind]))
    raise Refused(f"operator {kind} stands where plain arrays can't follow it")


def _link(value: Sums | Trees) -> str:
    if isinstance(value, Trees):
        return value.forest.link
    if value.link == IDENTITY and len(value.activations) == len(value.layers):
        return value.activations[-1]  # named as the link
    return value.link
