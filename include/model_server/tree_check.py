"""Makes sure that packed trees can be evaluated, in a time that is known before: the evaluator itself checks nothing.

What a file says of itself bounds no work. Each tree has its own range of nodes, each node is reached once, and the
longest path is measured; so a row costs no more steps than the file has trees times that path, and those are bounded.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from model_server.answers import RequestError

HEADER = struct.Struct("<8s4IfI")
MAGIC = b"CFTREES1"
HEADER_CLASSES = struct.Struct("<8s6I")
MAGIC_CLASSES = b"CFTREES2"
SIGMOID, SOFTMAX = 2, 3
NODE_BYTES = 8
#: Far above what training makes (a few hundred trees of 6 splits), far below what hurts.
MOST_BYTES = 64 * 1024 * 1024
MOST_DEPTH = 4096
#: Trees times the nodes on the longest path: what a row may cost. A million take 5 to 50 ms.
MOST_STEPS = 2_000_000


@dataclass(frozen=True)
class TreeFacts:
    """What was found out about packed trees.

    :param features: how many a row has.
    :param steps: how many nodes a row visits at most.
    :param groups: how many numbers are answered for a row.
    """

    features: int
    steps: int
    groups: int = 1


def check_trees(trees: bytes) -> TreeFacts:
    """Make sure that packed trees can be evaluated.

    :param trees: the bytes of a packed ensemble, as include/scripts/packed_trees.py describes them.
    :raises RequestError: 500 when the file is not whole or too large, two trees share a node, a node leads out of its
        tree or is reached not once, a path is longer than the head says, a row would cost too much, or a number is
        none.
    """
    import numpy  # noqa: PLC0415 - a server without such models does without it

    if len(trees) < HEADER.size:
        raise _refused(f"they are cut off after {len(trees)} bytes")
    if len(trees) > MOST_BYTES:
        raise _refused(f"got {len(trees)} bytes; allowed: {MOST_BYTES}")
    groups, sizes_at = 1, HEADER.size
    if trees.startswith(MAGIC_CLASSES):
        _, tree_count, node_count, features, depth, groups, link = HEADER_CLASSES.unpack_from(trees)
        known = (link == SIGMOID and groups == 1) or (link == SOFTMAX and groups > 1)
        sizes_at += 8 * groups
    else:
        magic, tree_count, node_count, features, depth, base_score, link = HEADER.unpack_from(trees)
        known = magic == MAGIC and link <= 1
    if not known:
        raise RequestError(500, "The packed trees are of a format that this server does not know.")
    nodes_at = sizes_at + 4 * (tree_count + tree_count % 2)
    if not 1 <= features <= 0x7FFF or len(trees) != nodes_at + NODE_BYTES * node_count:
        raise _refused(f"{len(trees)} bytes are not what their head says")
    steps = tree_count * (depth + 1) + groups
    if depth > MOST_DEPTH or steps > MOST_STEPS:
        raise _refused(
            f"got {tree_count} trees of depth {depth}; allowed: a depth of {MOST_DEPTH}, and trees times nodes on a "
            f"path of {MOST_STEPS}. Train with fewer rounds or less deep trees"
        )
    if sizes_at == HEADER.size:
        base_scores = numpy.array([base_score])
    else:
        base_scores = numpy.frombuffer(trees, "<f4", groups, HEADER_CLASSES.size)
        sizes = numpy.frombuffer(trees, "<u4", groups, HEADER_CLASSES.size + 4 * groups)
        if int(sizes.sum(dtype=numpy.uint64)) != tree_count:
            raise _refused("the groups do not have as many trees as there are")
    roots = numpy.frombuffer(trees, "<u4", tree_count, sizes_at).astype(numpy.int64)
    nodes = numpy.frombuffer(
        trees, [("value", "<f4"), ("feature", "<u2"), ("children", "<u2")], node_count, nodes_at
    )
    distance = nodes["children"].astype(numpy.int64)
    if node_count and (nodes["feature"] & 0x7FFF).max() >= features:
        raise _refused("a node asks for a feature that no row has")
    if not (numpy.isfinite(nodes["value"]).all() and numpy.isfinite(base_scores).all()):
        raise _refused("a threshold, a leaf or the base score is not a number")
    _check_shape(roots, distance, depth)
    return TreeFacts(features, steps, groups)


def _check_shape(roots: Any, distance: Any, depth: int) -> None:
    """Make sure that the nodes are trees, one behind the other, and none deeper than is said.

    :param roots: numbers of the first nodes.
    :param distance: from each node to its left child; 0 = a leaf.
    """
    import numpy  # noqa: PLC0415

    count = len(distance)
    if len(roots) == 0:
        if count:
            raise _refused("there are nodes without a tree")
        return
    if roots[0] != 0 or roots[-1] >= count or bool((roots[1:] <= roots[:-1]).any()):
        raise _refused("two trees share nodes, or a node is of none")
    splits = numpy.flatnonzero(distance)
    left = splits + distance[splits]
    ends = numpy.append(roots[1:], count)[numpy.searchsorted(roots, splits, side="right") - 1]
    if bool((left + 1 >= ends).any()):
        raise _refused("a node leads out of its tree")
    # A child lies behind its parent and in its tree; where each node but the roots is a child once, there is no way
    # to a node but one, from its own root.
    reached = numpy.bincount(left, minlength=count) + numpy.bincount(left + 1, minlength=count)
    reached[roots] += 1
    if bool((reached != 1).any()):
        raise _refused("a node is reached from two sides, or from none")
    level, deep = roots, 0
    while True:
        level = level[distance[level] > 0]
        if len(level) == 0:
            break
        deep += 1
        if deep > depth:
            raise _refused(f"a path is longer than the {depth} splits that their head says")
        children = level + distance[level]
        level = numpy.concatenate((children, children + 1))


def _refused(reason: str) -> RequestError:
    return RequestError(500, f"The packed trees are damaged: {reason}.")
