"""What the data of a run say against its model: too much missing, rows lost, wild values, drift. Pure.

The numbers are measured where the data are: preprocess.py writes the shares and the extremes into ``status.json``,
evaluate.py the drift into ``evaluation.json``. Impossible values (outside a column's ``min`` and ``max``) never come
this far, they fail the preprocess job. A report that lacks a number, or holds nonsense in its place, refuses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from city_fleet.config import DataChecks
from city_fleet.periods import noun, read_begin

_NAMES_SHOWN = 3
_LONGEST_REASON = 300
# Periods that may be late before it is warned of: a week of holidays, a month that is published late.
_SLACK_PERIODS = {"hour": 24, "day": 7, "business day": 5, "week": 2, "month": 1, "quarter": 1, "year": 1}


@dataclass(frozen=True)
class Findings:
    """What was found in a run's data, as sentences for people.

    :param against: what speaks against publishing the model.
    :param warnings: what a person should know, but does not hold the model.
    :param newest: the newest day or period that the data hold, an ISO date; None where the report does not say.
    """

    against: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    newest: str | None = None


NOTHING = Findings()


def check(status: Any, report: Any, rule: DataChecks) -> Findings:
    """Look at what the jobs measured of a run's data.

    :param status: ``status.json`` of the preprocess job.
    :param report: ``evaluation.json`` of the evaluation job.
    """
    stopped, late = _age(status, rule)
    against = [*stopped, *_missing(status, rule), *_wild(status, rule), *_lost_rows(report, rule)]
    warnings = [*late, *_left_out(status)]
    for what, found in (
        (rule.vanished_classes, _vanished_classes(report)),
        (rule.drift, [*_drift(report, rule), *_category_drift(report, rule)]),
    ):
        if what != "ignore":
            (against if what == "hold" else warnings).extend(found)
    newest = _mapping(status, "newest").get("period")
    return Findings(tuple(against), tuple(warnings), newest if isinstance(newest, str) else None)


def _age(status: Any, rule: DataChecks) -> tuple[list[str], list[str]]:
    """Find out whether the feed has stopped: sentences against the model, and warnings.

    A report of earlier job scripts says nothing about it, and then nothing is warned of.
    """
    newest = _mapping(status, "newest")
    late = finite(newest.get("late_periods"))
    try:
        period, expected = (read_begin(newest[name]) for name in ("period", "expected"))
    except (KeyError, TypeError, ValueError, OverflowError):
        late = None
    if late is None:
        return (["the data report does not say how old the data are"] if rule.max_age else []), []
    unit = noun(str(newest.get("frequency")))
    last, could = newest["period"], newest["expected"]
    said = (
        f"the newest known {unit} is {last}, {late:,.0f} {unit}s older than {could}, which could be known by now: "
        "has the feed stopped?"
    )
    if rule.max_age is not None and rule.max_age.span.after(period) < expected:
        return [f"{said} At most {rule.max_age} are allowed (gate.data.max_age)"], []
    return [], ([said] if late > _SLACK_PERIODS.get(unit, 0) else [])


def _left_out(status: Any) -> list[str]:
    """Find cities that a parent's model has not learned from; their own runs say more, and fail."""
    found = [
        f"{str(city)[:50]} was left out of the pooled rows: {str(reason)[:_LONGEST_REASON]}"
        for city, reason in _mapping(status, "left_out").items()
        if "members" in status
    ]
    more = len(found) - _NAMES_SHOWN
    return [
        *found[:_NAMES_SHOWN],
        *([f"{more} more cities were left out of the pooled rows"] if more > 0 else []),
    ]


def _missing(status: Any, rule: DataChecks) -> list[str]:
    """Find columns of which too much is missing in the last periods, or in the newest rows of a table.

    A table's column may always have been empty in most rows, as the quality of a pool that few houses have.
    """
    shares = _mapping(status, "recent_missing_share")
    if not shares:
        return ["the data report does not say how much is missing"]
    found = []
    is_table = _is_table(status)
    where = "newest rows" if is_table else "last periods"
    always = _mapping(status, "missing_share") if is_table else {}
    for column, share in shares.items():
        value = finite(share)
        if value is None or not 0 <= value <= 1:
            found.append(f"the data report does not say how much of column {column!r} is missing")
        elif value > rule.max_missing_share and (finite(always.get(column)) or 0) <= rule.max_missing_share:
            found.append(
                f"{value:.0%} of column {column!r} is missing in the {where}; at most "
                f"{rule.max_missing_share:.0%} may be"
            )
    return found


