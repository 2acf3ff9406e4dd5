"""A booster's trees as one small file that a server can use as it is: nothing is parsed when a model is loaded.

XGBoost's own file stays the model; this one says the same for servers that hold thousands of models. All numbers are
little-endian:

======  ==========================================================================================
bytes   content
======  ==========================================================================================
0-7     ``CFTREES1``
8-31    unsigned 32-bit: trees, nodes, features, depth; float32: base score (as a margin); unsigned 32-bit: link, 0 =
        the sum is the prediction, 1 = its exponential is
32-     unsigned 32-bit per tree: its root's number among the nodes; an even number of them, the last one may be 0
then    8 bytes per node: float32 threshold, or weight of a leaf; unsigned 16-bit feature, its highest bit set where a
        missing value goes left; unsigned 16-bit distance from the node to its left child, 0 = a leaf
======  ==========================================================================================

A right child lies behind its left one. A value goes left when it is below the threshold. The prediction is the sum of
the base score and the leaves in the order of the trees, in single precision: XGBoost's own operations.
"""

from __future__ import annotations

import json
import math
import struct
from collections import deque
from typing import Any

import numpy as np

MAGIC = b"CFTREES1"
HEADER = struct.Struct("<8s4IfI")
NODE = np.dtype([("value", "<f4"), ("feature", "<u2"), ("children", "<u2")])
MISSING_GOES_LEFT = 0x8000
#: What servers take: a file's size, splits on a path, and trees times nodes on the longest path.
MOST_BYTES = 64 * 1024 * 1024
MOST_DEPTH = 4096
MOST_STEPS = 2_000_000
LARGEST_DISTANCE = 0xFFFF
LINKS = {
    "reg:squarederror": 0,
    "reg:absoluteerror": 0,
    "reg:pseudohubererror": 0,
    "reg:squaredlogerror": 0,
    "reg:gamma": 1,
    "reg:tweedie": 1,
    "count:poisson": 1,
}


def pack_trees(booster: Any) -> bytes | None:
    """Pack a booster.

    :return: the file's bytes; None for a booster that cannot be packed: another kind than gbtree, another objective,
        categories, several targets, a tree too large for 16-bit distances, or more than servers take.
    """
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    link = LINKS.get(learner["objective"]["name"])
    model = learner["gradient_booster"].get("model")
    base_scores = np.array(learner["learner_model_param"]["base_score"].strip("[]").split(","), np.float32)
    features = int(learner["learner_model_param"]["num_feature"])
    if (
        link is None
        or learner["gradient_booster"]["name"] != "gbtree"
        or model is None
        or base_scores.size != 1
        or any(model["tree_info"])
        or features >= MISSING_GOES_LEFT
    ):
        return None
    base_score = float(base_scores[0])
    if link == 1:
        base_score = math.log(base_score)
    nodes: list[tuple[float, int, int]] = []
    roots: list[int] = []
    depth = 0
    for tree in model["trees"]:
        roots.append(len(nodes))
        packed = _pack_tree(tree)
        if packed is None:
            return None
        nodes += packed[0]
        depth = max(depth, packed[1])
    roots += [0] * (len(roots) % 2)
    count = len(model["trees"])
    if depth > MOST_DEPTH or count * (depth + 1) > MOST_STEPS or NODE.itemsize * len(nodes) > MOST_BYTES // 2:
        return None
    header = HEADER.pack(MAGIC, count, len(nodes), features, depth, base_score, link)
    return header + np.array(roots, "<u4").tobytes() + np.array(nodes, NODE).tobytes()


def feature_count(trees: bytes) -> int | None:
    """How many features a row for packed trees has.

    :param trees: the file's bytes.
    :return: None when they are cut off before they say it.
    """
    return int(HEADER.unpack_from(trees)[3]) if len(trees) >= HEADER.size else None


def _pack_tree(tree: dict[str, Any]) -> tuple[list[tuple[float, int, int]], int] | None:
    """Bring a tree's nodes into the file's order, level by level, so that the first splits share cache lines.

    :param tree: as XGBoost writes it in JSON.
    :return: the nodes as (value, feature, distance), and how many splits the longest path has.
    """
    if any(tree["split_type"]) or int(tree["tree_param"].get("size_leaf_vector", 1)) > 1:
        return None
    left, right = tree["left_children"], tree["right_children"]
    order: list[int] = []
    waiting = deque([(0, 0)])
    distances: dict[int, int] = {}
    depth = 0
    placed = 1
    while waiting:
        node, level = waiting.popleft()
        depth = max(depth, level)
        if left[node] != -1:
            distances[node] = placed - len(order)
            if distances[node] > LARGEST_DISTANCE:
                return None
            waiting.append((left[node], level + 1))
            waiting.append((right[node], level + 1))
            placed += 2
        order.append(node)
    packed = []
    for node in order:
        distance = distances.get(node, 0)
        feature = tree["split_indices"][node] if distance else 0
        if distance and tree["default_left"][node]:
            feature |= MISSING_GOES_LEFT
        packed.append((tree["split_conditions"][node], feature, distance))
    return packed, depth
