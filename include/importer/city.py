"""The city that a model is imported for, as what converts one needs to know it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from table_schema import Schema


@dataclass(frozen=True)
class City:
    """A city.

    :param schema: of its rows; its transform says what a model answers.
    :param features: what the model's inputs are, in its order, by who imports it; None where the model says so.
    :param usual: features; the median of each in the training part, 0 where it has no value.
    """

    schema: Schema
    features: Sequence[str] | None
    usual: np.ndarray
