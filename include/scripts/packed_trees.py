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

A classification has groups of trees, one for each class (of a binary task one, for the positive class):

======  ==========================================================================================
bytes   content
======  ==========================================================================================
0-7     ``CFTREES2``
8-31    unsigned 32-bit: trees, nodes, features, depth, groups, link: 2 = sigmoid (1 group), 3 = softmax (2 or more)
32-     float32 per group: base score (as a margin)
then    unsigned 32-bit per group: its number of trees; the trees lie group by group, in the order of the rounds
then    unsigned 32-bit per tree: as above
then    8 bytes per node, as above
======  ==========================================================================================

A right child lies behind its left one. A value goes left when it is below the threshold. The margin of a group is the
sum of its base score and the leaves in the order of its trees, in single precision: XGBoost's own operations. So are
the links', in single precision too: sigmoid = 1 / (1 + expf(-margin) + 1e-16), its exponent at most 88.7; softmax =
expf(margin - largest margin) / the sum of those, which is added up in double precision in the order of the groups, and
made single before the division. The exponential of the machine's C library may differ in the last digit.
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
MAGIC_CLASSES = b"CFTREES2"
HEADER_CLASSES = struct.Struct("<8s6I")
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


SIGMOID, SOFTMAX = 2, 3
CLASS_LINKS = {"binary:logistic": SIGMOID, "multi:softprob": SOFTMAX}


def pack_trees(booster: Any) -> bytes | None:
    """Pack a booster.

    :return: the file's bytes; None for a booster that cannot be packed: another kind than gbtree, another objective,
        categories, several targets, a tree too large for 16-bit distances, or more than servers take.
    """
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    parameters = learner["learner_model_param"]
    objective = learner["objective"]["name"]
    model = learner["gradient_booster"].get("model")
    groups = max(1, int(parameters["num_class"]))
    scores = np.array(parameters["base_score"].strip("[]").split(","), np.float32)
    features = int(parameters["num_feature"])
    if (
        objective not in (*LINKS, *CLASS_LINKS)
        or learner["gradient_booster"]["name"] != "gbtree"
        or model is None
        or scores.size not in (1, groups)
        or (groups > 1) != (objective == "multi:softprob")
        or int(parameters["num_target"]) != 1
        or features >= MISSING_GOES_LEFT
    ):
        return None
    sizes = [model["tree_info"].count(group) for group in range(groups)]
    # Sorting keeps the order of the rounds within a group.
    order = sorted(range(len(model["trees"])), key=model["tree_info"].__getitem__)
    nodes: list[tuple[float, int, int]] = []
    roots: list[int] = []
    depth = 0
    for number in order:
        roots.append(len(nodes))
        packed = _pack_tree(model["trees"][number])
        if packed is None:
            return None
        nodes += packed[0]
        depth = max(depth, packed[1])
    count = len(roots)
    if depth > MOST_DEPTH or count * (depth + 1) > MOST_STEPS or NODE.itemsize * len(nodes) > MOST_BYTES // 2:
        return None
    if objective in LINKS:
        link = LINKS[objective]
        score = math.log(float(scores[0])) if link == 1 else float(scores[0])
        head = HEADER.pack(MAGIC, count, len(nodes), features, depth, score, link)
    else:
        link = CLASS_LINKS[objective]
        head = HEADER_CLASSES.pack(MAGIC_CLASSES, count, len(nodes), features, depth, groups, link)
        margins = _logit(scores) if link == SIGMOID else np.broadcast_to(scores, groups)
        head += margins.astype("<f4").tobytes() + np.array(sizes, "<u4").tobytes()
    roots += [0] * (count % 2)
    return head + np.array(roots, "<u4").tobytes() + np.array(nodes, NODE).tobytes()


def _logit(probability: np.ndarray) -> np.ndarray:
    """XGBoost's way from a base score to its margin, in single precision."""
    one = np.float32(1)
    return -np.log(one / probability - one)


def feature_count(trees: bytes) -> int | None:
    """How many features a row for packed trees has.

    :param trees: the file's bytes.
    :return: None when they are cut off before they say it.
    """
    return int(HEADER.unpack_from(trees)[3]) if len(trees) >= HEADER.size else None


def class_count(trees: bytes) -> int | None:
    """How many numbers packed trees answer for a row; of a binary task one.

    :param trees: the file's bytes.
    :return: None when they are cut off before they say it.
    """
    if len(trees) < HEADER_CLASSES.size:
        return None
    return int(HEADER_CLASSES.unpack_from(trees)[5]) if trees.startswith(MAGIC_CLASSES) else 1


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
