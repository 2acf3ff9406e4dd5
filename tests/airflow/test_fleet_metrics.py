"""Gauges of a fleet, as Airflow's metrics get them."""

from __future__ import annotations

from city_fleet.orchestration import fleet_metrics
from city_fleet.views.fleet import CityState, CityStatus
from tests.support.fleets import texas
from tests.support.stats_recorder import recorded


def test_cities_are_counted_by_their_states() -> None:
    cities = [
        CityStatus("austin", "Austin", CityState.UP_TO_DATE, served_by="austin"),
        CityStatus("waco", "Waco", CityState.UP_TO_DATE, served_by="austin"),
        CityStatus("tyler", "Tyler", CityState.STALE),
    ]
    with recorded() as recorder:
        fleet_metrics.tell_cities(texas(), cities)
    whose = {"fleet": "texas_housing", "environment": "laptop"}
    found = {(name, tags.get("state")): value for name, value, tags in recorder.gauges}
    assert found == {
        **{("cityfleet.cities", state.value): 0 for state in CityState},
        ("cityfleet.cities", "UP_TO_DATE"): 2,
        ("cityfleet.cities", "STALE"): 1,
        ("cityfleet.cities_awaiting_approval", None): 0,
        ("cityfleet.cities_served_by_parent", None): 1,
    }
    assert all({**tags, **whose} == tags for _, _, tags in recorder.gauges)
