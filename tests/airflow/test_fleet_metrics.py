"""Gauges of a fleet, as Airflow's metrics get them."""

from __future__ import annotations

from typing import Any

from airflow.sdk._shared.observability.metrics.base_stats_logger import NoStatsLogger
from airflow.sdk.observability.stats import initialize

from city_fleet.orchestration import fleet_metrics
from city_fleet.views.fleet import CityState, CityStatus
from tests.support.fleets import texas


class Recorder:
    """What Airflow sends metrics by, which keeps them."""

    def __init__(self) -> None:
        self.gauges: list[tuple[str, float, dict[str, str]]] = []

    def gauge(
        self, stat: str, value: float, rate: float = 1, delta: bool = False, *, tags: Any = None
    ) -> None:
        self.gauges.append((stat, value, tags))


def test_cities_are_counted_by_their_states() -> None:
    recorder = Recorder()
    initialize(factory=lambda: recorder, export_legacy_names=False)  # type: ignore[arg-type, return-value]
    cities = [
        CityStatus("austin", "Austin", CityState.UP_TO_DATE, served_by="austin"),
        CityStatus("waco", "Waco", CityState.UP_TO_DATE, served_by="austin"),
        CityStatus("tyler", "Tyler", CityState.STALE),
    ]
    try:
        fleet_metrics.tell_cities(texas(), cities)
    finally:
        initialize(factory=NoStatsLogger, export_legacy_names=False)
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
