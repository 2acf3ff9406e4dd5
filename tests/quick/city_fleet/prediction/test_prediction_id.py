"""What a prediction is called: city and moment are read from it, and nothing else is one."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from city_fleet.errors import BadRequest
from city_fleet.prediction import prediction_id

MOMENT = datetime(2015, 8, 1, 6, 15, tzinfo=UTC)


def test_city_and_moment_are_read_from_it() -> None:
    found = prediction_id.read(prediction_id.new("fort_worth", MOMENT))
    assert (found.city, found.moment) == ("fort_worth", MOMENT)
    assert prediction_id.read(prediction_id.EXAMPLE).moment == MOMENT


def test_no_two_are_the_same() -> None:
    assert len({prediction_id.new("austin", MOMENT) for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    "value",
    [
        None, 7, "", "austin", "../austin.20150801T061500Z.5f0c2a9b41de", "austin.20151301T061500Z.5f0c2a9b41de",
        "austin.20150801T061500Z.5f0c2a9b41de\n", "Austin.20150801T061500Z.5f0c2a9b41de",
        "__.20150801T061500Z.5f0c2a9b41de",
    ],
)  # fmt: skip
def test_what_is_none_is_refused_with_an_example(value: object) -> None:
    with pytest.raises(BadRequest, match=r"prediction_id: got .*; allowed: .*'austin\.20150801T061500Z"):
        prediction_id.read(value)
