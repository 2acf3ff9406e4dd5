"""A city's story from what runs have left, also from what nobody should have written there."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from city_fleet.champions.champion_history import History, Served
from city_fleet.state import known_values
from city_fleet.state.live_pointer import LivePointer
from city_fleet.state.registry import ModelPackage
from city_fleet.views import city_answers, city_features
from city_fleet.views.city_answers import Covered, HeldRow
from city_fleet.views.city_features import Weight
from city_fleet.views.city_sources import KeptRecord, Sources
from city_fleet.views.city_story import CityStory, tell
from tests.support.fleets import texas

AT = datetime(2015, 5, 1, tzinfo=UTC)
KEYS = texas().keys
GROUP = "arn:aws:sagemaker:us-east-1:123456789012:model-package/texas-housing--laptop--austin"


def uri(run_key: str) -> str:
    return KEYS.uri(f"{KEYS.run('austin', run_key)}evaluate/job/evaluation/city=austin/evaluation.json")


def record(moment: str, run_key: str, *, mape: float = 0.03, **more: Any) -> KeptRecord:
    decision = {
        "promote": True,
        "reasons": ["it is better"],
        "metrics": {"challenger": {"mape": mape}, "champion": {"mape": 0.05}},
        "baselines": {"last known value": {"mape": 0.06}},
    }
    said = {
        "as_of": moment,
        "run_key": run_key,
        "finished_at": f"2015-0{run_key[0]}-01T00:00:00+00:00",
        "outcome": "live",
        "reasons": ["it is better"],
        "decision": decision,
        "evaluation_uri": uri(run_key),
        "package_arn": f"{GROUP}/{run_key[0]}",
        "package_version": int(run_key[0]),
        "jobs": [
            {
                "step": "train",
                "job": "j",
                "status": "Completed",
                "instance_type": "ml.m5.large",
                "billable_seconds": 36,
            }
        ],
    }
    return KeptRecord(f"{KEYS.city_records('austin')}{moment}-{run_key}.json", said | more)


def forecast(as_of: str, period: str, prediction: float) -> dict[str, Any]:
    ends = {"80": [prediction - 1, prediction + 1], "95": [prediction - 9, prediction + 9]}
    made = [{"period": period, "step": 1, "prediction": prediction, "intervals": ends}]
    return {"as_of": as_of, "algorithm": "xgboost", "forecast": {"forecasts": made, "unit": "US$"}}


def pointer(version: int) -> LivePointer:
    return LivePointer(
        city="austin",
        target_model="austin/20150301T000000Z-0123456789ab.tar.gz",
        package_arn=f"{GROUP}/{version}",
        as_of="20150301T000000Z",
        metrics={"mape": 0.03},
        features=("x",),
        artifact_sha256="0" * 64,
        sequence=1,
        published_at="2015-03-02T00:00:00+00:00",
        published_by="texas_housing.austin/run",
    )


def story(**sources: Any) -> CityStory:
    fleet = texas()
    return tell(fleet, "austin", Sources(AT, **sources), prices={"ml.m5.large": 1.0})


def test_a_story_joins_runs_forecasts_what_happened_versions_and_costs() -> None:
    records = (record("20150401T000000Z", "2222222222", mape=0.04), record("20150301T000000Z", "1111111111"))
    reports = {
        uri("1111111111"): forecast("20150301T000000Z", "2015-03-01", 100.0) | {"drift": {"a": 9, "b": 1}},
        uri("2222222222"): forecast("20150401T000000Z", "2015-04-01", 200.0) | {"drift": {"a": 1, "b": 7}},
    }
    rows = [{"period": "2015-02-01", "step": 1, "actual": 90.0, "predicted": 95.0, "naive": 80}]
    known = known_values.parse(
        json.dumps(
            {
                "format_version": 1,
                "city": "austin",
                "as_of": "20150501T000000Z",
                "frequency": "month",
                "known_until": "2015-04-01",
                "columns": ["median", "sales"],
                "first": "2015-03-01",
                "rows": [[101.5, 1], [None, 1]],
            }
        ).encode(),
        "known",
        "austin",
        "20150501T000000Z",
    )
    packages = tuple(
        ModelPackage(f"{GROUP}/{n}", status, "", "", {}, uri(f"{n}" * 10), created=AT)
        for n, status in ((2, "Rejected"), (1, "Approved"))
    )
    cards = {
        uri("1111111111"): {"as_of": "20150301T000000Z", "describe": {"importance_gain": {"a": 3, "b": 1}}}
    }
    served = Served(1, pointer(1), None, True)
    found = story(
        records=records,
        reports=reports,
        holdouts={uri("2222222222"): {"task": "regression", "rows": rows, "of_rows": 177}},
        cards=cards,
        known=known,
        versions=packages,
        history=History("austin", (served,)),
    )
    assert [(run.as_of, run.values, run.algorithm, run.dollars) for run in found.runs] == [
        (
            "20150401T000000Z",
            {"challenger": 0.04, "champion": 0.05, "last known value": 0.06},
            "xgboost",
            pytest.approx(0.01),
        ),
        (
            "20150301T000000Z",
            {"challenger": 0.03, "champion": 0.05, "last known value": 0.06},
            "xgboost",
            pytest.approx(0.01),
        ),
    ]
    assert found.actual == {"2015-02-01": 90.0, "2015-03-01": 101.5}
    # Of the two forecasts one has come true: beyond its narrower interval, within the wider.
    assert found.covered == (Covered("80", 0, 1), Covered("95", 1, 1))
    assert found.drift == (Weight("b", 7.0, 5.0), Weight("a", 1.0, 5.0))
    assert [each.feature for each in found.drift if each.beyond] == ["b"]
    assert found.importances == (Weight("a", 0.75), Weight("b", 0.25))
    assert found.importance_kind == "gain"
    assert found.model_as_of == "20150301T000000Z"  # what serves, not the newest
    assert [(version.number, version.serves, version.reasons) for version in found.versions] == [
        (2, False, ("it is better",)),
        (1, True, ("it is better",)),
    ]
    assert found.held_out is not None
    assert (found.held_out.of_rows, found.held_out.rows[0].error) == (177, 5.0)


def test_of_a_run_that_ended_twice_its_last_end_counts() -> None:
    first = record("20150301T000000Z", "1111111111", outcome="failed")
    again = record("20150301T000000Z", "1111111111", finished_at="2015-01-09T00:00:00+00:00", outcome="live")
    for records in ((first, again), (again, first)):
        assert [run.outcome for run in story(records=records).runs] == ["live"]


STRANGE_RECORDS: list[dict[str, Any]] = [
    {"as_of": "yesterday"},
    {"decision": "promote"},
    {"decision": {"promote": "yes", "metrics": {"challenger": {"mape": float("inf")}}, "reasons": 7}},
    {"jobs": [{"billable_seconds": True}, 7]},
    {"jobs": "many"},
    {"evaluation_uri": "s3://another-bucket/evaluation.json"},
    {"evaluation_uri": 7, "package_version": "one", "run_id": {"a": 1}},
    {"reasons": ["x" * 10_000] * 1000, "outcome": "\x1b[2J"},
]


def test_what_should_not_be_in_a_record_hurts_nobody(subtests: pytest.Subtests) -> None:
    for said in STRANGE_RECORDS:
        with subtests.test(said=str(said)[:80]):
            found = story(records=(record("20150301T000000Z", "1111111111", **said),))
            for run in found.runs:
                assert run.evaluation_uri in ("", uri("1111111111"))
                assert run.promoted in (True, None)
                assert all(abs(value) < 1e9 for value in run.values.values())
                assert "\x1b" not in run.outcome
                assert sum(map(len, run.reasons)) < 10_000


STRANGE_REPORTS: list[Any] = [
    7,
    [],
    {"forecast": {"forecasts": [7, {}, {"period": "soon", "prediction": 1, "step": 1}]}},
    {"forecast": {"forecasts": "many"}, "as_of": "20150301T000000Z", "drift": [1], "steps": {"1": 7}},
    {"drift": {"a": None, "b": "far"}, "challenger": {"mape": True}},
]


def test_what_counts_is_what_the_evaluation_says_and_in_an_older_report_what_the_card_does() -> None:
    card = {"describe": {"importance_gain": {"a": 3, "b": 1}}}
    said = {"importances": {"kind": "permutation", "features": {"b": 0.8, "a": 0.2}}}
    assert city_features.importances(said, card) == ("permutation", (Weight("b", 0.8), Weight("a", 0.2)))
    assert city_features.importances({}, card) == ("gain", (Weight("a", 0.75), Weight("b", 0.25)))
    for strange in ({"importances": {"kind": "gain", "features": [1]}}, {"importances": 3}, None):
        assert city_features.importances(strange, {}) == ("", ())


def test_what_should_not_be_in_a_report_hurts_nobody(subtests: pytest.Subtests) -> None:
    for report in STRANGE_REPORTS:
        with subtests.test(said=str(report)[:80]):
            found = story(
                records=(record("20150301T000000Z", "1111111111"),),
                reports={uri("1111111111"): report},
                holdouts={uri("1111111111"): report},
                cards={uri("1111111111"): report},
            )
            assert (found.forecasts, found.drift, found.held_out, found.importances) == ((), (), None, ())


def test_intervals_of_other_levels_and_without_ends_are_left_out() -> None:
    report = forecast("20150301T000000Z", "2015-03-01", 100.0)
    report["forecast"]["forecasts"][0]["intervals"] = {"80": [1, None], "95": [1.0, 2.0], "99": [0, 9]}
    found = city_answers.forecast_of(report)
    assert found is not None
    assert found.ahead[0].intervals == {"95": (1.0, 2.0)}


def test_errors_are_counted_from_end_to_end() -> None:
    rows = [HeldRow("2015-01-01", 1, 100.0, 100.0 + error) for error in (-10.0, -1.0, 0.0, 2.0, 10.0)]
    found = city_answers.errors_of(rows)
    assert found is not None
    assert (found.count, sum(found.counts), found.middle, abs(found.largest)) == (5, 5, 0.0, 10.0)
    assert (found.edges[0], found.edges[-1]) == (-10.0, 10.0)
    # Each error lies in the bar that holds it.
    for error in (-10.0, -1.0, 0.0, 2.0):
        bar = max(place for place, edge in enumerate(found.edges[:-1]) if edge <= error)
        assert found.counts[bar] >= 1
    assert city_answers.errors_of([HeldRow("", 1, "late", {"late": 1.0})]) is None


def binary_holdout() -> dict[str, Any]:
    answers = [(0.9, "late"), (0.95, "late"), (0.2, "late"), (0.1, "on time"), (0.15, "on time")]
    rows = [
        {"period": str(n), "actual": actual, "predicted": {"on time": 1 - late, "late": late}, "naive": None}
        for n, (late, actual) in enumerate(answers)
    ]
    return {"task": "binary", "classes": ["on time", "late"], "rows": rows, "of_rows": 5}


def test_classes_are_counted_and_probabilities_held_against_what_happened() -> None:
    held_out = city_answers.held_out_of(binary_holdout(), "20150301T000000Z")
    assert held_out is not None
    found = city_answers.classes_of(held_out)
    assert found is not None
    assert found.names == ("late", "on time")
    assert found.matrix == ((2, 1), (0, 2))  # one late flight was taken for one on time
    assert found.about == "late"
    assert [(each.low, each.rows, each.happened) for each in found.bins] == [
        (0.1, 2, 0.0),
        (0.2, 1, 1.0),
        (0.9, 2, 1.0),
    ]


def test_of_many_classes_the_rare_ones_are_one() -> None:
    names = [f"r{n:02}" for n in range(30)]
    rows = [
        {"period": "1", "actual": name, "predicted": {name: 1.0}, "naive": None}
        for place, name in enumerate(names)
        for _ in range(30 - place)
    ]
    held_out = city_answers.held_out_of({"task": "multiclass", "classes": names, "rows": rows}, "")
    assert held_out is not None
    found = city_answers.classes_of(held_out)
    assert found is not None
    assert len(found.names) == city_answers.MOST_CLASSES
    assert found.names[0] == "r00"
    assert sum(map(sum, found.matrix)) == len(rows)
    assert all(found.matrix[n][n] == sum(found.matrix[n]) for n in range(len(found.names)))


def test_a_parent_is_not_told_by_period_but_by_its_cities() -> None:
    children = {
        "waco": {
            "serves": "model",
            "metric": "mape",
            "rows": 12,
            "model": 0.05,
            "baseline": 0.07,
            "method": "last known value",
        },
        "paris": {
            "serves": "baseline",
            "metric": None,
            "rows": 0,
            "model": None,
            "baseline": None,
            "method": "x",
        },
        "broken": 7,
    }
    report = forecast("20150301T000000Z", "2015-03-01", 100.0) | {"children": children}
    rows = [{"period": "2015-02-01", "member": "waco", "step": 1, "actual": 90.0, "predicted": 95.0}]
    found = story(
        records=(record("20150301T000000Z", "1111111111"),),
        reports={uri("1111111111"): report},
        holdouts={uri("1111111111"): {"task": "regression", "rows": rows}},
    )
    assert [(child.city, child.serves, child.model) for child in found.children] == [
        ("paris", "baseline", None),
        ("waco", "model", 0.05),
    ]
    assert (found.forecasts, found.actual) == ((), {})
    assert found.held_out is not None
