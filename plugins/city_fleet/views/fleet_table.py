"""The cities of a fleet as rows of a table: filtered, sorted, page by page. Pure; the page in Airflow shows it.

A question is made of the words of an address (``?state=STALE&sort=-age``), so each view of the table has one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any
from urllib.parse import urlencode

from city_fleet import clock
from city_fleet.config import Fleet
from city_fleet.metrics import METRICS, default_metric
from city_fleet.naming import parse_target_model
from city_fleet.state.index_state import Index, IndexEntry, Night
from city_fleet.views.fleet import CityState, CityStatus, FleetSnapshot

SIZES = (25, 50, 100, 200)
_LONGEST_SEARCH = 100
_URGENCY = {state: number for number, state in enumerate(CityState)}


@dataclass(frozen=True)
class CityRow:
    """One city.

    :param version: of the champion in the registry.
    :param algorithm: name, or names of the candidates.
    :param metric: that the gate compares; ``value``: the champion's when it went live; ``baseline`` and ``against``:
        of the prediction without a model and of the champion before it, on the same rows; None where unknown.
    :param nights: newest first.
    :param cells: how the fleet's last nights ended for it, oldest first.
    """

    status: CityStatus
    version: int | None
    algorithm: str
    metric: str
    value: float | None
    baseline: float | None
    against: float | None
    nights: tuple[Night, ...]
    cells: tuple[str | None, ...]
    words: str

    @property
    def slug(self) -> str:
        return self.status.city

    @property
    def gain(self) -> float | None:
        """Return by which part of the baseline the champion is better than it; negative where it is worse."""
        return _gain(self.metric, self.value, self.baseline)

    @property
    def progress(self) -> float | None:
        """Return by which part of it the champion is better than the one before."""
        return _gain(self.metric, self.value, self.against)


def _gain(metric: str, value: float | None, other: float | None) -> float | None:
    if value is None or not other:
        return None
    return (value - other if METRICS[metric].higher else other - value) / abs(other)


def rows_of(
    fleet: Fleet, snapshot: FleetSnapshot, index: Index, cells: Mapping[str, tuple[str | None, ...]]
) -> tuple[CityRow, ...]:
    """Return a row for each city of a snapshot, in its order.

    :param index: that the snapshot was taken from.
    :param cells: slug → how the last nights ended for it.
    """
    named: dict[int, str] = {}  # cities that override nothing share their settings
    rows = []
    for status in snapshot.cities:
        city = fleet.cities.get(status.city)
        entry = index.cities.get(status.city, IndexEntry())
        champion = status.champion
        algorithm, metric = "", "mape"
        if city is not None:
            key = id(city.algorithm)
            if key not in named:
                named[key] = ", ".join(name for _, name, _ in city.algorithm.trained())
            algorithm = named[key]
            metric = city.gate.metric or default_metric(city.dataset.task)
        judged = None
        if champion is not None and not champion.problem:
            judged = next((night for night in entry.nights if _is_of(night, champion.as_of)), None)
        if judged is not None and judged.metric:
            metric = judged.metric
        value = judged.value if judged is not None else None
        if value is None and champion is not None:
            value = champion.metrics.get(metric)
        rows.append(
            CityRow(
                status=status,
                version=_version(champion.package_arn) if champion is not None else None,
                algorithm=algorithm,
                metric=metric,
                value=value,
                baseline=judged.baseline if judged is not None else None,
                against=judged.against if judged is not None else None,
                nights=entry.nights,
                cells=cells.get(status.city, ()),
                words=f"{status.city} {status.name}".casefold(),
            )
        )
    return tuple(rows)


def _is_of(night: Night, as_of: str) -> bool:
    return night.as_of == as_of and night.outcome == "live"


def _version(arn: str) -> int | None:
    number = arn.rpartition("/")[2]
    return int(number) if number.isascii() and number.isdigit() else None


def as_of_of(target_model: str) -> str | None:
    """Return the stamp in a target model's name; None where it is none."""
    try:
        return clock.stamp(parse_target_model(target_model)[1])
    except ValueError:
        return None


