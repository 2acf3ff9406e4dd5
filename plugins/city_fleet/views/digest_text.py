"""A digest as a message of text that stays short however many cities there are. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence

from city_fleet.outgoing_text import one_line
from city_fleet.state.outcomes import Outcome
from city_fleet.views.digest import LessSure, NightDigest, names
from city_fleet.views.fleet import CityStatus

_GROUPS = 8
_CITIES = 15
_LINES = 20
_LONGEST_CAUSE = 200


def subject(digest: NightDigest) -> str:
    """Return the message's one line."""
    said = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in digest.counts.items() if count)
    day = f"{digest.night.until:%Y-%m-%d}"
    whose = f", {digest.owner}" if digest.owner else ""
    return f"{digest.fleet} ({digest.environment}{whose}), {day}: {said or 'nothing to tell'}"


def text(digest: NightDigest) -> str:
    return "\n".join(map(one_line, _lines(digest))) + "\n"


def _lines(digest: NightDigest) -> Iterator[str]:
    night = digest.night
    yield subject(digest)
    yield f"Runs with as_of after {night.since:%Y-%m-%d %H:%M} and up to {night.until:%Y-%m-%d %H:%M} UTC."
    if digest.budget:
        yield from ("", f"BUDGET: {digest.budget}")
    for outcome, groups in digest.outcomes.items():
        count = sum(len(group.cities) for group in groups)
        if outcome == Outcome.LIVE:
            cities = [city for group in groups for city in group.cities]
            yield from ("", f"LIVE, {count}: {names(cities, _CITIES)}")
            continue
        yield from ("", f"{outcome.upper().replace('_', ' ')}, {count}:")
        for group in groups[:_GROUPS]:
            yield f"  {len(group.cities)} × {_shortened(group.cause)}"
            yield f"      {names(group.cities, _CITIES)}"
        if len(groups) > _GROUPS:
            rest = sum(len(group.cities) for group in groups[_GROUPS:])
            yield f"  {rest} × {len(groups) - _GROUPS} other causes"
    if digest.without_result:
        count = len(digest.without_result)
        yield from ("", f"WITHOUT A RESULT, {count} (running, waiting, paused or never started):")
        yield f"  {names(digest.without_result, _CITIES)}"
    yield from _section("WAITING FOR APPROVAL", digest.waiting, _waits)
    yield from _section("SERVED BY AN OLD MODEL", digest.old, _is_old)
    yield from _by_parent(digest.by_parent)
    yield from _less_sure(digest.less_sure)
    yield from _section("BROKEN", digest.broken, lambda city: _shortened(str(city.problem)))
    yield from _section("NOT IN THE FLEET FILE ANY MORE, BUT SERVED", digest.removed, _is_old)
    if digest.seconds:
        hours = ", ".join(f"{seconds / 3600:.1f} h {kind}" for kind, seconds in digest.seconds.items())
        yield from ("", f"Billable: {hours}.")
    option = f" --owner {shlex.quote(digest.owner)}" if digest.owner else ""
    yield from ("", f"./fleet status --fleet {digest.fleet}{option} shows more.")


def _section(title: str, cities: Sequence[CityStatus], say: Callable[[CityStatus], str]) -> Iterator[str]:
    if cities:
        yield from ("", f"{title}, {len(cities)}:")
        yield from (f"  {city.city}: {say(city)}" for city in cities[:_LINES])
        if len(cities) > _LINES:
            yield f"  and {len(cities) - _LINES} more"


def _by_parent(cities: Sequence[CityStatus]) -> Iterator[str]:
    """Name the cities that have no model of their own that may answer, by who stands in."""
    parents: dict[str, list[str]] = {}
    for city in cities:
        parents.setdefault(str(city.served_by), []).append(city.city)
    if parents:
        yield from ("", f"SERVED BY THEIR PARENT, {len(cities)}:")
    for parent, found in sorted(parents.items()):
        yield f"  {parent}: {names(found, _CITIES)}"


def _less_sure(cities: Sequence[LessSure]) -> Iterator[str]:
    """Name the cities whose new model is less sure than the one before: they serve, and may deserve a look."""
    if cities:
        yield from ("", f"LIVE, AND LESS SURE THAN BEFORE, {len(cities)} (80 % interval of the next period):")
        yield from (
            f"  {each.city}: ± {_share(each.doubt)}, before ± {_share(each.before)}"
            for each in cities[:_LINES]
        )
        if len(cities) > _LINES:
            yield f"  and {len(cities) - _LINES} more"


def _share(share: float) -> str:
    return f"{100 * share:.3g} %"


def _waits(city: CityStatus) -> str:
    return ", ".join(f"version {each.version} since {each.since:%Y-%m-%d %H:%M}" for each in city.waiting)


def _is_old(city: CityStatus) -> str:
    champion, age = city.champion, city.age
    if champion is None or age is None:
        return "its live pointer can't be read"
    days = f"{age.days} days" if age.days != 1 else "1 day"
    pinned = f", pinned{': ' + champion.reason if champion.reason else ''}" if champion.pinned else ""
    until = f", data until {champion.data_until}" if champion.data_until else ""
    return f"as of {champion.as_of}, {days} old{until}{pinned}"


def _shortened(sentence: str) -> str:
    return sentence if len(sentence) <= _LONGEST_CAUSE else sentence[: _LONGEST_CAUSE - 1].rstrip() + "…"
