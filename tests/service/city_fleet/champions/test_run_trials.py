"""A run's model is tried before it goes live, where its city asks for that: begun, waited for, won, lost, made live."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from city_fleet import clock
from city_fleet.approval import run_release
from city_fleet.champions import promotion, publish, run_trial, trials
from city_fleet.champions.approval_states import Event, ModelState
from city_fleet.champions.promotion import Choice
from city_fleet.champions.release import newest_record
from city_fleet.plan import Run
from city_fleet.state import challengers
from city_fleet.state.author import Author
from city_fleet.state.challengers import CANARY, SHADOW, Challenger, Ended
from city_fleet.state.outcomes import Decided
from city_fleet.state.pointer_checks import TARGET_CONTAINER
from city_fleet.state.registry import ModelPackage
from tests.support.desk import PENDING, Desk
from tests.support.factors import KEYS, create_endpoint
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.trial_scores import score_rows
from tests.support.waiting import wait_until

BY = Author("factors.city/run")


class Tried(Desk):
    """A city with a champion whose runs' models are tried first."""

    def __init__(self, aws: LocalSageMaker, folder: Path, wish: str = "share: 0.1", **more: Any) -> None:
        super().__init__(aws, folder, challenger=f"{{{wish}}}", **{"approval": "auto", **more})
        self.champion = self.go_live(1.05, 1)

    def run(self, factor: float, month: int, *, force: bool = False) -> tuple[ModelPackage, Decided]:
        """Train a model that the gate promotes, and have its run publish it."""
        trained, _ = self.train(factor, month, status=PENDING)
        version = self.version(trained.package_arn)
        self.record(version, "pending", "under way")
        ended = self.release(version, force=force)
        self.record(version, ended.outcome.value, ended.reasons[0])
        return version, ended

    def release(self, version: ModelPackage, *, force: bool = False) -> Decided:
        run = Run(
            "r1", version.metadata["run_key"], datetime.fromisoformat("2014-06-01T00:00:00+00:00"), force
        )
        return run_release.release(self.planned, self.version(version.arn), run, BY)

    @property
    def trial(self) -> Challenger | None:
        return challengers.read(self.planned.objects, KEYS).running.get(self.slug)

    @property
    def last(self) -> Ended:
        return challengers.read(self.planned.objects, KEYS).ended[self.slug]

    def look_after(self, days: float = 0, **errors: float) -> trials.Step:
        trial = self.trial
        assert trial is not None
        rows = score_rows(trial, **errors) if errors else ()
        return trials.look(self.context(), trial, rows, "reaper", clock.utc_now() + timedelta(days=days))

    def outcome(self, version: ModelPackage) -> tuple[str, str]:
        record = newest_record(self.planned, version)
        assert record is not None
        return record["outcome"], self.version(version.arn).status


@pytest.fixture(scope="module", autouse=True)
def endpoint(aws: LocalSageMaker) -> str:
    return create_endpoint(aws)


def test_a_models_trial_is_won_by_not_being_worse(aws: LocalSageMaker, tmp_path: Path) -> None:
    city = Tried(aws, tmp_path)
    version, ended = city.run(1.01, 2)
    trial = city.trial
    assert trial is not None
    assert (ended.outcome, ended.live, ended.moved) == ("on_trial", city.champion.target_model, False)
    assert ended.reasons[0].startswith(
        "version 2 is tried as a canary that answers 10 % of the requests until "
    )
    assert (trial.way, trial.share, trial.champion, trial.of_run) == (
        CANARY,
        0.1,
        city.champion.target_model,
        True,
    )
    assert (clock.parse(trial.until) - clock.parse(trial.since)).days == 14
    assert city.pointer == city.champion
    assert (city.state(version.arn), city.version(version.arn).settled_status) == (
        ModelState.APPROVED,
        "Approved",
    )
    # A task that is cleared finds its own trial, and nobody finds anything that was not carried out.
    assert city.release(version).outcome == "on_trial"
    assert city.trial == trial
    assert city.look().decided == []
    # One that comes meanwhile waits for its turn, which is another run's.
    other, waits = city.run(1.02, 3)
    assert waits.outcome == "held"
    assert waits.reasons[0].startswith("version 2 is on trial until ")
    assert (city.trial, city.state(other.arn)) == (trial, ModelState.HELD)
    assert city.look_after().outcome == "running"
    step = city.look_after(days=15, challenger=5.0, champion=5.0)
    assert (step.outcome, city.trial, city.last.verdict) == ("promoted", None, "not_worse")
    pointer = city.pointer
    assert pointer is not None
    assert pointer.target_model == trial.model.target_model
    assert pointer.reason.startswith("it was not worse in its trial as a canary")
    assert city.outcome(version) == ("live", "Approved")
    # The next one is tried against it.
    _, following = city.run(1.0, 4)
    assert following.outcome == "on_trial"
    assert city.trial is not None
    assert city.trial.champion == pointer.target_model


