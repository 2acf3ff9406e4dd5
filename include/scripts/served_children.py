"""Who answers for each city of a parent: the pooled model, or the better forecast without one, by its held-out rows.

evaluate.py writes it into the artifact of a parent (``children.json``), and an answer by a city's name goes by it. A
city that has no held-out rows is answered by the model: nothing speaks against it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from calendar_grid import season
from feature_table import Values, last_known, value_at
from intervals import Residuals
from prediction_metrics import regression_metrics
from series_layout import SeriesLayout
from table_schema import Table

FORMAT_VERSION = 1
FILE = "children.json"
MODEL, BASELINE = "model", "baseline"
LAST_VALUE, LAST_SEASON = BASELINES = ("last known value", "same period last season")
#: Metrics of which more is better.
_HIGHER = frozenset({"r2"})
_MOST_CHILDREN = 10_000
_MOST_ERRORS = 200
_DIGITS = 6


@dataclass(frozen=True)
class Child:
    """Who answers for one city.

    :param serves: :data:`MODEL` or :data:`BASELINE`.
    :param metric: what decided; None where there was nothing to decide by.
    :param rows: held-out rows that decided.
    :param model: the metric of the parent's model; None where it is not there.
    :param baseline: the same of the better baseline.
    :param method: the better baseline, one of :data:`BASELINES`.
    :param errors: where a baseline answers: its own errors on those rows.
    """

    serves: str
    metric: str | None = None
    rows: int = 0
    model: float | None = None
    baseline: float | None = None
    method: str = LAST_VALUE
    errors: Residuals = field(default_factory=lambda: Residuals(ratio=False, by_step={}))

    def to_json(self) -> dict[str, Any]:
        """Write it as evaluation.json has it: without the errors."""
        return {
            "serves": self.serves,
            "metric": self.metric,
            "rows": self.rows,
            "model": self.model,
            "baseline": self.baseline,
            "method": self.method,
        }


def judge_children(table: Table, predicted: np.ndarray, metric: str, *, ratio: bool) -> dict[str, Child]:
    """Find out who answers for each city of a parent.

    :param table: the parent's held-out rows.
    :param predicted: for these rows, by models that have not seen them.
    :param metric: what the gate compares; where it is not defined the mean absolute error stands in.
    :param ratio: whether errors are ratios, as under a logarithm.
    """
    owners = np.array(table.members)
    last, before = table.baselines["naive"], table.baselines["seasonal"]
    ways = {LAST_VALUE: last, LAST_SEASON: np.where(np.isfinite(before), before, last)}
    found = {}
    for city in table.schema.members:
        at = owners == city
        if not at.any():
            found[city] = Child(MODEL)
            continue
        actual = table.target[at]
        measured = {name: regression_metrics(actual, values[at]) for name, values in ways.items()}
        own = regression_metrics(actual, predicted[at])
        name = metric if _defined(metric, [own, *measured.values()]) else "mae"
        sign = -1 if name in _HIGHER else 1
        method = min(measured, key=lambda way: sign * float(measured[way][name] or 0))
        model, baseline = own[name], measured[method][name]
        wins = model is not None and baseline is not None and sign * model < sign * baseline
        errors = Residuals(ratio, {})
        if not wins:
            steps = table.baselines["ahead"][at]
            errors = Residuals.of(actual, ways[method][at], steps, ratio=ratio, most=_MOST_ERRORS)
        found[city] = Child(MODEL if wins else BASELINE, name, int(at.sum()), model, baseline, method, errors)
    return found


def _defined(metric: str, measured: Sequence[Mapping[str, float | None]]) -> bool:
    return all(each.get(metric) is not None for each in measured)


def baseline_forecast(
    method: str, layout: SeriesLayout, values: Values, newest: int, index: int
) -> float | None:
    """Forecast a period without a model, as the baseline of a held-out row was made.

    :param newest: number of the newest known period.
    :param index: of the period that is forecast.
    :return: None where nothing is known.
    """
    if method == LAST_SEASON:
        around = season(layout.frequency)
        value = value_at(values, index - around * math.ceil((index - newest) / around), layout.target)
        if value is not None:
            return value
    return last_known(values, newest, layout.target)


def to_bytes(children: Mapping[str, Child]) -> bytes:
    """Write children.json."""
    value = {
        "format_version": FORMAT_VERSION,
        "children": {
            city: child.to_json()
            | {
                "ratio": child.errors.ratio,
                "errors": {
                    str(step): [round(error, _DIGITS) for error in errors]
                    for step, errors in child.errors.by_step.items()
                },
            }
            for city, child in children.items()
        },
    }
    return (json.dumps(value, allow_nan=False) + "\n").encode()


def from_bytes(content: bytes) -> dict[str, Child]:
    """Read children.json without trusting it; of a parent of before, which has none, nothing is known.

    :raises ValueError: it is not as :func:`to_bytes` writes it.
    """
    if not content:
        return {}
    try:
        value: Any = json.loads(content)
    except RecursionError:
        raise ValueError("lists in lists without end") from None
    children = value.get("children") if isinstance(value, dict) else None
    if not isinstance(children, dict) or len(children) > _MOST_CHILDREN:
        raise ValueError(f"allowed: children, with up to {_MOST_CHILDREN} cities")
    return {city: _child(city[:100], each) for city, each in children.items()}


def _child(city: str, value: Any) -> Child:
    if not isinstance(value, dict) or value.get("serves") not in (MODEL, BASELINE):
        raise ValueError(f"{city}: serves: allowed: {MODEL}, {BASELINE}")
    method = value.get("method", LAST_VALUE)
    if method not in BASELINES:
        raise ValueError(f"{city}: method: allowed: {', '.join(BASELINES)}")
    errors = {"ratio": value.get("ratio", False), "by_step": value.get("errors", {})}
    return Child(value["serves"], method=method, errors=Residuals.from_json(errors))
