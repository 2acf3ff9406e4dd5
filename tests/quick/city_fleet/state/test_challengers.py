"""Which challengers are on trial: what is believed of the object, when a trial is over, and which requests it takes."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest

from city_fleet import clock
from city_fleet.errors import OtherInstallation, PlatformError
from city_fleet.naming import Keys
from city_fleet.state import challengers
from city_fleet.state.challengers import Challenger, Challengers, Ended
from city_fleet.state.live_pointer import ServedModel
from tests.support.states import pointer

KEYS = Keys("city-fleet", "texas_housing", "laptop")
CHAMPION = pointer("austin", 3)
NEW = pointer("austin", 4, "b")
TRIAL = Challenger(
    model=ServedModel(**{each.name: getattr(NEW, each.name) for each in fields(ServedModel)}),
    version=4,
    way="canary",
    share=0.1,
    champion=CHAMPION.target_model,
    sequence=3,
    since="2014-02-01T00:00:00+00:00",
    until="2014-03-01T00:00:00+00:00",
    by="ann",
)
THEN = clock.parse("2014-02-10")
ENDED = Ended(
    NEW.target_model, 4, "shadow", "2014-01-01T00:00:00Z", "2014-01-02T00:00:00Z", "ann", "worse", "it failed"
)


def written(found: Challengers) -> bytes:
    return challengers._bytes(found, KEYS)


def test_what_is_written_is_read() -> None:
    found = Challengers({"austin": TRIAL}, {"austin": ENDED})
    assert challengers.parse(written(found), KEYS) == found


def test_what_does_not_fit_is_refused(subtests: pytest.Subtests) -> None:
    other = pointer("waco", 1)
    changes: dict[str, dict[str, object]] = {
        "share of city 'austin' is 0": {"share": 0},
        "share of city 'austin' is true": {"share": True},
        "share of city 'austin' is 1.01": {"share": 1.01},
        "way of city 'austin' is 'both'": {"way": "both"},
        "version of city 'austin' is 'four'": {"version": "four"},
        "it has no 'until'": {"until": None},
        "city is 'waco', but the key is that of city 'austin'": {
            "model": {each.name: getattr(other, each.name) for each in fields(ServedModel)}
        },
        "target_model is": {"model": {**vars(TRIAL.model), "target_model": other.target_model}},
    }
    for sentence, change in changes.items():
        with subtests.test(sentence):
            said = json.loads(written(Challengers({"austin": TRIAL})))
            said["running"]["austin"] |= json.loads(json.dumps(change, default=list))
            if change == {"until": None}:
                del said["running"]["austin"]["until"]
            with pytest.raises(PlatformError) as caught:
                challengers.parse(json.dumps(said).encode(), KEYS)
            assert sentence in str(caught.value)
            assert "The champions serve" in str(caught.value)
    for body in (b"{", b"[]", b"[" * 100_000, b'{"format_version": 9}'):
        with pytest.raises(PlatformError):
            challengers.parse(body, KEYS)
    with pytest.raises(OtherInstallation, match="environment 'production'"):
        challengers.parse(written(Challengers()), Keys("city-fleet", "texas_housing", "production"))


def test_a_trial_is_over_by_itself(subtests: pytest.Subtests) -> None:
    cases = {
        None: CHAMPION,
        "no model of the city is live any more": None,
        "the challenger is live": replace(CHAMPION, target_model=TRIAL.model.target_model),
        "the champion that it was tried against serves no more": pointer("austin", 5, "c"),
    }
    for sentence, champion in cases.items():
        with subtests.test(str(sentence)):
            found = TRIAL.over(champion, THEN)
            assert found is None if sentence is None else str(found).startswith(sentence)
    # A pin makes another state of the same model.
    assert TRIAL.over(replace(CHAMPION, sequence=4, restores=3, pinned=True), THEN) is None
    assert TRIAL.over(CHAMPION, clock.parse(TRIAL.until)) == "its time is up"


def test_its_share_holds_within_two_points_of_ten_thousand_and_a_caller_keeps_its_model() -> None:
    for share in (0.05, 0.1, 0.5, 1.0):
        trial = replace(TRIAL, share=share)
        taken = sum(trial.takes(f"austin.20150801T061500Z.{number:012x}") for number in range(10_000))
        assert abs(taken / 10_000 - share) < 0.02
    # More share takes more callers and gives none of them back.
    few, many = replace(TRIAL, share=0.1), replace(TRIAL, share=0.3)
    assert all(many.takes(f"caller {number}") for number in range(500) if few.takes(f"caller {number}"))
