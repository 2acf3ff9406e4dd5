"""The gate promotes only on evidence; missing or broken metrics refuse."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_fleet.champions.data_checks import Findings
from city_fleet.champions.gate import Decision, decide
from city_fleet.config import Gate
from city_fleet.metrics import regression_metrics

METRIC_NAMES = (
    "mape",
    "wape",
    "rmse",
    "mae",
    "r2",
    "accuracy",
    "log_loss",
    "macro_f1",
    "roc_auc",
    "top_k_accuracy",
)
HIGHER = {"r2", "accuracy", "macro_f1", "roc_auc", "top_k_accuracy"}
CLASSES = METRIC_NAMES[5:]
ALLOWED = {"regression": METRIC_NAMES[:5], "binary": CLASSES[:4], "multiclass": CLASSES}
ANY_NUMBER = st.integers() | st.floats() | st.none() | st.booleans() | st.text(max_size=3)
ANYTHING = st.recursive(
    ANY_NUMBER,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from((*METRIC_NAMES, "as_of", "etag", "error")), inner, max_size=4)
    ),
    max_leaves=6,
)
ANY_REPORT = st.one_of(
    ANYTHING,
    st.fixed_dictionaries(
        {},
        optional={
            "rows": ANY_NUMBER,
            "as_of": st.sampled_from(("20140101T000000Z", "20150101T000000Z")) | ANYTHING,
            "challenger": st.dictionaries(st.sampled_from(METRIC_NAMES), ANY_NUMBER) | ANYTHING,
            "naive": st.dictionaries(st.sampled_from(METRIC_NAMES), ANY_NUMBER) | ANYTHING,
            "task": st.sampled_from(tuple(ALLOWED)) | ANYTHING,
            "baselines": st.dictionaries(
                st.sampled_from(("median", "class frequencies", "")),
                st.dictionaries(st.sampled_from(METRIC_NAMES), ANY_NUMBER) | ANYTHING,
                max_size=2,
            )
            | ANYTHING,
            "champion": st.dictionaries(st.sampled_from((*METRIC_NAMES, "as_of")), ANY_NUMBER) | ANYTHING,
        },
    ),
)
RULES = st.builds(
    Gate,
    metric=st.none() | st.sampled_from(METRIC_NAMES),
    must_beat_naive=st.booleans(),
    must_beat_all_baselines=st.booleans(),
    tolerance=st.floats(0, 1),
    minimum_rows=st.integers(1, 20),
    limits=st.dictionaries(st.sampled_from(METRIC_NAMES), st.floats(0.01, 1), max_size=2),
)
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
    assert not decision.unfit
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
        ({**report(), "rows": True}, "only 0 held-out rows"),
        (report(challenger=-0.01), "no usable mape of the new model"),
        ({**report(), "challenger": {"mape": 10**400}}, "no usable mape of the new model"),
        (
            report(champion={"target_model": "austin/x", "etag": '"e"', "error": "it lacks a feature"}),
            "the champion could not be evaluated on the same rows (it lacks a feature)",
        ),
    ],
)
def test_what_the_rule_forbids_is_held_with_its_reason(changed: dict[str, Any], sentence: str) -> None:
    decision = decide(changed, RULE)
    assert not decision.promote
    # Only the comparison with the champion says nothing about the challenger itself.
    assert decision.unfit is ("champion" not in sentence)
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
    assert decision.reasons[0].startswith("the model that serves was made as of 20140601T000000Z")
    assert not any("worse than the champion" in reason for reason in decision.reasons)
    assert decide(report(champion=june) | {"as_of": "20140101T000000Z"}, RULE, force=True).promote
    equal = decide(report(champion=june) | {"as_of": "20140601T000000Z"}, RULE)
    assert not equal.superseded
    assert "worse than the champion" in equal.reasons[0]


def test_r2_is_better_when_higher() -> None:
    rule = Gate(metric="r2", must_beat_naive=True, tolerance=0.0, minimum_rows=1, limits={"r2": 0.4})
    assert decide(report(), rule).promote
    assert not decide(report() | {"champion": champion(0.0) | {"r2": 0.6}}, rule).promote


def test_metrics_are_shown_as_people_write_them() -> None:
    """A share in percent, R² with its digits, an error in the target's own unit."""
    limits = {"mape": 0.01, "r2": 0.9, "rmse": 1000.0}
    challenger = {"mape": 0.0456, "rmse": 23456.7, "mae": 1.0, "r2": 0.51234}
    decision = decide(report() | {"challenger": challenger}, RULE.model_copy(update={"limits": limits}))
    assert decision.reasons[:3] == (
        "MAPE 4.6% breaks the limit of 1.0%",
        "R² 0.512 breaks the limit of 0.900",
        "RMSE 23,457 breaks the limit of 1,000",
    )


