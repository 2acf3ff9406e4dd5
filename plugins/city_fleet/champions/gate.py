"""The gate: an evaluation report and the fleet's rule become a decision with reasons. Pure.

Metrics are those of the report's task, computed on the same held-out rows for the challenger (the new model), the
champion (the one live) and the baselines (predictions without a model, as the last known value). A metric that is
missing, not a number, not finite or impossible refuses; it never passes. What the run's data say against the model
comes from data_checks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from city_fleet.champions.data_checks import NOTHING, Findings, finite
from city_fleet.config import Gate
from city_fleet.metrics import METRICS, METRICS_OF, REGRESSION, TASKS, better, default_metric, possible, show

_OTHER_METRIC = "Set gate.metric to mae or rmse (and gate.limits to one of them) where that is ordinary"
_NOT_DEFINED = {
    "mape": "the target is 0 in all {rows} held-out rows, where MAPE is not defined. " + _OTHER_METRIC,
    "wape": "the target is 0 in all {rows} held-out rows, where WAPE is not defined. " + _OTHER_METRIC,
    "r2": "R² is not defined: the target is the same in all {rows} held-out rows, or there is only one. "
    + _OTHER_METRIC,
    "roc_auc": "ROC AUC is not defined: all {rows} held-out rows are of one class, or none is of the positive one. Set "
    "gate.metric to log_loss or accuracy (and gate.limits to one of them) where that is ordinary",
}


@dataclass(frozen=True)
class Decision:
    """What the gate decided about one challenger.

    :param promote: whether the challenger may go live.
    :param reasons: sentences for people, the deciding ones first.
    :param warnings: sentences about what a person should know, but does not hold the model.
    :param metrics: metric name → number, for ``challenger``, ``naive`` and, if there was one, ``champion``.
    :param task: what the model predicts: a number, or one of two or more classes.
    :param metric: name of the metric that was compared.
    :param baselines: name of a prediction without a model → its metrics; empty in reports of earlier job scripts.
    :param champion_target_model: target model of the champion it was compared with, if any.
    :param champion_etag: ETag of the live pointer that champion was read from; None means there was no pointer.
    :param champion_sequence: with which that champion served when the gate had decided; None where none did.
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
    champion_sequence: int | None = None
    forced: bool = False
    superseded: bool = False
    warnings: tuple[str, ...] = ()
    unfit: bool = False
    data_until: str | None = None
    task: str = REGRESSION
    metric: str = "mape"
    baselines: dict[str, dict[str, float | None]] = field(default_factory=dict)

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


def decide(report: Any, rule: Gate, *, data: Findings = NOTHING, force: bool = False) -> Decision:
    """Decide whether the challenger of an evaluation report may replace the champion.

    :param report: ``evaluation.json`` of the evaluation job (see docs/architecture.md).
    :param rule: the city's gate settings.
    :param data: what was found in the run's data.
    :param force: promote whatever the rule says; the reasons then say so first.
    """
    report = report if isinstance(report, Mapping) else {}
    against: list[str] = list(data.against)
    pro: list[str] = []
    task = _task(report, against)
    rule = rule if rule.metric else rule.model_copy(update={"metric": default_metric(task)})
    name = str(rule.metric)
    rows = report.get("rows")
    rows = rows if isinstance(rows, int) and not isinstance(rows, bool) else 0
    if rows < rule.minimum_rows:
        against.append(f"only {rows} held-out rows; at least {rule.minimum_rows} are needed to judge a model")

    warnings = [*data.warnings, *_zeros(report, rule, rows, against)]
    challenger = _number(report.get("challenger"), name)
    champion = report.get("champion")
    superseded = newer_champion(report, champion)
    if challenger is None or name not in METRICS_OF[task]:
        against.append(_unusable(report, name, "the new model"))
    else:
        _compare_with_limits(report, rule, against)
        if rule.must_beat_naive:
            _compare_with_baselines(report, challenger, name, against, pro)
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
            who: _numbers(report[who], task)
            for who in ("challenger", "naive", "champion")
            if isinstance(report.get(who), Mapping)
        },
        champion_target_model=champion.get("target_model") if isinstance(champion, Mapping) else None,
        champion_etag=champion.get("etag") if isinstance(champion, Mapping) else None,
        forced=forced,
        superseded=superseded is not None and not promote,
        warnings=tuple(warnings),
        unfit=unfit,
        data_until=_last_period(report) or data.newest,
        task=task,
        metric=name,
        baselines={who: _numbers(metrics, task) for who, metrics in _baselines(report).items() if who},
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
    rows, task = report.get("rows"), report.get("task", REGRESSION)
    allowed = METRICS_OF.get(task) if isinstance(task, str) else None
    if allowed and metric not in allowed:
        return f"the gate asks for {metric}, and the model is of task {task}; allowed: {', '.join(allowed)}"
    metrics = report.get("challenger")
    said = isinstance(metrics, Mapping) and metric in metrics and metrics[metric] is None
    if said and metric in _NOT_DEFINED and (metric != "mape" or report.get("zero_rows") == rows):
        return _NOT_DEFINED[metric].format(rows=rows)
    return f"the evaluation report holds no usable {metric} of {whose}"


