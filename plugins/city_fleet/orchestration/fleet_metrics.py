"""Gauges of a fleet among Airflow's own metrics, by StatsD or OpenTelemetry, whichever Airflow sends.

Told by tasks that look at the fleet anyway, so nothing is read for them. By fleet and never by city: their number does
not grow with the cities. docs/observe.md has their names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from airflow.sdk.observability import stats

from city_fleet.config import Fleet
from city_fleet.views.fleet import CityState, CityStatus

_PREFIX = "cityfleet"


def tell(fleet: Fleet, name: str, value: float, **tags: str) -> None:
    """Set a gauge of a fleet."""
    told = {"fleet": fleet.fleet, "environment": fleet.environment, **tags}
    stats.gauge(f"{_PREFIX}.{name}", value, tags=told)


def tell_cities(fleet: Fleet, cities: Iterable[CityStatus]) -> None:
    """Tell how many cities are in each state, none too, and how many wait for a person or are served by a parent."""
    found = list(cities)
    states = Counter(city.state for city in found)
    for state in CityState:
        tell(fleet, "cities", states[state], state=state.value)
    tell(fleet, "cities_awaiting_approval", sum(bool(city.waiting) for city in found))
    tell(fleet, "cities_served_by_parent", sum(city.by_parent for city in found))
