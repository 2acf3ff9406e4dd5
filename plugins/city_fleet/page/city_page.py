"""One city: what its models said and what happened, what served when, its versions and runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import Response

from city_fleet import clock, metrics, naming
from city_fleet.champions.champion_history import Served
from city_fleet.config import Fleet
from city_fleet.config.places import fleets_folder
from city_fleet.jobs.sagemaker_jobs import PROCESSING, TRAINING
from city_fleet.night.prices import prices_to_show
from city_fleet.page import rendering
from city_fleet.page.asked import Readings
from city_fleet.page.chart import Axis, show
from city_fleet.page.city_charts import charts
from city_fleet.page.city_reading import Stories, Told
from city_fleet.page.permissions import NEEDS, Reader, Visitor
from city_fleet.page.reading import Look, dag_id_of
from city_fleet.plan import EVALUATE, PREPROCESS
from city_fleet.views.city_answers import Classes
from city_fleet.views.city_runs import CHALLENGER, CHAMPION, Job
from city_fleet.views.city_story import CityStory
from city_fleet.views.consoles import ConsolePages

router = APIRouter()
#: Rows of the timeline of what served: one for each model.
_MOST_LANES = 10
_HEATS = 9


@dataclass(frozen=True)
class AskedCity:
    """A city as one person sees it."""

    fleet: Fleet
    slug: str
    dag_id: str
    visitor: Visitor
    look: Look
    told: Told
    pages: ConsolePages


def stories_of(request: Request, reading: Readings) -> Stories:
    """Return the application's stories, made when the first city is looked at."""
    state = request.app.state
    if getattr(state, "stories", None) is None:
        state.stories = Stories(reading)
    found: Stories = state.stories
    return found


def asked_city(
    fleet: str,
    slug: str,
    reading: Readings,
    visitor: Reader,
    stories: Annotated[Stories, Depends(stories_of)],
) -> AskedCity:
    """Return the city that a path names.

    :raises HTTPException: 404, where there is none or the person may not see it.
    """
    look = reading.look(fleet)
    dag_id = dag_id_of(look.fleet, slug) if look is not None else ""
    known = look is not None and (
        slug in look.fleet.cities or slug in look.fleet.broken or slug in look.dag_ids
    )
    if look is None or not known or not naming.is_slug(slug) or not visitor.reads(dag_id):
        raise HTTPException(404, f"There is no city {slug!r} in a fleet {fleet!r}.")
    pages = ConsolePages.of(reading.clients(look.fleet).sagemaker)
    return AskedCity(look.fleet, slug, dag_id, visitor, look, stories.of(look.fleet, slug), pages)


City = Annotated[AskedCity, Depends(asked_city)]


@router.get("/cities/{fleet}/{slug}")
def city_page(request: Request, city: City) -> Response:
    """Show a city."""
    story, row = city.told.story, city.look.row(city.slug)
    broken = city.fleet.broken.get(city.slug)
    cohort = city.fleet.cohort_of(city.slug)
    return rendering.render(
        request,
        "city.html",
        title=story.name if story else city.slug,
        city=city,
        cohort=cohort,
        cohort_title=naming.cohort_title(cohort) if cohort else "",
        row=row,
        told=city.told,
        story=story,
        broken=str(broken) if broken else None,
        in_file=city.slug in city.fleet.cities,
        charts={chart.id: chart for chart in charts(story)} if story else {},
        lanes=lanes(story.past) if story else (),
        heat=heat(story.classes) if story and story.classes else (),
        standing=standing(story) if story else (),
        amount=lambda value: f"{show(value, Axis('', 'unit'))} {story.unit if story else ''}".strip(),
        metric_names=metrics.METRICS_OF[story.task] if story else (),
        job_links=lambda job: job_links(city.pages, job),
        s3=lambda uri: _or_nothing(city.pages.s3, uri),
        package=city.pages.package,
        who=lambda text: who(city.fleet.fleet, city.slug, text),
        prices=prices_to_show(city.fleet.region, fleets_folder()),
        may={action: city.visitor.may(action, [city.dag_id]) for action in NEEDS},
    )


@router.get("/cities/{fleet}/{slug}/series.json")
def series(city: City) -> dict[str, Any]:
    """Return the numbers of the page's charts."""
    story = city.told.story
    if story is None:
        raise HTTPException(503, "Nothing was read of this city yet. Try again in some seconds.")
    return {"at": story.at.isoformat(), "charts": [chart.to_dict() for chart in charts(story)]}


@dataclass(frozen=True)
class Stretch:
    """A time in which a model served, as a part of the timeline's width.

    :param left: in percent, as ``width``.
    """

    left: float
    width: float
    served: Served


