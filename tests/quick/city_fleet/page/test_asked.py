"""Whose page somebody sees first."""

from __future__ import annotations

from typing import Any

from city_fleet.config import load_fleets
from city_fleet.page import asked
from tests.support.paths import ROOT


class Sample:
    """What is seen of the repository's own fleets."""

    def fleets(self) -> list[Any]:
        return list(load_fleets(ROOT / "include" / "fleets"))

    def all_dag_ids(self, fleet: Any) -> set[str]:
        return {fleet.dag_id_of(slug) for slug in fleet.cities}


class Visitor:
    """Somebody who may read the DAGs of some fleets."""

    def __init__(self, *fleets: str) -> None:
        self._fleets = fleets

    def reads(self, dag_id: str) -> bool:
        return dag_id.partition(".")[0] in self._fleets

    def sees(self, dag_ids: set[str]) -> bool:
        return any(map(self.reads, dag_ids))


def test_the_largest_fleet_that_somebody_may_see_comes_first() -> None:
    reading: Any = Sample()
    everybody: Any = Visitor("flights", "house_sales", "restaurants", "texas_housing")
    assert asked.names_of(reading, everybody) == ["texas_housing", "house_sales", "flights", "restaurants"]
    few: Any = Visitor("restaurants", "flights")
    assert asked.names_of(reading, few) == ["flights", "restaurants"]
    nobody: Any = Visitor()
    assert asked.names_of(reading, nobody) == []
