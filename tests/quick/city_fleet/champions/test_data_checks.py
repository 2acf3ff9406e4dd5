"""What speaks against a run's data: each limit, at its edge; and reports that are broken."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city_fleet.champions.data_checks import Findings, check
from city_fleet.config import DataChecks

RULE = DataChecks()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def status(missing: Any = 0.0, deviations: Any = 3.0) -> dict[str, Any]:
    extreme = {"period": "2015-06-01", "value": 250_000.0, "median": 1200.0, "deviations": deviations}
    return {"recent_missing_share": {"median": 0.0, "sales": missing}, "extremes": {"sales": extreme}}


def report(trained: Any = 180, champion: Any = None, drift: Any = 1.0) -> dict[str, Any]:
    return {
        "challenger": {"rows_trained": trained},
        "champion": champion,
        "drift": {"sales_lag_1": drift, "inventory_lag_1": 0.2, "listings_lag_1": None},
    }


def aged(late: Any, period: Any, frequency: str = "day", expected: Any = "2025-08-24") -> dict[str, Any]:
    newest = {"frequency": frequency, "period": period, "expected": expected, "late_periods": late}
    return {**status(), "newest": newest}


def test_a_feed_that_has_stopped_is_warned_of() -> None:
    found = check(aged(547, "2024-02-24"), report(), RULE)
    assert found.against == ()
    assert found.warnings == (
        "the newest known day is 2024-02-24, 547 days older than 2025-08-24, which could be known by now: "
        "has the feed stopped?",
    )
    for late, frequency, warned in ((7, "day", 0), (8, "day", 1), (1, "month", 0), (2, "month", 1)):
        assert len(check(aged(late, "2025-08-01", frequency), report(), RULE).warnings) == warned


@pytest.mark.parametrize(
    ("max_age", "period", "held"),
    [
        ("P14D", "2025-08-10", False),
        ("P14D", "2025-08-09", True),
        ("P1M", "2025-07-24", False),
        ("P1M", "2025-07-23", True),
        ("P0D", "2025-08-24", False),
        ("P100Y", "1950-01-01", False),
    ],
)
def test_max_age_holds_what_is_older(max_age: str, period: str, held: bool) -> None:
    rule = DataChecks(max_age=max_age)
    found = check(aged(3, period), report(), rule)
    assert [f"At most {max_age} are allowed (gate.data.max_age)" in each for each in found.against] == [
        True
    ] * held


@pytest.mark.parametrize(
    "newest", [None, {}, {"period": None, "expected": None, "late_periods": None}, {"late_periods": 3}]
)
def test_a_report_without_an_age_refuses_only_where_an_age_is_allowed(newest: Any) -> None:
    broken = {**status(), "newest": newest}
    assert check(broken, report(), RULE) == Findings()
    assert check(broken, report(), DataChecks(max_age="P1D")).against == (
        "the data report does not say how old the data are",
    )


def test_good_data_say_nothing() -> None:
    assert check(status(), report(), RULE) == Findings()
    assert check(status(0.5, 100.0), report(162, {"rows_trained": 180}, 5.0), RULE) == Findings()


@pytest.mark.parametrize(
    ("status", "report", "sentence"),
    [
        (
            status(missing=0.6667),
            report(),
            "67% of column 'sales' is missing in the last periods; at most 50% may be",
        ),
        (
            status(deviations=1234.5),
            report(),
            "column 'sales' holds 250,000 at 2015-06-01, 1,234 robust standard deviations from its median 1,200; at "
            "most 100 are allowed",
        ),
        (
            status(),
            report(161, {"rows_trained": 180}),
            "the new model was trained on 161 rows, the champion on 180; at most 10% fewer are allowed",
        ),
    ],
)
def test_what_breaks_a_limit_is_said(status: dict[str, Any], report: dict[str, Any], sentence: str) -> None:
    assert check(status, report, RULE) == Findings((sentence,))


def test_rows_that_go_over_to_other_categories_are_a_drift() -> None:
    drifting = {
        **report(),
        "category_drift": {"carrier": 0.4, "open": 0.251, "a": 0.9, "b": 0.3, "c": 0.25, "d": None},
    }
    sentence = (
        "the held-out rows have gone over to other categories: 90% in a, 40% in carrier, 30% in b and 1 more (beyond "
        "chance; 25% is the limit)"
    )
    assert check(status(), drifting, RULE) == Findings((), (sentence,))
    assert check(status(), drifting, DataChecks(drift="hold")) == Findings((sentence,))
    assert check(status(), drifting, DataChecks(max_category_drift=0.9)) == Findings()


def table(**more: Any) -> dict[str, Any]:
    return {"kind": "table", "recent_missing_share": {"price": 0.0, "pool": 0.9}, "extremes": {}, **more}


def test_a_column_of_a_table_may_always_have_been_mostly_empty() -> None:
    assert check(table(missing_share={"price": 0.0, "pool": 0.88}), report(), RULE) == Findings()
    assert check(table(missing_share={"price": 0.0, "pool": 0.1}), report(), RULE).against == (
        "90% of column 'pool' is missing in the newest rows; at most 50% may be",
    )
    series = {**status(missing=0.9), "missing_share": {"sales": 0.9}}
    assert check(series, report(), RULE).against, "a series' columns are all asked for by name"


def test_the_newest_day_of_a_table_is_told() -> None:
    newest = {"frequency": "day", "period": "2025-08-20", "expected": "2025-08-24", "late_periods": 4}
    found = check(table(newest=newest, missing_share={"pool": 1.0}), report(), RULE)
    assert found == Findings(newest="2025-08-20")


def test_a_class_that_has_vanished_holds_unless_the_fleet_file_says_otherwise() -> None:
    judged = report(champion={"rows_trained": 180, "vanished_classes": ["Uchi", "b", "c", "d"]})
    sentence = (
        "the training rows hold no 'Uchi', 'b', 'c' and 1 more any more, which the champion knows "
        "(gate.data.vanished_classes)"
    )
    assert check(status(), judged, RULE) == Findings((sentence,))
    assert check(status(), judged, DataChecks(vanished_classes="warn")) == Findings((), (sentence,))
    assert check(status(), judged, DataChecks(vanished_classes="ignore")) == Findings()
    judged["champion"]["vanished_classes"] = []
    assert check(status(), judged, RULE) == Findings()


def test_drift_is_a_warning_unless_the_fleet_file_says_otherwise() -> None:
    sentence = (
        "the held-out rows drift away from the training rows in sales_lag_1 by 5.2 (robust standard deviations "
        "between the medians; 5 is the limit)"
    )
    drifting = report(drift=5.2)
    assert check(status(), drifting, RULE) == Findings((), (sentence,))
    assert check(status(), drifting, DataChecks(drift="hold")) == Findings((sentence,))
    assert check(status(), drifting, DataChecks(drift="ignore")) == Findings()
    assert check(status(), drifting, DataChecks(max_drift=6.0)) == Findings()


def test_many_drifting_features_are_cut_to_the_worst() -> None:
    drifting = {**report(), "drift": {f"x_lag_{number}": 10.0 + number for number in range(5)}}
    (warning,) = check(status(), drifting, RULE).warnings
    assert "in x_lag_4 by 14.0, x_lag_3 by 13.0, x_lag_2 by 12.0 and 2 more" in warning


def test_a_column_that_has_nothing_to_measure_by_is_passed_over() -> None:
    assert check({**status(), "extremes": {"strikes": None}}, report(), RULE) == Findings()
    assert check(status(deviations=1e9), report(), DataChecks(max_deviations=None)) == Findings()


def test_a_share_that_is_none_refuses(subtests: pytest.Subtests) -> None:
    for broken in [None, "0.1", float("nan"), True, -0.1, 1.1, 10**400, [0.1]]:
        with subtests.test(broken=broken):
            findings = check(status(missing=broken), report(), RULE)
            assert findings.against == ("the data report does not say how much of column 'sales' is missing",)


@pytest.mark.parametrize("broken", [None, "3", float("inf"), {}])
def test_a_distance_that_is_none_refuses(broken: Any) -> None:
    findings = check(status(deviations=broken), report(), RULE)
    assert findings.against == (
        "the data report does not say how far values of column 'sales' are from each other",
    )


def test_a_run_that_does_not_say_its_rows_refuses_beside_a_champion_that_does() -> None:
    assert check(status(), report(None, {"rows_trained": 180}), RULE).against
    assert not check(status(), report(None, {"error": "it cannot be loaded"}), RULE).against


@given(JSON, JSON)
def test_nonsense_never_passes_and_never_raises(status: Any, report: Any) -> None:
    findings = check(status, report, RULE)
    assert findings.against
    assert all(isinstance(sentence, str) for sentence in (*findings.against, *findings.warnings))


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1e6), st.floats(0, 1e6))
def test_worse_data_never_have_fewer_reasons(share: float, more: float, far: float, further: float) -> None:
    better = check(status(min(share, more), min(far, further)), report(), RULE)
    worse = check(status(max(share, more), max(far, further)), report(), RULE)
    assert len(worse.against) >= len(better.against)
