"""Command ``remove``: take cities out of service."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from city_fleet.cli.aws import aws_errors
from city_fleet.cli.dag_groups import dag_groups
from city_fleet.cli.moving import By, DryRun, Reason, cities_and_clients, mover, without_city
from city_fleet.cli.output import AsJson, print_json, say
from city_fleet.cli.selection import FleetName, NamedCities
from city_fleet.errors import CityFleetError
from city_fleet.naming import fleet_dag_id
from city_fleet.plan import ENDPOINT_PURPOSE
from city_fleet.state.author import Author

if TYPE_CHECKING:
    from city_fleet.airflow_rest.airflow_client import AirflowRest
    from city_fleet.retiring.remove import Remains, Removal


def remove(
    cities: NamedCities,
    *,
    wait: Annotated[
        float,
        typer.Option(
            "--wait", metavar="SECONDS", min=0, help="How long to wait for runs that have not ended."
        ),
    ] = 0.0,
    without_airflow: Annotated[
        bool,
        typer.Option(
            "--without-airflow",
            help="Do not pause the DAG or look at its runs, because Airflow can't be reached.",
        ),
    ] = False,
    fleet: FleetName = None,
    by: By = None,
    reason: Reason = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Take cities out of service.

    The city's DAG is paused and its live pointer deleted: predictions fail with "no live model" from then on. Models
    and data stay: `./fleet rebuild CITY` brings the city back, and the commands that delete everything for good are
    printed. It also works for a city that is no longer in the fleet file.

    A run that has not ended could publish a model, so a city with such a run is refused; `--wait` waits for its end.

    It needs Airflow's REST API: set CITY_FLEET_AIRFLOW_URL and CITY_FLEET_AIRFLOW_TOKEN (or CITY_FLEET_AIRFLOW_USER
    and CITY_FLEET_AIRFLOW_PASSWORD). While a local stack is up they are set. If Airflow does not answer, nothing is
    changed.

    Exit codes: 0 done (or no model was live), 1 a city could not be removed, 2 wrong usage.

    \b
    Examples:
      ./fleet remove waco --dry-run
      ./fleet remove waco --reason "the office is closed" --wait 600
      ./fleet remove waco --without-airflow --by ann
    """
    from city_fleet.retiring.remove import CityDag, remains  # noqa: PLC0415 - imports botocore
    from city_fleet.retiring.remove import remove as remove_city  # noqa: PLC0415

    who = mover(by)
    results: list[dict[str, Any]] = []
    failed = False
    with ExitStack() as stack:
        found = cities_and_clients(fleet, cities)
        airflow = None if without_airflow else stack.enter_context(_airflow())
        if airflow is not None:
            for item in {clients.fleet.fleet: clients.fleet for clients, _ in found}.values():
                airflow.refuse_other_environment(fleet_dag_id(item.fleet, ENDPOINT_PURPOSE), item.environment)
        for fleet_clients, city in found:
            item = fleet_clients.fleet
            try:
                with aws_errors():
                    context = fleet_clients.city(city)
                    (group,) = dag_groups([(item, city)])
                    if airflow and group.cohort is not None:
                        raise CityFleetError(
                            f"its cohort {group.cohort} would train it again tonight: take it out of the fleet file "
                            "first, or give it a DAG of its own by cohort: null"
                        )
                    dag = CityDag(airflow, group.dag_id, wait) if airflow else None
                    done = remove_city(context, Author(who, reason), dag, dry_run=dry_run)
                    left = remains(context)
            except CityFleetError as error:
                failed = True
                results.append({"fleet": item.fleet, **error.to_dict(), "city": city})
                if not as_json:
                    say(f"{city}: {without_city(error, city)}", err=True)
                continue
            in_file = city in item.cities or city in item.broken
            results.append({"fleet": item.fleet, **done.to_dict(), **_left_to_dict(left), "in_file": in_file})
            if not as_json:
                _print(done, left, in_file=in_file)
    if as_json:
        print_json(results)
    raise typer.Exit(1 if failed else 0)


def _airflow() -> AirflowRest:
    from city_fleet.airflow_rest.login_channel import airflow_of  # noqa: PLC0415
    from city_fleet.errors import AirflowError  # noqa: PLC0415

    try:
        airflow = airflow_of(os.environ)
        airflow.check()
    except AirflowError as error:
        raise AirflowError(
            f"{error}. Nothing was done; --without-airflow does it without pausing the DAG"
        ) from None
    return airflow


def _left_to_dict(left: Remains) -> dict[str, Any]:
    return {
        "left": [asdict(each) for each in left.left],
        "package_group": left.group,
        "versions": list(left.versions),
        "to_delete": left.commands(),
    }


def _print(done: Removal, left: Remains, *, in_file: bool) -> None:
    from city_fleet.retiring.retire_report import count, size  # noqa: PLC0415
    from city_fleet.state.outcomes import Outcome  # noqa: PLC0415

    served = done.before.target_model if done.before else "nothing"
    what = {
        Outcome.PLANNED: f"would be removed; {served} serves",
        Outcome.UNCHANGED: f"unchanged: {done.note}",
    }.get(done.outcome, f"removed; {served} serves no more")
    say(f"{done.city}: {what}; {done.dag}.")
    if in_file:
        say(f"{done.city}:   it is still in the fleet file; take it out there, and its DAG goes.")
    for each in left.left:
        if each.objects:
            objects = f"{count(each.objects, 'object')}, {size(each.size_bytes)}"
            say(f"{done.city}:   left: {each.what}, {objects}: {each.uri}")
    if left.versions:
        say(f"{done.city}:   left: {count(len(left.versions), 'version')} in the registry: {left.group}")
    commands_left = left.commands()
    if commands_left:
        say(f"{done.city}:   `./fleet rebuild {done.city}` brings it back. To delete what is left for good:")
        for command in commands_left:
            say(f"  {command}")
