"""What of a city's features counts, how far each has drifted, and who answers for a parent's cities. Pure.

Made of what jobs have left in the bucket, without trusting it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from city_fleet.champions.data_checks import finite
from city_fleet.views.untrusted import member, text

#: Features of a list.
MOST_FEATURES = 40


@dataclass(frozen=True)
class Child:
    """Who answers for one city of a parent, as the parent's newest run has found.

    :param serves: the parent's ``model``, or a ``baseline``.
    :param model: the metric of the parent's model on the city's held-out rows, and ``baseline`` of the better baseline,
        called ``method``; None where there was nothing to measure.
    """

    city: str
    serves: str
    metric: str
    rows: int
    model: float | None
    baseline: float | None
    method: str


@dataclass(frozen=True)
class Weight:
    """A feature and a number that says something of it.

    :param limit: from where on it is too much; None where there is no such limit.
    """

    feature: str
    value: float
    limit: float | None = None

    @property
    def beyond(self) -> bool:
        return self.limit is not None and self.value > self.limit


def importances(report: Any, card: Any) -> tuple[str, tuple[Weight, ...]]:
    """Return how much each feature counts in a model, as shares of all, the largest first.

    :param report: the evaluation's of the model; one of before says nothing of it, and then the card does, perhaps.
    :return: what the shares are of, such as ``gain`` (empty where nothing is known), and the features.
    """
    said = member(report, "importances")
    kind, shares = text(said.get("kind")), member(said, "features")
    if not kind:
        kind, shares = "gain", member(member(card, "describe"), "importance_gain")
    found = {str(name): number for name, value in shares.items() if (number := finite(value)) is not None}
    total = math.fsum(max(0.0, number) for number in found.values())
    if total <= 0:
        return "", ()
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:MOST_FEATURES]
    return kind, tuple(Weight(text(name), max(0.0, number) / total) for name, number in ordered)


def children_of(report: Any) -> tuple[Child, ...]:
    """Return who answers for each city of a parent, by slug; nothing of a city that is none."""
    found = []
    for city, entry in sorted(member(report, "children").items()):
        if not isinstance(entry, Mapping):
            continue
        rows, metric = finite(entry.get("rows")), text(entry.get("metric"))
        model, baseline = finite(entry.get("model")), finite(entry.get("baseline"))
        method = text(entry.get("method"))
        found.append(
            Child(text(city), text(entry.get("serves")), metric, int(rows or 0), model, baseline, method)
        )
    return tuple(found)


def drift_of(
    report: Any, limit: float | None, category_limit: float | None
) -> tuple[tuple[Weight, ...], tuple[Weight, ...]]:
    """Return how far each feature has drifted, the farthest first: numbers, and categories.

    :param limit: in robust standard deviations; ``category_limit`` a share of the rows; None for any.
    """
    return _weights(report, "drift", limit), _weights(report, "category_drift", category_limit)


def _weights(report: Any, name: str, limit: float | None) -> tuple[Weight, ...]:
    said = member(report, name).items()
    found = [
        Weight(text(each), number, limit) for each, value in said if (number := finite(value)) is not None
    ]
    return tuple(sorted(found, key=lambda each: (-each.value, each.feature))[:MOST_FEATURES])
