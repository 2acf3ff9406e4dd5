"""Which cities share one training job: the members of each cohort, and why a city is in none.

A cohort is made of its cities' slugs alone (jump consistent hash: Lamping & Veach, "A Fast, Minimal Memory, Consistent
Hash Algorithm", 2014), so a new city moves no other one, unless there is a cohort more: then one city of so many moves.
docs/adr/0031 says what a cohort is for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from city_fleet import naming
from city_fleet.config.value_types import Problem
from city_fleet.errors import show_value

if TYPE_CHECKING:
    from city_fleet.config.settings import City, FleetSettings

#: So many tasks Airflow maps at most (its ``max_map_length``), and so many cities a cohort has at most.
MOST_MEMBERS = 1024
FIELD = ("cohort",)
#: What all cities of a cohort have in common, because its DAG or its job has it once.
_OF_THE_DAG = (
    "schedule", "spread_minutes", "start_date", "end_date", "retries", "retry_delay_seconds", "waiter_delay_seconds",
    "capacity_wait_seconds",
)  # fmt: skip
_OF_THE_JOB = ("scripts", "own_scripts", "training", "processing")
#: Settings by which a city is in a cohort or not.
DECIDING = ("cohort", "approval", "entry", *_OF_THE_DAG, *_OF_THE_JOB)
#: Single own files that cohort.py takes as each step does.
_SHARED_SCRIPTS = ("features", "requirements")


def own_dag_reason(city: City, settings: FleetSettings, children: Collection[str] = ()) -> str | None:
    """Return why a city has a DAG and jobs of its own although it names a cohort; None where it is in one.

    :param children: the cities that it is the parent of.
    """
    if children:
        return "it is the parent of other cities"
    return _own_kind(city) or _own_settings(city, settings)


def _own_kind(city: City) -> str | None:
    """Return what a cohort can't do for a city."""
    if city.approval == "manual":
        return "approval is manual: a person is asked about one city"
    if city.dataset.raw is not None:
        return "dataset.raw reads its data elsewhere"
    if city.entry != "script":
        return "entry is none: the image trains by a command of its own"
    if any(given is not None and name not in _SHARED_SCRIPTS for name, given in city.own_scripts):
        return "own_scripts replaces a step"
    return None


def _own_settings(city: City, settings: FleetSettings) -> str | None:
    """Return what of a city differs from that of all cities of a cohort."""
    defaults = settings.defaults
    for name in _OF_THE_DAG:
        of_fleet = getattr(defaults if name in type(defaults).model_fields else settings, name)
        if getattr(city, name) != of_fleet:
            return f"{name} is not that of the fleet"
    for name in _OF_THE_JOB:
        own, shared = getattr(city, name), getattr(defaults, name)
        if own is not shared and own != shared:
            return f"{name} is not that of defaults"
    if city.algorithm is not defaults.algorithm and _image(city) != _image(defaults):
        return "its image is not that of defaults"
    return None


def _image(of: Any) -> tuple[str, str]:
    return of.algorithm.image, of.algorithm.version


def members_of(
    cities: Mapping[str, City],
    settings: FleetSettings,
    children: Mapping[str, Collection[str]],
    broken: int = 0,
) -> dict[str, tuple[str, ...]]:
    """Return the cities of each cohort, sorted: name → slugs; nothing where no city names a cohort.

    :param cities: all of the fleet that have no mistake.
    :param broken: how many others there are: that one has a mistake for a day moves no city.
    """
    inside = [
        slug
        for slug, city in cities.items()
        if city.cohort is not None and own_dag_reason(city, settings, children.get(slug, ())) is None
    ]
    if not inside:
        return {}
    size = next(city.cohort for slug in inside if (city := cities[slug]).cohort is not None)
    return spread(sorted(inside), size or 1, broken)


def spread(slugs: Sequence[str], size: int, broken: int = 0) -> dict[str, tuple[str, ...]]:
    """Return cohorts of about so many slugs each, none of more than ``MOST_MEMBERS``.

    :param slugs: sorted.
    """
    count = -(-(len(slugs) + broken) // size)
    while True:
        found: dict[int, list[str]] = {}
        for slug in slugs:
            found.setdefault(naming.cohort_number(slug, count), []).append(slug)
        if all(len(members) <= MOST_MEMBERS for members in found.values()):
            return {naming.cohort_name(number): tuple(found[number]) for number in sorted(found)}
        count += 1


def number_problems(cities: Mapping[str, City], settings: FleetSettings) -> Iterator[tuple[str, Problem]]:
    """Find cities that name another size than the fleet's, which is that of ``defaults`` or of the first to name one.

    :return: slug of the city, and what is wrong.
    """
    size = settings.defaults.cohort
    for slug, city in cities.items():
        if city.cohort is None:
            continue
        size = size or city.cohort
        if city.cohort != size:
            allowed = f"{size}, as of the other cities of this file, or null: a DAG and jobs of its own"
            yield slug, Problem(show_value(city.cohort), allowed, path=FIELD)


def home_of(members: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return by which name each city of a cohort is kept together with the others, ``_cohort_007``: no city's slug."""
    return {slug: naming.cohort_home(name) for name, slugs in members.items() for slug in slugs}