#: What the table can be sorted by → what of a row counts; None stands last in either direction.
SORTS: Mapping[str, Callable[[CityRow], Any]] = {
    "city": lambda row: row.status.name.casefold(),
    "state": lambda row: (_URGENCY[row.status.state], row.status.city),
    "version": lambda row: row.version,
    "age": lambda row: row.status.age,
    "until": lambda row: row.status.champion.data_until if row.status.champion else None,
    "value": lambda row: row.value,
    "gain": lambda row: row.gain,
    "algorithm": lambda row: row.algorithm or None,
    "run": lambda row: row.status.last_run.finished_at if row.status.last_run else None,
}


@dataclass(frozen=True)
class TableQuestion:
    """Which rows somebody wants to see, and in which order.

    :param q: part of a city's name or slug.
    :param state: a state; ``outcome``: how the last run ended; ``group``: one of tonight's groups; ``algorithm``: part
        of its name; each empty for all.
    :param sort: one of :data:`SORTS`, with ``-`` before it for the largest first.
    :param page: from 1 on.
    :param size: rows of a page.
    """

    q: str = ""
    state: str = ""
    outcome: str = ""
    group: str = ""
    algorithm: str = ""
    sort: str = "state"
    page: int = 1
    size: int = 50

    @classmethod
    def of_query(cls, query: Mapping[str, str]) -> TableQuestion:
        """Read the words of an address; what makes no sense counts as not said."""
        texts = {name: query.get(name, "")[:_LONGEST_SEARCH].strip() for name in _TEXTS}
        sort = query.get("sort", "")
        numbers = {name: _number(query.get(name, "")) for name in ("page", "size")}
        return cls(
            **texts,
            sort=sort if sort.removeprefix("-") in SORTS else "state",
            page=max(1, numbers["page"] or 1),
            size=numbers["size"] if numbers["size"] in SIZES else 50,
        )

    def query(self, **changes: Any) -> str:
        """Return the address's words of this question with some changes, ``?…``; another filter begins at page 1."""
        if changes.keys() - {"page"}:
            changes = {"page": 1, **changes}
        asked, plain = replace(self, **changes), TableQuestion()
        words = [(each.name, getattr(asked, each.name)) for each in fields(self)]
        said = [(name, value) for name, value in words if value != getattr(plain, name)]
        return f"?{urlencode(said)}" if said else "?"

    def sorted_by(self, name: str) -> str:
        """Return the words for the same rows sorted by something; by the same once more, the other way round."""
        return self.query(sort=f"-{name}" if self.sort == name else name)

    @property
    def narrows(self) -> bool:
        return any(getattr(self, name) for name in _TEXTS)


_TEXTS = ("q", "state", "outcome", "group", "algorithm")


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 8 else 0


@dataclass(frozen=True)
class TablePage:
    """What is shown.

    :param total: rows that fit the question; ``first``: number of the first one shown, from 1 on; 0 of none.
    """

    rows: tuple[CityRow, ...]
    total: int
    first: int
    pages: int
    question: TableQuestion


def page_of(
    rows: Sequence[CityRow],
    question: TableQuestion,
    *,
    groups: Mapping[str, Collection[str]],
    seen: Collection[str] | None = None,
) -> TablePage:
    """Return one page of the rows that fit; a page behind the last one is the last one.

    :param groups: id → slugs of tonight's groups; one that is not there any more has no city.
    :param seen: slugs of the cities that may be shown; None for all.
    """
    words = question.q.casefold()
    group = groups.get(question.group, ()) if question.group else None
    found = [
        row
        for row in rows
        if (seen is None or row.slug in seen)
        and (not words or words in row.words)
        and (not question.state or row.status.state.value == question.state.upper())
        and (not question.outcome or _outcome(row) == question.outcome)
        and (group is None or row.slug in group)
        and (not question.algorithm or question.algorithm.casefold() in row.algorithm.casefold())
    ]
    name, reverse = question.sort.removeprefix("-"), question.sort.startswith("-")
    key = SORTS[name]
    known = sorted((row for row in found if key(row) is not None), key=key, reverse=reverse)
    ordered = known + [row for row in found if key(row) is None]
    pages = max(1, -(-len(ordered) // question.size))
    question = replace(question, page=min(question.page, pages))
    start = (question.page - 1) * question.size
    shown = tuple(ordered[start : start + question.size])
    return TablePage(shown, len(ordered), start + 1 if shown else 0, pages, question)


def _outcome(row: CityRow) -> str:
    return row.status.last_run.outcome if row.status.last_run else ""
