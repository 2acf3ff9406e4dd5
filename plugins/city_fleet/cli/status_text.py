"""The status of a fleet as text: a table of a few cities, a summary of thousands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from city_fleet.cli.output import count_cities, table

if TYPE_CHECKING:
    from city_fleet.config import Fleet
    from city_fleet.views.drill_down import Difference
    from city_fleet.views.fleet import CityStatus
    from city_fleet.views.fleet_facts import Picture

_COLUMNS = ("CITY", "STATE", "DATA UNTIL", "AGE", "LAST RUN", "REMARKS")
_LIVE = "LIVE ERROR"
_LONGEST_TABLE = 200
_SHOWN_PER_STATE = 10


def lines(
    fleet: Fleet,
    picture: Picture,
    cities: Sequence[CityStatus],
    differences: Sequence[Difference] | None,
    *,
    narrowed: bool,
    alone: bool = True,
) -> Iterator[str]:
    """Yield what is printed about one fleet.

    :param cities: those that are shown.
    :param differences: None without ``--check``.
    :param narrowed: whether cities or states were named; then every city is listed.
    :param alone: whether it is the only fleet that is shown. Of several, one that nobody has begun with is a line.
    """
    snapshot, refreshed = picture.snapshot, picture.refreshed
    counts = ", ".join(f"{count} {state}" for state, count in snapshot.counts.items() if count)
    total = len(snapshot.cities)
    yield (
        f"{snapshot.fleet} ({snapshot.environment}) at {snapshot.at:%Y-%m-%d %H:%M} UTC, "
        f"{count_cities(total)}: {counts or 'none'}."
    )
    if fleet.last_good is not None:
        yield f"Note: {fleet.last_good.sentence}"
    if refreshed.behind:
        yield f"{refreshed.behind} newer run records are not in the index yet: run this again."
    for problem in picture.problems:
        yield f"Note: {problem}"
    if not (alone or narrowed or differences) and cities and not any(map(_has_begun, cities)):
        yield (
            f"  No city of it has run yet. ./fleet run --fleet {fleet.fleet} {cities[0].city} --unpause trains one; "
            f"./fleet status --fleet {fleet.fleet} lists them."
        )
    elif narrowed or total <= _LONGEST_TABLE:
        looked = any(city.health for city in cities)
        rows = [(*row(city)[:-1], live(city), row(city)[-1]) if looked else row(city) for city in cities]
        yield from table((*_COLUMNS[:-1], _LIVE, _COLUMNS[-1]) if looked else _COLUMNS, rows)
    else:
        yield from _summary(cities)
    if differences is not None:
        yield from _differences(differences, len(cities))


def _has_begun(city: CityStatus) -> bool:
    """Tell whether there is anything to say of a city but that it is in the fleet file."""
    return (
        bool(city.champion or city.last_run or city.waiting or city.remarks) or city.state != "NOT_DEPLOYED"
    )


def live(city: CityStatus) -> str:
    """Return how far off the newest forecasts were, beside the held-out error: ``3.1 % (held out 2.8 %)``."""
    health = city.health
    if health is None or health.error is None:
        return ""
    metrics = city.champion.metrics if city.champion else {}
    right = metrics.get("accuracy")
    held_out = metrics.get("mape") if right is None else 1 - right
    beside = f" (held out {100 * held_out:.1f} %)" if held_out is not None else ""
    return f"{100 * health.error:.1f} %{beside}"


def row(city: CityStatus) -> tuple[str, ...]:
    champion, run = city.champion, city.last_run
    return (
        city.city,
        city.state.value,
        (champion.data_until or "unknown") if champion else "",
        age(city.age) if city.age is not None else "",
        f"{run.outcome} {day(run.as_of)}" if run else "",
        "; ".join(city.remarks),
    )


def day(stamp: str) -> str:
    """Return a stamp's date, with its hour where it is not midnight."""
    date = f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:8]}"
    return date if stamp[9:13] in ("0000", "") else f"{date} {stamp[9:11]}:{stamp[11:13]}"


def age(span: timedelta) -> str:
    """Return an age as one number with its unit."""
    hours = span.total_seconds() / 3600
    for unit, size, most in (("h", 1.0, 48), ("d", 24.0, 24 * 730)):
        if hours < most:
            return f"{hours / size:.0f} {unit}"
    return f"{hours / 24 / 365.25:.1f} y"


def _summary(cities: Sequence[CityStatus]) -> Iterator[str]:
    """Yield the cities that need attention by state, a few of each."""
    by_state: dict[str, list[CityStatus]] = {}
    for city in cities:
        by_state.setdefault(city.state.value, []).append(city)
    for state, found in by_state.items():
        if state == "UP_TO_DATE":
            continue
        # The oldest data first: those are the most urgent.
        found.sort(key=lambda city: (-(city.age or timedelta()).total_seconds(), city.city))
        yield ""
        yield f"{state}, {len(found)}:"
        yield from (f"  {line}" for line in table((), [row(city) for city in found[:_SHOWN_PER_STATE]]))
        if len(found) > _SHOWN_PER_STATE:
            yield f"  … and {len(found) - _SHOWN_PER_STATE} more: ./fleet status --state {state}"
    runs = Counter(city.last_run.outcome if city.last_run else "never run" for city in cities)
    waiting = sum(bool(city.waiting) for city in cities)
    pinned = sum(bool(city.champion and city.champion.pinned) for city in cities)
    yield ""
    yield "Last runs: " + ", ".join(f"{count} {outcome}" for outcome, count in runs.most_common()) + "."
    tried = sum(city.trial is not None for city in cities)
    on_trial = f" On trial: {tried}." if tried else ""
    yield f"Waiting for approval: {waiting}. Pinned: {pinned}.{on_trial}"


def _differences(differences: Sequence[Difference], cities: int) -> Iterator[str]:
    yield ""
    if not differences:
        yield f"S3 and the registry agree with the live pointers of {count_cities(cities)}."
    for difference in differences:
        yield f"{difference.city}: {difference.what}"
        yield f"    {difference.repair}"
