"""Command ``run``: retrain cities now, and watch them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from city_fleet import clock, naming
from city_fleet.cli import budget_lines
from city_fleet.cli.aws import aws_errors, client
from city_fleet.cli.dag_groups import dag_groups
from city_fleet.cli.moving import instant
from city_fleet.cli.output import AsJson, count_cities, print_json, say
from city_fleet.cli.pausing import dag_missing, refuse_other_environments
from city_fleet.cli.selection import CityNames, FleetName, cities_named, fleets_named, only_fleet
from city_fleet.config import Fleet
from city_fleet.config.places import command_name
from city_fleet.errors import AirflowError
from city_fleet.metrics import METRICS, default_metric
from city_fleet.metrics import show as show_metric

if TYPE_CHECKING:
    from city_fleet.airflow_rest.airflow_client import AirflowRest

_PAUSED = "its DAG is paused, so the run would not begin: add --unpause, and it runs on its schedule too from then on"


def run(
    cities: CityNames = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="All cities of the fleet.")] = False,
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of",
            metavar="DATE",
            help="Train on what was known then; now, or the end of the data, if not given.",
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Publish the model whatever the gate decides, over a pin and without a trial."
        ),
    ] = False,
    repeat: Annotated[
        bool, typer.Option("--repeat", help="Pay for all jobs, though the same have been paid for already.")
    ] = False,
    unpause: Annotated[
        bool,
        typer.Option("--unpause", help="Unpause paused DAGs; they also run on their schedule from then on."),
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Watch the runs until they have ended.")
    ] = True,
    fleet: FleetName = None,
    as_json: AsJson = False,
) -> None:
    """Retrain cities now, and watch them.

    It starts a run of each city's DAG and shows which task it is at, until all have ended: live, held with the reasons,
    awaiting approval or failed with the cause. Ctrl-C stops the watching alone; the runs go on in Airflow.

    It needs Airflow's REST API: set CITY_FLEET_AIRFLOW_URL and CITY_FLEET_AIRFLOW_TOKEN (or CITY_FLEET_AIRFLOW_USER
    and CITY_FLEET_AIRFLOW_PASSWORD). While a local stack is up they are set.

    Exit codes: 0 all runs ended as their rules decided, 1 one failed or could not begin, 2 wrong usage.

    \b
    Examples:
      ./fleet run austin "Fort Worth"
      ./fleet run austin --as-of 2014-01-01
      ./fleet run --all --fleet texas_housing --unpause --no-wait
    """
    from city_fleet.airflow_rest.login_channel import airflow_of  # noqa: PLC0415 - imports urllib3

    if bool(cities) == every:
        raise typer.BadParameter("name cities, or give --all.")
    conf: dict[str, Any] = {}
    if as_of is not None:
        conf["as_of"] = naming.as_of_stamp(instant("--as-of", as_of))
    conf |= {name: True for name, wanted in (("force", force), ("repeat", repeat)) if wanted}
    fleets = fleets_named(fleet, as_they_are=True)
    names = sorted(only_fleet(fleets, "--all needs").cities) if every else cities or ()
    found = cities_named(fleets, names)
    run_id = f"run__{clock.stamp(clock.utc_now())}-{secrets.token_hex(3)}"
    with airflow_of(os.environ) as airflow:
        airflow.check()
        refuse_other_environments(airflow, (item for item, _ in found))
        for item in {item.fleet: item for item, _ in found}.values():
            budget_lines.say_before_runs(item, sum(each.fleet == item.fleet for each, _ in found))
        begun, problems = _begin(airflow, found, run_id, conf, unpause=unpause)
        for city, problem in problems.items():
            say(f"{city}: {problem}.", err=True)
        states = _watch(airflow, begun, run_id, quiet=as_json) if wait and begun else {}
    ends = [
        _end(item, city, run_id, states.get(city) if wait else "queued")
        for item, city in found
        if city in begun
    ]
    ends += [{"city": city, "outcome": "failed", "reasons": [problem]} for city, problem in problems.items()]
    if as_json:
        print_json(ends)
    else:
        _print(ends, run_id, wait=wait)
    raise typer.Exit(1 if any(end["outcome"] == "failed" for end in ends) else 0)


def _begin(
    airflow: AirflowRest,
    found: Iterable[tuple[Fleet, str]],
    run_id: str,
    conf: Mapping[str, Any],
    *,
    unpause: bool,
) -> tuple[dict[str, str], dict[str, str]]:
    """Start a run of each city.

    :return: city → its DAG's id; and city → why no run of it was started.
    """
    begun: dict[str, str] = {}
    problems: dict[str, str] = {}
    for group in dag_groups(found):
        try:
            dag = airflow.dag(group.dag_id)
            if dag is None or dag.stale:
                problems |= {city: dag_missing(group.fleet, city) for city in group.cities}
                continue
            if dag.paused and not unpause:
                problems |= dict.fromkeys(group.cities, _PAUSED)
                continue
            # The run first: unpausing may start a scheduled run, and a DAG has one run at a time.
            airflow.trigger(group.dag_id, {**conf, **group.conf}, dag_run_id=run_id)
            if dag.paused:
                airflow.set_paused(group.dag_id, False)
            begun |= dict.fromkeys(group.cities, group.dag_id)
        except AirflowError as error:
            problems |= dict.fromkeys(group.cities, str(error))
    return begun, problems


def _watch(airflow: AirflowRest, begun: Mapping[str, str], run_id: str, *, quiet: bool) -> dict[str, str]:
    from rich.console import Console  # noqa: PLC0415 - slow to import

    from city_fleet.cli.run_progress import Progress, WatchedRun, watch  # noqa: PLC0415

    def may_go_on(waiting: Iterable[str]) -> None:
        """Go on: a run may take hours, and whoever watches may stop at any time."""

    console = Console(highlight=False, soft_wrap=True, stderr=True, quiet=quiet)
    try:
        labels: dict[str, str] = {}
        for city, dag_id in begun.items():  # the cities of a cohort are one run
            labels[dag_id] = f"{labels[dag_id].partition(' and ')[0]} and more" if dag_id in labels else city
        with Progress(console, list(labels.values())) as progress:
            runs = [WatchedRun(label, dag_id, run_id) for dag_id, label in labels.items()]
            states = watch(airflow, progress, runs, may_go_on=may_go_on)
            return {city: states[labels[dag_id]] for city, dag_id in begun.items()}
    except KeyboardInterrupt:
        say(f"Not watched any more; {count_cities(len(begun))} go on in Airflow as run {run_id}.", err=True)
        raise typer.Exit(1) from None


def _end(fleet: Fleet, city: str, run_id: str, state: str | None) -> dict[str, Any]:
    """Return what a run came to: its record's outcome, reasons and metric."""
    from city_fleet.cli.run_progress import AWAITS_APPROVAL  # noqa: PLC0415 - slow to import
    from city_fleet.state import run_records  # noqa: PLC0415 - imports botocore

    end: dict[str, Any] = {
        "fleet": fleet.fleet,
        "city": city,
        "run_id": run_id,
        "outcome": state,
        "reasons": [],
    }
    if state == AWAITS_APPROVAL:
        verbs = f"`{command_name()} approve {city}` lets its model go live, `{command_name()} reject {city}` does not"
        return end | {"reasons": [verbs]}
    if state not in ("success", "failed"):
        return end
    s3, joined = client(fleet, "s3"), ""
    with aws_errors():
        record = run_records.of_run(s3, fleet.keys, city, run_id)
        if record is None and state == "success":
            # It joined a run of the same data, settings and scripts, which has left the record.
            record = next(run_records.newest_first(s3, fleet.keys, city), None)
            joined = f"as run {record.get('run_id')}, which it joined" if record is not None else ""
    if record is None:
        return end | {"reasons": ["it left no record"]}
    settings = fleet.cities[city]
    metric = settings.gate.metric or default_metric(settings.dataset.task)
    measured = (record.get("metrics") or {}).get("challenger") or {}
    return end | {
        "outcome": record.get("outcome"),
        "reasons": [*(record.get("reasons") or []), *([joined] if joined else [])],
        "as_of": record.get("as_of"),
        "data_until": record.get("data_until"),
        "version": record.get("package_version"),
        "metric": metric,
        "value": measured.get(metric),
    }


def _print(ends: Iterable[Mapping[str, Any]], run_id: str, *, wait: bool) -> None:
    ends = list(ends)
    for end in ends:
        if not wait and end["outcome"] != "failed":
            continue
        measured = ""
        if isinstance(end.get("value"), int | float):
            measured = f", {METRICS[end['metric']].title} {show_metric(end['metric'], float(end['value']))}"
        version = f", version {end['version']}" if end.get("version") is not None else ""
        until = f", data until {end['data_until']}" if end.get("data_until") else ""
        say(f"{end['city']}: {str(end['outcome']).replace('_', ' ')}{version}{until}{measured}")
        for reason in end["reasons"]:
            say(f"    {reason}")
    if not wait:
        begun = sum(end["outcome"] != "failed" for end in ends)
        say(f"{count_cities(begun)} begun as run {run_id}. ./fleet status shows what they come to.")
