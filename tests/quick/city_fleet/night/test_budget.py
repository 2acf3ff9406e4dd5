"""The verdict about a night's budget, and what is kept of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from city_fleet import ticks
from city_fleet.config import load_fleet
from city_fleet.errors import FleetFileError, OtherInstallation
from city_fleet.naming import Keys
from city_fleet.night.budget import Figures, Night, doubts, judge
from city_fleet.state.budget_question import ASKS, FRESH, OVER, UNKNOWN, WITHIN, BudgetNight
from tests.support.fleets import SMALL

NOW = datetime(2026, 11, 27, 2, tzinfo=UTC)
NIGHT = Night(NOW.replace(day=26, hour=7), NOW.replace(hour=7))
KEYS = Keys("bucket", "texas", "laptop")
LIMITS = {"night": 40.0, "month": None}


def over(**changes: Any) -> BudgetNight:
    known = BudgetNight(
        night=NIGHT.stamp, limits=LIMITS, verdict=OVER, sentence="too dear", at=NOW.isoformat()
    )
    return replace(known, **changes)


def test_a_night_is_held_against_what_it_comes_to_and_a_month_too(subtests: pytest.Subtests) -> None:
    figures = Figures(spent=10, month=100, runs=3000, per_run=0.01)
    for limits, verdict, said in (
        ({"night": 40.0, "month": None}, WITHIN, "within budget.night, 40.00"),
        (
            {"night": 39.99, "month": None},
            OVER,
            "jobs of 40.00 dollars (10.00 so far, 30.00 of 3,000 runs to come",
        ),
        ({"night": None, "month": 130.0}, WITHIN, "November: jobs of 130.00 dollars"),
        ({"night": 40.0, "month": 129.0}, OVER, "and budget.month is 129.00"),
    ):
        with subtests.test(str(limits)):
            found, sentence = judge(figures, limits, NIGHT, NOW)
            assert (found, said in sentence) == (verdict, True), sentence
            assert ("budget.night" in sentence) == (limits["night"] is not None and limits["month"] is None)
    assert "by the model of ./fleet plan" in judge(replace(figures, measured=False), LIMITS, NIGHT, NOW)[1]


def test_a_question_is_everybodys_until_it_is_answered_or_a_day_is_over() -> None:
    later = Night(NIGHT.until, NIGHT.until + timedelta(days=1)).stamp
    assert over().asks
    assert over().answers(later, LIMITS, NOW + timedelta(hours=10))
    assert not over().answers(later, LIMITS, NOW + ASKS)
    assert not over().answers(NIGHT.stamp, {**LIMITS, "night": 50.0}, NOW), "the budget was raised"
    allowed = over(allowed_by="ann", note="new cities")
    assert not allowed.asks
    assert allowed.told == "too dear; allowed by ann: new cities"
    assert allowed.answers(NIGHT.stamp, LIMITS, NOW + timedelta(hours=4))
    assert not allowed.answers(later, LIMITS, NOW)
    for verdict in (WITHIN, UNKNOWN):
        assert over(verdict=verdict).answers(NIGHT.stamp, LIMITS, NOW)
        assert not over(verdict=verdict).answers(NIGHT.stamp, LIMITS, NOW + FRESH), "more may have begun"


def test_what_is_no_verdict_is_judged_anew_and_anothers_is_refused() -> None:
    found = over(figures={"runs": 3})
    assert BudgetNight.from_json(found.to_json(KEYS), KEYS) == found
    text = found.to_json(KEYS).decode()
    for body in (
        "",
        "[]",
        "null",
        text.replace('"over"', '"maybe"'),
        text.replace('"too dear"', "7"),
        text.replace(NOW.isoformat(), "soon"),
        text.replace("40.0", '"much"'),
        text.replace('"format_version": 1', '"format_version": 2'),
        text + " " * (1 << 16),
    ):
        assert BudgetNight.from_json(body.encode(), KEYS) is None, body[:200]
    with pytest.raises(OtherInstallation, match="aws s3 rm"):
        BudgetNight.from_json(found.to_json(Keys("bucket", "ohio", "laptop")), KEYS)


def test_a_budget_has_a_night_or_a_month_that_is_no_smaller(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    for section, said in (
        ("{}", "neither night nor month"),
        ("{night: 50, month: 20}", "at least night, 50"),
        ("{night: 0}", "at least 0.01|from 0.01"),
    ):
        path.write_text(f"{SMALL}budget: {section}\ncities: {{a: }}\n", encoding="utf-8")
        with pytest.raises(FleetFileError, match=said):
            load_fleet(path)
    path.write_text(f"{SMALL}budget: {{month: 20}}\ncities: {{a: }}\n", encoding="utf-8")
    budget = load_fleet(path).budget
    assert budget is not None
    assert budget.limits == {"night": None, "month": 20}


def test_a_schedule_ticks_so_often_in_a_month() -> None:
    for schedule, often in (
        ("@daily", 365 / 12),
        ("@hourly", 730),
        ("@monthly", 1),
        ("@yearly", 1 / 12),
        ("0 2 * * 1-5", 261 / 12),
        (None, 0),
    ):
        assert ticks.per_month(schedule) == pytest.approx(often, rel=0.01), schedule


def test_a_budget_that_will_stop_nothing_is_said_before_a_night_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CITY_FLEET_FLEETS", str(tmp_path))
    path = tmp_path / "small.yaml"

    def said(more: str) -> str:
        path.write_text(f"{SMALL}cities: {{austin: }}\n{more}", encoding="utf-8")
        return "; ".join(doubts(load_fleet(path, {})))

    dear = "defaults: {training: {instance_type: ml.p4d.24xlarge}}\n"
    assert said(dear) == "", "without a budget nobody asks"
    assert said("budget: {night: 1}\n") == ""
    assert "so it stops no run: no price is known of ml.p4d.24xlarge for training job in us-east-1" in said(
        f"{dear}budget: {{night: 1}}\n"
    )
    (tmp_path / "prices.json").write_text("{", encoding="utf-8")
    assert "prices.json" in said("budget: {night: 1}\n")
