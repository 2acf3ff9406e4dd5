"""A shift is noticed, noise and single odd periods are not, and an alarm ends once and does not flap."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from city_fleet.monitoring import decay
from city_fleet.state.live_scores import Scored

LIMIT, PATIENCE = 5.0, 2


def rows(errors: Sequence[float], deviation: float | None = 1.0, **more: Any) -> list[Scored]:
    """Return a forecast of 100 per period, off by so many."""
    return [
        Scored(
            key=f"{2000 + at // 12}-{1 + at % 12:02}-01",
            step=1,
            target_model="austin/x",
            at=f"{2000 + at // 12}-{1 + at % 12:02}-01T06:00:00+00:00",
            predicted=100.0 + error,
            deviation=deviation,
            **more,
        ).with_truth(100.0)
        for at, error in enumerate(errors)
    ]


def course(errors: Sequence[float]) -> list[bool]:
    return [alarm is not None for alarm in decay.course(rows(errors), LIMIT, PATIENCE)]


def test_errors_like_the_held_out_ones_alarm_less_than_once_in_a_thousand_city_periods() -> None:
    drawn = random.Random(7)
    kinds = {
        "normal": lambda: drawn.gauss(0, 1),
        # Student's t with 4 degrees of freedom, of standard deviation 1.
        "heavy tails": lambda: drawn.gauss(0, 1) / (drawn.gammavariate(2, 2) / 4) ** 0.5 / 2**0.5,
    }
    for name, draw in kinds.items():
        starts = 0
        for _ in range(200):
            states = course([draw() for _ in range(50)])
            starts += sum(now and not before for before, now in zip([False, *states], states, strict=False))
        assert starts <= 10, f"{name}: {starts} in 10,000 city-periods"


def test_a_shift_of_a_fifth_is_noticed_within_three_periods_also_as_the_model_follows() -> None:
    drawn = random.Random(8)
    noticed = 0
    for _ in range(200):
        shifted = [20 / 4 * 0.7**at for at in range(3)]  # a deviation of 4 % of the level
        noticed += course([drawn.gauss(0, 1) + shift for shift in [0] * 12 + shifted])[-1]
    assert noticed >= 180


def test_one_odd_period_is_no_alarm_and_two_are() -> None:
    assert not any(course([0.0] * 5 + [50.0] + [0.5] * 5))
    alarm = decay.judge(rows([0, 0, -4, -4, -4]), LIMIT, PATIENCE)
    assert alarm == decay.Alarm("2000-03-01", "2000-04-01", high=False)


def test_what_is_small_and_there_each_time_is_told_by_a_run_of_one_more_than_patience() -> None:
    assert course([0.0] * 5 + [1.7] * 3) == [False] * 7 + [True]
    assert not any(course([0.0] * 5 + [1.7, 1.7, 1.6, 1.7, 1.7]))  # each must be a third of the limit
    assert not any(course([1.7, 1.7, -1.7, 1.7, 1.7]))  # and to the same side
    alarm = decay.judge(rows([0, -2, -2, -2]), LIMIT, PATIENCE)
    assert alarm == decay.Alarm("2000-02-01", "2000-04-01", high=False)
    patient = [alarm is not None for alarm in decay.course(rows([1.7] * 4), LIMIT, 3)]
    assert patient == [False] * 3 + [True]


def test_an_alarm_of_a_run_does_not_flap() -> None:
    states = course([1.8] * 3 + [0.5, 0.9] * 2 + [0.0] * 6)
    assert sum(before != now for before, now in pairwise(states)) == 2
    assert states[3:5] == [True, True]
    assert not states[-1]


def test_an_alarm_ends_once_when_the_model_is_right_again() -> None:
    states = course([0.0] * 3 + [4.0] * 6 + [0.0, 1.4] * 6 + [0.0] * 8)
    changes = sum(before != now for before, now in pairwise(states))
    assert changes == 2
    assert not states[-1]


def test_the_nearest_forecast_counts_and_the_one_that_was_asked_last() -> None:
    (far,) = rows([9.0])
    near, later = rows([1.0])[0], rows([2.0])[0]
    far, later = replace(far, step=3), replace(later, at="2000-01-20T06:00:00+00:00", target_model="austin/y")
    other = replace(near, role="challenger")
    assert decay.nearest([far, near, later, other]) == [later]


def test_without_intervals_the_errors_before_say_how_far_off_is_usual() -> None:
    few = rows([1.0, -1.0] * 4 + [30.0] * 3, deviation=None)
    assert decay.standardized(few)[:8] == [None] * 8
    assert decay.judge(few, LIMIT, PATIENCE) is not None
    assert decay.judge(few[:9], LIMIT, PATIENCE) is None


def test_zeros_and_series_that_never_moved_divide_by_nothing() -> None:
    still = [row.with_truth(100.0) for row in rows([0.0] * 12, deviation=0.0)]
    assert decay.standardized(still) == [0.0] * 12
    closed = [
        Scored(key=row.key, step=1, target_model="x", at=row.at, predicted=0.0, deviation=0.0).with_truth(0.0)
        for row in still
    ]
    assert decay.judge(closed, LIMIT, PATIENCE) is None
    found = decay.live_error(closed)
    assert found is not None
    assert (found.periods, found.share) == (12, None)


def test_the_live_error_stands_beside_that_without_a_model() -> None:
    found = decay.live_error(rows([2.0] * 20, naive=105.0))
    assert found is not None
    assert (found.periods, found.share, found.naive) == (
        decay.SHOWN,
        pytest.approx(0.02),
        pytest.approx(0.05),
    )
    assert decay.live_error([]) is None