def test_a_model_that_loses_its_trial_is_held(aws: LocalSageMaker, tmp_path: Path) -> None:
    city = Tried(aws, tmp_path, "share: 1, shadow: true, promote: better, days: 2")
    version, ended = city.run(1.01, 2)
    assert "in the shadow of all requests" in ended.reasons[0]
    assert city.look_after(challenger=9.0, champion=1.0).outcome == "ended"
    assert city.outcome(version) == ("held", "Rejected")
    record = newest_record(city.planned, version)
    assert record is not None
    assert record["reasons"][0].startswith(
        "its trial in the shadow of all requests has ended, worse: its mean"
    )
    assert city.state(version.arn) is ModelState.HELD
    # Undecided is not enough here, and a person's end is no verdict.
    second, _ = city.run(1.02, 3)
    assert city.look_after(days=3).outcome == "ended"
    assert (city.outcome(second), city.last.verdict) == (("held", "Rejected"), "undecided")
    third, _ = city.run(1.03, 4)
    assert trials.end(city.context(), Author("bob")).outcome == "ended"
    assert city.outcome(third) == ("held", "Rejected")
    assert city.version(third.arn).status_reason.endswith("has ended: ended by bob")
    assert city.pointer == city.champion


def test_a_trial_whose_champion_is_gone_ends_its_run(aws: LocalSageMaker, tmp_path: Path) -> None:
    city = Tried(aws, tmp_path, "share: 0.5, promote: never")
    version, _ = city.run(1.01, 2)
    forced, ended = city.run(1.02, 3, force=True)
    assert (ended.outcome, ended.moved) == ("live", True)
    assert city.look_after().outcome == "ended"
    assert city.outcome(version) == ("superseded", "Rejected")
    assert city.state(forced.arn) is ModelState.LIVE
    # What a person is to decide stays approved.
    winner, ended = city.run(1.0, 4)
    assert ended.reasons[0].endswith("a person decides then")
    assert city.look_after(challenger=0.0, champion=9.0).outcome == "ended"
    assert city.outcome(winner) == ("held", "Approved")
    assert f"`./fleet promote {city.slug} --version {winner.number}` makes it live" in city.last.reason


def test_what_a_person_approves_is_tried_then(aws: LocalSageMaker, tmp_path: Path) -> None:
    city = Tried(aws, tmp_path, approval="manual")
    version = city.wait(1.01, 2)
    city.record(version, "pending", "waits for a person")
    assert city.decide(version, Event.APPROVE).outcome == "on_trial"
    assert city.outcome(version) == ("on_trial", "Approved")
    assert city.trial is not None
    assert city.trial.by == "ann"
    # Promoted by hand before its time, it is live, and its run ends so.
    promotion.promote(city.context(), Author("bob"), Choice(version.number))
    record = newest_record(city.planned, version)
    assert record is not None
    # Of two records the later one counts, and they say when in seconds.
    wait_until(lambda: clock.now_iso() > record["finished_at"], 5, "a second has passed since")
    assert city.look_after().outcome == "ended"
    assert city.outcome(version) == ("live", "Approved")


def test_the_first_model_goes_live_at_once_and_another_kind_of_question_is_a_shadows(
    aws: LocalSageMaker, tmp_path: Path
) -> None:
    city = Desk(aws, tmp_path, approval="auto", challenger="{share: 0.1}")
    trained, _ = city.train(1.05, 1, status=PENDING)
    run = Run("r1", "0" * 10, datetime.fromisoformat("2014-06-01T00:00:00+00:00"))
    ended = run_release.release(city.planned, city.version(trained.package_arn), run, BY)
    assert (ended.outcome, ended.live) == ("live", trained.target_model)
    # A model with other features would not understand the requests of callers, so it answers none of them yet.
    second, holdout = city.train(1.01, 2)
    ready = publish.prepare(city.planned, city.candidate(second, holdout, city.judge(holdout)))
    assert isinstance(ready, publish.Ready)
    assert ready.champion is not None
    version = city.version(second.package_arn)
    tried = run_trial.planned(city.planned, version, ready, BY)
    assert tried is not None
    assert (tried.way, tried.reason) == (CANARY, "")
    other = replace(ready.champion, pointer=replace(ready.champion.pointer, features=("x",)))
    tried = run_trial.planned(city.planned, version, replace(ready, champion=other), BY)
    assert tried is not None
    assert (tried.way, tried.reason) == (SHADOW, "callers' requests fit the champion alone")
    assert "(callers' requests fit the champion alone)" in run_trial.told(tried)
    contained = replace(
        ready.candidate, model=replace(ready.candidate.model, route={TARGET_CONTAINER: "c-1"})
    )
    assert run_trial.planned(city.planned, version, replace(ready, candidate=contained), BY) is None
