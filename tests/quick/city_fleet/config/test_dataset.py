"""The dataset's limits: SageMaker's own are refused long before a job starts, and no sooner than need be."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from city_fleet.config import Series
from city_fleet.config.holidays_section import Holidays
from city_fleet.config.mistakes import located_problems, schema_of


def dataset(**changes: Any) -> Series:
    return Series.model_validate(
        {
            "city_column": "city",
            "time": {"columns": ["date"]},
            "frequency": "day",
            "available_after": "P1D",
            "target": {"column": "y", "lags": [1]},
            **changes,
        }
    )


def refusal(**changes: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        dataset(**changes)
    ((_, problem),) = located_problems(caught.value, schema_of(Series))
    return f"got {problem.got}; allowed: {problem.allowed}"


def test_there_is_something_to_train_on_beside_validation_and_holdout() -> None:
    assert dataset(minimum_periods=25).minimum_periods == 25
    assert "at least 25" in refusal(minimum_periods=24)


def test_something_is_learned_from() -> None:
    assert dataset(target={"column": "y", "transform": "log_ratio_to_mean", "min": 1}).features == ()
    assert "at least one of features, calendar and target.lags" in refusal(target={"column": "y"})


def test_a_year_and_a_month_do_not_make_a_day() -> None:
    two = {"columns": ["year", "month"]}
    assert dataset(time=two, frequency="quarter").frequency == "quarter"
    for frequency in ("day", "week"):
        assert "month, quarter or year" in refusal(time=two, frequency=frequency)


def test_a_logarithm_needs_targets_above_0() -> None:
    for transform in ("log", "log_ratio_to_mean"):
        target = {"column": "y", "lags": [1], "transform": transform}
        assert "a number above 0" in refusal(target={**target, "min": 0})
        assert dataset(target={**target, "min": 0.001}).target.min == 0.001
    assert dataset(target={"column": "y", "lags": [1], "min": 0}).target.min == 0


def test_only_what_is_known_ahead_has_a_value_of_the_period_itself() -> None:
    assert "at least one lag" in refusal(features=[{"column": "x"}])
    assert "from 1 to 1000" in refusal(features=[{"column": "x", "lags": [1, 0]}])
    assert "from 0 to 1000" in refusal(features=[{"column": "x", "lags": [-1], "known_ahead": True}])
    ahead, *others = dataset(
        features=[
            {"column": "promotion", "known_ahead": True},
            {"column": "weather", "lags": [1, 0], "known_ahead": True},
            {"column": "x", "lags": [1]},
        ]
    ).features
    assert (ahead.lags, [each.lags for each in others]) == ((0,), [(1, 0), (1,)])


def test_a_country_alone_is_whose_holidays_there_are() -> None:
    assert dataset(holidays="US").holidays == Holidays(country="US")
    assert dataset(holidays={"country": "US", "subdivision": "TX"}).holidays.subdivision == "TX"  # type: ignore[union-attr]
    assert "two letters" in refusal(holidays="usa")
    assert dataset(target={"column": "y"}, holidays="US").holidays


def test_older_scripts_are_not_told_of_what_nobody_asks_for() -> None:
    """They refuse a member of a feature that they do not know."""
    plain = dataset(features=[{"column": "x", "lags": [1]}]).to_settings()
    assert plain["features"] == [{"column": "x", "lags": [1], "min": None, "max": None}]
    assert "holidays" not in plain
    asked = dataset(features=[{"column": "x", "known_ahead": True}], holidays="US")
    assert asked.to_settings()["features"][0]["known_ahead"] is True
    assert '{"column":"x","lags":[0],"known_ahead":true}' in asked.arguments()
