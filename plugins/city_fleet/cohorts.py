"""Cohorts: cities that share one DAG and one training job a night. Pure.

Which cities they are is said when a fleet file is read (``config/cohort_rule.py``); here is what else asks.
"""

from __future__ import annotations

from city_fleet.config import Fleet
from city_fleet.config.cohort_rule import own_dag_reason


def cohorts(fleet: Fleet) -> dict[str, tuple[str, ...]]:
    """Return the cities of each cohort of a fleet, sorted: name (``cohort_007``) → slugs."""
    return dict(fleet.members)


def cohort_of(fleet: Fleet, slug: str) -> str | None:
    """Return the name of the cohort that a city is in; None for one with a DAG and jobs of its own."""
    return fleet.cohort_of(slug)


def own_dag_reasons(fleet: Fleet) -> dict[str, str]:
    """Return the cities that name a cohort and have a DAG of their own all the same, with the reason, by slug."""
    reasons = {}
    for slug, city in fleet.cities.items():
        if city.cohort is not None:
            reason = own_dag_reason(city, fleet, fleet.children.get(slug, ()))
            if reason is not None:
                reasons[slug] = reason
    return reasons


def reasons_counted(fleet: Fleet) -> list[str]:
    """Return a line for each reason: how many cities have a DAG of their own for it, with some of their names."""
    by_reason: dict[str, list[str]] = {}
    for slug, reason in own_dag_reasons(fleet).items():
        by_reason.setdefault(reason, []).append(slug)
    return [
        f"{len(slugs)} {'city has' if len(slugs) == 1 else 'cities have'} a DAG and jobs of "
        f"{'its' if len(slugs) == 1 else 'their'} own ({_some(slugs)}): {reason}"
        for reason, slugs in sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0]))
    ]


def _some(slugs: list[str], most: int = 3) -> str:
    more = f" and {len(slugs) - most} more" if len(slugs) > most else ""
    return ", ".join(slugs[:most]) + more
