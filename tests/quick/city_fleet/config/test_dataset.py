"""The dataset's limits: SageMaker's own are refused long before a job starts, and no sooner than need be."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from city_fleet.config import Series
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
