"""The fleet that unit tests plan with: the real Texas file, with the settings of a laptop."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from city_fleet.config import Fleet, load_fleet
from city_fleet.plan import CityPlan, Run, plan_city

ROOT = Path(__file__).resolve().parents[2]
TEXAS = ROOT / "include" / "fleets" / "texas_housing.yaml"
AS_OF = datetime(2014, 1, 1, tzinfo=UTC)


@cache
def texas() -> Fleet:
    return load_fleet(TEXAS, environ={})


def austin() -> CityPlan:
    return plan_city(texas(), "austin")


def january_run() -> Run:
    return austin().run("scheduled__2014-01-01T00:00:00+00:00", AS_OF)
