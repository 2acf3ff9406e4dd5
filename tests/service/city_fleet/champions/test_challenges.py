"""Trials against a real endpoint, registry and S3: begun, lost, won, over; the pointer moves with a winner alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from city_fleet import clock
from city_fleet.champions import moves, trials
from city_fleet.champions.promotion import Choice
from city_fleet.errors import PublishError, UnknownName
from city_fleet.retiring.retire_inventory import InventorySource
from city_fleet.state import challengers, live
from city_fleet.state.author import Author
from city_fleet.state.challengers import CANARY, SHADOW, Challenger, Ended
from tests.support.factors import ENVIRONMENT, KEYS, City, create_endpoint
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.trial_scores import score_rows

ANN, LOOK = Author("ann", "a new season"), "factors._reaper/r1"


@pytest.fixture
def city(aws: LocalSageMaker) -> City:
    create_endpoint(aws)
    return City(aws)


def begin(city: City, version: int = 2, way: str = CANARY, days: float = 14, **more: Any) -> trials.Step:
    dry_run = more.pop("dry_run", False)
    until = clock.utc_now() + timedelta(days=days)
    wish = trials.Wish(Choice(version), way, 0.1, until, **more)
    return trials.begin(city.context(), ANN, wish, dry_run=dry_run)


def running(city: City) -> Challenger | None:
    return challengers.read(city.context().objects, KEYS).running.get(city.slug)


def ended(city: City) -> Ended:
    return challengers.read(city.context().objects, KEYS).ended[city.slug]


def look(city: City, rows: Any = (), days: float = 0) -> trials.Step:
    trial = running(city)
    assert trial is not None
    return trials.look(city.context(), trial, rows, LOOK, clock.utc_now() + timedelta(days=days))


@pytest.fixture
def two(city: City) -> City:
    """A city with a champion (version 1) and another approved version."""
    city.go_live(1.05, month=1)
    city.train(1.01, month=2)
    return city


def test_a_trial_begins_without_a_move_and_ends_by_a_persons_word(two: City) -> None:
    before = two.pointer
    planned = begin(two, dry_run=True)
    assert (planned.outcome, running(two)) == ("planned", None)
    step = begin(two)
    trial = running(two)
    assert trial is not None
    assert (step.outcome, step.trial, two.pointer) == ("begun", trial, before)
    assert (trial.champion, trial.sequence, trial.version) == (before.target_model, 1, 2)  # type: ignore[union-attr]
    assert two.s3.head_object(Bucket=KEYS.bucket, Key=KEYS.model(trial.model.target_model))
    assert look(two).outcome == "running"
    # Retiring needs what is on trial.
    source = InventorySource(two.s3, two.sagemaker, KEYS, ENVIRONMENT)
    assert trial.model.target_model in source._on_trial
    done = trials.end(two.context(), Author("bob"))
    assert (done.outcome, running(two), ended(two).reason) == ("ended", None, "ended by bob")
    assert trials.end(two.context(), ANN).outcome == "unchanged"
    assert two.pointer == before


def test_what_may_not_be_tried_is_refused(two: City, subtests: pytest.Subtests) -> None:
    two.train(1.02, month=3, status="PendingManualApproval")
    two.train(1.03, month=4, sample_factor=1.2)
    cases: list[tuple[str, type[Exception], dict[str, Any]]] = [
        ("it is the champion already", PublishError, {"version": 1}),
        ("a canary answers people, and takes an approved version", PublishError, {"version": 3}),
        ("for the held-out row sample 1", PublishError, {"version": 4}),
        ("has no version '9'", UnknownName, {"version": 9}),
    ]
    for sentence, kind, wish in cases:
        with subtests.test(sentence), pytest.raises(kind, match=sentence):
            begin(two, **wish)
    assert running(two) is None
    assert begin(two, version=3, way=SHADOW).outcome == "begun"
    other = City(two.server)
    other.train(1.0, month=1)
    with pytest.raises(PublishError, match="no model of it is live"):
        begin(other, version=1)


def test_one_that_is_worse_falls_back(two: City) -> None:
    before = two.pointer
    begin(two)
    trial = running(two)
    assert trial is not None
    step = look(two, score_rows(trial, challenger=9.0, champion=1.0))
    assert (step.outcome, ended(two).verdict, ended(two).by) == ("ended", "worse", LOOK)
    assert ended(two).reason.startswith("its mean absolute error is 9")
    assert (running(two), two.pointer) == (None, before)


def test_one_that_does_not_answer_falls_back(two: City) -> None:
    begin(two)
    trial = running(two)
    assert trial is not None
    two.s3.delete_object(Bucket=KEYS.bucket, Key=KEYS.model(trial.model.target_model))
    assert look(two, score_rows(trial, challenger=0.0, champion=9.0)).outcome == "ended"
    assert ended(two).verdict == "worse"
    assert "is gone, so no instance that starts can load it" in ended(two).reason


def test_one_that_wins_goes_live(two: City) -> None:
    begin(two)
    trial = running(two)
    assert trial is not None
    step = look(two, score_rows(trial, challenger=0.0, champion=9.0))
    pointer = two.pointer
    assert pointer is not None
    assert (step.outcome, running(two), ended(two).verdict) == ("promoted", None, "better")
    assert (pointer.target_model, pointer.move, pointer.moved_by) == (
        trial.model.target_model,
        live.PROMOTE,
        LOOK,
    )
    assert pointer.reason.startswith(
        "it has won its trial as a canary that answers 10 % of the requests: its mean"
    )
    assert two.answer() == pytest.approx(1.01)
    two.chain()


def test_a_winner_that_may_not_go_live_is_left_to_a_person(two: City, subtests: pytest.Subtests) -> None:
    two.train(1.02, month=3, status="PendingManualApproval")
    before = two.pointer
    for wish, said in (
        ({"version": 2, "promotes": "never"}, "smaller with a confidence"),
        ({"version": 3, "way": SHADOW}, "version 3 is PendingManualApproval in the registry"),
    ):
        with subtests.test(said):
            begin(two, **wish)
            trial = running(two)
            assert trial is not None
            assert look(two, score_rows(trial, challenger=0.0, champion=9.0)).outcome == "ended"
            assert said in ended(two).reason
            assert f"./fleet promote {two.slug} --version {trial.version}" in ended(two).reason
            assert two.pointer == before
    moves.pin(two.context(), before.target_model, ANN, ())  # type: ignore[union-attr]
    begin(two)
    trial = running(two)
    assert trial is not None
    assert look(two, score_rows(trial, challenger=0.0, champion=9.0)).outcome == "ended"
    assert "is pinned by ann" in ended(two).reason
    assert two.pointer.target_model == before.target_model  # type: ignore[union-attr]


def test_a_trial_is_over_by_itself(two: City) -> None:
    begin(two)
    trial = running(two)
    assert trial is not None
    assert look(two, score_rows(trial, challenger=5.0, champion=5.0), days=20).outcome == "ended"
    assert ended(two).verdict == "undecided"
    assert ended(two).reason.startswith("its time is up; its mean absolute error is 5")
    begin(two)
    newer = two.go_live(1.02, month=5)
    assert look(two).outcome == "ended"
    assert (ended(two).verdict, two.pointer) == ("ended", newer)
    assert newer.target_model in ended(two).reason


def test_another_trial_that_has_begun_meanwhile_is_not_ended(two: City) -> None:
    begin(two)
    first = running(two)
    assert first is not None
    begin(two, way=SHADOW)
    step = trials.look(
        two.context(), first, score_rows(first, challenger=9.0, champion=1.0), LOOK, clock.utc_now()
    )
    assert (step.outcome, running(two).way) == ("unchanged", SHADOW)  # type: ignore[union-attr]
