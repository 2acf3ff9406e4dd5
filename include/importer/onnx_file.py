"""A model in ONNX: trees, linear models and small networks become plain arrays; onnxruntime says whether rightly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime

from city import City
from city_inputs import class_order, columns_of, refuse_categories, refuse_other_task
from converted import Converted, Savable, probabilities
from onnx_checks import read_graph
from onnx_graph import Sums, Trees, follow
from plain_layers import SIGMOID as AS_SIGMOID
from plain_layers import Inputs, layered_model
from plain_trees import IDENTITY, SIGMOID, SOFTMAX, Forest, Tree
from refusal import Refused, shown
from sklearn_trees import prepared_forest
from table_schema import BINARY, REGRESSION, Schema
from tree_model import booster_model


def convert_onnx(content: bytes, city: City) -> Converted:
    """Take a model.

    :param content: the file's bytes.
    :raises Refused: it holds what is not read, or what plain arrays can't answer.
    """
    model = read_graph(content)
    read = follow(model)
    schema, value = city.schema, read.value
    columns = columns_of(schema, value.rows.names, len(value.rows.prepared.factor), city.features)
    outputs, link = _shape(value)
    classifies = read.classes is not None or link in (SIGMOID, SOFTMAX)
    refuse_other_task(schema, classifies, "the ONNX model")
    order = None
    if classifies:
        order = class_order(
            schema, list(read.classes if read.classes is not None else range(max(outputs, 2)))
        )
    predictor: Savable
    if isinstance(value, Trees):
        forest = prepared_forest(_of_task(value, schema, order), value.rows.prepared)
        predictor, algorithm = booster_model(forest, schema, columns), "xgboost"
    else:
        refuse_categories(schema, columns, "the ONNX model")
        layers, activations = _layers_of_task(value, schema, order)
        predictor, algorithm = layered_model(
            Inputs(schema, columns, value.rows.prepared, city.usual), layers, activations
        )
    session = _session(content)
    operators = dict.fromkeys(node.op_type for node in model.graph.node)
    return Converted(
        algorithm,
        predictor,
        lambda values: probabilities(schema, _answers(session, read.output, values[:, columns]), order),
        takes_missing=isinstance(value, Trees) or value.rows.prepared.takes_missing,
        model=f"{shown(model.producer_name) or 'ONNX'}: {', '.join(operators)}",
        libraries={"onnxruntime": onnxruntime.__version__},
    )


def _shape(value: Sums | Trees) -> tuple[int, str]:
    if isinstance(value, Trees):
        return value.forest.outputs, SIGMOID if value.positive else value.forest.link
    if value.link == IDENTITY and len(value.activations) == len(value.layers):
        if value.activations[-1] != AS_SIGMOID:
            raise Refused(
                f"its output has activation {value.activations[-1]}; allowed: none, Sigmoid and Softmax"
            )
        return len(value.layers[-1][1]), SIGMOID
    return len(value.layers[-1][1]), value.link


def _of_task(value: Trees, schema: Schema, order: list[int] | None) -> Forest:
    """Bring the trees to the city's classes: of a binary task to one output, the positive class's."""
    forest = value.forest
    if schema.task == REGRESSION:
        return forest
    if schema.task != BINARY:
        return forest if order is None else forest.with_outputs(order)
    if forest.outputs == 1:
        if order is None:
            return forest
        return forest.scaled(-1.0) if forest.link == SIGMOID else forest.scaled(-1.0, 1.0)
    positive = 1 if order is None else order[1]
    if forest.link == IDENTITY:
        return forest.with_outputs([positive])
    if forest.link == SIGMOID:
        raise Refused(
            "it takes the logistic function of two classes' sums; allowed: of one, or a softmax of both"
        )
    both = forest.with_outputs([1 - positive, positive])
    trees = [_difference(tree) for tree in both.trees]
    return Forest(trees, both.base[1:] - both.base[:1], SIGMOID)


def _difference(tree: Tree) -> Tree:
    return replace(tree, values=tree.values[:, 1:] - tree.values[:, :1])


def _layers_of_task(
    value: Sums, schema: Schema, order: list[int] | None
) -> tuple[Sequence[tuple[np.ndarray, np.ndarray]], Sequence[str]]:
    outputs, link = _shape(value)
    layers = list(value.layers)
    activations = list(value.activations[: len(layers) - 1])
    weights, biases = layers[-1]
    if schema.task == BINARY:
        positive = 1 if order is None else order[1]
        if outputs == 2 and link == SOFTMAX:
            weights, biases = weights[:, 1:] - weights[:, :1], biases[1:] - biases[:1]
        elif outputs == 2 and link == SIGMOID:
            # LinearClassifier writes both classes' scores, one the other's opposite.
            weights, biases = weights[:, 1:], biases[1:]
        elif outputs != 1 or link != SIGMOID:
            raise Refused(f"it answers {outputs} numbers for two classes without Sigmoid or Softmax")
        if not positive:
            weights, biases = -weights, -biases
    elif schema.task != REGRESSION:
        if link != SOFTMAX:
            raise Refused("it answers scores of several classes without Softmax")
        if order is not None:
            weights, biases = weights[:, order], biases[order]
    elif outputs != 1:
        raise Refused(f"it answers {outputs} numbers for a row; allowed: 1")
    return [*layers[:-1], (weights, biases)], activations


def _session(content: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of onnxruntime's own kinds
        line = (str(error).strip().splitlines() or ["no more is said"])[0]
        raise Refused(f"onnxruntime {onnxruntime.__version__} can't load it ({shown(line)})") from None


def _answers(session: Any, output: str, rows: np.ndarray) -> np.ndarray:
    kinds = {"tensor(double)": np.float64, "tensor(float)": np.float32, "tensor(int64)": np.int64}
    inputs = session.get_inputs()
    try:
        if len(inputs) == 1:
            given = {inputs[0].name: rows.astype(kinds[inputs[0].type])}
        else:
            given = {each.name: rows[:, [at]].astype(kinds[each.type]) for at, each in enumerate(inputs)}
        (found,) = session.run([output], given)
    except KeyError as error:
        raise Refused(f"an input of it is of type {error}; allowed: float, double and int64") from None
    except Exception as error:  # of onnxruntime's own kinds
        line = (str(error).strip().splitlines() or ["no more is said"])[0]
        raise Refused(
            f"onnxruntime {onnxruntime.__version__} can't answer the city's rows with it ({shown(line)})"
        ) from None
    if isinstance(found, list):  # ZipMap: a probability by class, in the classes' order
        return np.array([list(each.values()) for each in found], np.float64)
    return np.asarray(found, np.float64)
