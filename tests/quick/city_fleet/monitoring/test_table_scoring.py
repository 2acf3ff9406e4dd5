"""Single predictions that are right or wrong by chance become an alarm in groups, and seldom a false one."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from city_fleet import clock
from city_fleet.monitoring.table_scoring import judge, losses, remembered, scored, truth_of
from city_fleet.state.live_scores import Scored
from tests.quick.city_fleet.state.test_captured import SEEN

FIRST = datetime(2021, 1, 1, tzinfo=UTC)
HELD_OUT = {"m": {"accuracy": 0.9, "mae": 8.0, "rmse": 10.0}}


def classes(rng: random.Random, wrong: float, count: int, start: int = 0) -> list[Scored]:
    """Predictions of a class, an hour apart, of which so many are wrong."""
    rows = []
    for number in range(start, start + count):
        row = Scored(
            key=f"p{number}",
            step=0,
            target_model="m",
            at=clock.iso(FIRST + timedelta(hours=number)),
            predicted="a",
        )
        rows.append(row.with_truth("b" if rng.random() < wrong else "a"))
    return rows


def numbers(rng: random.Random, deviation: float, count: int, start: int = 0) -> list[Scored]:
    rows = []
    for number in range(start, start + count):
        row = Scored(
            key=f"p{number}",
            step=0,
            target_model="m",
            at=clock.iso(FIRST + timedelta(hours=number)),
            predicted=100.0,
        )
        rows.append(row.with_truth(100.0 + rng.gauss(0, deviation)))
    return rows


def test_a_model_that_errs_more_is_told_of_and_one_as_held_out_is_not() -> None:
    rng, false_alarms, noticed = random.Random(1), 0, 0
    for make, usual, worse in ((classes, 0.1, 0.3), (numbers, 10.0, 20.0)):
        for _ in range(100):
            good = make(rng, usual, 300)
            false_alarms += judge(good, HELD_OUT, 5, 2) is not None
            noticed += judge(good + make(rng, worse, 100, 300), HELD_OUT, 5, 2) is not None
    assert false_alarms <= 1
    assert noticed >= 190


def test_an_alarm_ends_when_the_model_is_right_again() -> None:
    rng = random.Random(2)
    rows = classes(rng, 0.1, 100) + classes(rng, 0.5, 60, 100)
    alarm = judge(rows, HELD_OUT, 5, 2)
    assert alarm is not None
    assert alarm.since == "2021-01-05"
    assert judge(rows + classes(rng, 0.1, 300, 160), HELD_OUT, 5, 2) is None
    assert judge(rows, {}, 5, 2) is None, "nobody knows how often it erred before"


def test_the_live_error_stands_beside_the_held_out_one() -> None:
    found = losses(classes(random.Random(3), 1.0, 5) + classes(random.Random(3), 0.0, 5, 5), HELD_OUT)
    assert found is not None
    assert (found.count, found.mean, found.share) == (10, 0.5, 0.5)
    assert found.held_out is not None
    assert abs(found.held_out - 0.1) < 1e-9
    row = Scored(key="p", step=0, target_model="new", at=clock.iso(FIRST), predicted=90.0).with_truth(100.0)
    regression = losses([row], HELD_OUT)
    assert regression is not None
    assert (regression.mean, regression.share, regression.held_out) == (10.0, 0.1, None)
    assert losses([], HELD_OUT) is None


def test_an_outcome_is_read_in_the_words_of_the_prediction() -> None:
    number, label = (
        Scored(key="p", step=0, target_model="m", at=clock.iso(FIRST), predicted=value)
        for value in (1.5, "01")
    )
    assert (truth_of(number, 2), truth_of(number, "House")) == (2, None)
    assert (truth_of(label, 1), truth_of(label, 2), truth_of(label, "1")) == ("01", "2", "1")


def test_what_was_captured_is_a_row_unless_it_failed_or_is_masked() -> None:
    row = scored(SEEN)
    assert row is not None
    assert (row.key, row.step, row.predicted, row.actual) == (SEEN.prediction_id, 0, 2.5, None)
    assert scored(replace(SEEN, answer={"prediction": None})) is None
    assert scored(replace(SEEN, status=503, answer={})) is None


def test_held_out_errors_of_the_newest_models_are_remembered() -> None:
    noted = remembered(
        {f"m{number}": {"mae": 1.0, "x": 2} for number in range(80)}, "new", {"mae": 3.0, "r2": 0.9}
    )
    assert len(noted) == 60
    assert (noted["new"], noted["m79"]) == ({"mae": 3.0}, {"mae": 1.0})
    assert remembered("broken", "new", {"rmse": None}) == {"new": {}}
