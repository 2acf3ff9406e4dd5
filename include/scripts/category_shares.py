"""How many rows each category has, and how far other rows are from that."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from table_schema import Feature

#: Of more categories nothing is kept: their shares say little, and would fill the artifact.
MOST_CATEGORIES = 1000


def category_count(feature: Feature) -> int:
    """Return how many shares a feature has: its categories, all others, and missing; 0 for one that is not measured."""
    if feature.kind == "boolean":
        return 3
    measured = feature.kind == "category" and len(feature.categories) <= MOST_CATEGORIES
    return len(feature.categories) + 2 if measured else 0


def category_shares(feature: Feature, values: np.ndarray) -> list[float]:
    """Return the share of rows of each category.

    :param values: rows; places of categories as the table has them, NaN where missing.
    :return: as many as :func:`category_count` says, the missing ones last.
    """
    count = category_count(feature)
    places = np.where(np.isnan(values), count - 1, values).astype(int)
    counted = np.bincount(np.clip(places, 0, count - 1), minlength=count)
    return [float(share) for share in counted / len(values)]


def distance(trained: Sequence[float], recent: Sequence[float], rows: int) -> float:
    """Return which share of rows has gone over to other categories, beyond what chance alone moves.

    It is the total variation distance, half the sum of the differences, less its expected value for as many rows drawn
    from the training rows (that of a mean absolute deviation of a binomial share): a dozen rows in ten categories
    differ by a third without any drift.

    :param rows: of which the recent shares are.
    :return: from 0 to 1.
    """
    moved = sum(abs(a - b) for a, b in zip(trained, recent, strict=True)) / 2
    chance = sum(math.sqrt(2 * a * (1 - a) / (math.pi * rows)) for a in trained) / 2
    return max(0.0, moved - chance)
