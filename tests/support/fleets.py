"""The fleet that unit tests plan with: the real Texas file, with the settings of a laptop."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache

from city_fleet.config import Fleet, load_fleet
from city_fleet.plan import CityPlan, Run, plan_city
from tests.support.paths import ROOT

TEXAS = ROOT / "include" / "fleets" / "texas_housing.yaml"
#: A fleet file of which nothing but cities is missing.
SMALL = """\
fleet: small
bucket: small-data
role: arn:aws:iam::123456789012:role/small
start_date: 2020-01-01
dataset:
  city_column: city
  time: {columns: [date]}
  frequency: day
  available_after: P1D
  target: {column: y, lags: [1]}
"""
AS_OF = datetime(2014, 1, 1, tzinfo=UTC)


@cache
def texas() -> Fleet:
    return load_fleet(TEXAS, environ={})


@cache
def pooled_texas() -> Fleet:
    """The same fleet with texas as the parent of all its cities."""
    fleet = texas()
    cities = {slug: city.model_copy(update={"parent": "texas"}) for slug, city in fleet.with_raw_data.items()}
    parent = {"texas": fleet.cities["texas"]}
    update = {
        "cities": dict(sorted({**cities, **parent}.items())),
        "children": {"texas": tuple(sorted(cities))},
    }
    return fleet.model_copy(update=update)


def austin() -> CityPlan:
    return plan_city(texas(), "austin")


def january_run() -> Run:
    return Run("scheduled__2014-01-01T00:00:00+00:00", "0123456789", AS_OF)
