"""A trial in the status of its city: since when, how many answers, how the comparison stands."""

from __future__ import annotations

import json
from dataclasses import replace

from city_fleet.state.index_state import IndexEntry
from city_fleet.state.live_scores import LiveScores, Scored
from city_fleet.views.trial_standing import CityTrial, of
from tests.quick.city_fleet.state.test_challengers import TRIAL
from tests.quick.city_fleet.views.test_fleet import run, status
from tests.support.states import champion


def scores(known: int, waiting: int = 0, error: float = 0.0) -> LiveScores:
    """Answers of both models to the same questions; the champion is off by 5."""
    rows = [
        Scored(
            key=f"p{number}",
            step=0,
            role=role,
            target_model=model,
            at=TRIAL.since,
            predicted=off + number % 2 / 10,
        )
        for number in range(known + waiting)
        for role, model, off in (
            ("challenger", TRIAL.model.target_model, error),
            ("champion", TRIAL.champion, 5.0),
        )
    ]
    return LiveScores("austin").with_answers(rows).with_truths({f"p{number}": 0.0 for number in range(known)})


def test_how_a_trial_stands_is_told_by_what_is_known_of_both() -> None:
    young = of(TRIAL, scores(4, waiting=8))
    assert (young.answers, young.known, young.standing) == (12, 4, "undecided")
    assert young.remark == (
        "version 4 is on trial as a canary that answers 10 % of the requests since 2014-02-01, until 2014-03-01: "
        "4 outcomes of the challenger are known and 4 of the champion, 4 of them of both; it takes 10 of both, or 30 "
        "of each"
    )
    assert of(TRIAL, scores(12)).standing == "better"
    assert of(TRIAL, scores(12, error=9.0)).standing == "worse"
    assert of(TRIAL, LiveScores("austin")).answers == 0
    # Nobody looked: nothing is said of how it stands.
    assert CityTrial(TRIAL).remark.endswith("until 2014-03-01")


def test_a_city_on_trial_says_so_once() -> None:
    last = run("on_trial", reasons=("version 4 is tried as a canary",))
    city = status(IndexEntry(champion(), (last,)))
    assert city.remarks == ("on_trial: version 4 is tried as a canary",)
    assert "trial" not in city.to_dict()
    tried = replace(city, trial=of(TRIAL, scores(12)))
    (remark,) = tried.remarks
    assert remark.startswith("version 4 is on trial as a canary")
    told = json.loads(json.dumps(tried.to_dict()))["trial"]
    assert (told["version"], told["share"], told["since"], told["standing"]) == (
        4,
        0.1,
        TRIAL.since,
        "better",
    )
    assert (told["answers"], told["known"], told["target_model"]) == (12, 12, TRIAL.model.target_model)
