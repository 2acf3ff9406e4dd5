"""ONNX's tree ensembles as plain trees."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from plain_trees import IDENTITY, MOST_NODES, MOST_OUTPUTS, SIGMOID, SOFTMAX, Forest, Tree, just_above
from refusal import Refused, shown

_MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GT", "BRANCH_GTE", "LEAF")
_LINKS = {"NONE": IDENTITY, "LOGISTIC": SIGMOID, "SOFTMAX": SOFTMAX}


def forest_of(attributes: Mapping[str, Any], prefix: str, outputs: int) -> Forest:
    """Make plain trees of an operator's attributes.

    :param prefix: of the leaves' attributes: ``target`` or ``class``.
    :param outputs: how many numbers a leaf may add to.
    :raises Refused: a list lacks members, or a node compares in a way that is not read.
    """
    ids = _whole(attributes, "nodes_treeids")
    count = len(ids)
    if not 1 <= count <= MOST_NODES or not 1 <= outputs <= MOST_OUTPUTS:
        raise Refused(
            f"its trees have {count} nodes and {outputs} outputs; allowed: 1 to {MOST_NODES} and {MOST_OUTPUTS}"
        )
    numbers, features, true, false = (
        _whole(attributes, f"nodes_{name}")
        for name in ("nodeids", "featureids", "truenodeids", "falsenodeids")
    )
    values = _numbers(attributes, "nodes_values")
    modes = np.array(attributes.get("nodes_modes", []))
    missing = np.asarray(attributes.get("nodes_missing_value_tracks_true", np.zeros(count)), np.int64)
    if any(len(each) != count for each in (numbers, features, true, false, values, modes, missing)):
        raise Refused("the lists of its trees' nodes are not equally long")
    foreign = sorted(set(modes.tolist()) - set(_MODES))
    if foreign:
        raise Refused(f"its nodes compare by {shown(foreign[0])}; allowed: {', '.join(_MODES[:-1])}")
    places, roots = _places(ids, numbers)
    leaf = modes == "LEAF"
    below = np.isin(modes, ("BRANCH_LEQ", "BRANCH_LT"))
    threshold = np.where(
        np.isin(modes, ("BRANCH_LEQ", "BRANCH_GT")), just_above(values), values.astype(np.float32)
    )
    first, second = (_children(places, ids, each, leaf) for each in (true, false))
    left, right = np.where(below, first, second), np.where(below, second, first)
    # A missing value fails every comparison, unless a node says that it passes.
    missing_left = np.where(missing != 0, below, ~below)
    adds = _leaves(attributes, prefix, places, (count, outputs))
    base = np.zeros(outputs)
    given = _numbers(attributes, "base_values") if "base_values" in attributes else np.zeros(0)
    if len(given) not in (0, outputs):
        raise Refused(f"it has {len(given)} base values for {outputs} outputs")
    base[: len(given)] = given
    trees = []
    for start, end in roots:
        at = slice(start, end)
        inner = left[at] >= 0
        trees.append(
            Tree(
                np.where(inner, left[at] - start, -1),
                np.where(inner, right[at] - start, -1),
                features[at],
                np.where(inner, threshold[at], 0).astype(np.float32),
                missing_left[at],
                adds[at],
            )
        )
    how = str(attributes.get("aggregate_function", "SUM"))
    if how not in ("SUM", "AVERAGE"):
        raise Refused(f"its trees are taken together by {shown(how)}; allowed: SUM, AVERAGE")
    post = str(attributes.get("post_transform", "NONE"))
    if post not in _LINKS:
        raise Refused(f"it has post_transform {shown(post)}; allowed: {', '.join(_LINKS)}")
    forest = Forest(trees, np.zeros(outputs), _LINKS[post])
    forest = forest.scaled(1 / len(trees)) if how == "AVERAGE" else forest
    return Forest(forest.trees, base, forest.link)


def _places(ids: np.ndarray, numbers: np.ndarray) -> tuple[dict[tuple[int, int], int], list[tuple[int, int]]]:
    """Where each node stands, by its tree and number; and from where to where each tree goes."""
    starts = [0, *(np.flatnonzero(np.diff(ids)) + 1).tolist(), len(ids)]
    roots = list(pairwise(starts))
    places = {(int(tree), int(node)): at for at, (tree, node) in enumerate(zip(ids, numbers, strict=True))}
    if len(places) != len(ids) or len({int(ids[start]) for start, _ in roots}) != len(roots):
        raise Refused("two nodes of its trees have the same number, or a tree's nodes do not stand together")
    return places, roots


def _children(
    places: Mapping[tuple[int, int], int], ids: np.ndarray, numbers: np.ndarray, leaf: np.ndarray
) -> np.ndarray:
    found = [
        -1 if is_leaf else places.get((int(tree), int(node)), -2)
        for tree, node, is_leaf in zip(ids, numbers, leaf, strict=True)
    ]
    if -2 in found:
        raise Refused("a node of its trees leads to one that is not there")
    return np.array(found, np.int64)


def _leaves(
    attributes: Mapping[str, Any], prefix: str, places: Mapping[tuple[int, int], int], shape: tuple[int, int]
) -> np.ndarray:
    trees, nodes, outputs = (_whole(attributes, f"{prefix}_{name}") for name in ("treeids", "nodeids", "ids"))
    weights = _numbers(attributes, f"{prefix}_weights")
    if not len(trees) == len(nodes) == len(outputs) == len(weights):
        raise Refused("the lists of its trees' leaves are not equally long")
    if ((outputs < 0) | (outputs >= shape[1])).any():
        raise Refused("a leaf of its trees adds to an output that is not there")
    rows = [places.get((int(tree), int(node)), -1) for tree, node in zip(trees, nodes, strict=True)]
    if -1 in rows:
        raise Refused("a leaf of its trees is not there")
    adds = np.zeros(shape)
    np.add.at(adds, (np.array(rows, np.int64), outputs), weights)
    return adds


def _whole(attributes: Mapping[str, Any], name: str) -> np.ndarray:
    return np.asarray(attributes.get(name, []), np.int64)


def _numbers(attributes: Mapping[str, Any], name: str) -> np.ndarray:
    """A list of numbers, which may stand in a tensor of double precision instead."""
    doubles = attributes.get(f"{name}_as_tensor")
    return np.asarray(attributes.get(name, []) if doubles is None else doubles, np.float64).ravel()
