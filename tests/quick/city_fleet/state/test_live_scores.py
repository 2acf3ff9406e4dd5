"""Scores of a city: an answer counts once, a truth too, a corrected one anew; what is no score is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from city_fleet.errors import BrokenScores
from city_fleet.state import live_scores
from city_fleet.state.live_scores import LiveScores, Scored

MODEL = "austin/20150801T000000Z-0123456789ab.tar.gz"
WHERE = "s3://city-fleet/houses/laptop/state/scores/austin.json"


def answer(key: str = "2015-08-01", **more: Any) -> Scored:
    given = {"step": 1, "target_model": MODEL, "at": "2015-08-01T06:00:00+00:00", "predicted": 110.0}
    return Scored(**{"key": key, "deviation": 5.0, **given, **more})


def test_a_truth_counts_once_and_a_corrected_one_anew() -> None:
    scores = LiveScores("austin").with_answers([answer(), answer("2015-09-01")])
    assert scores.known == ()
    late = scores.with_truths({"2015-08-01": 100.0})
    assert [(row.error, row.standardized, row.share) for row in late.known] == [(10.0, 2.0, 0.1)]
    assert late.with_truths({"2015-08-01": 100.0, "2001-01-01": 1.0}) == late
    (corrected,) = late.with_truths({"2015-08-01": 120.0}).known
    assert (corrected.error, corrected.corrected) == (-10.0, 1)


def test_an_answer_counts_once_whatever_it_is_told_twice() -> None:
    scores = LiveScores("austin").with_answers([answer()]).with_truths({"2015-08-01": 100.0})
    assert scores.with_answers([answer(), answer(predicted=7.0)]) == scores
    beside = scores.with_answers([answer(role="challenger"), answer(step=2), answer(target_model="austin/x")])
    assert len(beside.rows) == 4
    assert beside.of("champion") == scores.known
    assert beside.of("challenger") == ()


def test_labels_are_right_or_wrong_and_a_truth_of_nothing_has_no_share() -> None:
    scores = LiveScores("austin").with_answers([answer("a", predicted="late"), answer("b", predicted="late")])
    right, wrong = scores.with_truths({"a": "late", "b": "on time"}).known
    assert (right.error, wrong.error, wrong.share) == (0.0, 1.0, None)
    (zero,) = LiveScores("austin").with_answers([answer()]).with_truths({"2015-08-01": 0.0}).known
    assert (zero.error, zero.share) == (110.0, None)


def test_what_is_written_is_read_again_and_only_the_newest_are_kept() -> None:
    many = [answer(str(number), at=f"{2000 + number // 100}-01-01T00:00:00+00:00") for number in range(700)]
    scores = LiveScores("austin").with_answers(many).with_truths({"650": 90.0}).with_notes(seen="night")
    assert len(scores.rows) == live_scores.MOST_ROWS
    assert LiveScores.from_bytes(scores.to_bytes(), WHERE, "austin") == scores
    assert len(scores.to_bytes()) < live_scores.MAX_BYTES / 4


def test_what_is_no_score_is_refused_with_what_is_wrong(subtests: Any) -> None:
    good = LiveScores("austin", (answer(),)).to_bytes()
    value = json.loads(good)
    bad_rows = {
        "predicted is null": replace(answer(), predicted=None),  # type: ignore[arg-type]
        "deviation is true": replace(answer(), deviation=True),
        "step is -1": replace(answer(), step=-1),
        "role is 'king'": replace(answer(), role="king"),
        "got 'today'": replace(answer(), at="today"),
    }
    cases: dict[str, bytes] = {
        words: LiveScores("austin", (row,)).to_bytes() for words, row in bad_rows.items()
    }
    cases |= {
        "city is 'austin'": good,
        "larger than": b" " * (live_scores.MAX_BYTES + 1),
        "format_version": json.dumps({**value, "format_version": 2}).encode(),
        "a row is no list": json.dumps({**value, "rows": [[1]]}).encode(),
        "Delete the object": b"{",
    }
    for words, body in cases.items():
        with subtests.test(words):
            city = "waco" if words.startswith("city") else "austin"
            with pytest.raises(BrokenScores) as caught:
                LiveScores.from_bytes(body, WHERE, city)
            assert words in str(caught.value)
            assert WHERE in str(caught.value)
