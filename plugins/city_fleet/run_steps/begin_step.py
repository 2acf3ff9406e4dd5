"""What is known of a city's run before a job is paid for: is there anything to train, and who could serve it?"""

from __future__ import annotations

from collections.abc import Sequence

from city_fleet.errors import list_names
from city_fleet.jobs import raw_check
from city_fleet.jobs.code_bundle import CodeBundle
from city_fleet.jobs.fixed_run import RawObject
from city_fleet.naming import fleet_dag_id
from city_fleet.plan import ENDPOINT_PURPOSE, CityPlan
from city_fleet.state import serving_code
from city_fleet.state.objects import ObjectStore


def why_no_job(plan: CityPlan, raw: Sequence[RawObject]) -> str | None:
    """Return why no job is started for a city, since it would be paid for and fail; None where one is.

    :param raw: its raw data.
    :return: sentences whose last one lacks what to clear: "… Upload them, and".
    """
    city = plan.city.slug
    if not raw:
        place, whose = plan.raw, ""
        if plan.children:
            whose = f" of its cities ({list_names(plan.children)})"
        do = f"Upload them, as `./fleet ingest{'' if whose else f' {city}'}` does,"
        if not place.own:
            do = "They are read where dataset.raw says: correct it or the city's name, or put them there,"
        return (
            f"City {city!r}: there are no raw data{whose} below {place.shown}, so no job is started. {do} and"
        )
    why = raw_check.refusal(plan, raw)
    return None if why is None else f"City {city!r}: {why}; no job is started. Then"


def lacking_code(store: ObjectStore, plan: CityPlan) -> str | None:
    """Return why the endpoint's code could not answer with a city's model; None where it could."""
    if not serving_code.algorithms_of(CodeBundle.of(plan).files):
        return None  # own scripts, with a way of their own to make a model
    algorithms = [name for _, name, _ in plan.city.algorithm.trained()]
    dag = fleet_dag_id(plan.fleet.fleet, ENDPOINT_PURPOSE)
    return serving_code.lacking(
        algorithms, serving_code.noted(store, plan.keys, plan.endpoint), plan.endpoint, dag
    )
