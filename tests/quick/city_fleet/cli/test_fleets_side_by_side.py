"""Of several fleets, one that nobody has begun with takes a line; alone it is shown whole."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from city_fleet.cli import cost_command, status_text
from city_fleet.views.fleet import CityState, CityStatus

NEW = CityStatus("boston", "Boston", CityState.NOT_DEPLOYED)


def shown(city: CityStatus, **how: bool) -> list[str]:
    snapshot = SimpleNamespace(
        counts={"NOT_DEPLOYED": 1},
        cities=[city],
        fleet="flights",
        environment="laptop",
        at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    picture: Any = SimpleNamespace(snapshot=snapshot, refreshed=SimpleNamespace(behind=0), problems=())
    fleet: Any = SimpleNamespace(fleet="flights", last_good=None)
    return list(status_text.lines(fleet, picture, [city], None, **{"narrowed": False, "alone": False, **how}))


def test_a_fleet_that_nobody_has_begun_with_is_a_line_with_what_begins_it() -> None:
    head, hint = shown(NEW)
    assert "1 NOT_DEPLOYED" in head
    assert "./fleet run --fleet flights boston --unpause" in hint
    assert "./fleet status --fleet flights" in hint


@pytest.mark.parametrize("how", [{"alone": True}, {"narrowed": True}])
def test_one_that_was_asked_for_is_listed(how: dict[str, bool]) -> None:
    assert any(line.startswith("boston ") for line in shown(NEW, **how))


def test_one_city_with_something_to_say_brings_the_table() -> None:
    broken = replace(NEW, problem="its pointer can't be read")
    assert any(line.startswith("boston ") and "can't be read" in line for line in shown(broken))


def costs(jobs: int, *lacking: str) -> Any:
    window = SimpleNamespace(
        window=SimpleNamespace(name="last night"),
        jobs=SimpleNamespace(jobs=jobs),
        lacking=lacking,
        dollars=0.02,
    )
    fleet: Any = SimpleNamespace(fleet="flights", environment="laptop")
    prices: Any = None
    windows: Any = [window]
    return cost_command._Shown(fleet, prices, windows, by=None, groups=None, forecast=None, models=0)


def test_what_fleets_without_jobs_cost_is_a_line_each() -> None:
    lines = list(cost_command._lines([costs(0), costs(0)], None))
    assert (
        lines
        == [
            "flights (laptop), 0 cities with a model: no job has ended; its endpoints 0.0200 dollars last night"
        ]
        * 2
    )


def test_a_fleet_with_jobs_or_without_a_price_has_its_table() -> None:
    assert [costs(0).idle, costs(1).idle, costs(0, "endpoints on ml.x").idle] == [True, False, False]