def test_as_many_rows_as_needed_are_enough() -> None:
    assert decide(report(rows=6), RULE).promote
    assert not decide(report(rows=5), RULE).promote


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


def test_what_is_wrong_with_the_data_holds_and_what_is_odd_warns() -> None:
    found = Findings(("80% of column 'sales' is missing",), ("sales drifts",))
    held = decide(report(), RULE, data=found)
    assert not held.promote
    assert held.reasons[0] == "80% of column 'sales' is missing"
    assert held.warnings == ("sales drifts",)
    promoted = decide(report(), RULE, data=Findings(warnings=("sales drifts",)))
    assert promoted.promote
    assert "sales drifts" not in promoted.reasons
    assert Decision.from_dict(promoted.to_dict()) == promoted
    forced = decide(report(), RULE, data=found, force=True)
    assert forced.promote
    assert forced.forced


def test_a_decision_of_an_earlier_version_has_no_warnings() -> None:
    value = decide(report(), RULE).to_dict()
    del value["warnings"]
    assert Decision.from_dict(value) == decide(report(), RULE)


def possible(metrics: Any, name: str) -> bool:
    """Say independently of the gate whether a metric can be what it claims to be."""
    value = metrics.get(name) if isinstance(metrics, dict) else None
    if type(value) not in (int, float):
        return False
    if name == "r2":
        return -1.7e308 < value <= 1
    return 0 <= value <= (1 if name in HIGHER else 1.7e308)


@given(ANY_REPORT, RULES)
def test_no_report_however_broken_promotes_without_a_better_metric(value: Any, rule: Gate) -> None:
    decision = decide(value, rule)
    assert decision.reasons
    if not decision.promote:
        return
    assert value["rows"] >= rule.minimum_rows
    task = value.get("task", "regression")
    metric = rule.metric or ("mape" if task == "regression" else "log_loss")
    assert metric in ALLOWED[task]
    for name in (metric, *rule.limits):
        assert possible(value["challenger"], name)
    sign = -1 if metric in HIGHER else 1
    mine = sign * value["challenger"][metric]
    if rule.must_beat_naive or rule.must_beat_all_baselines:
        baselines = list(value["baselines"].values()) if "baselines" in value else [value["naive"]]
        assert baselines
        for each in baselines if rule.must_beat_all_baselines else baselines[:1]:
            assert possible(each, metric)
            assert mine < sign * each[metric]
    champion = value.get("champion")
    if champion is not None:
        assert possible(champion, metric)
        theirs = sign * champion[metric]
        assert mine <= theirs + abs(theirs) * rule.tolerance
        seen = champion.get("as_of"), value.get("as_of")
        assert not all(isinstance(stamp, str) for stamp in seen) or seen[0] <= seen[1]


@given(ANY_REPORT, RULES)
def test_force_promotes_any_report_and_says_so_where_the_rule_would_not(value: Any, rule: Gate) -> None:
    decision = decide(value, rule, force=True)
    assert decision.promote
    assert decision.forced is not decide(value, rule).promote
    assert decision.forced == decision.reasons[0].startswith("published by force")


