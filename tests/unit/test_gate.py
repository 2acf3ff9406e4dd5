"""The gate promotes only on evidence; missing or broken metrics refuse."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_fleet.config import Gate
from city_fleet.gate import Decision, decide, error_metrics

RULE = Gate(metric="mape", must_beat_naive=True, tolerance=0.02, minimum_rows=6, limits={"mape": 0.25})


def report(
    challenger: float = 0.04, naive: float = 0.05, champion: Any = None, rows: int = 12
) -> dict[str, Any]:
    return {
        "rows": rows,
        "challenger": {"mape": challenger, "rmse": 1.0, "mae": 1.0, "r2": 0.5},
        "naive": {"mape": naive, "rmse": 1.0, "mae": 1.0, "r2": 0.1},
        "champion": champion,
    }


def champion(mape: float, etag: str = '"e1"') -> dict[str, Any]:
    return {"target_model": "austin/x", "etag": etag, "mape": mape, "rmse": 1, "mae": 1, "r2": None}


def test_the_first_model_that_beats_naive_is_promoted() -> None:
    decision = decide(report(), RULE)
    assert decision.promote
    assert decision.approval_status == "Approved"
    assert decision.champion_etag is None
    assert decision.reasons[0] == "MAPE 4.0% on 12 held-out rows beats the naive forecast's 5.0%"


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (report(challenger=0.06), "MAPE 6.0% on 12 held-out rows does not beat the naive forecast's 5.0%"),
        (report(challenger=0.05), "does not beat the naive forecast's"),
        (report(challenger=0.30, naive=0.40), "MAPE 30.0% breaks the limit of 25.0%"),
        (report(rows=5), "only 5 held-out rows; at least 6 are needed"),
        (
            report(champion=champion(0.03)),
            "is worse than the champion's 3.0% by more than the tolerance of 2%",
        ),
        (report(challenger=math.nan), "no usable mape of the new model"),
        (report(naive=math.inf), "no usable mape of the naive forecast"),
        ({**report(), "challenger": None}, "no usable mape of the new model"),
        ({"rows": 12}, "no usable mape of the new model"),
        ({**report(), "challenger": {"mape": "0.01"}}, "no usable mape of the new model"),
        ({**report(), "challenger": {"mape": True}}, "no usable mape of the new model"),
        ({**report(), "rows": None}, "only 0 held-out rows"),
        (
            report(champion={"target_model": "austin/x", "etag": '"e"', "error": "it lacks a feature"}),
            "the champion could not be evaluated on the same rows (it lacks a feature)",
        ),
    ],
)
def test_what_the_rule_forbids_is_held_with_its_reason(changed: dict[str, Any], sentence: str) -> None:
    decision = decide(changed, RULE)
    assert not decision.promote
    assert decision.approval_status == "Rejected"
    assert sentence in " | ".join(decision.reasons)


def test_the_champion_may_be_missed_by_the_tolerance() -> None:
    assert decide(report(challenger=0.0408, champion=champion(0.04)), RULE).promote
    assert not decide(report(challenger=0.0409, champion=champion(0.04)), RULE).promote


def test_a_champion_that_has_seen_newer_data_is_not_compared() -> None:
    """A run of a backfill: the champion was trained on the very months this run holds out."""
    june = champion(0.001) | {"as_of": "20140601T000000Z"}
    decision = decide(report(champion=june) | {"as_of": "20140101T000000Z"}, RULE)
    assert not decision.promote
    assert decision.superseded
    assert decision.reasons[0].startswith("the model that serves has seen data up to 20140601T000000Z")
    assert not any("worse than the champion" in reason for reason in decision.reasons)
    assert decide(report(champion=june) | {"as_of": "20140101T000000Z"}, RULE, force=True).promote
    equal = decide(report(champion=june) | {"as_of": "20140601T000000Z"}, RULE)
    assert not equal.superseded
    assert "worse than the champion" in equal.reasons[0]


def test_r2_is_better_when_higher() -> None:
    rule = Gate(metric="r2", must_beat_naive=True, tolerance=0.0, minimum_rows=1, limits={"r2": 0.4})
    assert decide(report(), rule).promote
    assert not decide(report() | {"champion": champion(0.0) | {"r2": 0.6}}, rule).promote


def test_force_promotes_and_says_so_first() -> None:
    decision = decide(report(challenger=0.06), RULE, force=True)
    assert decision.promote
    assert decision.forced
    assert decision.reasons[0].startswith("published by force")
    assert not decide(report(), RULE, force=True).forced


@given(st.floats(0.001, 1), st.floats(0.001, 1), st.one_of(st.none(), st.floats(0.001, 1)))
def test_a_promoted_model_always_satisfies_the_rule(mine: float, naive: float, other: float | None) -> None:
    decision = decide(report(mine, naive, None if other is None else champion(other)), RULE)
    expected = mine < naive and mine <= 0.25 and (other is None or mine <= other + other * 0.02)
    assert decision.promote is expected
    assert Decision.from_dict(decision.to_dict()) == decision


def test_metrics_by_hand() -> None:
    metrics = error_metrics([100.0, 200.0], [110.0, 180.0])
    assert metrics["mape"] == pytest.approx(0.1)
    assert metrics["mae"] == pytest.approx(15)
    assert metrics["rmse"] == pytest.approx(math.sqrt(250))
    assert metrics["r2"] == pytest.approx(1 - 500 / 5000)
    assert error_metrics([1.0], [1.0])["r2"] is None
