"""A captured prediction is read as it was written, holds nothing that is masked, and is not believed blindly."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from city_fleet.state import captured, captured_line
from city_fleet.state.observed import CHALLENGER, Observed

SEEN = Observed(
    "austin.20150801T061500Z.5f0c2a9b41de",
    "austin",
    datetime(2015, 8, 1, 6, 15, tzinfo=UTC),
    {"features": {"sales_lag_1": 2873, "Inventory": 7.25, "inventory_lag_1": None, "trend": 180}},
    200,
    {"prediction": 2.5, "city": "austin"},
    12.5,
    target_model="austin/20140101T000000Z-5f0c2a9b41de.tar.gz",
    package_version=7,
    cold=True,
)


def test_what_is_written_is_read_again() -> None:
    failed = Observed(
        "", "waco", SEEN.at, {}, 503, {}, 1.0, error="NotReady: ö\n", role=CHALLENGER, shadow=True
    )
    for seen in (SEEN, failed):
        line = captured.to_line(seen)
        assert line.count("\n") == 1
        assert captured.parse(line) == seen


def test_a_line_is_as_data_capture_writes_it() -> None:
    document = json.loads(captured.to_line(SEEN))
    given = document["captureData"]["endpointInput"]
    assert (given["observedContentType"], given["mode"], given["encoding"]) == (
        "application/json", "INPUT", "JSON",
    )  # fmt: skip
    assert json.loads(given["data"]) == SEEN.asked
    assert document["eventMetadata"] == {
        "eventId": SEEN.prediction_id,
        "inferenceTime": "2015-08-01T06:15:00.000Z",
    }
    assert document["eventVersion"] == "0"


def test_a_masked_column_is_nowhere_in_the_line() -> None:
    rows = [{"period": "2015-07-01", "inventory": 7.25, "median": 3}, "7.25"]
    by_name = replace(SEEN, asked={"horizon": 2, "history": rows, "ahead": {"inventory": 7.25}})
    no_object = replace(SEEN, asked={"features": [7.25]})
    quoting = replace(SEEN, status=400, answer={}, error="BadRequest: feature 'inventory': got 7.25")
    for seen in (SEEN, by_name, no_object, quoting):
        hidden = captured.masked(seen, ["inventory"])
        assert "7.25" not in captured.to_line(hidden)
        assert captured.parse(captured.to_line(hidden)) == hidden
        assert captured.to_line(seen, ["inventory"]) == captured.to_line(hidden)
    hidden = captured.masked(SEEN, ["inventory"])
    assert hidden.asked["features"] == {
        "sales_lag_1": 2873, "Inventory": None, "inventory_lag_1": None, "trend": 180,
    }  # fmt: skip
    assert hidden.masked == ("Inventory", "inventory_lag_1")
    assert captured.masked(by_name, ["inventory"]).asked["horizon"] == 2
    assert captured.masked(SEEN, []) is SEEN


def test_a_masked_target_is_not_answered_either() -> None:
    steps = [{"period": "2015-08-01", "step": 1, "prediction": 9.75, "intervals": {"80": [9.5, 9.75]}}]
    answers: list[dict[str, Any]] = [
        {"prediction": 9.75, "forecasts": steps, "unit": "USD"},
        {"label": "9.75", "probabilities": {"9.75": 1.0}},
        {"label": "9.75", "top_k": [{"label": "9.75", "probability": 1.0}]},
    ]
    for answer in answers:
        hidden = captured.masked(replace(SEEN, answer=answer), ["sales"], answers=True)
        assert "9.75" not in captured.to_line(hidden)
        assert captured.to_line(replace(SEEN, answer=answer), ["sales"], answers=True) == captured.to_line(
            hidden
        )
    told = captured.masked(replace(SEEN, answer=answers[0]), ["sales"], answers=True).answer
    assert told["forecasts"] == [{"period": "2015-08-01", "step": 1, "prediction": None, "intervals": None}]
    assert told["unit"] == "USD"


def test_what_json_has_no_word_for_is_null() -> None:
    seen = replace(SEEN, asked={"features": {"trend": float("nan"), "sales": object()}})
    assert captured.parse(captured.to_line(seen)).asked == {"features": {"trend": None, "sales": None}}


def test_a_line_that_is_none_is_refused_with_what_was_got() -> None:
    good = json.loads(captured.to_line(SEEN))
    cases: dict[str, Any] = {
        "Expecting": "{",
        "eventMetadata: got nothing; allowed: dict": [],
        "status: got '200'": good | {"cityFleet": good["cityFleet"] | {"status": "200"}},
        "status: got true": good | {"cityFleet": good["cityFleet"] | {"status": True}},
        "role: got 'king'": good | {"cityFleet": good["cityFleet"] | {"role": "king"}},
        "an instant such as": good | {"eventMetadata": good["eventMetadata"] | {"inferenceTime": "now"}},
        "masked": good | {"cityFleet": good["cityFleet"] | {"masked": [1]}},
        "endpointInput: got an empty list": good
        | {"captureData": good["captureData"] | {"endpointInput": {"data": "[]"}}},
        "nested": "[" * 100_000,
    }
    for said, document in cases.items():
        with pytest.raises(ValueError, match=said):
            captured.parse(document if isinstance(document, str) else json.dumps(document))


def test_what_names_no_city_has_no_place() -> None:
    assert captured_line.is_kept(SEEN)
    for change in ({"city": "(7)"}, {"city": "Waco/.."}, {"city": ""}, {"status": 404}):
        assert not captured_line.is_kept(replace(SEEN, **change)), change
