"""Trees of any library as plain arrays, and those as a booster in XGBoost's own format.

A value goes left where it is below the threshold, in single precision: XGBoost's rule, to which each format's own is
brought. Sums of leaves may be the prediction, or its logarithm, logit or scores of classes; several sums without a link
are the probabilities of classes themselves (a forest's averages).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from refusal import Refused

#: Nodes of all trees: a booster of them is about as large as servers take.
MOST_NODES = 1_000_000
MOST_TREES = 20_000
MOST_OUTPUTS = 1000
IDENTITY, EXPONENTIAL, SIGMOID, SOFTMAX = LINKS = ("identity", "exponential", "sigmoid", "softmax")
_OBJECTIVES = {
    IDENTITY: "reg:squarederror",
    EXPONENTIAL: "count:poisson",
    SIGMOID: "binary:logistic",
    SOFTMAX: "multi:softprob",
}
_NO_PARENT = 2**31 - 1
_LARGEST = np.finfo(np.float32).max


@dataclass(frozen=True)
class Tree:
    """A tree; node 0 is its root.

    :param left: nodes; the child for a value below the threshold, -1 of a leaf. ``right`` is the other one.
    :param feature: nodes; the input that is looked at.
    :param threshold: nodes; float32.
    :param missing_left: nodes; whether a missing value goes left.
    :param values: nodes × outputs; what a leaf adds to each output.
    :param cover: nodes; how many rows of training came by; of one that nobody knows, how many leaves lie below.
    """

    left: np.ndarray
    right: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    missing_left: np.ndarray
    values: np.ndarray
    cover: np.ndarray | None = None


@dataclass(frozen=True)
class Forest:
    """Trees whose leaves are added up.

    :param base: outputs; what the sums begin with.
    :param link: one of :data:`LINKS`.
    """

    trees: Sequence[Tree]
    base: np.ndarray
    link: str = IDENTITY

    @property
    def outputs(self) -> int:
        """How many sums there are."""
        return len(self.base)

    def with_outputs(self, chosen: Sequence[int]) -> Forest:
        """Take some of the outputs, in this order."""
        order = list(chosen)
        return replace(
            self,
            base=self.base[order],
            trees=[replace(tree, values=tree.values[:, order]) for tree in self.trees],
        )

    def scaled(self, factor: float, plus: float = 0.0) -> Forest:
        """Multiply all sums, and add a number."""
        return replace(
            self,
            base=self.base * factor + plus,
            trees=[replace(tree, values=tree.values * factor) for tree in self.trees],
        )


def just_above(threshold: np.ndarray) -> np.ndarray:
    """Turn thresholds of ``value <= threshold`` into those of ``value < threshold``, for values of single precision.

    :param threshold: float64 or float32.
    :return: the smallest float32 above each.
    """
    single = np.clip(threshold, -_LARGEST, _LARGEST).astype(np.float32)
    below = np.where(single > threshold, np.nextafter(single, np.float32(-np.inf)), single)
    return np.minimum(np.nextafter(below, np.float32(np.inf)), np.float32(_LARGEST))


def just_above_double(threshold: np.ndarray) -> np.ndarray:
    """The same for values of double precision, which are made single before they are compared.

    A value that equals the threshold stays on its side. One beside it that single precision can't tell apart goes there
    as well; whether that happens with a city's rows is found out when answers are compared.
    """
    single = np.clip(threshold, -_LARGEST, _LARGEST).astype(np.float32)
    return np.minimum(np.nextafter(single, np.float32(np.inf)), np.float32(_LARGEST))


def check_forest(forest: Forest, inputs: int) -> None:
    """Look at every node before anybody follows one.

    :param inputs: how many inputs a row has.
    :raises Refused: there are too many trees or nodes, a node leads astray or is reached twice, or a number is none.
    """
    nodes = sum(len(tree.left) for tree in forest.trees)
    if not 1 <= len(forest.trees) <= MOST_TREES or nodes > MOST_NODES:
        raise Refused(
            f"it has {len(forest.trees)} trees of {nodes} nodes; allowed: 1 to {MOST_TREES} trees of "
            f"up to {MOST_NODES} "
            "nodes together. Train with fewer or smaller trees (max_depth, max_leaf_nodes, min_samples_leaf)"
        )
    if not 1 <= forest.outputs <= MOST_OUTPUTS or not np.isfinite(forest.base).all():
        raise Refused(f"it answers {forest.outputs} numbers for a row; allowed: 1 to {MOST_OUTPUTS}")
    for number, tree in enumerate(forest.trees):
        why = _astray(tree, inputs, forest.outputs)
        if why:
            raise Refused(f"tree {number}: {why}; the file is damaged, or not of the library that it names")


def _astray(tree: Tree, inputs: int, outputs: int) -> str | None:
    count = len(tree.left)
    flat = (tree.right, tree.feature, tree.threshold, tree.missing_left)
    if not count or any(each.shape != (count,) for each in flat) or tree.values.shape != (count, outputs):
        return "its arrays are not equally long"
    inner = np.flatnonzero(tree.left >= 0)
    leaves = np.flatnonzero(tree.left < 0)
    children = np.concatenate((tree.left[inner], tree.right[inner]))
    if ((children <= 0) | (children >= count)).any():
        return "a node leads out of it"
    if len(np.unique(children)) != len(children):
        return "a node is reached from two sides"
    if ((tree.feature[inner] < 0) | (tree.feature[inner] >= inputs)).any():
        return f"a node asks for an input that no row has (there are {inputs})"
    if not np.isfinite(tree.threshold[inner]).all() or not np.isfinite(tree.values[leaves]).all():
        return "a threshold or a leaf is not a number"
    # With each child reached once, whatever the root does not reach is a circle of its own.
    reached, level = 1, np.zeros(1, np.int64)
    while len(level := level[tree.left[level] >= 0]):
        level = np.concatenate((tree.left[level], tree.right[level]))
        reached += len(level)
    return None if reached == len(children) + 1 else "it holds a circle"


def booster_json(forest: Forest, names: Sequence[str]) -> bytes:
    """Write a forest as XGBoost writes a booster in JSON.

    :param forest: a checked one.
    :param names: of the features, as XGBoost takes them.
    """
    first = set(range(forest.outputs))
    trees: list[dict[str, Any]] = []
    groups: list[int] = []
    rounds = [0]
    for tree in forest.trees:
        whole = _children_last(tree)
        for group in range(forest.outputs):
            values = whole.values[:, group]
            if group in first:  # the sums' beginning: in double precision here, as no base score is
                values = values + forest.base[group]
                first.remove(group)
            elif not values.any():  # a tree of another class
                continue
            trees.append(_tree_json(whole, values, len(trees), len(names)))
            groups.append(group)
        rounds.append(len(trees))
    classes = forest.outputs if forest.link == SOFTMAX else 0
    objective = _OBJECTIVES[forest.link]
    neutral = {IDENTITY: "0", EXPONENTIAL: "1", SIGMOID: "5E-1", SOFTMAX: "0"}[forest.link]
    parameters = {
        EXPONENTIAL: {"poisson_regression_param": {"max_delta_step": "0.7"}},
        SOFTMAX: {"softmax_multiclass_param": {"num_class": str(classes)}},
    }.get(forest.link, {"reg_loss_param": {"scale_pos_weight": "1"}})
    model = {
        "cats": {"enc": [], "feature_segments": [], "sorted_idx": []},
        "gbtree_model_param": {"num_parallel_tree": "1", "num_trees": str(len(trees))},
        "iteration_indptr": rounds,
        "tree_info": groups,
        "trees": trees,
    }
    booster = {
        "learner": {
            "attributes": {},
            "feature_names": list(names),
            "feature_types": [],
            "gradient_booster": {"model": model, "name": "gbtree"},
            "learner_model_param": {
                "base_score": f"[{','.join([neutral] * forest.outputs)}]",
                "boost_from_average": "0",
                "num_class": str(classes),
                "num_feature": str(len(names)),
                "num_target": str(1 if classes else forest.outputs),
            },
            "objective": {"name": objective, **parameters},
        },
        "version": [3, 2, 0],
    }
    return json.dumps(booster).encode()


def _children_last(tree: Tree) -> Tree:
    """Bring a tree's nodes into the order of their levels, as XGBoost has them, and count what came by."""
    order, level = [np.zeros(1, np.int64)], np.zeros(1, np.int64)
    while len(level := level[tree.left[level] >= 0]):
        level = np.column_stack((tree.left[level], tree.right[level])).ravel()
        order.append(level)
    chosen = np.concatenate(order)
    places = np.full(len(tree.left), -1, np.int64)
    places[chosen] = np.arange(len(chosen))
    left, right = tree.left[chosen], tree.right[chosen]
    ordered = Tree(
        np.where(left >= 0, places[left], -1),
        np.where(left >= 0, places[right], -1),
        np.where(left >= 0, tree.feature[chosen], 0),
        tree.threshold[chosen],
        tree.missing_left[chosen],
        tree.values[chosen].astype(np.float64),
        None if tree.cover is None else tree.cover[chosen].astype(np.float64),
    )
    return _filled(ordered)


