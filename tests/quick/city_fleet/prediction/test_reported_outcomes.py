"""What callers say really happened: each row is taken once, or refused with where it stands and what is allowed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from city_fleet.prediction import prediction_id
from city_fleet.prediction.reported_outcomes import check, is_kept, number_or_text, rows_of, to_lines

NOW = datetime(2015, 9, 1, tzinfo=UTC)
ID = prediction_id.EXAMPLE
OTHER = "waco.20150801T061500Z.000000000001"


def of_fleet(city: str) -> str | None:
    return None if city in ("austin", "waco") else f"fleet 'x' has no city {city!r}"


def test_rows_of_files_are_read_as_what_they_are() -> None:
    table = (
        f"\ufeffprediction_id,who,outcome\r\n{ID},ann,255000\r\n\r\n{OTHER},bob,Condo\r\n{ID},ann,255000\r\n"
    )
    found = check(rows_of(table, "Outcomes.CSV"), NOW, of_fleet)
    assert found.mistakes == ()
    assert [(each.of.text, each.value) for each in found.good] == [(ID, 255000), (OTHER, "Condo")]
    again = check(rows_of(to_lines(found.good).decode(), "x.jsonl"), NOW, of_fleet)
    assert again == found


def test_what_is_wrong_is_said_by_row(subtests: pytest.Subtests) -> None:
    later = "austin.20160801T061500Z.5f0c2a9b41de"
    cases = {
        '{"outcome": 1}': "line 1: there is no 'prediction_id'",
        f'{{"prediction_id": "{ID}"}}': "line 1: there is no 'outcome'",
        '{"prediction_id": "austin", "outcome": 1}': "line 1: prediction_id: got 'austin'; allowed",
        f'{{"prediction_id": "{ID.replace("austin", "wacko")}", "outcome": 1}}': "fleet 'x' has no city 'wacko'",
        f'{{"prediction_id": "{ID}", "outcome": true}}': "outcome: got true; allowed: a finite number",
        f'{{"prediction_id": "{ID}", "outcome": NaN}}': "outcome: got nan; allowed: a finite number",
        f'{{"prediction_id": "{ID}", "outcome": 1{"0" * 400}}}': "allowed: a finite number",
        f'{{"prediction_id": "{ID}", "outcome": "{"x" * 301}"}}': "allowed: a finite number, or a class",
        f'{{"prediction_id": "{later}", "outcome": 1}}': "a prediction of the future",
        f'{{"prediction_id": "{ID}", "outcome": 1, "y": 1}}': "unknown member 'y'",
        "[1]": "line 1: got a list",
        "{": "line 1: not JSON",
    }
    for text, said in cases.items():
        with subtests.test(said):
            found = check(rows_of(text, "x.jsonl"), NOW, of_fleet)
            assert found.good == ()
            assert said in found.sentence
    tables = {
        "id,outcome\na,1\n": "the head is 'id,outcome'; allowed: one with prediction_id and outcome",
        f"prediction_id,outcome\n{ID}\n": "line 2: 1 cells; allowed: 2",
        f"prediction_id,outcome\n{ID},\n": "line 2: there is no 'outcome'",
        f"prediction_id,outcome\n{ID},1\n{ID},2\n": "line 3: prediction_id "
        + ID
        + " has the outcomes 1 and 2",
    }
    for text, said in tables.items():
        with subtests.test(said):
            assert said in check(rows_of(text, "x.csv"), NOW, of_fleet).sentence


def test_many_mistakes_are_counted() -> None:
    found = check([("row", None)] * 15, NOW, of_fleet)
    assert found.sentence.endswith("And 5 more.")


def test_a_word_is_a_number_only_where_it_is_one() -> None:
    words = ("1", "2.5", "-3e2", "1_000", "nan", "inf", "House")
    assert [number_or_text(each) for each in words] == [1, 2.5, -300.0, "1_000", "nan", "inf", "House"]


def test_the_id_says_whether_a_prediction_is_captured() -> None:
    of = prediction_id.read(ID)  # its digits begin with 5f of ff
    assert (is_kept(of, 0.3), is_kept(of, 0.4), is_kept(of, 1), is_kept(of, 0)) == (False, True, True, False)
