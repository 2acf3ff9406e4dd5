"""The story of one city: its runs, what its models answered, what served when, its versions. Pure.

Made of what :mod:`city_fleet.views.city_sources` has read. Lists are the newest first, but for what served when.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from city_fleet import metrics
from city_fleet.champions.champion_history import History, Served
from city_fleet.champions.data_checks import finite
from city_fleet.config import City, Fleet
from city_fleet.config.series import Series
from city_fleet.outgoing_text import one_line
from city_fleet.state.live_pointer import LivePointer
from city_fleet.views import city_answers, city_features
from city_fleet.views.city_answers import (
    Classes,
    Covered,
    Errors,
    Forecast,
    HeldOut,
)
from city_fleet.views.city_features import Child, Weight
from city_fleet.views.city_runs import CHALLENGER, CHAMPION, StoryRun, Version, runs_of, short, versions_of
from city_fleet.views.city_sources import Sources
from city_fleet.views.untrusted import member, members

PARENT = "parent"


@dataclass(frozen=True)
class Subject:
    """What a story is about, as far as it takes settings.

    :param metric: what the gate compares.
    :param unit: of the target; ``frequency`` of its periods; empty where nobody knows, or of a table.
    :param limits: metric → the worst value with which a model may go live.
    """

    slug: str
    name: str
    task: str
    kind: str
    metric: str
    unit: str = ""
    frequency: str = ""
    target: str = ""
    max_drift: float | None = None
    max_category_drift: float | None = None
    limits: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, city: City) -> Subject:
        """Return a city of a fleet file."""
        dataset, checks = city.dataset, city.gate.data
        series = dataset if isinstance(dataset, Series) else None
        return cls(
            slug=city.slug,
            name=city.shown_name,
            task=dataset.task,
            kind=dataset.kind,
            metric=city.gate.metric or metrics.default_metric(dataset.task),
            unit=(series.target.unit or "") if series else "",
            frequency=str(series.grid) if series else "",
            target=dataset.target.column,
            max_drift=checks.max_drift,
            max_category_drift=checks.max_category_drift,
            limits={str(name): limit for name, limit in city.gate.limits.items()},
        )

    @classmethod
    def without_settings(cls, slug: str, champion: LivePointer | None) -> Subject:
        """Return a city that has left the fleet file, or is broken there, as its live pointer tells of it."""
        if champion is None:
            return cls(slug, slug, metrics.REGRESSION, "series", metrics.default_metric(metrics.REGRESSION))
        asked, task = champion.forecast, champion.task
        columns = asked.get("columns") or ("",)
        return cls(
            slug,
            slug,
            task,
            champion.kind,
            metrics.default_metric(task),
            unit=short(asked.get("unit") or ""),
            frequency=short(asked.get("frequency") or ""),
            target=short(columns[0]),
        )


@dataclass(frozen=True)
class CityStory:
    """What there is to tell of a city.

    :param name: for people.
    :param metric: what the gate compares, with which ``runs`` are told.
    :param unit: of the target; empty where nobody knows.
    :param frequency: of its periods; empty of a table.
    :param champion: what serves; None where nothing of the city does.
    :param runs: newest as_of first; ``older``: how many there are beside them.
    :param forecasts: those of the newest runs, the newest first.
    :param actual: period → what really happened, as far as it is known here.
    :param held_out: rows of the newest run that was judged, with ``errors``, ``by_step``, ``measured`` and ``classes``.
    :param model_as_of: whose ``importances`` they are: the champion's, or else the newest model's;
        ``importance_kind``: what they are shares of: ``gain``, ``coefficient``, ``permutation``.
    :param children: of a parent: who answers for each of its cities. Its rows are those of all of them, and so are
        not told by period.
    :param past: what served when, the oldest first.
    :param problems: sentences: what could not be looked at.
    """

    fleet: str
    environment: str
    city: str
    name: str
    at: datetime
    task: str
    kind: str
    metric: str
    unit: str = ""
    frequency: str = ""
    target: str = ""
    limits: Mapping[str, float] = field(default_factory=dict)
    champion: LivePointer | None = None
    runs: tuple[StoryRun, ...] = ()
    older: int = 0
    forecasts: tuple[Forecast, ...] = ()
    actual: Mapping[str, float] = field(default_factory=dict)
    covered: tuple[Covered, ...] = ()
    held_out: HeldOut | None = None
    errors: Errors | None = None
    by_step: tuple[tuple[str, Mapping[str, float]], ...] = ()
    measured: tuple[tuple[str, Mapping[str, float]], ...] = ()
    classes: Classes | None = None
    model_as_of: str = ""
    algorithm: str = ""
    importances: tuple[Weight, ...] = ()
    importance_kind: str = ""
    drift: tuple[Weight, ...] = ()
    category_drift: tuple[Weight, ...] = ()
    children: tuple[Child, ...] = ()
    versions: tuple[Version, ...] = ()
    past: tuple[Served, ...] = ()
    older_states: int = 0
    problems: tuple[str, ...] = ()


def tell(
    fleet: Fleet, slug: str, sources: Sources, *, prices: Mapping[str, float] | None = None
) -> CityStory:
    """Tell a city's story.

    :param slug: of a city of the fleet file, or of one that has left it.
    :param sources: what was read of it.
    :param prices: instance type → US$ of an hour; None where none is known.
    """
    champion = _serving(sources.history)
    city = fleet.cities.get(slug)
    about = Subject.of(city) if city is not None else Subject.without_settings(slug, champion)
    runs = runs_of(fleet.keys, sources, about.metric, prices or {})
    judged = next((run for run in runs if run.evaluation_uri in sources.holdouts), None)
    newest = sources.reports.get(judged.evaluation_uri) if judged else None
    held_out = (
        city_answers.held_out_of(sources.holdouts[judged.evaluation_uri], judged.as_of) if judged else None
    )
    made = [city_answers.forecast_of(sources.reports.get(run.evaluation_uri)) for run in runs]
    forecasts = tuple(each for each in made if each is not None)
    actual = city_answers.actual_of(held_out) | city_answers.known_target(sources.known)
    card_uri = _card_of(champion, sources, judged)
    card = sources.cards.get(card_uri)
    importance_kind, importances = city_features.importances(sources.reports.get(card_uri), card)
    drift = city_features.drift_of(newest, about.max_drift, about.max_category_drift)
    children = city_features.children_of(newest)
    # The rows of a parent are of all its cities, and what it forecasts is one of theirs.
    of_series = about.kind == "series" and not children and slug not in fleet.children
    is_number = about.task == metrics.REGRESSION
    return CityStory(
        fleet=fleet.fleet,
        environment=fleet.environment,
        city=slug,
        name=about.name,
        at=sources.at,
        task=about.task,
        kind=about.kind,
        metric=about.metric,
        unit=about.unit,
        frequency=about.frequency,
        target=about.target,
        limits=about.limits,
        champion=champion,
        runs=runs,
        older=sources.older,
        forecasts=forecasts if of_series else (),
        actual=actual if of_series else {},
        covered=city_answers.covered(forecasts, actual) if of_series else (),
        held_out=held_out,
        errors=city_answers.errors_of(held_out.rows) if held_out and is_number else None,
        by_step=_tables(member(newest, "steps")),
        measured=_measured(newest),
        classes=city_answers.classes_of(held_out) if held_out and not is_number else None,
        model_as_of=str(members(card).get("as_of") or ""),
        algorithm=short(members(card).get("algorithm")),
        importances=importances,
        importance_kind=importance_kind,
        drift=drift[0],
        category_drift=drift[1],
        children=children,
        versions=versions_of(sources.versions, runs, champion),
        past=sources.history.states if sources.history else (),
        older_states=sources.history.older if sources.history else 0,
        problems=(*_of_history(sources.history), *sources.problems),
    )


def _serving(history: History | None) -> LivePointer | None:
    return history.states[-1].state if history and history.states and history.states[-1].live else None


def _of_history(history: History | None) -> tuple[str, ...]:
    return (one_line(history.problem),) if history is not None and history.problem else ()


def _card_of(champion: LivePointer | None, sources: Sources, judged: StoryRun | None) -> str:
    """Return the URI of the report beside which the card lies of the model that serves, or else of the newest one."""
    for version in sources.versions:
        if (
            champion is not None
            and version.arn == champion.package_arn
            and version.evaluation_uri in sources.cards
        ):
            return version.evaluation_uri
    return judged.evaluation_uri if judged else ""


def _measured(report: Any) -> tuple[tuple[str, Mapping[str, float]], ...]:
    """Return all metrics of the newest report: of the challenger, the champion and each baseline."""
    entries = {name: member(report, name) for name in (CHALLENGER, CHAMPION, PARENT)}
    return _tables(entries | dict(member(report, "baselines")))


def _tables(entries: Mapping[str, Any]) -> tuple[tuple[str, Mapping[str, float]], ...]:
    found = []
    for name, entry in entries.items():
        values = {
            metric: value
            for metric in metrics.METRICS
            if (value := finite(members(entry).get(metric))) is not None
        }
        if values:
            found.append((short(name), values))
    return tuple(found)
