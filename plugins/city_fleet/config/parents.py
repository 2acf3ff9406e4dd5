"""Which city is whose parent, and whether it can be: what is to be said of two cities together.

A parent is an ordinary city whose model is pooled over its cities (docs/adr/0026). A city alone can't tell whether it
is one: so this is looked at once all cities of a file are read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from city_fleet.config.series import Series
from city_fleet.config.settings import City
from city_fleet.config.value_types import Problem
from city_fleet.errors import list_names, nearest_match, show_value

FIELD = ("parent",)
_OUT = "as its parent has it: a pooled model needs rows of one kind. Or write parent: null"
#: Fields that make the rows of both: the parent's model reads the city's values.
_SHARED: Sequence[tuple[str, Callable[[Series], Any]]] = (
    ("dataset.frequency", lambda dataset: dataset.frequency),
    ("dataset.every", lambda dataset: dataset.every),
    ("dataset.anchor", lambda dataset: str(dataset.anchor)),
    ("dataset.aggregate", lambda dataset: dataset.aggregate),
    ("dataset.duplicates", lambda dataset: dataset.duplicates),
    ("dataset.decimal", lambda dataset: dataset.decimal),
    ("dataset.time.parts", lambda dataset: dataset.time.told if len(dataset.time.columns) > 1 else None),
    ("dataset.available_after", lambda dataset: str(dataset.available_after)),
    ("dataset.time.columns", lambda dataset: list(dataset.time.columns)),
    ("dataset.time.format", lambda dataset: dataset.time.format),
    ("dataset.target.column", lambda dataset: dataset.target.column),
    ("dataset.target.unit", lambda dataset: dataset.target.unit),
    ("dataset.holidays", lambda dataset: None if dataset.holidays is None else str(dataset.holidays)),
)


def children_of(cities: Mapping[str, City]) -> dict[str, tuple[str, ...]]:
    """Return the cities of each parent, sorted: slug of the parent → slugs."""
    found: dict[str, list[str]] = {}
    for slug, city in sorted(cities.items()):
        if city.parent is not None:
            found.setdefault(city.parent, []).append(slug)
    return {parent: tuple(children) for parent, children in sorted(found.items())}


def parent_problems(cities: Mapping[str, City], known: Collection[str]) -> Iterator[tuple[str, Problem]]:
    """Find cities that can't have the parent that they name.

    :param cities: those without a mistake of their own.
    :param known: all slugs of the file. A parent with a mistake of its own is that city's matter.
    :return: slug of the city, and what is wrong.
    """
    for slug, city in cities.items():
        if city.parent is None:
            continue
        parent = cities.get(city.parent)
        if parent is None:
            if city.parent not in known:
                near = nearest_match(city.parent, known)
                yield (
                    slug,
                    Problem(show_value(city.parent), "the slug of a city of this file", near, path=FIELD),
                )
        elif parent.parent is not None:
            got = f"{city.parent!r}, whose own parent is {parent.parent!r}"
            hint = f"Write parent: null for {city.parent}, or name {parent.parent} here."
            yield slug, Problem(got, "a city without a parent: there is one level", hint=hint, path=FIELD)
        elif (problem := _misfit(city, parent)) is not None:
            yield slug, problem


def _misfit(city: City, parent: City) -> Problem | None:
    """Return why the rows of a city can't be pooled by its parent's settings."""
    own, pooled = city.dataset, parent.dataset
    if own.raw is not None:
        got = f"{parent.slug!r}, while dataset.raw of this city is {show_value(own.raw)}"
        allowed = "a parent of cities whose raw data are below the fleet's own prefix. Or write parent: null"
        return Problem(got, allowed, path=FIELD)
    if own is pooled:
        return None
    if not isinstance(own, Series) or not isinstance(pooled, Series):
        which = parent.slug if isinstance(own, Series) else "this city"
        got = f"{parent.slug!r}, while the dataset of {which} is a table"
        return Problem(got, "a parent and cities that are all of kind series", path=FIELD)
    for field, value in _SHARED:
        if value(own) != value(pooled):
            got = f"{parent.slug!r}, whose {field} is {show_value(value(pooled))}"
            return Problem(got, f"{field} ({show_value(value(own))} here) {_OUT}", path=FIELD)
    return _lacking(own, parent.slug, pooled)


def _lacking(own: Series, parent: str, pooled: Series) -> Problem | None:
    """Return what the model of the pooled rows is made of, and a city's dataset does not have."""
    ahead = {feature.column for feature in own.features if feature.known_ahead}
    unknown = [
        feature.column for feature in pooled.features if feature.known_ahead and feature.column not in ahead
    ]
    if unknown:
        got = f"{parent!r}, whose model knows {list_names(unknown)} ahead, which this city's dataset does not"
        return Problem(got, f"known_ahead in dataset.features {_OUT}", path=FIELD)
    lacking = [name for name in pooled.value_columns if name not in own.value_columns]
    if lacking:
        got = f"{parent!r}, whose model needs column {list_names(lacking)}, which this city's dataset lacks"
        return Problem(got, f"the columns of dataset.features {_OUT}", path=FIELD)
    return None
