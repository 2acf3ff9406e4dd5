"""Makes sure that a booster is one that train.py writes, tree by tree: XGBoost itself follows whatever a file says."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from packed_trees import LINKS, MOST_DEPTH, MOST_STEPS

_KINDS = ("gbtree", "dart")


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
        if kind not in _KINDS or learner["objective"]["name"] not in LINKS:
            raise WrongShape("it is not of a kind that train.py makes")
        if int(parameters["num_class"]) != 0 or int(parameters["num_target"]) != 1:
            raise WrongShape("it predicts more than one number for a row")
        scores = np.array(parameters["base_score"].strip("[]").split(","), np.float64)
        model = gradient["model"] if kind == "gbtree" else gradient["gbtree"]["model"]
        _check_model(model, features)
        weights = gradient["weight_drop"] if kind == "dart" else [1.0] * len(model["trees"])
        if scores.size != 1 or not np.isfinite(np.array([*scores, *weights], np.float64)).all():
            raise WrongShape("a base score or a weight of a tree is not a number")
        if len(weights) != len(model["trees"]):
            raise WrongShape(f"it has {len(weights)} weights for {len(model['trees'])} trees")
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, RecursionError) as error:
        if isinstance(error, WrongShape):
            raise
        raise WrongShape(f"a part of it is missing or of another type ({error!r})") from None


def _check_model(model: dict[str, Any], features: int) -> None:
    trees = model["trees"]
    rounds = model["iteration_indptr"]
    if any(model["tree_info"]) or len(model["tree_info"]) != len(trees):
        raise WrongShape("its trees are not all of one target")
    # Files of before XGBoost 2.0 know no rounds, and it reckons them itself.
    if rounds and (rounds[0] != 0 or rounds[-1] != len(trees) or rounds != sorted(rounds)):
        raise WrongShape("its rounds are not those of its trees")
    if any(model.get("cats", {}).values()):
        raise WrongShape("it splits by categories")
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
    count = len(left)
    others = (right, values, splits, tree["default_left"], tree["parents"])
    if not count or any(len(each) != count for each in others):
        raise WrongShape("the lists of a tree are not equally long")
    if any(tree["split_type"]) or tree["categories"] or int(tree["tree_param"]["size_leaf_vector"]) > 1:
        raise WrongShape("it splits by categories, or predicts more than one number for a row")
    if int(tree["tree_param"]["num_nodes"]) != count:
        raise WrongShape(f"a tree says that it has another number of nodes than {count}")
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
        level = children