def _wild(status: Any, rule: DataChecks) -> list[str]:
    """Find columns with a value that is far from all others."""
    if rule.max_deviations is None:
        return []
    extremes = _mapping(status, "extremes")
    if not extremes and not _is_table(status):  # a table may hold no number at all
        return ["the data report does not say how far values are from each other"]
    found = []
    for column, extreme in extremes.items():
        if extreme is None:  # more than half of the column is one value, or it is empty
            continue
        deviations = finite(extreme.get("deviations")) if isinstance(extreme, Mapping) else None
        if deviations is None:
            found.append(
                f"the data report does not say how far values of column {column!r} are from each other"
            )
        elif deviations > rule.max_deviations:
            found.append(
                f"column {column!r} holds {_plain(extreme.get('value'))} at {extreme.get('period')}, "
                f"{deviations:,.0f} robust standard deviations from its median {_plain(extreme.get('median'))}; at "
                f"most {rule.max_deviations:,.0f} are allowed"
            )
    return found


def _lost_rows(report: Any, rule: DataChecks) -> list[str]:
    """Find out whether a later run has fewer rows to learn from: rows do not vanish by themselves."""
    champion = report.get("champion") if isinstance(report, Mapping) else None
    before = finite(champion.get("rows_trained")) if isinstance(champion, Mapping) else None
    if before is None or before <= 0:
        return []  # no champion, or one that could not be read: the gate says so itself
    rows = finite((_mapping(report, "challenger")).get("rows_trained"))
    if rows is None:
        return ["the evaluation report does not say on how many rows the new model was trained"]
    if rows < before * (1 - rule.max_lost_rows_share):
        return [
            f"the new model was trained on {rows:,.0f} rows, the champion on {before:,.0f}; at most "
            f"{rule.max_lost_rows_share:.0%} fewer are allowed"
        ]
    return []


def _vanished_classes(report: Any) -> list[str]:
    """Find classes that the champion knows and the new training rows do not hold: rows do not vanish by themselves."""
    champion = report.get("champion") if isinstance(report, Mapping) else None
    lost = champion.get("vanished_classes", []) if isinstance(champion, Mapping) else []
    if not isinstance(lost, list):
        return ["the evaluation report does not say which classes have vanished since the champion"]
    if not lost:
        return []
    shown = ", ".join(repr(str(name)[:50]) for name in lost[:_NAMES_SHOWN])
    more = f" and {len(lost) - _NAMES_SHOWN} more" if len(lost) > _NAMES_SHOWN else ""
    return [
        f"the training rows hold no {shown}{more} any more, which the champion knows (gate.data.vanished_classes)"
    ]


def _is_table(status: Any) -> bool:
    return isinstance(status, Mapping) and status.get("kind") == "table"


def _drift(report: Any, rule: DataChecks) -> list[str]:
    """Find features whose recent values lie far from what the new model was trained on."""
    distances = report.get("drift") if isinstance(report, Mapping) else None
    if not isinstance(distances, Mapping):
        return ["the evaluation report does not say whether features drift"]
    known, far = _beyond(distances, rule.max_drift)
    if not far:
        return []
    shown = ", ".join(f"{name} by {known[name]:.1f}" for name in far[:_NAMES_SHOWN])
    more = f" and {len(far) - _NAMES_SHOWN} more" if len(far) > _NAMES_SHOWN else ""
    return [
        f"the held-out rows drift away from the training rows in {shown}{more} (robust standard deviations between "
        f"the medians; {rule.max_drift:g} is the limit)"
    ]


def _category_drift(report: Any, rule: DataChecks) -> list[str]:
    """Find categories whose recent rows are spread otherwise than those that the new model was trained on."""
    shares = _mapping(report, "category_drift")
    known, far = _beyond(shares, rule.max_category_drift)
    if not far:
        return []
    shown = ", ".join(f"{known[name]:.0%} in {name}" for name in far[:_NAMES_SHOWN])
    more = f" and {len(far) - _NAMES_SHOWN} more" if len(far) > _NAMES_SHOWN else ""
    return [
        f"the held-out rows have gone over to other categories: {shown}{more} (beyond chance; "
        f"{rule.max_category_drift:.0%} is the limit)"
    ]


def _beyond(measured: Mapping[Any, Any], limit: float) -> tuple[dict[str, float], list[str]]:
    """Return what can be measured, by feature, and the features above a limit, the farthest first."""
    known = {str(name): value for name, each in measured.items() if (value := finite(each)) is not None}
    return known, sorted((name for name in known if known[name] > limit), key=lambda name: -known[name])


def finite(value: Any) -> float | None:
    """Return a finite number, or None for everything that is not one; true and false are no numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # a whole number beyond what a float can hold
        return None
    return number if math.isfinite(number) else None


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    found = value.get(name) if isinstance(value, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _plain(value: Any) -> str:
    number = finite(value)
    return "no number" if number is None else f"{number:,.10g}"
