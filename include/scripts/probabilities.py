"""From scores to probabilities, in numpy alone."""

from __future__ import annotations

import numpy as np

from table_schema import BINARY, REGRESSION


def softmax(scores: np.ndarray) -> np.ndarray:
    """Probabilities of classes.

    :param scores: rows × classes.
    """
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def two_classes(scores: np.ndarray) -> np.ndarray:
    """Probabilities of two classes.

    :param scores: rows; the logit of the second.
    :return: rows × 2.
    """
    # The logistic function by way of tanh overflows nowhere.
    positive = 0.5 * (1 + np.tanh(0.5 * scores))
    return np.column_stack([1 - positive, positive])


def in_classes(raw: np.ndarray, task: str) -> np.ndarray:
    """Bring what trees answer into the form of a task's answers.

    :param raw: rows: labels, or of a binary task probabilities of the positive class; or rows × classes.
    :return: labels (rows), or probabilities (rows × classes).
    """
    if task == REGRESSION:
        return raw
    # An average of probabilities that was added up in single precision may be off by its last digit.
    raw = np.clip(raw, 0, 1)
    return np.column_stack([1 - raw, raw]) if task == BINARY else raw


def class_frequencies(label: np.ndarray, weight: np.ndarray, classes: int) -> np.ndarray:
    """Shares of the classes among rows.

    :param label: rows; numbers of classes.
    """
    counts = np.bincount(label.astype(np.int64), weights=weight, minlength=classes)
    return np.asarray(counts / counts.sum())
