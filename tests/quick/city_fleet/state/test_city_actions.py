"""What was done about a city is kept once for each run, short, and read without trusting it."""

from __future__ import annotations

from city_fleet.state import city_actions
from city_fleet.state.city_actions import Action
from city_fleet.state.live_scores import LiveScores


def test_what_was_done_is_kept_once_for_each_run_the_newest_of_it() -> None:
    scores = LiveScores("austin").with_notes(columns={"y": {}})
    for number in range(city_actions.MOST + 5):
        action = Action("2014-01-01T00:00:00+00:00", city_actions.ALARM, "x" * 2000, f"run_{number}")
        scores = city_actions.with_action(scores, action)
        assert city_actions.with_action(scores, action) is scores
    found = city_actions.of(LiveScores.from_bytes(scores.to_bytes(), "s3://b/k", "austin"))
    assert [found[0].by, found[-1].by, len(found)] == ["run_5", "run_44", city_actions.MOST]
    assert len(found[0].sentence) == 600
    assert scores.notes["columns"] == {"y": {}}


def test_what_cant_be_read_of_it_is_left_out() -> None:
    good = {"at": "2014-01-01", "kind": "alarm", "sentence": "why", "by": "run", "more": 1}
    for kept in (None, "text", [1, {}, {**good, "at": 7}]):
        assert city_actions.of(LiveScores("austin", notes={"actions": kept})) == ()
    assert city_actions.of(LiveScores("austin", notes={"actions": [7, good]})) == (
        Action("2014-01-01", "alarm", "why", "run"),
    )
