"""A city with its settings: what everything needs that follows a run."""

from __future__ import annotations

from dataclasses import dataclass

from city_fleet.plan import CityPlan, endpoint_name
from city_fleet.state.context import CityContext, Clients


@dataclass(frozen=True)
class PlannedCity(CityContext):
    """One city of one fleet, the clients to reach it with, and its settings."""

    plan: CityPlan

    @classmethod
    def of(cls, aws: Clients, plan: CityPlan) -> PlannedCity:
        return cls(aws, plan.keys, endpoint_name(plan.fleet), plan.package_group, plan.city.slug, plan)