def _task(report: Mapping[str, Any], against: list[str]) -> str:
    """Return the report's task, or add the sentence that it is none; earlier job scripts knew regressions alone."""
    task = report.get("task", REGRESSION)
    if task in TASKS:
        return str(task)
    against.append(f"the evaluation report names no task; allowed: {', '.join(TASKS)}")
    return REGRESSION


def _baselines(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a model must beat: name → metrics. The name is empty for the one baseline of earlier job scripts."""
    if "baselines" not in report:
        return {"": report.get("naive")}
    found = report["baselines"]
    named = isinstance(found, Mapping) and all(isinstance(name, str) and name for name in found)
    return dict(found) if named and found else {"": None}


def _compare_with_limits(report: Mapping[str, Any], rule: Gate, against: list[str]) -> None:
    """Add a sentence for every absolute limit the challenger breaks."""
    for metric, limit in rule.limits.items():
        value = _number(report.get("challenger"), metric)
        if value is None:
            against.append(_unusable(report, metric, "the new model"))
        elif better(metric, limit, value):
            against.append(f"{_titled(metric, value)} breaks the limit of {show(metric, limit)}")


def _compare_with_baselines(
    report: Mapping[str, Any], challenger: float, metric: str, against: list[str], pro: list[str]
) -> None:
    """Add the sentence that compares the challenger with predictions without a model on the same rows."""
    beaten: list[str] = []
    unbeaten: list[str] = []
    for name, metrics in _baselines(report).items():
        value = _number(metrics, metric)
        if value is None:
            whose = f"the baseline '{name[:50]}'" if name else "the naive forecast"
            against.append(_unusable(report, metric, whose))
            continue
        better_than = beaten if better(metric, challenger, value) else unbeaten
        better_than.append(f"the {_possessive(name[:50] or 'naive forecast')} {show(metric, value)}")
    on_rows = f"{_titled(metric, challenger)} on {report.get('rows')} held-out rows"
    if unbeaten:
        against.append(f"{on_rows} does not beat {' and '.join(unbeaten)}")
    elif beaten:
        pro.append(f"{on_rows} beats {' and '.join(beaten)}")


def _compare_with_champion(
    champion: Any, challenger: float, rule: Gate, against: list[str], pro: list[str]
) -> None:
    """Add the sentence that compares challenger and champion on the same rows."""
    name = str(rule.metric)
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
    bound = incumbent - slack if METRICS[name].higher else incumbent + slack
    if challenger == bound or better(name, challenger, bound):
        pro.append(
            f"{_titled(name, challenger)} holds against the champion's {show(name, incumbent)} "
            f"(tolerance {rule.tolerance:.0%})"
        )
    else:
        against.append(
            f"{_titled(name, challenger)} is worse than the champion's {show(name, incumbent)} by more "
            f"than the tolerance of {rule.tolerance:.0%}"
        )


def _number(metrics: Any, name: str) -> float | None:
    """Return a finite metric that is possible (no error below 0, no share above 1), or None for everything else."""
    value = finite(metrics.get(name)) if isinstance(metrics, Mapping) else None
    return value if value is not None and possible(name, value) else None


def _numbers(metrics: Any, task: str) -> dict[str, float | None]:
    return {name: _number(metrics, name) for name in METRICS_OF[task]}


def _titled(metric: str, value: float) -> str:
    return f"{METRICS[metric].title} {show(metric, value)}"


def _possessive(name: str) -> str:
    return f"{name}'" if name.endswith("s") else f"{name}'s"