@given(
    st.sampled_from(tuple(ALLOWED)),
    RULES,
    st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
    st.floats(0, 1),
    st.none() | st.floats(0, 1),
)
def test_a_better_challenger_never_loses_where_a_worse_one_wins(
    task: str, rule: Gate, pair: list[float], naive: float, other: float | None
) -> None:
    metric = rule.metric or ("mape" if task == "regression" else "log_loss")
    better, worse = reversed(pair) if metric in HIGHER else pair
    everyone = dict.fromkeys(METRIC_NAMES, 0.5)
    opponent = None if other is None else {"etag": "e", "target_model": "t", **everyone, metric: other}

    def wins(value: float) -> bool:
        return decide(
            {
                "task": task,
                "rows": 20,
                "challenger": everyone | {metric: value},
                "baselines": {"median": everyone | {metric: naive}, "other": everyone},
                "champion": opponent,
            },
            rule,
        ).promote

    assert wins(better) or not wins(worse)


ZEROS = {**report(), "rows": 28}


@pytest.mark.parametrize("rule", [Gate(), Gate(metric="mae", limits={"mape": 0.25})])
def test_a_day_with_nothing_sold_leaves_the_rest_to_judge_by(rule: Gate) -> None:
    judged = {**ZEROS, "zero_rows": 1, "naive": {**ZEROS["naive"], "mae": 2.0}}
    decision = decide(judged, rule)
    assert decision.promote
    (warning,) = decision.warnings
    assert warning.startswith(
        "the target is 0 in 1 of 28 held-out rows, where MAPE is not defined: it is that of the other 27. Set"
    )
    assert decide({**judged, "zero_rows": 0}, rule).warnings == ()
    assert decide(judged, Gate(metric="mae")).warnings == ()


def test_too_few_rows_that_are_not_zero_say_what_to_set() -> None:
    decision = decide({**ZEROS, "zero_rows": 25}, RULE)
    assert not decision.promote
    assert decision.reasons[0].startswith(
        "the target is 0 in 25 of 28 held-out rows, where MAPE is not defined; it has 3"
    )
    assert "Set gate.metric to mae or rmse" in decision.reasons[0]


@pytest.mark.parametrize(
    ("metric", "zero_rows", "sentence"),
    [
        (
            "mape",
            28,
            "the target is 0 in all 28 held-out rows, where MAPE is not defined. Set gate.metric to mae",
        ),
        (
            "r2",
            0,
            "R² is not defined: the target is the same in all 28 held-out rows, or there is only one. Set",
        ),
    ],
)
def test_a_metric_that_is_not_defined_says_why(metric: Any, zero_rows: int, sentence: str) -> None:
    without = {**ZEROS["challenger"], metric: None}
    judged = {**ZEROS, "zero_rows": zero_rows, "challenger": without, "naive": without}
    for rule in (Gate(metric=metric), Gate(metric="mae", must_beat_naive=False, limits={metric: 0.5})):
        decision = decide(judged, rule)
        assert not decision.promote
        assert decision.reasons[0].startswith(sentence)


def test_metrics_by_hand() -> None:
    metrics = regression_metrics([100.0, 200.0], [110.0, 180.0])
    assert metrics["mape"] == pytest.approx(0.1)
    assert metrics["mae"] == pytest.approx(15)
    assert metrics["rmse"] == pytest.approx(math.sqrt(250))
    assert metrics["r2"] == pytest.approx(1 - 500 / 5000)
    assert regression_metrics([0.0, 100.0], [5.0, 110.0])["mape"] == pytest.approx(0.1), "0 has no shares"
    assert regression_metrics([0.0], [5.0])["mape"] is None
    assert regression_metrics([1.0], [1.0])["r2"] is None
    assert regression_metrics([0.5, 0.5], [0.1, 0.9])["r2"] is None, "a target that never changes"
    small = regression_metrics([0.1, 0.2], [0.11, 0.18])
    assert small["r2"] == pytest.approx(1 - 0.0005 / 0.005), "small targets too"


def recommender(accuracy: float = 0.712, log_loss: float = 0.9, **more: Any) -> dict[str, Any]:
    baseline = {"accuracy": 0.401, "log_loss": 1.2, "macro_f1": 0.1, "roc_auc": 0.5, "top_k_accuracy": 0.6}
    return {
        "task": "multiclass",
        "rows": 200,
        "challenger": baseline | {"accuracy": accuracy, "log_loss": log_loss},
        "naive": baseline,
        "baselines": {"class frequencies": baseline},
        "champion": None,
        **more,
    }


