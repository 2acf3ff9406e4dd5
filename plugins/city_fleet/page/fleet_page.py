"""The fleet at a glance: tonight grouped by cause, the last nights, and a table of all cities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import RedirectResponse, Response

from city_fleet import naming
from city_fleet.page import asked, rendering, running_runs
from city_fleet.page.asked import Asked, AskedFleet, Readings
from city_fleet.page.permissions import NEEDS, Reader
from city_fleet.page.reading import Reading, group_id
from city_fleet.views import fleet_table, night_strip
from city_fleet.views.fleet import CityState
from city_fleet.views.fleet_table import TableQuestion

router = APIRouter()


@router.get("/")
def first_page(request: Request, reading: Readings, visitor: Reader) -> Response:
    """Lead to the largest fleet, or say what is missing."""
    names = asked.names_of(reading, visitor)
    if names:
        return RedirectResponse(f"fleets/{names[0]}", 307)
    problems = asked.file_problems(reading)
    return rendering.render(request, "no_fleet.html", problems=problems, title="City Fleet")


@router.get("/fleets/{fleet}")
def fleet_page(request: Request, here: AskedFleet, reading: Readings) -> Response:
    """Show a fleet."""
    return _shown(request, here, reading, f"fleets/{rendering.quoted(here.fleet.fleet)}")


@router.get("/cohorts/{fleet}/{cohort}")
def cohort_page(request: Request, cohort: str, here: AskedFleet, reading: Readings) -> Response:
    """Show the cities that share a DAG: the fleet's page, narrowed to them."""
    members = frozenset(here.fleet.members.get(cohort, ()))
    slugs = _seen(members, here.slugs)
    if not slugs:
        raise HTTPException(404, f"Fleet {here.fleet.fleet} has no cohort {cohort!r}.")
    look = replace(here.look, strip=night_strip.narrowed(here.look.strip, slugs))
    where = f"cohorts/{rendering.quoted(here.fleet.fleet)}/{cohort}"
    return _shown(request, Asked(look, here.visitor, slugs), reading, where, cohort)


def _shown(request: Request, here: Asked, reading: Reading, where: str, cohort: str = "") -> Response:
    """Answer with some cities of a fleet: how they did tonight and before, and their table.

    :param where: address of the page below the first one.
    """
    look = here.look
    question = TableQuestion.of_query(request.query_params)
    runs = running_runs.of_fleet(look.fleet.fleet)
    of_cities = ((row.slug, row.status.name, look.dag_ids[row.slug]) for row in look.rows) if runs else ()
    running = running_runs.cities(runs, of_cities)
    groups = {**look.groups, "running": running}
    page = fleet_table.page_of(look.rows, question, groups=groups, seen=here.slugs)
    seen = len(look.rows) if here.slugs is None else sum(row.slug in here.slugs for row in look.rows)
    shown = [look.dag_ids[row.slug] for row in page.rows]
    return rendering.render(
        request,
        "fleet.html",
        title=f"{look.fleet.fleet} · {naming.cohort_title(cohort)}" if cohort else look.fleet.fleet,
        look=look,
        where=where,
        cohort_title=naming.cohort_title(cohort) if cohort else "",
        cohort=cohort,
        cohort_dag=naming.cohort_dag_id(look.fleet.fleet, cohort) if cohort else "",
        page=page,
        question=page.question,
        counts=_counts(here),
        states=list(CityState),
        groups={name: len(_seen(slugs, here.slugs)) for name, slugs in groups.items()},
        running=running,
        runs={dag_id: run.run_id for dag_id, run in runs.items()},
        seen=here.slugs,
        cities=seen,
        names=asked.names_of(reading, here.visitor),
        file_problems=asked.file_problems(reading),
        sizes=fleet_table.SIZES,
        group_id=group_id,
        may={action: bool(shown) and here.visitor.may(action, shown[:1]) for action in NEEDS},
        visitor=here.visitor.name,
    )


def _counts(here: Asked) -> Mapping[CityState, int]:
    if here.slugs is None:
        return here.look.picture.snapshot.counts if here.look.picture is not None else {}
    return Counter(row.status.state for row in here.look.rows if row.slug in here.slugs)


def _seen(slugs: frozenset[str], seen: frozenset[str] | None) -> frozenset[str]:
    return slugs if seen is None else slugs & seen


@router.get("/dags/{dag_id}")
def page_of_dag(request: Request, dag_id: str, reading: Readings, visitor: Reader) -> Response:
    """Lead from a DAG's tab to its city, to the cities that it is shared by, or to its fleet."""
    fleet_name, _, slug = dag_id.partition(".")
    fleet = reading.fleet(fleet_name)
    if fleet is None or not visitor.reads(dag_id):
        raise HTTPException(404, "This DAG is none of City Fleet's: there is no page about it.")
    cohort = slug.removeprefix("_")
    if slug in fleet.cities or slug in fleet.broken:
        where = f"cities/{fleet_name}/{slug}"
    elif naming.cohort_home(cohort) == slug and cohort in fleet.members:
        where = f"cohorts/{fleet_name}/{cohort}"
    else:
        where = f"fleets/{fleet_name}"
    return RedirectResponse(f"../{where}", 307)
