"""Whether a challenger is better on what really happened: verdicts that hold, and those that chance does not make."""

from __future__ import annotations

import random
from dataclasses import replace

from city_fleet.champions.trial_verdict import BETTER, LEAST_EACH, LEAST_PAIRS, UNDECIDED, WORSE, compare
from tests.quick.city_fleet.state.test_challengers import TRIAL
from tests.support.trial_scores import Score, of_trial


def rows(
    count: int, challenger: float, champion: float, *, paired: bool = True, seed: int = 1
) -> list[Score]:
    """Errors of two models; in pairs both err by the same weather."""
    draws, found = random.Random(seed), []
    for number in range(count):
        weather = draws.gauss(0, 5)
        keys = (f"p{number}", f"p{number}" if paired else f"q{number}")
        for role, key, error in (("challenger", keys[0], challenger), ("champion", keys[1], champion)):
            found.append(of_trial(TRIAL, key, role, 20 + error + weather + draws.gauss(0, 0.5)))
    return found


def test_pairs_tell_a_difference_that_two_samples_do_not() -> None:
    assert compare(TRIAL, rows(20, 0.0, 2.0)).kind == BETTER
    assert compare(TRIAL, rows(20, 2.0, 0.0)).kind == WORSE
    assert compare(TRIAL, rows(20, 0.0, 0.0)).kind == UNDECIDED
    assert compare(TRIAL, rows(40, 0.0, 2.0, paired=False)).kind == UNDECIDED
    assert compare(TRIAL, rows(400, 0.0, 2.0, paired=False)).kind == BETTER
    assert compare(TRIAL, rows(400, 2.0, 0.0, paired=False)).kind == WORSE


def test_few_outcomes_decide_nothing() -> None:
    few = compare(TRIAL, rows(LEAST_PAIRS - 1, 0.0, 50.0))
    assert few.kind == UNDECIDED
    assert few.sentence.startswith(
        "9 outcomes of the challenger are known and 9 of the champion, 9 of them of both"
    )
    assert compare(TRIAL, rows(LEAST_PAIRS, 0.0, 50.0)).kind == BETTER
    assert compare(TRIAL, rows(LEAST_EACH - 1, 0.0, 50.0, paired=False)).kind == UNDECIDED
    assert compare(TRIAL, []).kind == UNDECIDED


def test_what_is_not_of_the_trial_does_not_count() -> None:
    lost = rows(20, 50.0, 0.0)
    foreign = [replace(row, target_model="austin/other.tar.gz") for row in lost]
    before = [replace(row, at="2014-01-10T00:00:00Z") for row in lost]
    unknown = [replace(row, error=None) for row in lost]
    assert {compare(TRIAL, each).kind for each in (foreign, before, unknown)} == {UNDECIDED}


def test_steps_of_one_period_are_one_outcome() -> None:
    """Three steps err together: as three outcomes a third of the periods would do."""
    steps = [replace(row, step=step) for row in rows(4, 0.0, 5.0) for step in (1, 2, 3)]
    assert compare(TRIAL, steps).kind == UNDECIDED


def test_equal_models_seldom_win() -> None:
    """Of 300 trials of models that are alike, some three may win by chance at the confidence that is asked for."""
    kinds = [compare(TRIAL, rows(30, 0.0, 0.0, seed=seed)).kind for seed in range(300)]
    assert kinds.count(BETTER) <= 9