def test_a_classification_is_judged_by_its_own_metrics() -> None:
    decision = decide(recommender(), Gate(metric="accuracy", limits={"log_loss": 1.0}))
    assert decision.promote
    assert decision.reasons[0] == "accuracy 71.2% on 200 held-out rows beats the class frequencies' 40.1%"
    assert (decision.task, decision.metric) == ("multiclass", "accuracy")
    assert decision.metrics["challenger"] == recommender()["challenger"]
    assert decision.baselines == {"class frequencies": recommender()["naive"]}
    by_default = decide(recommender(log_loss=1.3), Gate())
    assert not by_default.promote
    assert (
        by_default.reasons[0]
        == "log loss 1.300 on 200 held-out rows does not beat the class frequencies' 1.200"
    )
    champion = {"accuracy": 0.9, "target_model": "t", "etag": "e"}
    held = decide(recommender(champion=champion), Gate(metric="accuracy", limits={"accuracy": 0.8}))
    assert held.reasons[:2] == (
        "accuracy 71.2% breaks the limit of 80.0%",
        "accuracy 71.2% is worse than the champion's 90.0% by more than the tolerance of 2%",
    )


def test_a_model_must_beat_the_naive_forecast_and_where_asked_for_every_baseline() -> None:
    last, season = ({**report()["naive"], "mape": value} for value in (0.05, 0.03))
    judged = report() | {"baselines": {"last known value": last, "same period last season": season}}
    poor = "MAPE 4.0% on 12 held-out rows does not beat the same period last season's 3.0%"
    warned = decide(judged, RULE.model_copy(update={"must_beat_all_baselines": False}))
    assert warned.promote
    assert warned.warnings == (poor,)
    assert warned.reasons[0] == "MAPE 4.0% on 12 held-out rows beats the last known value's 5.0%"
    held = decide(judged, RULE.model_copy(update={"must_beat_all_baselines": True}))
    assert not held.promote
    assert held.reasons == (poor, "there is no champion yet")
    assert held.warnings == ()
    assert decide(judged, RULE.model_copy(update={"must_beat_naive": False})).warnings == ()
    # Nobody has said: what rolling origins have judged is held by every baseline, what one block has by the naive one.
    nobody = RULE.model_copy(update={"must_beat_all_baselines": None})
    assert decide(judged | {"backtest": None}, nobody) == decide(judged, nobody) == warned
    assert decide(judged | {"backtest": {"blocks": 5}}, nobody) == held
    season["mape"] = 0.041
    assert decide(judged, RULE).reasons[0] == (
        "MAPE 4.0% on 12 held-out rows beats the last known value's 5.0% and the same period last season's 4.1%"
    )
    for broken in ({}, [], None, {"last known value": None}, {"last known value": last, "": last}):
        assert not decide(judged | {"baselines": broken}, RULE).promote


@pytest.mark.parametrize(
    ("judged", "rule", "sentence"),
    [
        (recommender(), Gate(metric="mape"), "the gate asks for mape, and the model is of task multiclass; allowed:"),
        (report(), Gate(limits={"log_loss": 1.0}), "the gate asks for log_loss, and the model is of task regression"),
        (recommender(task="ranking"), Gate(metric="accuracy"), "the evaluation report names no task; allowed: regr"),
        (
            recommender(challenger={"roc_auc": None}),
            Gate(metric="roc_auc"),
            "ROC AUC is not defined: all 200 held-out rows are of one class, or none is of the positive one. Set gate.",
        ),
        (
            {**report(), "challenger": {"wape": None}},
            Gate(metric="wape"),
            "the target is 0 in all 12 held-out rows, where WAPE is not defined. Set gate.metric to mae or rmse",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_task_or_is_not_defined_is_said(
    judged: dict[str, Any], rule: Gate, sentence: str
) -> None:
    decision = decide(judged, rule)
    assert not decision.promote
    assert any(reason.startswith(sentence) for reason in decision.reasons), decision.reasons
