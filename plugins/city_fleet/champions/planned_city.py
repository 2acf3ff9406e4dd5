"""A city with its settings: what everything needs that follows a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from city_fleet.config import Fleet
from city_fleet.config.endpoint_section import MULTI_CONTAINER, OWN, home_of_model
from city_fleet.plan import CityPlan, endpoint_name
from city_fleet.state.context import CityContext, Clients, Home, HomeOf


def homes_of(fleet: Fleet) -> HomeOf:
    """Return what says where models of a fleet are served, by its settings as they are now."""

    def home_of(algorithm: str, image: Callable[[], str]) -> Home:
        name = home_of_model(algorithm, image, fleet.endpoints)
        in_container = fleet.endpoint_settings(name).kind == MULTI_CONTAINER
        return Home("" if name == OWN else endpoint_name(fleet, name), in_container)

    return home_of


@dataclass(frozen=True)
class PlannedCity(CityContext):
    """One city of one fleet, the clients to reach it with, and its settings."""

    plan: CityPlan

    @classmethod
    def of(cls, aws: Clients, plan: CityPlan) -> PlannedCity:
        fleet = plan.fleet
        return cls(
            aws,
            plan.keys,
            endpoint_name(fleet),
            plan.package_group,
            plan.city.slug,
            plan,
            home_of=homes_of(fleet),
        )
