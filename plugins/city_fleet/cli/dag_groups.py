"""Which DAGs run some cities: of a cohort's cities one DAG, which runs those alone that its run's param names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from city_fleet.cohorts import cohort_of
from city_fleet.config import Fleet

#: The param of a cohort's DAG that names the cities of a run.
CITIES_PARAM = "cities"


@dataclass(frozen=True)
class DagGroup:
    """Cities that one DAG runs.

    :param cohort: its name; None for the DAG of one city.
    :param cities: those that are meant, by slug.
    """

    dag_id: str
    fleet: Fleet
    cohort: str | None
    cities: tuple[str, ...]

    @property
    def others(self) -> int:
        """Return how many cities the DAG runs beside those that are meant."""
        return 0 if self.cohort is None else len(self.fleet.members[self.cohort]) - len(self.cities)

    @property
    def conf(self) -> dict[str, list[str]]:
        """Return the params by which a run is about these cities alone."""
        return {CITIES_PARAM: list(self.cities)} if self.others else {}

    @property
    def label(self) -> str:
        """Return what stands for the cities where there is room for one name."""
        if len(self.cities) == 1:
            return self.cities[0]
        return f"{self.cohort} ({len(self.cities)} cities)"

    def others_too(self, verb: str) -> str:
        """Say that a whole DAG would be concerned.

        :param verb: in the passive: ``paused``.
        """
        return (
            f"it is one of {len(self.fleet.members[str(self.cohort)])} cities of {self.cohort}, whose DAG would be "
            f"{verb} as a whole: name all of them, or give it a DAG of its own by cohort: null in the fleet file"
        )


def dag_groups(found: Iterable[tuple[Fleet, str]]) -> list[DagGroup]:
    """Return the DAGs that run some cities, in the order of the cities."""
    groups: dict[str, DagGroup] = {}
    for fleet, city in found:
        dag_id = fleet.dag_id_of(city)
        before = groups[dag_id].cities if dag_id in groups else ()
        groups[dag_id] = DagGroup(dag_id, fleet, cohort_of(fleet, city), (*before, city))
    return list(groups.values())
