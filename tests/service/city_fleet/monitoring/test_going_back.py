"""A city whose model is no longer right returns to the earlier one that was better, never against a person."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from city_fleet.champions import moves
from city_fleet.champions.moves import Rollback
from city_fleet.errors import PointerMoved
from city_fleet.monitoring import going_back
from city_fleet.monitoring.going_back import Done
from city_fleet.state import live, live_scores
from city_fleet.state.author import Author
from city_fleet.state.live_pointer import LivePointer
from city_fleet.state.live_scores import LiveScores, Scored
from tests.support.factors import KEYS, City, create_endpoint
from tests.support.local_sagemaker import LocalSageMaker

BY = "factors._monitor/run_1"


@pytest.fixture(scope="module")
def server(aws: LocalSageMaker) -> LocalSageMaker:
    create_endpoint(aws)
    return aws


def scored(pointer: LivePointer, errors: Sequence[float], first: int, step: int = 1) -> list[Scored]:
    """Return forecasts of 100 for the days of May from the ``first`` on, off by so many, with a deviation of 2."""
    return [
        Scored(
            key=f"2014-05-{first + day:02}",
            step=step,
            target_model=pointer.target_model,
            at=f"2014-05-{first + day - step + 1:02}T00:00:00+00:00",
            predicted=100.0 + error,
            deviation=2.0,
        ).with_truth(100.0)
        for day, error in enumerate(errors)
    ]


def keep(city: City, *rows: list[Scored]) -> None:
    answers = [row for some in rows for row in some]
    live_scores.update(
        city.context().objects, KEYS, city.slug, lambda _: LiveScores(city.slug).with_answers(answers)
    )


def roll_back(city: City, by: str = BY) -> Done:
    return going_back.roll_back(city.context(), by, limit=5, patience=2)


def test_it_returns_to_the_nearest_model_that_was_better_and_stays_there(server: LocalSageMaker) -> None:
    city = City(server)
    first, second, third = (city.go_live(1 + month / 10, month=month) for month in (1, 2, 3))
    # The model before is as wrong; of the one before that nobody forecast the same days.
    keep(
        city,
        scored(first, [1, -2, 1, 2], 1),
        scored(second, [20, 21, 22], 10, step=3),
        scored(third, [20, 22, 24], 10),
    )
    done = roll_back(city)
    assert (done.kind, city.answer()) == ("rollback", pytest.approx(1.1))
    pointer = city.pointer
    assert pointer is not None
    assert (pointer.move, pointer.moved_by, pointer.pinned, pointer.restores) == (live.ROLLBACK, BY, True, 1)
    assert pointer.reason == (
        "no longer right since 2014-05-10; its forecasts of its newest 4 periods were off by 1.5% on average, those of "
        "the model that serves by 22.0%"
    )
    # A task that is repeated finds its own move; another night's changes nothing.
    assert roll_back(city).kind == "rollback"
    again = roll_back(city, "factors._monitor/run_2")
    assert (again.kind, again.sentence) == ("no_rollback", f"it is pinned, by {BY}")
    assert city.pointer == pointer
    # Unpinned and retrained: what was rolled back from is no way back.
    moves.unpin(city.context(), Author("ann"))
    fifth = city.go_live(1.5, month=4)
    keep(city, scored(third, [0, 0, 0], 1), scored(fifth, [20, 22, 24], 10))
    refused = roll_back(city, "factors._monitor/run_3")
    assert refused.kind == "no_rollback"
    assert third.target_model not in refused.sentence
    assert f"{first.target_model}: 0 of its forecasts are known" in refused.sentence


def test_the_same_days_count_and_a_model_that_may_not_serve_is_passed_over(server: LocalSageMaker) -> None:
    city = City(server)
    first, second, third = (city.go_live(1 + month / 10, month=month) for month in (1, 2, 3))
    better = [scored(each, [2, -2, 2], 10, step=2) for each in (first, second)]
    keep(city, scored(third, [1, 0, 1], 7), scored(third, [20, 22, 24], 10), *better)
    city.sagemaker.update_model_package(ModelPackageArn=second.package_arn, ModelApprovalStatus="Rejected")
    done = roll_back(city)
    assert done.kind == "rollback"
    assert (
        "of the same 3 periods were off by 2.0% on average, those of the model that serves by 22.0%"
        in done.sentence
    )
    assert city.answer() == pytest.approx(1.1)


def test_nothing_moves_where_the_model_is_not_to_blame(server: LocalSageMaker) -> None:
    city = City(server)
    first, second = city.go_live(1.1, month=1), city.go_live(1.2, month=2)
    wrong = [20.0, 22.0, 24.0]
    cases = [
        ([scored(first, [1, 1, 1], 1), scored(second, [1, 1, 1], 10)], "its forecasts are right"),
        ([scored(first, wrong, 10), scored(second, [30], 13)], "the alarm is about the one before"),
        (
            [scored(first, [1, 1], 1), scored(second, [1, 1], 8), scored(second, wrong, 10)],
            "it is the city that has",
        ),
        ([scored(first, [19, 21, 23], 10, step=2), scored(second, wrong, 10)], "which is not clearly better"),
        ([scored(second, wrong, 10)], "0 of its forecasts are known, and decay.patience is 2"),
    ]
    for rows, why in cases:
        keep(city, *rows)
        done = roll_back(city)
        assert (done.kind, why in done.sentence) == ("no_rollback", True), done
    assert city.pointer == second
    # A person was faster: what was looked at serves no more.
    pinned = moves.pin(city.context(), second.target_model, Author("ann"))
    assert pinned.after is not None
    with pytest.raises(PointerMoved, match="ann"):
        moves.rollback(city.context(), Author(BY), Rollback(over=second))
    assert city.pointer == pinned.after
