"""A model goes live where it beats the baselines by a margin, beyond chance; and a champion by its judged half."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_fleet.champions.gate import Decision, decide
from city_fleet.champions.judged_half import JudgedHalf
from city_fleet.champions.paired_test import Paired, student_t
from city_fleet.config import Gate
from city_fleet.metrics import show_apart

LAST, SEASON, DRIFT = "last known value", "same period last season", "drift"


def entry(model: float, other: float, spread: float, **changes: Any) -> dict[str, Any]:
    """Two models' losses over sixty origins.

    :param spread: standard error of the difference of the means.
    """
    variance = spread**2 / 2
    found = {
        "loss": "mape",
        "origins": 60,
        "means": [model, other],
        "covariance": [[variance, 0], [0, variance]],
    }
    return found | changes


def report(challenger: float, others: dict[str, float], **paired: Any) -> dict[str, Any]:
    """A report of sixty rows, whose metric is MAPE."""
    metrics = {"mape": challenger, "wape": 0.1, "rmse": 1.0, "mae": 1.0, "r2": 0.5}
    return {
        "task": "regression",
        "rows": 60,
        "challenger": metrics,
        "naive": metrics | {"mape": others[LAST]},
        "baselines": {name: metrics | {"mape": value} for name, value in others.items()},
        "champion": None,
        "backtest": {"refit": True, "known_until": "2015-07-01", "distance": 0.5},
        "paired": {name: entry(challenger, value, 0.001) for name, value in others.items()} | paired,
    }


def of_the_books(value: float, freedom: int) -> float:
    """Student's t by SciPy, whose import takes seconds: not in every process that collects the tests."""
    from scipy.stats import t

    return float(t.cdf(value, freedom))


@given(st.floats(-50, 50), st.integers(1, 500))
def test_students_t_is_that_of_the_books(value: float, freedom: int) -> None:
    """Within what SciPy itself is off by: of a value next to 0, with one degree of freedom, 1.4e-11."""
    assert student_t(value, freedom) == pytest.approx(of_the_books(value, freedom), abs=1e-10)


def test_a_model_must_beat_every_baseline_by_the_margin_and_beyond_chance() -> None:
    others = {LAST: 0.05, SEASON: 0.06, DRIFT: 0.052}
    passed = decide(report(0.04, others), Gate())
    assert passed.promote
    assert passed.reasons[0] == (
        "MAPE 4.0% on 60 held-out rows beats the last known value's 5.0% and the same period last season's 6.0% and "
        "the drift's 5.2% by 5% or more, 90% sure"
    )
    close = decide(report(0.048, others | {DRIFT: 0.056}), Gate())
    assert not close.promote
    assert not close.unfit  # that too little is won is no sign of a bad night
    assert decide(report(0.051, others), Gate()).unfit
    assert close.reasons[0] == (
        "MAPE 4.8% on 60 held-out rows does not beat the last known value's 5.0% by 5% or more (gate.margin)"
    )
    assert decide(report(0.048, others), Gate(margin=0.0)).promote
    wild = decide(report(0.04, others, **{DRIFT: entry(0.04, 0.052, 0.02)}), Gate())
    assert not wild.promote
    assert wild.reasons[0].startswith(
        "MAPE 4.0% on 60 held-out rows does not beat the drift's 5.2% beyond chance ("
    )
    assert wild.reasons[0].endswith("% sure over 60 origins, gate.confidence 0.9)")
    assert decide(report(0.04, others, **{DRIFT: entry(0.04, 0.052, 0.02)}), Gate(confidence=None)).promote
    only_naive = Gate(must_beat_all_baselines=False)
    warned = decide(report(0.04, others, **{DRIFT: entry(0.04, 0.052, 0.02)}), only_naive)
    assert warned.promote
    assert warned.warnings[0].startswith("MAPE 4.0% on 60 held-out rows does not beat the drift's 5.2%")


@pytest.mark.parametrize(
    "broken",
    [
        None,
        {},
        entry(0.04, 0.05, 0.001, loss="rmse"),
        entry(0.04, 0.05, 0.001, origins=2),
        entry(0.04, 0.05, 0.001, origins=True),
        entry(0.04, 0.05, 0.001, means=[0.04, math.nan]),
        entry(0.04, 0.05, 0.001, means=[-0.04, 0.05]),
        entry(0.04, 0.05, 0.001, covariance=[[1.0, 0.0]]),
        entry(0.04, 0.05, 0.001, covariance=[[-1.0, 0.0], [0.0, 1.0]]),
        entry(0.04, 0.05, 0.001, covariance="wide"),
    ],
)
def test_losses_that_say_nothing_never_pass(broken: Any) -> None:
    judged = report(0.04, {LAST: 0.05}, **{LAST: broken})
    held = decide(judged, Gate())
    assert not held.promote
    assert "holds no paired losses by mape; clear the evaluate task" in held.reasons[0]
    # The same by another loss, which is not the first of its entry.
    by_mae = entry(0.5, 1.0, 0.001, loss="mae")
    other = judged | {"paired": {LAST: entry(0.04, 0.05, 0.001) | {"others": [by_mae]}}}
    other["baselines"] = {LAST: judged["baselines"][LAST] | {"mae": 2.0}}
    assert decide(other, Gate(metric="mae")).promote
    assert not decide(other, Gate(metric="rmse")).promote
    # A report of before the test is decided by the errors alone.
    del judged["paired"]
    assert decide(judged, Gate()).promote


