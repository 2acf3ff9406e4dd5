"""Makes sure that a booster is one that train.py writes, tree by tree: XGBoost itself follows whatever a file says."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from packed_trees import CLASS_LINKS, LINKS, MOST_DEPTH, MOST_STEPS

_KINDS = ("gbtree", "dart")
_MOST_CLASSES = 100_000
_SEVERAL = "reg:squarederror"
_CATEGORY = 1
#: What XGBoost writes as the parent of a tree's root.
_NO_PARENT = 2**31 - 1
_MOST_CATEGORIES = 100_001


class WrongShape(ValueError):
    """A booster that XGBoost reads, but must not be asked; the text says why, as a part of a sentence."""


def check_shape(content: bytes) -> None:
    """Check a booster.

    :param content: as XGBoost writes it in JSON.
    :raises WrongShape: for another kind than train.py makes, a tree with a node that is reached twice, or leads out of
        it, a number that is none, or more work for one row than any real model makes.
    """
    try:
        learner = json.loads(content)["learner"]
        parameters = learner["learner_model_param"]
        features = int(parameters["num_feature"])
        gradient = learner["gradient_booster"]
        kind = gradient["name"]
        if kind not in _KINDS or learner["objective"]["name"] not in LINKS | CLASS_LINKS:
            raise WrongShape("it is not of a kind that train.py makes")
        classes = int(parameters["num_class"])
        targets = int(parameters["num_target"])
        # Several sums without a link are the probabilities of classes themselves, as an imported forest has them.
        if targets != 1 and (
            learner["objective"]["name"] != _SEVERAL or kind != "gbtree" or not 2 <= targets <= _MOST_CLASSES
        ):
            raise WrongShape("it predicts several targets for a row")
        if (classes == 0) == (
            learner["objective"]["name"] == "multi:softprob"
        ) or not 0 <= classes <= _MOST_CLASSES:
            raise WrongShape(f"it has {classes} classes, which is not what its objective needs")
        scores = np.array(parameters["base_score"].strip("[]").split(","), np.float64)
        model = gradient["model"] if kind == "gbtree" else gradient["gbtree"]["model"]
        _check_model(model, features, max(classes, targets, 1))
        weights = gradient["weight_drop"] if kind == "dart" else [1.0] * len(model["trees"])
        if (
            scores.size not in (1, max(classes, targets, 1))
            or not np.isfinite(np.array([*scores, *weights], np.float64)).all()
        ):
            raise WrongShape("a base score or a weight of a tree is not a number")
        if len(weights) != len(model["trees"]):
            raise WrongShape(f"it has {len(weights)} weights for {len(model['trees'])} trees")
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, RecursionError) as error:
        if isinstance(error, WrongShape):
            raise
        raise WrongShape(f"a part of it is missing or of another type ({error!r})") from None


def _check_model(model: dict[str, Any], features: int, groups: int) -> None:
    trees = model["trees"]
    rounds = model["iteration_indptr"]
    group = np.array(model["tree_info"], np.int64)
    if len(group) != len(trees) or bool(((group < 0) | (group >= groups)).any()):
        raise WrongShape("its trees are not all of its classes")
    # Files of before XGBoost 2.0 know no rounds, and it reckons them itself.
    if rounds and (rounds[0] != 0 or rounds[-1] != len(trees) or rounds != sorted(rounds)):
        raise WrongShape("its rounds are not those of its trees")
    if any(model.get("cats", {}).values()):
        raise WrongShape("it has categories of a data frame")
    deepest = 0
    for tree in trees:
        deepest = max(deepest, _check_tree(tree, features))
        if deepest > MOST_DEPTH or len(trees) * (deepest + 1) > MOST_STEPS:
            raise WrongShape(
                f"got {len(trees)} trees of depth {deepest} or more; allowed: a depth of {MOST_DEPTH}, and trees times "
                f"nodes on a path of {MOST_STEPS}"
            )


def _check_tree(tree: dict[str, Any], features: int) -> int:
    """Return how many splits the longest path of a tree has."""
    left = np.array(tree["left_children"], np.int64)
    right = np.array(tree["right_children"], np.int64)
    values = np.array(tree["split_conditions"], np.float64)
    splits = np.array(tree["split_indices"], np.int64)
    parents = np.array(tree["parents"], np.int64)
    count = len(left)
    told = (tree[name] for name in ("default_left", "base_weights", "loss_changes", "sum_hessian"))
    others = (right, values, splits, parents, *told)
    if not count or any(len(each) != count for each in others):
        raise WrongShape("the lists of a tree are not equally long")
    if int(tree["tree_param"]["size_leaf_vector"]) > 1:
        raise WrongShape("a leaf of it holds more than one number")
    if int(tree["tree_param"]["num_nodes"]) != count:
        raise WrongShape(f"a tree says that it has another number of nodes than {count}")
    _check_categories(tree, count)
    # XGBoost looks for each node at its parent, wherever that is said to be.
    if bool(((parents != _NO_PARENT) & ((parents < 0) | (parents >= count))).any()):
        raise WrongShape("a node's parent is out of its tree")
    # Nodes that training has taken away again are in the file, and nothing leads there.
    reached = np.zeros(count, bool)
    level, depth = np.zeros(1, np.int64), 0
    while True:
        reached[level] = True
        if not np.isfinite(values[level]).all():
            raise WrongShape("a threshold or a leaf is not a number")
        level = level[left[level] != -1]
        if len(level) == 0:
            return depth
        depth += 1
        if depth > MOST_DEPTH:
            return depth
        if bool(((splits[level] < 0) | (splits[level] >= features)).any()):
            raise WrongShape("a node asks for a feature that no row has")
        children = np.concatenate((left[level], right[level]))
        if bool(((children <= 0) | (children >= count)).any()):
            raise WrongShape("a node leads out of its tree")
        if bool(reached[children].any()) or len(np.unique(children)) != len(children):
            raise WrongShape("a node is reached from two sides")
        if not np.array_equal(parents[children], np.concatenate((level, level))):
            raise WrongShape("a node names another parent than the one that leads to it")
        level = children


def _check_categories(tree: dict[str, Any], count: int) -> None:
    """A split by category names a piece of a list; no piece may lie outside, nor any number in it be no category."""
    kinds = np.array(tree["split_type"], np.int64)
    numbers, nodes, begins, sizes = (
        np.array(tree[name], np.int64)
        for name in ("categories", "categories_nodes", "categories_segments", "categories_sizes")
    )
    if len(kinds) not in (0, count) or bool(((kinds != 0) & (kinds != _CATEGORY)).any()):
        raise WrongShape("a split is of another type than number or category")
    same = len(nodes) == len(begins) == len(sizes)
    if not same or not np.array_equal(nodes, np.flatnonzero(kinds == _CATEGORY)):
        raise WrongShape("its lists of categories are not those of its splits")
    if bool(((numbers < 0) | (numbers >= _MOST_CATEGORIES)).any()):
        raise WrongShape("a category is none")
    whole = np.array_equal(begins, np.cumsum(sizes) - sizes) and int(sizes.sum()) == len(numbers)
    if not whole or bool((sizes < 1).any()):
        raise WrongShape("its splits share categories, or have none")
