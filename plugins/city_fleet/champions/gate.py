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
from city_fleet.champions.paired_test import Paired
from city_fleet.config import Gate
from city_fleet.metrics import (
    METRICS,
    METRICS_OF,
    REGRESSION,
    TASKS,
    better,
    default_metric,
    possible,
    show_apart,
)

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
    :param unfit: something speaks against the challenger itself: its data, a limit, a naive forecast that is better, a
        broken report. Losing to the champion does not make it unfit, nor beating the naive forecast by too little.
    :param refit: of a series: whether the model that serves has learned the periods that judged it; None where the
        report does not say so: then the judged model serves.
    :param known_until: first day of the newest period that the serving model has learned; None likewise.
    :param data_until: first day of the newest period that the data hold, an ISO date; None if the report lacks it.
    :param parent_serves: held because the city's parent is better on its rows, and the champion, if there is one, is
        worse than the parent too: so the parent answers for the city.
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
    refit: bool | None = None
    known_until: str | None = None
    parent_serves: bool = False

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

    :param report: ``evaluation.json`` of the evaluation job (see docs/internals/architecture.md).
    :param rule: the city's gate settings.
    :param data: what was found in the run's data.
    :param force: promote whatever the rule says; the reasons then say so first.
    """
    report = report if isinstance(report, Mapping) else {}
    against: list[str] = list(data.against)
    unproven: list[str] = []
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
        if rule.must_beat_naive or rule.must_beat_all_baselines:
            warnings += _compare_with_baselines(report, challenger, rule, (against, unproven, pro))
    unfit, lost = bool(against), False
    against += unproven
    if challenger is not None:
        if superseded:
            against.insert(0, superseded)
        elif champion is not None:
            _compare_with_champion(champion, challenger, rule, against, pro)
        else:
            pro.append("there is no champion yet")
        lost = _compare_with_parent(report.get("parent"), rule, against, pro, warnings)

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
        **_halves(report),
        parent_serves=lost and not promote and _champion_loses(report, rule),
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


def _halves(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return which half of the model serves, as fields of a decision."""
    said = report.get("backtest")
    refit, until = (said.get("refit"), said.get("known_until")) if isinstance(said, Mapping) else (None, None)
    if not isinstance(refit, bool) or not isinstance(until, str):
        return {}
    return {"refit": refit, "known_until": until}


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
            got, allowed = show_apart(metric, value, [limit])
            against.append(f"{METRICS[metric].title} {got} breaks the limit of {allowed}")


def _compare_with_baselines(
    report: Mapping[str, Any],
    challenger: float,
    rule: Gate,
    said_of: tuple[list[str], list[str], list[str]],
) -> list[str]:
    """Add the sentences that compare the challenger with predictions without a model on the same rows.

    :param said_of: what speaks against the model itself, what holds it without that, and what speaks for it. A model
        that is better than the naive forecast, and not by enough, or not than the others, is no sign of a bad night.
    :return: the warning about baselines that it does not beat and need not beat.
    """
    metric = str(rule.metric)
    against, unproven, pro = said_of
    found: list[tuple[str, float, str | None, bool]] = []
    loses = False
    every = rule.must_beat_all_baselines
    if every is None:
        every = isinstance(report.get("backtest"), Mapping)
    for number, (name, metrics) in enumerate(_baselines(report).items()):
        must = every or number == 0  # the first one is the naive forecast
        value = _number(metrics, metric)
        if value is None:
            whose = f"the baseline '{name[:50]}'" if name else "the naive forecast"
            if must:
                against.append(_unusable(report, metric, whose))
            continue
        loses |= number == 0 and not better(metric, challenger, value)
        found.append((name, value, _unbeaten(report, rule, name, challenger, value), must))
    title, *texts = show_apart(metric, challenger, [value for _, value, _, _ in found])
    on_rows = f"{METRICS[metric].title} {title} on {report.get('rows')} held-out rows"
    said = [
        (f"the {_possessive(name[:50] or 'naive forecast')} {text}{detail or ''}", detail is None, must)
        for (name, _, detail, must), text in zip(found, texts, strict=True)
    ]
    unbeaten = [text for text, beaten, must in said if must and not beaten]
    beaten_ones = [text for text, beaten, _ in said if beaten]
    only_warned = [text for text, beaten, must in said if not must and not beaten]
    if unbeaten:
        (against if loses else unproven).append(f"{on_rows} does not beat {' and '.join(unbeaten)}")
    elif beaten_ones:
        pro.append(f"{on_rows} beats {' and '.join(beaten_ones)}{_surely(report, rule)}")
    return [f"{on_rows} does not beat {' and '.join(only_warned)}"] if only_warned else []


def _unbeaten(
    report: Mapping[str, Any], rule: Gate, name: str, challenger: float, value: float
) -> str | None:
    """Return None where a baseline is beaten; else what a sentence adds to its value, empty where it is simply better.

    A report without ``paired`` (of a table, or of earlier job scripts) has nothing to test: the smaller error wins.
    """
    metric = str(rule.metric)
    if not better(metric, challenger, value):
        return ""
    if not isinstance(report.get("paired"), Mapping):
        return None
    paired = Paired.of(report["paired"].get(name), metric)
    if paired is None:
        return f" (the evaluation report holds no paired losses by {metric}; clear the evaluate task)"
    if not paired.is_better(rule.margin):
        return f" by {rule.margin:.0%} or more (gate.margin)" if rule.margin else ""
    sure = paired.confidence()
    if rule.confidence is not None and sure < rule.confidence:
        needed = f"{sure:.0%} sure over {paired.origins} origins, gate.confidence {rule.confidence:g}"
        return f" beyond chance ({needed})"
    return None


