"""Commands ``pause`` and ``unpause``: whether cities run on their schedule."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated

import typer

from city_fleet.cli.dag_groups import DagGroup, dag_groups
from city_fleet.cli.output import AsJson, count_cities, print_json, say
from city_fleet.cli.selection import CityNames, FleetName, cities_named, fleets_named, only_fleet
from city_fleet.config import Fleet
from city_fleet.config.places import command_name
from city_fleet.errors import AirflowError
from city_fleet.naming import fleet_dag_id, fleet_tag
from city_fleet.plan import ENDPOINT_PURPOSE

if TYPE_CHECKING:
    from city_fleet.airflow_rest.airflow_client import AirflowRest, Dag

_PARALLEL_REQUESTS = 8

Every = Annotated[bool, typer.Option("--all", help="All cities of the fleet.")]
TagName = Annotated[
    str | None, typer.Option("--tag", metavar="TAG", help="All cities whose DAGs have this tag.")
]


def pause(
    cities: CityNames = None,
    *,
    every: Every = False,
    tag: TagName = None,
    fleet: FleetName = None,
    as_json: AsJson = False,
) -> None:
    """Pause cities: no run of theirs begins until they are unpaused.

    What runs goes on to its end, and the models go on serving.

    Exit codes: 0 done (or they were paused already), 1 a city could not be paused, 2 wrong usage.

    \b
    Examples:
      ./fleet pause austin "Fort Worth"
      ./fleet pause --all --fleet texas_housing
    """
    _set(True, cities or [], every=every, tag=tag, fleet=fleet, as_json=as_json)


def unpause(
    cities: CityNames = None,
    *,
    every: Every = False,
    tag: TagName = None,
    fleet: FleetName = None,
    as_json: AsJson = False,
) -> None:
    """Unpause cities: from now on they run on their schedule.

    Each begins with the run that its schedule owes: that of its last tick.

    Exit codes: 0 done (or they were not paused), 1 a city could not be unpaused, 2 wrong usage.

    \b
    Examples:
      ./fleet unpause austin "Fort Worth"
      ./fleet unpause --tag housing
      ./fleet unpause --all --fleet texas_housing
    """
    _set(False, cities or [], every=every, tag=tag, fleet=fleet, as_json=as_json)


def refuse_other_environments(airflow: AirflowRest, fleets: Iterable[Fleet]) -> None:
    """Refuse an Airflow that runs another environment of one of the fleets.

    :raises AirflowError: it does, or does not answer.
    """
    for item in {item.fleet: item for item in fleets}.values():
        airflow.refuse_other_environment(fleet_dag_id(item.fleet, ENDPOINT_PURPOSE), item.environment)


def dag_missing(fleet: Fleet, city: str) -> str:
    """Say that Airflow does not have a city's DAG, and what to do."""
    if city in fleet.broken:
        return f"its settings have a mistake, so it has no DAG to run: `{command_name()} lint`"
    return (
        "Airflow does not have its DAG yet: new cities appear within half a minute; "
        f"`{command_name()} doctor` says whether the DAG files are read"
    )


def _set(
    paused: bool, names: list[str], *, every: bool, tag: str | None, fleet: str | None, as_json: bool
) -> None:
    from city_fleet.airflow_rest.login_channel import airflow_of  # noqa: PLC0415 - imports urllib3

    if sum((bool(names), every, tag is not None)) != 1:
        raise typer.BadParameter("name cities, or give --all or --tag.")
    fleets = fleets_named(fleet, as_they_are=True)
    if every:
        only_fleet(fleets, "--all needs")
    found = (
        cities_named(fleets, names) if names else [(item, city) for item in fleets for city in item.cities]
    )
    with airflow_of(os.environ) as airflow:
        airflow.check()
        refuse_other_environments(airflow, (item for item, _ in found))
        dags: dict[str, Dag] = {}
        for item in {item.fleet: item for item, _ in found}.values():
            dags |= airflow.fleets_dags(fleet_tag(item.fleet))
        chosen = dag_groups(found)
        if tag is not None:
            chosen = [each for each in chosen if each.dag_id in dags and tag in dags[each.dag_id].tags]
            if not chosen:
                tags = sorted({each for dag in dags.values() for each in dag.tags})
                raise typer.BadParameter(f"--tag: no city has {tag!r}; their tags: {', '.join(tags)}.")
        results = _patch(airflow, chosen, dags, paused)
    _print(paused, results, as_json)


def _patch(
    airflow: AirflowRest, chosen: Sequence[DagGroup], dags: Mapping[str, Dag], paused: bool
) -> dict[str, str]:
    """Return for each city what was done: ``changed``, ``unchanged``, or why it could not be."""

    def one(group: DagGroup) -> str:
        dag = dags.get(group.dag_id)
        if dag is None or dag.stale:
            return dag_missing(group.fleet, group.cities[0])
        if dag.paused == paused:
            return "unchanged"
        if group.others:
            return group.others_too("paused" if paused else "unpaused")
        try:
            airflow.set_paused(group.dag_id, paused)
        except AirflowError as error:
            return str(error)
        return "changed"

    with ThreadPoolExecutor(_PARALLEL_REQUESTS) as pool:
        results = list(pool.map(one, chosen))
    return {city: result for group, result in zip(chosen, results, strict=True) for city in group.cities}


def _print(paused: bool, results: Mapping[str, str], as_json: bool) -> None:
    verb, was = ("paused", "paused already") if paused else ("unpaused", "not paused")
    words = {"changed": verb, "unchanged": was}
    failed = [city for city, result in results.items() if result not in words]
    if as_json:
        print_json([{"city": city, "result": words.get(result, result)} for city, result in results.items()])
    else:
        for city in failed:
            say(f"{city}: {results[city]}.", err=True)
        for result, word in words.items():
            same = [city for city, each in results.items() if each == result]
            if same:
                shown = f": {', '.join(same)}" if len(same) <= 10 else ""
                say(f"{count_cities(len(same))} {word}{shown}.")
    raise typer.Exit(1 if failed else 0)