@dataclass(frozen=True)
class Lane:
    """A model and the times in which it served."""

    name: str
    stretches: tuple[Stretch, ...]


@dataclass(frozen=True)
class Timeline:
    """What served when, a lane for each model, the newest first.

    :param ticks: where a day is written, in percent, and the day.
    """

    lanes: tuple[Lane, ...]
    ticks: tuple[tuple[float, str], ...]


def lanes(past: Sequence[Served], now: datetime | None = None) -> Timeline | None:
    """Return the timeline of what served; None where nothing did."""
    known = [each for each in past if each.state is not None and _moment(each.state.moved_at) is not None]
    served = [each for each in known if each.state is not None and each.state.move != "remove"]
    if not served:
        return None
    now = now or clock.utc_now()
    begins = {each.sequence: _begin(each) for each in served}
    first = min(begins.values())
    span = max((now - first).total_seconds(), 1.0)
    found: dict[str, list[Stretch]] = {}
    for each in served:
        end = _moment(each.until) or (now if each.live else begins[each.sequence])
        left = (begins[each.sequence] - first).total_seconds() / span * 100
        width = max(0.6, (end - begins[each.sequence]).total_seconds() / span * 100)
        name = naming.parse_as_of(each.state.as_of).strftime("%Y-%m-%d") if each.state else ""
        left = min(left, 99.4)
        found.setdefault(name, []).append(Stretch(round(left, 2), round(min(width, 100 - left), 2), each))
    newest = list(found.items())[::-1][:_MOST_LANES]
    form = "%Y-%m-%d" if span > 3 * 86_400 else "%m-%d %H:%M"
    ticks = tuple((share * 100.0, (first + (now - first) * share).strftime(form)) for share in (0, 0.5, 1))
    return Timeline(tuple(Lane(name, tuple(each)) for name, each in newest), ticks)


def _begin(served: Served) -> datetime:
    return (_moment(served.state.moved_at) if served.state else None) or clock.utc_now()


def _moment(text: str | None) -> datetime | None:
    try:
        return clock.parse(text) if text else None
    except ValueError:
        return None


def heat(classes: Classes) -> tuple[tuple[tuple[int, int], ...], ...]:
    """Return a confusion matrix with how dark each cell is, 0 to 9: the share of its row."""
    return tuple(
        tuple((count, round(count / max(1, sum(row)) * _HEATS)) for count in row) for row in classes.matrix
    )


@dataclass(frozen=True)
class Standing:
    """What is compared in the newest run, and how much better the new model is.

    :param better: as a share of the other's value; None where there is none.
    """

    name: str
    value: float
    better: float | None


def standing(story: CityStory) -> tuple[Standing, ...]:
    """Return the newest compared values: of the new model, the champion and each baseline.

    A champion can't always be measured on all held-out rows: it is compared on those on which it can.
    """
    run = next((each for each in story.runs if CHALLENGER in each.values), None)
    if run is None:
        return ()
    sign = 1 if metrics.METRICS[story.metric].higher else -1
    names = {CHALLENGER: "new model", CHAMPION: "champion"}
    found = []
    for name, value in run.values.items():
        own = run.values[CHALLENGER]
        if name == CHAMPION and run.beside_champion is not None:
            own = run.beside_champion
        better = None if name == CHALLENGER or value == 0 else sign * (own - value) / abs(value)
        found.append(Standing(names.get(name, name), value, better))
    return tuple(found)


def who(fleet: str, slug: str, text: str) -> tuple[str, str, str]:
    """Return how somebody is shown who has moved or decided something, and the DAG and its run where it was one.

    :param text: ``<dag id>/<run id>``, or the name of a person.
    """
    dag_id, _, run_id = text.partition("/")
    if not run_id or not naming.is_of_city(dag_id, fleet, slug):
        return text, "", ""
    kind, _, moment = run_id.partition("__")
    try:
        return f"{kind} run of {clock.parse(moment.rstrip('~')):%Y-%m-%d}", dag_id, run_id
    except ValueError:
        return f"run {run_id}", dag_id, run_id


def job_links(pages: ConsolePages, job: Job) -> tuple[str, str]:
    """Return where a browser shows a job and its log; empty ones where there is no such place."""
    kind = PROCESSING if job.step in (PREPROCESS, EVALUATE) else TRAINING  # a cohort's one job trains too
    return (pages.job(kind, job.name), pages.log(kind, job.name)) if job.name else ("", "")


def _or_nothing(page: Any, uri: str) -> str:
    try:
        return str(page(uri))
    except ValueError:
        return ""
