"""The state of each city, from the fleet file and the index alone."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from city_fleet.config import Algorithm, City, Fleet
from city_fleet.errors import ConfigError
from city_fleet.plan import CityPlan
from city_fleet.state.index_state import Champion, Index, IndexEntry, RunSummary
from city_fleet.views import fleet as fleet_state
from city_fleet.views.fleet import CityState, Waiting, due_tick, take
from tests.support.fleets import pooled_texas, texas
from tests.support.states import CODE, champion

NOW = datetime(2014, 2, 1, 15, tzinfo=UTC)


def run(outcome: str, as_of: str = "20140201T000000Z", **fields: Any) -> RunSummary:
    return RunSummary(as_of, "0123456789", "2014-02-01T03:00:00+00:00", "austin/x.json", outcome, **fields)


def status(
    entry: IndexEntry, at: datetime = NOW, fleet: Fleet | None = None, **more: Any
) -> fleet_state.CityStatus:
    found = take(fleet or texas(), Index(cities={"austin": entry}), at, code_digests=CODE, **more)
    return next(city for city in found.cities if city.city == "austin")


def with_city(**fields: Any) -> Fleet:
    """The Texas fleet with other settings of Austin."""
    fleet = texas()
    city = fleet.cities["austin"].model_copy(update=fields)
    return fleet.model_copy(update={"cities": {**fleet.cities, "austin": city}})


def test_a_city_whose_model_has_seen_the_last_tick_is_up_to_date() -> None:
    found = status(IndexEntry(champion(), (run("live"),)))
    assert (found.state, found.remarks) == (CityState.UP_TO_DATE, ())
    assert found.age == timedelta(hours=15)
    assert found.due == datetime(2014, 2, 1, tzinfo=UTC)


def test_a_city_without_a_pointer_is_not_deployed() -> None:
    found = status(IndexEntry(None, (run("too_little_data", reasons=("40 usable months of 60",)),)))
    assert found.state is CityState.NOT_DEPLOYED
    assert found.age is None
    assert found.remarks == ("too_little_data: 40 usable months of 60",)
    never = take(texas(), Index(), NOW, code_digests=CODE)
    assert never.counts[CityState.NOT_DEPLOYED] == 47
    assert [city.city for city in never.cities] == sorted(texas().cities)


@pytest.mark.parametrize(
    ("as_of", "at", "state"),
    [
        ("20140101T000000Z", datetime(2014, 2, 1, 11, 59, tzinfo=UTC), CityState.UP_TO_DATE),
        ("20140101T000000Z", datetime(2014, 2, 1, 12, 0, tzinfo=UTC), CityState.STALE),
        ("20140131T235959Z", NOW, CityState.STALE),
        ("20140201T000000Z", datetime(2014, 3, 1, 11, 59, tzinfo=UTC), CityState.UP_TO_DATE),
        ("20140115T000000Z", NOW - timedelta(days=5), CityState.UP_TO_DATE),
    ],
)
def test_a_model_is_stale_when_the_ticks_model_should_serve_by_now(
    as_of: str, at: datetime, state: CityState
) -> None:
    assert status(IndexEntry(champion(as_of=as_of)), at).state is state


def test_the_slack_is_a_setting_and_the_spread_comes_on_top() -> None:
    city = texas().cities["austin"].model_copy(update={"stale_after_hours": 1, "spread_minutes": 30})
    tick = datetime(2014, 2, 1, tzinfo=UTC)
    assert due_tick(city, tick + timedelta(minutes=89)) == datetime(2014, 1, 1, tzinfo=UTC)
    assert due_tick(city, tick + timedelta(minutes=90)) == tick


def test_a_schedule_that_has_ended_or_not_begun_or_is_none_makes_nothing_stale() -> None:
    city: City = texas().cities["austin"]
    assert due_tick(city, datetime(2030, 1, 1, tzinfo=UTC)) == datetime(2015, 8, 1, tzinfo=UTC)
    assert due_tick(city, datetime(2009, 6, 1, tzinfo=UTC)) is None
    assert due_tick(city.model_copy(update={"schedule": None}), NOW) is None
    later = city.model_copy(update={"start_date": date(2014, 2, 1)})
    assert due_tick(later, datetime(2014, 1, 31, tzinfo=UTC)) is None


def test_settings_and_scripts_that_changed_make_a_model_out_of_date() -> None:
    entry = IndexEntry(champion(code_digest="old"))
    found = status(entry)
    assert (found.state, found.changed) == (CityState.OUT_OF_DATE, ("code",))
    changed = with_city(algorithm=Algorithm(hyperparameters={"eta": 0.5}))
    found = status(entry, fleet=changed)
    assert (found.changed, found.remarks) == (("settings", "code"), ("settings and code changed",))
    stale = status(IndexEntry(champion(as_of="20130101T000000Z", code_digest="old")))
    assert (stale.state, stale.remarks) == (CityState.STALE, ("code changed",))
    assert status(IndexEntry(champion()), fleet=with_city(retries=7)).state is CityState.UP_TO_DATE


def test_what_is_not_known_is_not_held_against_a_model() -> None:
    unknown = IndexEntry(champion(settings_digest=None, code_digest=None))
    assert status(unknown).state is CityState.UP_TO_DATE
    found = take(
        texas(), Index(cities={"austin": IndexEntry(champion(code_digest="old"))}), NOW, code_digests={}
    )
    assert found.counts[CityState.UP_TO_DATE] == 1


def test_a_city_with_broken_settings_is_broken_and_its_champion_is_shown() -> None:
    fleet = texas()
    error = ConfigError(got="'x'", city="austin", field="gate.tolerance")
    cities = {slug: city for slug, city in fleet.cities.items() if slug != "austin"}
    broken = fleet.model_copy(update={"cities": cities, "broken": {"austin": error}})
    found = status(IndexEntry(champion()), fleet=broken)
    assert (found.state, found.problem) == (CityState.BROKEN, str(error))
    assert found.champion is not None


def test_a_pointer_that_cannot_be_read_is_broken() -> None:
    found = status(IndexEntry(Champion('"e"', "s3://b/live/austin.json: is not a live pointer")))
    assert found.state is CityState.BROKEN
    assert found.remarks == ("s3://b/live/austin.json: is not a live pointer",)
    assert found.age is None


def test_a_city_that_left_the_fleet_file_is_reported_while_it_serves() -> None:
    index = Index(
        cities={"atlantis": IndexEntry(champion("atlantis")), "ys": IndexEntry(None, (run("held"),))}
    )
    found = take(texas(), index, NOW, code_digests=CODE)
    assert len(found.cities) == 48, "a city without pointer and without settings is forgotten"
    (gone,) = [city for city in found.cities if city.state is CityState.REMOVED_BUT_SERVING]
    assert gone.city == "atlantis"
    assert "not in include/fleets/texas_housing.yaml any more" in str(gone.problem)


def test_what_waits_and_what_is_pinned_is_said() -> None:
    def waiting(version: int) -> Waiting:
        return Waiting(f"arn:…/{version}", version, datetime(2014, 1, version, tzinfo=UTC))

    pinned = replace(champion(), pinned=True, reason="bad data")
    found = status(
        IndexEntry(pinned, (run("failed", reasons=("task train failed",)),)),
        waiting={"texas-housing--laptop--austin": [waiting(8), waiting(7)], "other": [waiting(1)]},
    )
    assert found.remarks == (
        "pinned: bad data",
        "version 7 waits for approval",
        "version 8 waits for approval",
        "failed: task train failed",
    )
    text = json.dumps(found.to_dict())
    assert '"age_seconds": 54000' in text


def test_who_answers_for_a_city_is_said_as_predictions_find_it_out() -> None:
    parent = champion("texas")
    mine = replace(champion(), data_until="2013-12-01")

    def served(own: Champion | None, last: RunSummary, of_parent: Champion | None = parent) -> str | None:
        index = Index(cities={"austin": IndexEntry(own, (last,)), "texas": IndexEntry(of_parent)})
        found = take(pooled_texas(), index, NOW, code_digests=CODE)
        return next(city for city in found.cities if city.city == "austin").served_by

    held = run("held")
    assert served(None, held) == "texas"
    assert served(None, held, None) is None
    assert served(mine, held) == "austin"
    # Twelve periods, one holdout, are not stale yet.
    assert served(mine, run("held", data_until="2014-12-01")) == "austin"
    assert served(mine, run("held", data_until="2015-01-01")) == "texas"
    assert served(mine, run("held", data_until="2015-01-01"), None) == "austin"
    assert served(mine, run("held", beaten=mine.target_model)) == "texas"
    assert served(mine, run("held", beaten="austin/another.tar.gz")) == "austin"
    assert served(replace(mine, problem="no pointer"), held) is None


def test_a_city_that_its_parent_answers_for_says_so() -> None:
    index = Index(
        cities={"austin": IndexEntry(None, (run("too_little_data"),)), "texas": IndexEntry(champion("texas"))}
    )
    found = take(pooled_texas(), index, NOW, code_digests=CODE)
    austin = next(city for city in found.cities if city.city == "austin")
    assert austin.state is CityState.NOT_DEPLOYED
    assert austin.remarks[0] == "served by texas"
    assert austin.to_dict()["served_by"] == "texas"
    own = next(city for city in found.cities if city.city == "texas")
    assert (own.served_by, own.by_parent) == ("texas", False)


def test_a_parent_with_other_cities_is_out_of_date() -> None:
    fleet = texas()
    plan = CityPlan(fleet, fleet.cities["texas"])
    made = replace(champion("texas"), settings_digest=plan.settings_digest)
    entry = {"texas": IndexEntry(made)}
    found = {city.city: city for city in take(fleet, Index(cities=entry), NOW, code_digests=CODE).cities}
    assert found["texas"].changed == ()
    fewer = fleet.model_copy(update={"children": {"texas": fleet.children["texas"][1:]}})
    found = {city.city: city for city in take(fewer, Index(cities=entry), NOW, code_digests=CODE).cities}
    assert found["texas"].changed == ("settings",)
