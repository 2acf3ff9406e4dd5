"""``promote --from``: versions of another installation of the fleet become versions of this one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import typer

from city_fleet.cli.moving import FleetClients, each_city, without_city
from city_fleet.cli.output import print_json, say
from city_fleet.cli.selection import cities_named, fleets_named, only_fleet
from city_fleet.config import Fleet
from city_fleet.config.places import command_name
from city_fleet.errors import CityFleetError, UnknownName
from city_fleet.state.outcomes import Outcome

if TYPE_CHECKING:
    from city_fleet.importing.carry import Carried, Order
    from city_fleet.importing.elsewhere import Elsewhere
    from city_fleet.state.author import Author

_ENDS = {
    Outcome.LIVE: "live",
    Outcome.ON_TRIAL: "on trial",
    Outcome.PENDING: "waits for approval",
    Outcome.HELD: "held",
    Outcome.SUPERSEDED: "not needed: a newer model serves",
}


def promote_from(
    name: str,
    cities: Sequence[str],
    fleet: str | None,
    order: Order,
    author: Author,
    *,
    every: bool,
    as_json: bool,
) -> None:
    """Carry versions of cities from another installation, print what came of each, and exit.

    :param name: of the installation.
    :param cities: as people name them; none with ``every``.
    :param every: all cities of the fleet file; those of which nothing serves there are left out.
    :raises CityFleetError: the fleet file can't be used, or names no such installation.
    :raises typer.BadParameter: the cities are of several fleets.
    """
    from city_fleet.champions.planned_city import PlannedCity  # noqa: PLC0415 - imports botocore
    from city_fleet.cli.other_account import elsewhere  # noqa: PLC0415
    from city_fleet.importing.carry import carry  # noqa: PLC0415
    from city_fleet.plan import plan_city  # noqa: PLC0415

    fleets = fleets_named(fleet)
    if every:
        only_fleet(fleets, "--all needs")
        found = [(fleets[0], slug) for slug in (*fleets[0].cities, *fleets[0].broken)]
    else:
        found = cities_named(fleets, cities)
    places: dict[str, tuple[FleetClients, Elsewhere]] = {}
    for item, _ in found:
        if item.fleet not in places:
            there = elsewhere(item, name)
            places[item.fleet] = (FleetClients(item), there)
            places[item.fleet][0].refuse_old_layout()

    def one(target: tuple[Fleet, str]) -> Carried:
        item, slug = target
        if slug in item.broken:
            raise item.broken[slug]
        clients, there = places[item.fleet]
        return carry(PlannedCity.of(clients, plan_city(item, slug)), there, order, author)

    done = []
    for (item, slug), result in each_city(found, one):
        if not as_json:
            several = len(places) > 1
            _print(f"{item.fleet}.{slug}" if several else slug, slug, result, every=every)
        done.append(_report(item.fleet, slug, result, every=every))
    if as_json:
        print_json(done)
    elif len(done) > 1:
        count = Counter(each["outcome"] for each in done)
        say(f"{len(done)} cities: {', '.join(f'{number} {outcome}' for outcome, number in count.items())}.")
    raise typer.Exit(0 if all(each["good"] for each in done) else 1)


def _nothing_there(result: Carried | CityFleetError, *, every: bool) -> bool:
    """Tell whether nothing serves a city there, which stops nobody who asks for all of them."""
    return every and isinstance(result, UnknownName) and result.kind == "model that serves city"


def _report(fleet: str, city: str, result: Carried | CityFleetError, *, every: bool) -> dict[str, Any]:
    """Return what came of a city as data."""
    carried = None if isinstance(result, CityFleetError) else result
    nothing = _nothing_there(result, every=every)
    outcome = carried.outcome if carried else Outcome.UNCHANGED if nothing else Outcome.FAILED
    decision = None if carried is None or carried.decision is None else carried.decision.to_dict()
    return {
        "fleet": fleet,
        "city": city,
        "outcome": outcome,
        "good": carried.good if carried else nothing,
        "reasons": list(carried.reasons) if carried else [str(result)] if nothing else [],
        "notes": list(carried.notes) if carried else [],
        "origin": dict(carried.origin) if carried else None,
        "version": carried.version if carried else None,
        "package_arn": carried.package_arn if carried else None,
        "target_model": carried.target_model if carried else None,
        "record_uri": carried.record_uri if carried else None,
        "decision": decision,
        "error": None if carried or nothing else result.to_dict(),  # type: ignore[union-attr]
    }


def _print(name: str, city: str, result: Carried | CityFleetError, *, every: bool) -> None:
    if isinstance(result, CityFleetError):
        if _nothing_there(result, every=every):
            say(f"{name}: unchanged: no model of it serves there.")
        else:
            say(f"{name}: {without_city(result, city).rstrip('.')}.", err=True)
        return
    say(f"{name}: {_sentence(result)}")
    for line in _more(result, city):
        say(f"{name}:   {line}.")


def _sentence(done: Carried) -> str:
    there = f"version {done.origin['version']} of {done.origin['installation']}"
    if done.outcome == Outcome.UNCHANGED:
        return f"unchanged: {there}: {'; '.join(done.reasons)}."
    if done.outcome == Outcome.PLANNED:
        may = done.decision is not None and done.decision.promote
        return f"{there} would be registered here, and the gate {'would let it go live' if may else 'would hold it'}:"
    end = _ENDS.get(done.outcome, done.outcome.value)
    serves = f", as {done.target_model}" if done.target_model else ""
    return f"{there} is version {done.version} here: {end}{serves}."


def _more(done: Carried, city: str) -> Iterator[str]:
    """Yield what else there is to say, without the full stop."""
    if done.outcome != Outcome.UNCHANGED:
        said = done.reasons or (done.decision.reasons if done.decision else ())
        yield from (each.rstrip(".") for each in said)
        if done.decision is not None:
            yield from (f"warning: {each.rstrip('.')}" for each in done.decision.warnings)
    yield from done.notes
    if done.outcome == Outcome.PENDING:
        yield f"it waits for a person: {command_name()} approve {city}, or {command_name()} reject {city}"
