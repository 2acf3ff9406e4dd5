"""Why a model answers a row as it does: what each feature adds to what an average row gets.

XGBoost's trees are taken apart by TreeSHAP, as XGBoost computes it (Lundberg et al. 2020, "From local explanations to
global understanding with explainable AI for trees"); a linear model by coefficient × (value - mean). Of any other the
features of the row take the place of those of a typical row one by one, in many drawn orders, and each counts what it
changes on average: Shapley values by sampling (Štrumbelj & Kononenko 2014). All three add up to the answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from model_artifact import Model
from table_schema import BINARY, REGRESSION

TREE_SHAP, LINEAR, SAMPLED = "tree_shap", "linear", "sampled"
#: Rows that are answered to explain one.
MOST_ANSWERS, MOST_ORDERS = 20_000, 64


def contributions(model: Model, row: np.ndarray, background: np.ndarray) -> dict[str, Any]:
    """Take one answer apart.

    :param row: features, in the model's order; NaN where missing.
    :param background: rows × features that stand for all others.
    :return: members of explanation.json's ``row``: ``method``, ``scale`` (of base and contributions: ``target``,
        ``log of the target``, ``log odds``, ``score`` or ``probability``), ``class`` that is explained (None of a
        regression), ``prediction``, ``base`` and ``base_prediction`` (of an average row), and ``features``: name,
        ``contribution``, and of a regression ``amount``, in the target's unit, and under a logarithm ``factor``; those
        that add most come first. ``rest`` is what the sum lacks.
    """
    schema = model.card.schema
    answer = model.predict(row[np.newaxis])[0]
    place = None if schema.task == REGRESSION else 1 if schema.task == BINARY else int(np.argmax(answer))
    predicted = float(answer if place is None else answer[place])
    of_predictor: Any = getattr(model.predictor, "contributions", None)
    if of_predictor is None:
        found = _sampled(_asked(model, place), row, _typical(model, background))
        method, scale = SAMPLED, _scale(model, "identity") if place is None else "probability"
    else:
        added = np.asarray(of_predictor(row[np.newaxis], background), dtype=np.float64)[0]
        found = added[:, place if place is not None and added.shape[1] > 1 else 0]
        method = TREE_SHAP if model.card.algorithm == "xgboost" else LINEAR
        scale = _scale(model, str(getattr(model.predictor, "link", "identity")))
    base, parts = float(found[-1]), found[:-1]
    report: dict[str, Any] = {
        "method": method,
        "scale": scale,
        "class": None if place is None else schema.classes[place],
        "prediction": predicted,
        "base": base,
    }
    amounts, factors = None, None
    if scale in ("target", "probability"):
        report |= {"base_prediction": base, "rest": predicted - base - float(parts.sum())}
        amounts = parts if scale == "target" else None
    elif scale == "log of the target":
        reference = schema.transform.reference
        unit = 1.0 if reference is None else float(row[model.card.features.index(reference)])
        below = unit * math.exp(base)
        whole = float(parts.sum())
        # The logarithmic mean shares out a difference by shares of logarithms, and leaves nothing (Ang 2004).
        mean = (predicted - below) / whole if abs(whole) > 1e-9 else predicted
        amounts, factors = parts * mean, np.exp(parts)
        report |= {"base_prediction": below, "rest": math.log(predicted / unit) - base - whole}
    elif scale == "log odds":
        report |= {
            "base_prediction": 1 / (1 + math.exp(-base)),
            "rest": _log_odds(predicted) - base - float(parts.sum()),
        }
    else:
        report |= {"base_prediction": None, "rest": None}
    order = sorted(range(len(parts)), key=lambda at: (-abs(parts[at]), at))
    report["features"] = [
        {
            "name": model.card.features[at],
            "value": schema.features[at].decode(float(row[at])),
            "contribution": float(parts[at]),
            **({} if amounts is None else {"amount": float(amounts[at])}),
            **({} if factors is None else {"factor": float(factors[at])}),
        }
        for at in order
    ]
    return report


def _scale(model: Model, link: str) -> str:
    if link == "logit":
        return "log odds"
    if link == "softmax":
        return "score"
    logarithms = (model.card.transform.kind != "none") + (link == "log")
    return ("target", "log of the target", "score")[logarithms]


def _log_odds(probability: float) -> float:
    kept = min(max(probability, 1e-15), 1 - 1e-15)
    return math.log(kept / (1 - kept))


def _asked(model: Model, place: int | None) -> Callable[[np.ndarray], np.ndarray]:
    """Return what asks for labels (a ratio stays one to the row's own reference), or a class's probabilities."""

    def ask(rows: np.ndarray) -> np.ndarray:
        answers = np.asarray(model.predictor.predict(rows), dtype=np.float64)
        return answers if place is None else answers[:, place]

    return ask


def _typical(model: Model, background: np.ndarray) -> np.ndarray:
    """Return a row of medians, and of a category its most frequent value."""
    found = np.full(background.shape[1], np.nan)
    for at, feature in enumerate(model.card.schema.features):
        known = background[~np.isnan(background[:, at]), at]
        if not len(known):
            continue
        if feature.kind in ("category", "boolean"):
            values, counts = np.unique(known, return_counts=True)
            found[at] = values[np.argmax(counts)]
        else:
            found[at] = np.median(known)
    return found


def _sampled(ask: Callable[[np.ndarray], np.ndarray], row: np.ndarray, typical: np.ndarray) -> np.ndarray:
    """Return what each feature changes on average, and last the answer of the typical row."""
    count = len(row)
    orders = max(2, min(MOST_ORDERS, MOST_ANSWERS // (count + 1)) // 2 * 2)
    draws, total = np.random.default_rng(0), np.zeros(count)
    drawn = [draws.permutation(count) for _ in range(orders // 2)]
    for order in [
        each for one in drawn for each in (one, one[::-1])
    ]:  # a reverse takes most of the chance away
        steps = np.tile(typical, (count + 1, 1))
        for at, feature in enumerate(order.tolist(), start=1):
            steps[at:, feature] = row[feature]
        total[order] += np.diff(ask(steps))
    return np.append(total / orders, ask(typical[np.newaxis])[0])
