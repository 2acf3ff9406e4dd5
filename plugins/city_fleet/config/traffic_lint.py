"""What ``fleet lint`` finds about metrics and captures of predictions: names of nothing, rules without effect."""

from __future__ import annotations

from collections.abc import Iterator

from city_fleet.config.mistakes import FieldPath
from city_fleet.config.series import Series
from city_fleet.config.settings import City, Fleet
from city_fleet.config.table import Table
from city_fleet.errors import nearest_match

_DAY_SECONDS = 86_400
#: Source: Amazon S3 pricing, PUT requests to S3 Standard in us-east-1.
_DOLLARS_PER_WRITE = 0.005 / 1000
_MANY_DOLLARS = 5


def traffic_warnings(fleet: Fleet) -> Iterator[tuple[FieldPath, str]]:
    """Warn of cities and columns that are named and not there, and of a rule that keeps nothing."""
    cities = {*fleet.cities, *fleet.broken}
    for section, names in (("metrics", fleet.metrics.cities), ("capture", fleet.capture.cities)):
        for number, city in enumerate(names):
            if city not in cities:
                yield (section, "cities", number), f"{city} is no city of the fleet.{_nearest(city, cities)}"
    capture = fleet.capture
    if capture.share == 0 and (capture.mask or capture.cities):
        yield ("capture", "share"), "no prediction is kept, whatever mask and cities say: share is 0"
    if fleet.monitor.schedule is not None and fleet.dataset.kind == "table":
        masks = {name.lower() for name in capture.mask}
        targets = {city.dataset.target.column.lower() for city in fleet.cities.values()}
        if hidden := sorted(masks & targets):
            yield (
                ("capture", "mask"),
                f"no outcome can be held against a prediction: {hidden[0]}, the target, is masked",
            )
        if capture.cities:
            yield (
                ("capture", "cities"),
                "monitor looks at the cities that it names alone: nothing of the others is kept",
            )
    if fleet.metrics.cities and not fleet.metrics.enabled:
        yield ("metrics", "enabled"), "nothing is counted, whatever cities says: enabled is false"
    kept = len(capture.cities or fleet.cities)
    dollars = kept * _DAY_SECONDS / capture.flush_seconds * _DOLLARS_PER_WRITE
    if capture.share and dollars > _MANY_DOLLARS:
        text = (
            f"{kept} cities that are asked all the time are as many objects every {capture.flush_seconds} s for each "
            f"container, about ${dollars:,.0f} a day; name capture.cities, or let more wait: 3600"
        )
        yield ("capture", "flush_seconds"), text
    known = _columns(fleet)
    if known is None:
        return
    lower = {name.lower() for name in known}
    for number, name in enumerate(capture.mask):
        # A feature may be named too, which is called by its column and what was made of it.
        if not any(name.lower() == column or name.lower().startswith(f"{column}_") for column in lower):
            text = f"{name} is no column that a model is asked with, so nothing is masked by it."
            yield ("capture", "mask", number), f"{text}{_nearest(name, known)}"


def _nearest(name: str, known: set[str]) -> str:
    near = nearest_match(name, known)
    return f" Did you mean {near!r}?" if near else ""


def _columns(fleet: Fleet) -> set[str] | None:
    """Return the columns that captured predictions of any city can hold; None where the fleet file does not say them:
    of a table whose columns are those of its data, or where features.py makes some.
    """
    known: set[str] = set()
    sections = {id(city.dataset): city for city in fleet.cities.values()}
    for city in sections.values():
        if city.own_scripts.features is not None:
            return None
        found = _of_city(city)
        if found is None:
            return None
        known |= found
    return known


def _of_city(city: City) -> set[str] | None:
    dataset = city.dataset
    if isinstance(dataset, Table):
        if dataset.columns is None:
            return None
        return {dataset.target.column, *(each.column for each in dataset.columns)}
    assert isinstance(dataset, Series)  # noqa: S101 - there are two kinds
    calendar = {*dataset.calendar, "holiday", "holidays", "before_holiday", "after_holiday"}
    return {dataset.target.column, "period", *(each.column for each in dataset.features), *calendar}