def _surely(report: Mapping[str, Any], rule: Gate) -> str:
    if not isinstance(report.get("paired"), Mapping) or not (rule.margin or rule.confidence):
        return ""
    by = f" by {rule.margin:.0%} or more" if rule.margin else ""
    sure = f", {rule.confidence:.0%} sure" if rule.confidence else ""
    return f"{by}{sure}"


def _compare_with_champion(
    champion: Any, challenger: float, rule: Gate, against: list[str], pro: list[str]
) -> None:
    """Add the sentence that compares challenger and champion on the same rows.

    These are not all rows where the champion has learned some of them: then its entry holds the challenger's metrics
    on the rows that are left.
    """
    name = str(rule.metric)
    incumbent = _number(champion, name)
    if incumbent is None:
        detail = champion.get("error") if isinstance(champion, Mapping) else None
        against.append(
            f"the champion could not be evaluated on the same rows ({detail or f'no usable {name}'}); "
            "publish with force if it has to go"
        )
        return
    rows, on_rows = champion.get("rows"), ""
    if "challenger" in champion:
        own = _number(champion["challenger"], name)
        if own is None or not isinstance(rows, int) or isinstance(rows, bool) or rows < rule.minimum_rows:
            against.append(
                f"only {rows} held-out rows are left that the champion has not learned; at least "
                f"{rule.minimum_rows} are needed to compare with it; publish with force if it has to go"
            )
            return
        challenger, on_rows = own, f" on {rows} rows"
    mine, theirs = show_apart(name, challenger, [incumbent])
    titled = f"{METRICS[name].title} {mine}"
    if _holds_against(name, challenger, incumbent, rule):
        pro.append(
            f"{titled} holds against the champion's {theirs}{on_rows} (tolerance {rule.tolerance:.0%})"
        )
    else:
        against.append(
            f"{titled} is worse than the champion's {theirs}{on_rows} by more "
            f"than the tolerance of {rule.tolerance:.0%}"
        )


def _compare_with_parent(
    parent: Any, rule: Gate, against: list[str], pro: list[str], warnings: list[str]
) -> bool:
    """Add the sentence that compares the challenger with the city's parent on the rows that the parent has too.

    Where it can't be compared, nothing speaks against the challenger: a parent is there to help.

    :return: whether the parent is better.
    """
    if not isinstance(parent, Mapping):
        return False
    metric, whose = str(rule.metric), f"its parent {str(parent.get('city'))[:100]}"
    theirs, own, rows = _number(parent, metric), _number(parent.get("challenger"), metric), parent.get("rows")
    if parent.get("error") is not None or theirs is None or own is None or not isinstance(rows, int):
        warnings.append(f"{whose} could not be compared: {parent.get('error') or f'no usable {metric}'}")
        return False
    if rows < rule.minimum_rows:
        warnings.append(f"{whose} was not compared: it was judged on {rows} of the held-out rows")
        return False
    mine, other = show_apart(metric, own, [theirs])
    said = f"{METRICS[metric].title} {mine}"
    if not _holds_against(metric, own, theirs, rule):
        against.append(
            f"{said} is worse than {_possessive(whose)} {other} on {rows} rows by more than the tolerance of "
            f"{rule.tolerance:.0%}"
        )
        return True
    pro.append(f"{said} holds against {_possessive(whose)} {other} on {rows} rows")
    return False


def _holds_against(name: str, challenger: float, incumbent: float, rule: Gate) -> bool:
    """Tell whether a model is as good as one that serves, within the tolerance.

    That is a share of the other's own error, so that it means the same for every unit.
    """
    slack = abs(incumbent) * rule.tolerance
    bound = incumbent - slack if METRICS[name].higher else incumbent + slack
    return challenger == bound or better(name, challenger, bound)


def _champion_loses(report: Mapping[str, Any], rule: Gate) -> bool:
    """Tell whether nothing of the city's own is as good as its parent: no champion, or one that is worse too."""
    if report.get("champion") is None:
        return True
    both = (report.get("parent") or {}).get("champion")
    if not isinstance(both, Mapping) or not isinstance(both.get("rows"), int):
        return False
    theirs, own = (_number(both.get(who), str(rule.metric)) for who in ("parent", "champion"))
    enough = both["rows"] >= rule.minimum_rows
    if not enough or theirs is None or own is None:
        return False
    return not _holds_against(str(rule.metric), own, theirs, rule)


def _number(metrics: Any, name: str) -> float | None:
    """Return a finite metric that is possible (no error below 0, no share above 1), or None for everything else."""
    value = finite(metrics.get(name)) if isinstance(metrics, Mapping) else None
    return value if value is not None and possible(name, value) else None


def _numbers(metrics: Any, task: str) -> dict[str, float | None]:
    return {name: _number(metrics, name) for name in METRICS_OF[task]}


def _possessive(name: str) -> str:
    return f"{name}'" if name.endswith("s") else f"{name}'s"
