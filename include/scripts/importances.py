"""How much each feature counts in a model, as evaluation.json says it.

What a model says of itself comes first: XGBoost the gain of its splits, a linear model its coefficients. Of any other
the values of one feature at a time are shuffled over held-out rows, and what counts is by how much its errors grow
(Breiman 2001, "Random forests", section 10).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from model_artifact import Model, untransformed
from prediction_metrics import LEAST_PROBABILITY
from table_schema import REGRESSION

GAIN, COEFFICIENT, PERMUTATION = KINDS = ("gain", "coefficient", "permutation")
#: Bounds of a permutation: of more rows some are taken, evenly spread; later features than so many are not looked at.
MOST_ROWS, MOST_FEATURES = 2000, 200
#: Rows that are answered in all, and how often each feature is shuffled as long as they suffice.
MOST_ANSWERS, SHUFFLES = 100_000, 5


def importances(model: Model, values: np.ndarray, actual: np.ndarray) -> dict[str, Any]:
    """Say how much each feature counts.

    :param values: held-out rows × features, in the model's order.
    :param actual: their targets, in the target's unit; of a classification the numbers of the model's classes, -1 for
        a class that it does not know.
    :return: ``kind``, one of :data:`KINDS`; ``features``: name → share of the sum, the largest first, without those
        that count nothing; of a permutation also ``rows`` and ``shuffles``, and ``left_out``, how many features are
        not looked at.
    """
    gains = model.card.describe.get("importance_gain")
    if isinstance(gains, Mapping):
        return {"kind": GAIN, "features": _shares(gains)}
    sizes = getattr(model.predictor, "sizes", None)
    if sizes is not None:
        return {"kind": COEFFICIENT, "features": _shares(sizes(model.card.shares))}
    return _by_permutation(model, values, actual)


def _by_permutation(model: Model, values: np.ndarray, actual: np.ndarray) -> dict[str, Any]:
    names = model.card.features[:MOST_FEATURES]
    known = np.flatnonzero(actual >= 0) if model.card.schema.task != REGRESSION else np.arange(len(actual))
    most = max(1, min(MOST_ROWS, MOST_ANSWERS // max(1, len(names))))
    if len(known) > most:
        known = known[np.linspace(0, len(known) - 1, most).round().astype(int)]
    shuffles = max(1, min(SHUFFLES, MOST_ANSWERS // max(1, len(names) * len(known))))
    rows, truth = values[known], actual[known]
    draws = np.random.default_rng(0)
    before = _loss(model, rows, truth, rows)
    grown: dict[str, float] = {}
    for at, name in enumerate(names):
        if np.isnan(rows[:, at]).all() or (rows[:, at] == rows[:1, at]).all():
            continue
        losses = []
        for _ in range(shuffles):
            shuffled = rows.copy()
            shuffled[:, at] = rows[draws.permutation(len(rows)), at]
            losses.append(_loss(model, shuffled, truth, rows))
        grown[name] = float(np.mean(losses)) - before
    return {
        "kind": PERMUTATION,
        "features": _shares(grown),
        "rows": len(known),
        "shuffles": shuffles,
        "left_out": len(model.card.features) - len(names),
    }


def _loss(model: Model, values: np.ndarray, actual: np.ndarray, own: np.ndarray) -> float:
    """Return the mean absolute error in the target's unit, or the log loss.

    :param own: the rows as they are: a ratio stays one to its own row's reference, or that feature would seem to be
        nearly all that counts.
    """
    if not len(values):
        return 0.0
    answers = np.asarray(model.predictor.predict(values), dtype=np.float64)
    if model.card.schema.task == REGRESSION:
        off = np.abs(untransformed(model.card.schema, answers, own) - actual)
        return float(off[np.isfinite(off)].mean()) if np.isfinite(off).any() else 0.0
    likely = answers[np.arange(len(answers)), actual.astype(np.int64)]
    return float(-np.log(np.maximum(likely, LEAST_PROBABILITY)).mean())


def _shares(found: Mapping[str, Any]) -> dict[str, float]:
    """Bring numbers to the sum 1; what is not above 0 counts nothing."""
    numbers = {str(name): size for name, size in found.items() if isinstance(size, int | float)}
    sizes = {name: float(size) for name, size in numbers.items() if math.isfinite(size) and size > 0}
    whole = math.fsum(sizes.values())
    ordered = sorted(sizes.items(), key=lambda each: (-each[1], each[0]))
    return {name: round(size / whole, 6) for name, size in ordered if round(size / whole, 6) > 0}
