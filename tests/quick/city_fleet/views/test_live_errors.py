"""What a look has found of a city stands in its status, and nothing of it where nobody looks."""

from __future__ import annotations

import pytest

from city_fleet.cli import status_text
from city_fleet.errors import BrokenScores
from city_fleet.state.index_state import Champion
from city_fleet.state.monitored import CityHealth, Monitored
from city_fleet.views.fleet import CityState, CityStatus

CHAMPION = Champion("etag", target_model="austin/x", as_of="20150801T000000Z", metrics={"mape": 0.028})


def test_a_city_that_is_no_longer_right_says_so_with_its_numbers() -> None:
    health = CityHealth(
        periods=12, error=0.081, naive=0.06, alarm="2015-05-01", reasons=("too low",), notes=("late",)
    )
    city = CityStatus("austin", "Austin", CityState.UP_TO_DATE, CHAMPION, health=health)
    assert city.remarks == ("no longer right since 2015-05-01: too low", "late")
    assert status_text.live(city) == "8.1 % (held out 2.8 %)"
    assert city.to_dict()["live"]["naive"] == 0.06


def test_without_a_look_nothing_is_said() -> None:
    city = CityStatus("austin", "Austin", CityState.UP_TO_DATE, CHAMPION)
    assert (city.remarks, status_text.live(city)) == ((), "")
    assert "live" not in city.to_dict()


def test_what_a_look_has_found_is_read_again_and_nonsense_is_refused() -> None:
    found = Monitored(
        "2015-08-01T00:00:00+00:00", "", {"austin": CityHealth(alarm="2015-05-01", reasons=("x",))}
    )
    assert Monitored.from_bytes(found.to_bytes(), "s3://x") == found
    for body in (
        b"{",
        b"[]",
        found.to_bytes().replace(b'"x"', b"7"),
        found.to_bytes().replace(b":0,", b':"a",'),
    ):
        with pytest.raises(BrokenScores, match="Delete the object"):
            Monitored.from_bytes(body, "s3://x")