def test_what_is_certain_needs_no_chance_and_squares_have_the_margin_of_their_roots() -> None:
    sure = Paired("mape", 60, (0.04, 0.05), (0.0, 0.0, 0.0))
    assert (sure.confidence(0.1), sure.confidence(0.25), sure.confidence(0.3)) == (1.0, 0.0, 0.0)
    squares = Paired("rmse", 60, (0.81, 1.0), (0.0, 0.0, 0.0))
    assert squares.is_better(0.09)
    assert not squares.is_better(0.11)
    wide = Paired("mae", 13, (1.0, 2.0), (0.3, 0.1, 0.4))
    expected = of_the_books((0.9 * 2 - 1) / math.sqrt(0.3 - 2 * 0.9 * 0.1 + 0.81 * 0.4), 12)
    assert wide.confidence(0.1) == pytest.approx(expected, rel=1e-12)


def test_a_champion_is_compared_on_the_rows_that_it_has_not_learned() -> None:
    """The trap of a refit: by what the champion has learned no challenger passes, by what judged it a good one does."""
    judged = report(0.055, {LAST: 0.08})
    by_heart = judged | {
        "champion": {**judged["challenger"], "mape": 0.017, "target_model": "t", "etag": "e"}
    }
    assert decide(by_heart, Gate()).reasons[0] == (
        "MAPE 5.5% is worse than the champion's 1.7% by more than the tolerance of 2%"
    )
    half = {**judged["challenger"], "mape": 0.058, "rows": 48, "challenger": {"mape": 0.059}}
    compared = decide(judged | {"champion": half | {"target_model": "t", "etag": "e"}}, Gate())
    assert compared.promote
    assert compared.reasons[-1] == "MAPE 5.9% holds against the champion's 5.8% on 48 rows (tolerance 2%)"
    few = decide(judged | {"champion": half | {"rows": 3}}, Gate())
    assert not few.promote
    assert few.reasons[0].startswith(
        "only 3 held-out rows are left that the champion has not learned; at least 6"
    )
    assert not few.unfit
    for broken in ({"challenger": None}, {"rows": None}, {"rows": True}, {"challenger": {"mape": -1}}):
        assert not decide(judged | {"champion": half | broken}, Gate()).promote


def test_a_decision_says_which_half_serves() -> None:
    said = {"backtest": {"refit": True, "known_until": "2015-07-01", "distance": 0.4}}
    decision = decide(report(0.04, {LAST: 0.05}) | said, Gate())
    assert (decision.refit, decision.known_until) == (True, "2015-07-01")
    assert Decision.from_dict(json.loads(json.dumps(decision.to_dict()))) == decision
    for broken in (None, {}, {"refit": 1, "known_until": "2015-07-01"}, {"refit": True}):
        other = decide(report(0.04, {LAST: 0.05}) | {"backtest": broken}, Gate())
        assert (other.refit, other.known_until) == (None, None)


@pytest.mark.parametrize(
    ("metric", "values", "texts"),
    [
        ("mape", (0.0463, 0.0461, 0.06), ["4.63%", "4.61%", "6.00%"]),
        ("mae", (1.04, 0.0), ["1.04", "0"]),
        ("mae", (1234.4, 1234.2), ["1,234.4", "1,234.2"]),
        ("mae", (0.99951, 0.99949), ["0.9995", "0.9995"]),
        ("mae", (0.1, 0.1), ["0.1", "0.1"]),
        ("r2", (0.91234, 0.91231), ["0.91234", "0.91231"]),
    ],
)
def test_values_that_differ_look_different(metric: str, values: tuple[float, ...], texts: list[str]) -> None:
    found = show_apart(metric, values[0], values[1:])
    assert found == texts or len(set(found)) == len(set(values))


def test_the_judged_half_of_a_champion_is_read_without_trusting_it() -> None:
    rows = [[None, "2015-06-01", 1, 5.5], ["austin", "2015-06-01", 1, 7.0]]
    said = {"format_version": 1, "refit": True, "known_until": "2015-06-01", "distance": 0, "rows": rows}
    half = JudgedHalf.of(said)
    row = {"period": "2015-06-01", "step": 1, "known_until": "2015-05-01", "block": 4}
    assert half.answer(row) == 5.5
    assert not half.may_be_asked(row, 4)
    assert half.answer(row | {"step": 2}) is None
    assert half.may_be_asked({"period": "2015-07-01", "step": 1, "known_until": "2015-06-01"}, 4)
    assert not half.may_be_asked({"period": "2015-07-01", "step": 1}, 4)  # of an evaluation of before
    # An earlier version's artifact says nothing, and its model has learned all but the newest block.
    before = JudgedHalf.of(None)
    assert before.answer(row) is None
    assert [before.may_be_asked(row | {"block": block}, 4) for block in (3, 4)] == [False, True]
    for broken in (
        [],
        said | {"format_version": 2},
        said | {"rows": [[None, "2015-06-01", 1]]},
        said | {"rows": [[None, "2015-06-01", 1, math.inf]]},
        said | {"rows": [[None, "soon", 1, 1.0]]},
        said | {"rows": [[None, "2015-06-01", True, 1.0]]},
        said | {"rows": None},
        said | {"known_until": 5},
    ):
        with pytest.raises((ValueError, TypeError)):
            JudgedHalf.of(broken)
