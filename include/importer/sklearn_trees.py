"""Trees of scikit-learn's estimators as plain ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from plain_layers import Prepared
from plain_trees import (
    EXPONENTIAL,
    IDENTITY,
    SIGMOID,
    SOFTMAX,
    Forest,
    Tree,
    just_above,
    just_above_double,
)
from refusal import Refused


def prepared_forest(forest: Forest, prepared: Prepared) -> Forest:
    """Let a missing value go where what stands for it would.

    :raises Refused: inputs are scaled.
    """
    if not (prepared.factor == 1).all() or not (prepared.plus == 0).all():
        raise Refused(
            "its trees stand behind a scaler, whose rounding decides on which side of a threshold a "
            "value falls. Trees need "
            "none: fit the Pipeline without it"
        )
    if np.isnan(prepared.fill).all():
        return forest
    return replace(forest, trees=[_filled(tree, prepared.fill) for tree in forest.trees])


def _filled(tree: Tree, fill: np.ndarray) -> Tree:
    feature = np.where(tree.left >= 0, tree.feature, 0)
    if ((feature < 0) | (feature >= len(fill))).any():
        raise Refused("a node of its trees asks for an input that no row has")
    value = fill[feature]
    left = value.astype(np.float32) < tree.threshold
    return replace(tree, missing_left=np.where(np.isnan(value), tree.missing_left, left))


def _tree(tree: Any, values: np.ndarray) -> Tree:
    """Take a ``sklearn.tree._tree.Tree``: inputs are made single before ``value <= threshold``."""
    return Tree(
        np.asarray(tree.children_left, np.int64),
        np.asarray(tree.children_right, np.int64),
        np.asarray(tree.feature, np.int64),
        just_above(np.asarray(tree.threshold, np.float64)),
        np.asarray(tree.missing_go_to_left, bool),
        values,
        np.asarray(tree.weighted_n_node_samples, np.float64),
    )


def _values(tree: Any) -> np.ndarray:
    values = np.asarray(tree.value, np.float64)
    if values.ndim != 3 or values.shape[1] != 1:
        raise Refused("it predicts several targets for a row; allowed: one")
    return values[:, 0, :]


def _single(model: Any) -> tuple[Forest, bool]:
    values = _values(model.tree_)
    return Forest([_tree(model.tree_, values)], np.zeros(values.shape[1])), True


def _forest(model: Any) -> tuple[Forest, bool]:
    trees = [each.tree_ for each in model.estimators_]
    share = 1 / len(trees)
    outputs = _values(trees[0]).shape[1]
    plain = [_tree(tree, _values(tree) * share) for tree in trees]
    return Forest(plain, np.zeros(outputs)), True


def _boosting(model: Any) -> tuple[Forest, bool]:
    if type(model.init_).__name__ not in ("DummyRegressor", "DummyClassifier", "str"):
        raise Refused(
            f"it begins with a {type(model.init_).__name__} (init); allowed: what it begins with by default"
        )
    stages, outputs = model.estimators_.shape
    rate = float(model.learning_rate)
    base = np.asarray(model._raw_predict_init(np.zeros((1, model.n_features_in_), np.float32))[0], np.float64)
    plain = []
    for stage in range(stages):
        for output in range(outputs):
            tree = model.estimators_[stage, output].tree_
            values = np.zeros((tree.node_count, outputs))
            values[:, output] = _values(tree)[:, 0] * rate
            plain.append(_tree(tree, values))
    forest = Forest(plain, base.reshape(outputs))
    if hasattr(model, "classes_"):
        forest = replace(forest, link=SIGMOID if outputs == 1 else SOFTMAX)
        return forest.scaled(2.0) if model.loss == "exponential" else forest, False
    return forest, False


def _histogram(model: Any) -> tuple[Forest, bool]:
    outputs = int(model.n_trees_per_iteration_)
    plain = []
    for stage in model._predictors:
        for output, predictor in enumerate(stage):
            nodes = predictor.nodes
            if nodes["is_categorical"].any() or getattr(model, "_preprocessor", None) is not None:
                raise Refused(
                    "it was trained with categorical_features; allowed: numbers alone. Fit it "
                    "without, or import an XGBoost model"
                )
            leaf = nodes["is_leaf"].astype(bool)
            values = np.zeros((len(nodes), outputs))
            values[:, output] = nodes["value"]
            plain.append(
                Tree(
                    np.where(leaf, -1, nodes["left"].astype(np.int64)),
                    np.where(leaf, -1, nodes["right"].astype(np.int64)),
                    np.where(leaf, 0, nodes["feature_idx"].astype(np.int64)),
                    just_above_double(np.where(leaf, 0.0, nodes["num_threshold"])),
                    nodes["missing_go_to_left"].astype(bool),
                    values,
                    nodes["count"].astype(np.float64),
                )
            )
    base = np.asarray(model._baseline_prediction, np.float64).reshape(outputs)
    link = IDENTITY
    if hasattr(model, "classes_"):
        link = SIGMOID if outputs == 1 else SOFTMAX
    elif model.loss in ("poisson", "gamma"):
        link = EXPONENTIAL
    return Forest(plain, base, link), True


#: Name of an estimator's class → its trees, and whether it answers for missing values.
FORESTS: dict[str, Callable[[Any], tuple[Forest, bool]]] = {
    **dict.fromkeys(
        ("DecisionTreeRegressor", "DecisionTreeClassifier", "ExtraTreeRegressor", "ExtraTreeClassifier"),
        _single,
    ),
    **dict.fromkeys(
        ("RandomForestRegressor", "RandomForestClassifier", "ExtraTreesRegressor", "ExtraTreesClassifier"),
        _forest,
    ),
    **dict.fromkeys(("GradientBoostingRegressor", "GradientBoostingClassifier"), _boosting),
    **dict.fromkeys(("HistGradientBoostingRegressor", "HistGradientBoostingClassifier"), _histogram),
}
