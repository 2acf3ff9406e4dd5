"""Which cities a run that is under way is about: those of its DAG, or those that somebody has named for it."""

from __future__ import annotations

from typing import Any

from city_fleet.page.running_runs import Running, _named, cities

CITIES = [
    ("austin", "Austin", "texas.austin"),
    ("dallas", "Dallas", "texas._cohort_001"),
    ("san_marcos", "San Marcos", "texas._cohort_001"),
]


def running(conf: Any) -> frozenset[str]:
    return cities({"texas._cohort_001": Running("r", _named(conf))}, CITIES)


def test_a_run_is_about_all_of_its_dag_or_about_those_it_names() -> None:
    assert cities({"texas.austin": Running("r")}, CITIES) == {"austin"}
    for everybody in ({}, None, {"cities": None}, {"cities": []}, {"cities": ""}, {"cities": 7}, "text"):
        assert running(everybody) == {"dallas", "san_marcos"}, everybody
    assert running({"cities": ["san_marcos"]}) == {"san_marcos"}
    assert running({"cities": "San Marcos"}) == {"san_marcos"}  # by name, as the form of a run takes it
    assert running({"cities": ["elsewhere"]}) == frozenset()
    assert cities({}, CITIES) == frozenset()
