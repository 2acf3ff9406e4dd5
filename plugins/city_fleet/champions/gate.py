"""The gate: an evaluation report and the fleet's rule become a decision with reasons. Pure.

Metrics are computed in the target's own unit on the same held-out rows for the challenger (the new model), the
champion (the one live) and the naive forecast (the last known value). A metric that is missing, not a number, not
finite or impossible refuses; it never passes. What the run's data say against the model comes from data_checks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from city_fleet.champions.data_checks import NOTHING, Findings, finite
from city_fleet.config import Gate

_HIGHER_IS_BETTER = frozenset({"r2"})
_SHARE = frozenset({"mape"})
_OTHER_METRIC = "Set gate.metric to mae or rmse (and gate.limits to one of them) where that is ordinary"


@dataclass(frozen=True)
class Decision:
    """What the gate decided about one challenger.

    :param promote: whether the challenger may go live.
    :param reasons: sentences for people, the deciding ones first.
    :param warnings: sentences about what a person should know, but does not hold the model.
    :param metrics: metric name → number, for ``challenger``, ``naive`` and, if there was one, ``champion``.
    :param champion_target_model: target model of the champion it was compared with, if any.
    :param champion_etag: ETag of the live pointer that champion was read from; None means there was no pointer.
    :param forced: promoted by the run's ``force`` parameter although the rule would have held it.
    :param superseded: held because the champion has seen newer data, however good the challenger is.
    :param unfit: something speaks against the challenger itself: its data, a limit, the naive forecast, a broken
        report. Losing to the champion alone does not make it unfit.
    :param data_until: first day of the newest period that the data hold, an ISO date; None if the report lacks it.
    """

    promote: bool
    reasons: tuple[str, ...]
    rows: int
    metrics: dict[str, dict[str, float | None]] = field(default_factory=dict)
    champion_target_model: str | None = None
    champion_etag: str | None = None
    forced: bool = False
    superseded: bool = False
    warnings: tuple[str, ...] = ()
    unfit: bool = False
    data_until: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "format_version": 1,
            **asdict(self),
            "reasons": list(self.reasons),
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Decision:
        known = {name: value[name] for name in cls.__dataclass_fields__ if name in value}
        sentences = {name: tuple(value.get(name, ())) for name in ("reasons", "warnings")}
        return cls(**{**known, **sentences})


def error_metrics(actual: Sequence[float], predicted: Sequence[float]) -> dict[str, float | None]:
    """Return MAPE (a fraction), RMSE and MAE (the target's unit) and R² of predictions, in plain Python.

    The evaluation job computes the same four with scikit-learn; a test holds the two together. MAPE is that of the rows
    whose target is not 0, and None when there is none; R² is None when it is not defined (fewer than two rows, or a
    constant target).

    :param actual: the target, one number per held-out row.
    :param predicted: predictions of the same length.
    """
    rows = len(actual)
    errors = [p - a for a, p in zip(actual, predicted, strict=True)]
    mean = sum(actual) / rows
    total = sum((a - mean) ** 2 for a in actual)
    shares = [abs(e / a) for a, e in zip(actual, errors, strict=True) if a != 0]
    squared = sum(e * e for e in errors)
    return {
        "mape": sum(shares) / len(shares) if shares else None,
        "rmse": math.sqrt(squared / rows),
        "mae": sum(abs(e) for e in errors) / rows,
        "r2": 1 - squared / total if rows > 1 and total > 0 else None,
    }


def decide(report: Any, rule: Gate, *, data: Findings = NOTHING, force: bool = False) -> Decision:
    """Decide whether the challenger of an evaluation report may replace the champion.

    :param report: ``evaluation.json`` of the evaluation job (see docs/architecture.md).
    :param rule: the city's gate settings.
    :param data: what was found in the run's data.
    :param force: promote whatever the rule says; the reasons then say so first.
    """
    report = report if isinstance(report, Mapping) else {}
    name = rule.metric
    against: list[str] = list(data.against)
    pro: list[str] = []
    rows = report.get("rows")
    rows = rows if isinstance(rows, int) and not isinstance(rows, bool) else 0
    if rows < rule.minimum_rows:
        against.append(f"only {rows} held-out rows; at least {rule.minimum_rows} are needed to judge a model")

    warnings = [*data.warnings, *_zeros(report, rule, rows, against)]
    challenger = _number(report.get("challenger"), name)
    champion = report.get("champion")
    superseded = newer_champion(report, champion)
    if challenger is None:
        against.append(_unusable(report, name, "the new model"))
    else:
        _compare_with_limits(report, rule, against)
        if rule.must_beat_naive:
            _compare_with_naive(report, challenger, rule, against, pro)
    unfit = bool(against)
    if challenger is not None:
        if superseded:
            against.insert(0, superseded)
        elif champion is not None:
            _compare_with_champion(champion, challenger, rule, against, pro)
        else:
            pro.append("there is no champion yet")

    forced = force and bool(against)
    promote = not against or force
    reasons = against + pro
    if forced:
        reasons.insert(0, "published by force although the gate would have held it")
    return Decision(
        promote=promote,
        reasons=tuple(reasons),
        rows=rows,
        metrics={
            who: _numbers(report[who])
            for who in ("challenger", "naive", "champion")
            if isinstance(report.get(who), Mapping)
        },
        champion_target_model=champion.get("target_model") if isinstance(champion, Mapping) else None,
        champion_etag=champion.get("etag") if isinstance(champion, Mapping) else None,
        forced=forced,
        superseded=superseded is not None and not promote,
        warnings=tuple(warnings),
        unfit=unfit,
        data_until=_last_period(report),
    )


def newer_champion(report: Mapping[str, Any], champion: Any) -> str | None:
    """Return the sentence for a champion that has seen newer data than the challenger, else None.

    Such a champion was trained on rows that are held out here; comparing errors would be unfair to the challenger.

    :param report: anything with the challenger's ``as_of`` stamp.
    :param champion: anything with the champion's ``as_of`` stamp, or None.
    """
    mine = report.get("as_of")
    theirs = champion.get("as_of") if isinstance(champion, Mapping) else None
    # Stamps have one form, so they sort as the instants they stand for.
    if not isinstance(mine, str) or not isinstance(theirs, str) or theirs <= mine:
        return None
    return (
        f"the model that serves was made as of {theirs}, this one only as of {mine}; "
        "an older run never replaces a newer champion"
    )


def _last_period(report: Mapping[str, Any]) -> str | None:
    holdout = report.get("holdout")
    last = holdout.get("last") if isinstance(holdout, Mapping) else None
    return last if isinstance(last, str) else None


def _zeros(report: Mapping[str, Any], rule: Gate, rows: int, against: list[str]) -> list[str]:
    """Return the warning that MAPE leaves rows out, or add the sentence that too few are left to judge by it.

    A share of 0 means nothing, so MAPE is that of the rows whose target is not 0.
    """
    zeros = report.get("zero_rows")
    if "mape" not in (rule.metric, *rule.limits) or not isinstance(zeros, int) or not 0 < zeros < rows:
        return []
    left = rows - zeros
    said = f"the target is 0 in {zeros} of {rows} held-out rows, where MAPE is not defined"
    if left < rule.minimum_rows:
        against.append(
            f"{said}; it has {left} rows left, at least {rule.minimum_rows} are needed to judge a model. "
            f"{_OTHER_METRIC}"
        )
        return []
    return [f"{said}: it is that of the other {left}. {_OTHER_METRIC}"]


def _unusable(report: Mapping[str, Any], metric: str, whose: str) -> str:
    """Return why a metric is not there, and what to do."""
    rows = report.get("rows")
    metrics = report.get("challenger")
    said = isinstance(metrics, Mapping) and metric in metrics and metrics[metric] is None
    if metric == "mape" and said and report.get("zero_rows") == rows:
        return f"the target is 0 in all {rows} held-out rows, where MAPE is not defined. {_OTHER_METRIC}"
    if metric == "r2" and said:
        return (
            f"R² is not defined: the target is the same in all {rows} held-out rows, or there is only one. "
            f"{_OTHER_METRIC}"
        )
    return f"the evaluation report holds no usable {metric} of {whose}"


def _compare_with_limits(report: Mapping[str, Any], rule: Gate, against: list[str]) -> None:
    """Add a sentence for every absolute limit the challenger breaks."""
    for metric, limit in rule.limits.items():
        value = _number(report.get("challenger"), metric)
        if value is None:
            against.append(_unusable(report, metric, "the new model"))
        elif _better(metric, limit, value):
            against.append(f"{_show(metric, value)} breaks the limit of {_show(metric, limit, bare=True)}")


def _compare_with_naive(
    report: Mapping[str, Any], challenger: float, rule: Gate, against: list[str], pro: list[str]
) -> None:
    """Add the sentence that compares the challenger with the last known value on the same rows."""
    name = rule.metric
    naive = _number(report.get("naive"), name)
    if naive is None:
        against.append(_unusable(report, name, "the naive forecast"))
        return
    better = _better(name, challenger, naive)
    (pro if better else against).append(
        f"{_show(name, challenger)} on {report.get('rows')} held-out rows "
        f"{'beats' if better else 'does not beat'} the naive forecast's {_show(name, naive, bare=True)}"
    )


def _compare_with_champion(
    champion: Any, challenger: float, rule: Gate, against: list[str], pro: list[str]
) -> None:
    """Add the sentence that compares challenger and champion on the same rows."""
    name = rule.metric
    incumbent = _number(champion, name)
    if incumbent is None:
        detail = champion.get("error") if isinstance(champion, Mapping) else None
        against.append(
            f"the champion could not be evaluated on the same rows ({detail or f'no usable {name}'}); "
            "publish with force if it has to go"
        )
        return
    # The tolerance is a share of the champion's own error, so that it means the same for every unit.
    slack = abs(incumbent) * rule.tolerance
    bound = incumbent - slack if name in _HIGHER_IS_BETTER else incumbent + slack
    if challenger == bound or _better(name, challenger, bound):
        pro.append(
            f"{_show(name, challenger)} holds against the champion's {_show(name, incumbent, bare=True)} "
            f"(tolerance {rule.tolerance:.0%})"
        )
    else:
        against.append(
            f"{_show(name, challenger)} is worse than the champion's {_show(name, incumbent, bare=True)} by more "
            f"than the tolerance of {rule.tolerance:.0%}"
        )


def _number(metrics: Any, name: str) -> float | None:
    """Return a finite metric that is possible (no error below 0, no R² above 1), or None for everything else."""
    value = finite(metrics.get(name)) if isinstance(metrics, Mapping) else None
    if value is None or (value > 1 if name in _HIGHER_IS_BETTER else value < 0):
        return None
    return value


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: _number(metrics, name) for name in ("mape", "rmse", "mae", "r2")}


def _better(metric: str, value: float, other: float) -> bool:
    return value > other if metric in _HIGHER_IS_BETTER else value < other


def _show(metric: str, value: float, *, bare: bool = False) -> str:
    if metric in _SHARE:
        text = f"{value:.1%}"
    elif metric in _HIGHER_IS_BETTER:
        text = f"{value:.3f}"
    else:
        text = f"{value:,.0f}"
    return text if bare else f"{metric.upper()} {text}"