def _filled(tree: Tree) -> Tree:
    """Give inner nodes the mean of what lies below, and nodes without a cover the number of leaves below."""
    count = len(tree.left)
    cover = np.ones(count) if tree.cover is None else np.where(tree.cover > 0, tree.cover, 1e-6)
    leaf = tree.left < 0
    values = np.where(leaf[:, np.newaxis], tree.values, 0.0)
    below = np.where(leaf, cover, 0.0)
    for node in range(count - 1, -1, -1):
        if not leaf[node]:
            left, right = tree.left[node], tree.right[node]
            below[node] = below[left] + below[right]
            values[node] = (values[left] * below[left] + values[right] * below[right]) / below[node]
    return replace(tree, values=values, cover=below)


def _tree_json(tree: Tree, values: np.ndarray, number: int, inputs: int) -> dict[str, Any]:
    count = len(tree.left)
    inner = tree.left >= 0
    parents = np.full(count, _NO_PARENT, np.int64)
    for children in (tree.left, tree.right):
        parents[children[inner]] = np.flatnonzero(inner)
    single = values.astype(np.float32)
    covers = np.ones(count) if tree.cover is None else tree.cover
    zeros = [0] * count
    return {
        "base_weights": single.tolist(),
        "categories": [],
        "categories_nodes": [],
        "categories_segments": [],
        "categories_sizes": [],
        "default_left": (inner & tree.missing_left).astype(int).tolist(),
        "id": number,
        "left_children": tree.left.tolist(),
        "loss_changes": [0.0] * count,
        "parents": parents.tolist(),
        "right_children": tree.right.tolist(),
        "split_conditions": np.where(inner, tree.threshold, single).astype(np.float32).tolist(),
        "split_indices": tree.feature.tolist(),
        "split_type": zeros,
        "sum_hessian": covers.astype(np.float32).tolist(),
        "tree_param": {
            "num_deleted": "0",
            "num_feature": str(inputs),
            "num_nodes": str(count),
            "size_leaf_vector": "1",
        },
    }
