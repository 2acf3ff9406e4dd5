"""Command ``backfill``: run cities for past dates."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from city_fleet.cli import budget_lines
from city_fleet.cli.aws import PARALLEL_CITIES, aws_errors, client
from city_fleet.cli.dag_groups import DagGroup, dag_groups
from city_fleet.cli.moving import author
from city_fleet.cli.output import AsJson, count_cities, print_json, say
from city_fleet.cli.pausing import refuse_other_environments
from city_fleet.cli.selection import CityNames, FleetName, cities_named, fleets_named, only_fleet
from city_fleet.config import Fleet
from city_fleet.config.places import command_name
from city_fleet.errors import CityFleetError, PlatformError
from city_fleet.naming import parse_as_of

if TYPE_CHECKING:
    from city_fleet.airflow_rest.airflow_client import AirflowRest
    from city_fleet.cli.backfill_runner import BackfillOrder, CityBackfill, RunEnd


def backfill(
    cities: CityNames = None,
    *,
    first: Annotated[
        str, typer.Option("--from", metavar="DATE", help="First logical date, such as 2014-01-01 (UTC).")
    ],
    last: Annotated[
        str,
        typer.Option("--to", metavar="DATE", help="Last logical date; without a time, all of that day."),
    ],
    every: Annotated[bool, typer.Option("--all", help="All cities of the fleet.")] = False,
    at_once: Annotated[
        int, typer.Option("--max-active", metavar="N", min=1, help="Cities at the same time.")
    ] = 4,
    runs_per_city: Annotated[
        int,
        typer.Option("--max-active-runs", metavar="N", min=1, help="Runs of one city at the same time."),
    ] = 1,
    reprocess: Annotated[
        str,
        typer.Option(
            "--reprocess",
            metavar="none|failed|completed",
            help="Which existing runs to run again: none, those that failed, or all that completed.",
        ),
    ] = "none",
    resume: Annotated[
        bool, typer.Option("--resume", help="Skip cities for which this same backfill has been completed.")
    ] = False,
    unpause: Annotated[
        bool,
        typer.Option("--unpause", help="Unpause paused DAGs; they also run on their schedule from then on."),
    ] = False,
    repeat: Annotated[
        bool,
        typer.Option("--repeat", help="Pay for all jobs, though the same have been paid for already."),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Allow a night that is beyond the budget without being asked.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show how many runs and jobs it would start, and start nothing.")
    ] = False,
    fleet: FleetName = None,
    as_json: AsJson = False,
) -> None:
    """Run cities for past dates, a few cities at the same time.

    It starts an Airflow backfill for each city, says what each run came to, and waits for its end. Each run trains on
    what was known on its date, and never replaces a newer model: `--dry-run` says which would end superseded.

    It needs Airflow's REST API: set CITY_FLEET_AIRFLOW_URL and CITY_FLEET_AIRFLOW_TOKEN (or CITY_FLEET_AIRFLOW_USER
    and CITY_FLEET_AIRFLOW_PASSWORD). While a local stack is up they are set.

    A run whose raw data, settings and scripts are those of a run before it takes up that one's jobs, and pays for
    nothing twice. With `--reprocess` and `--repeat` it pays for all of its jobs again; `--dry-run` says for how many.

    You may stop the command at any time: Airflow finishes the backfills that it has begun, and the same command
    continues from there. With `--reprocess failed` or `completed` add `--resume`, else cities that are done start
    again.

    In Airflow 3.3 twenty or more running scheduled runs keep backfills from starting theirs; raise
    [scheduler] max_dagruns_per_loop_to_schedule, or backfill when the night's runs are over.

    Where the fleet file has a `budget` and the runs would go beyond it, it asks first, and your yes allows the night. A
    backfill that lasts longer waits again in the next night: `./fleet cost --allow-night`.

    Exit codes: 0 done, 1 a city could not be backfilled or one of its runs failed, 2 wrong usage.

    \b
    Examples:
      ./fleet backfill --from 2014-01-01 --to 2014-06-01 austin waco --dry-run
      ./fleet backfill --from 2014-01-01 --to 2014-06-01 --all --max-active 8
      ./fleet backfill --from 2014-01-01 --to 2014-06-01 --all --reprocess failed --resume
    """
    from city_fleet.airflow_rest.login_channel import airflow_of  # noqa: PLC0415
    from city_fleet.cli import backfill_runner as backfilling  # noqa: PLC0415 - imports urllib3

    if bool(cities) == every:
        raise typer.BadParameter("name cities, or give --all.")
    if reprocess not in backfilling.REPROCESS:
        allowed = ", ".join(backfilling.REPROCESS)
        raise typer.BadParameter(f"--reprocess: got {reprocess!r}; allowed: {allowed}.")
    try:
        begin, end = backfilling.window(first, last)
    except ValueError as error:
        raise typer.BadParameter(f"--from and --to: {error}.") from None
    order = backfilling.BackfillOrder(begin, end, reprocess, runs_per_city, resume, unpause, repeat)
    fleets = fleets_named(fleet, as_they_are=True)
    names = sorted(only_fleet(fleets, "--all needs").cities) if every else cities or ()
    found = cities_named(fleets, names)
    groups = {group.dag_id: group for group in dag_groups(found)}
    dag_ids = {dag_id: group.fleet for dag_id, group in groups.items()}
    conf = {dag_id: group.conf for dag_id, group in groups.items() if group.conf}
    one_job = frozenset(dag_id for dag_id, group in groups.items() if group.cohort is not None)
    order = replace(order, conf=conf, one_job=one_job)
    with airflow_of(os.environ) as airflow:
        airflow.check()
        refuse_other_environments(airflow, dag_ids.values())
        if dry_run:
            done = list(backfilling.plan(airflow, order, list(dag_ids), _champions(found)))
        else:
            _within_budget(airflow, order, groups, yes=yes, as_json=as_json)
            done = _run(airflow, order, groups, at_once, as_json)
    if dry_run and not as_json:
        _print_plan(done, {item.fleet: item for item in dag_ids.values()}, at_once)
    if as_json:
        print_json([each.to_dict() for each in done])
    raise typer.Exit(1 if any(each.state == backfilling.FAILED for each in done) else 0)


def _within_budget(
    airflow: AirflowRest, order: BackfillOrder, groups: Mapping[str, DagGroup], *, yes: bool, as_json: bool
) -> None:
    """Ask a person before a backfill that goes beyond the budget of its fleet, and allow the night then.

    :raises typer.Exit: the person says no; nothing was begun.
    :raises typer.BadParameter: nobody can be asked.
    """
    from city_fleet.cli import backfill_runner as backfilling  # noqa: PLC0415 - imports urllib3

    with_budget = [each for each in groups.values() if each.fleet.budget is not None]
    for item in {each.fleet.fleet: each.fleet for each in with_budget}.values():
        dag_ids = [dag_id for dag_id, each in groups.items() if each.fleet.fleet == item.fleet]
        planned = backfilling.plan(airflow, order, dag_ids, {})
        runs = sum(each.runs * len(groups[each.dag_id].cities) for each in planned)
        found = budget_lines.say_before_runs(item, runs) if runs else None
        if found is None or not found.asks:
            continue
        if as_json and not yes:
            raise typer.BadParameter(
                "it goes beyond the budget, and with --json nobody can be asked: add --yes."
            )
        if not yes and not typer.confirm(f"Begin {runs:,} runs, and allow the night until {found.night}?"):
            say("Nothing was begun.", err=True)
            raise typer.Exit(1)
        budget_lines.permit_runs(item, found, author(None, f"backfill of {runs} runs"))


def _champions(found: list[tuple[Fleet, str]]) -> dict[str, datetime]:
    """Return for each DAG the as_of of the model that serves its city; nothing of those that S3 does not tell."""
    from city_fleet.state import live  # noqa: PLC0415 - imports botocore

    clients = {item.fleet: client(item, "s3") for item, _ in found}

    def one(each: tuple[Fleet, str]) -> tuple[str, datetime] | None:
        item, city = each
        with suppress(CityFleetError, ValueError), aws_errors():
            pointer = live.read(clients[item.fleet], item.keys, city)
            if pointer is not None:
                return item.dag_id_of(city), parse_as_of(pointer.pointer.as_of)
        return None

    with ThreadPoolExecutor(PARALLEL_CITIES) as pool:
        known = [each for each in pool.map(one, found) if each is not None]
    # Of a cohort the oldest: a run is needless where it is older than every city's model.
    return dict(sorted(known, key=lambda each: each[1], reverse=True))


def _run(
    airflow: AirflowRest,
    order: BackfillOrder,
    dags: Mapping[str, DagGroup],
    at_once: int,
    as_json: bool,
) -> list[CityBackfill]:
    from city_fleet.cli import backfill_runner as backfilling  # noqa: PLC0415 - imports urllib3

    def tell(run: RunEnd) -> None:
        if not as_json:
            for city in dags[run.dag_id].cities:
                _print_run(run, dags[run.dag_id].fleet, city)

    done: list[CityBackfill] = []
    try:
        for each in backfilling.run(airflow, order, dags, at_once=at_once, tell=tell):
            done.append(each)
            if not as_json:
                _print(each, f" [{len(done)} of {len(dags)}]")
    except KeyboardInterrupt:
        say(
            f"Stopped after {len(done)} of {count_cities(len(dags))}. Airflow finishes the backfills that it has "
            "begun; the same command with --resume continues from there.",
            err=True,
        )
        raise typer.Exit(1) from None
    return done


def _print_run(run: RunEnd, fleet: Fleet, city: str) -> None:
    """Say what a run came to, in the words of its record where it has left one."""
    from city_fleet.state import run_records  # noqa: PLC0415 - imports botocore

    record = None
    with suppress(CityFleetError), aws_errors():
        record = run_records.of_run(client(fleet, "s3"), fleet.keys, city, run.run_id)
    outcome = run.state if record is None else str(record.get("outcome")).replace("_", " ")
    reasons = (record or {}).get("reasons") or []
    why = f": {reasons[0]}" if reasons and outcome != "live" else ""
    say(f"  {city} {run.logical_date:%Y-%m-%d}: {outcome}{why}")


def _print_plan(planned: list[CityBackfill], fleets: dict[str, Fleet], at_once: int) -> None:
    for each in planned:
        _print(each)
    runs = sum(each.runs for each in planned)
    hint = _hint(next(iter(fleets.values())), runs) if len(fleets) == 1 else ""
    say(
        f"{count_cities(len(planned))}: {runs} runs, up to {sum(each.jobs for each in planned)} jobs{hint}; "
        f"at most {at_once} cities at the same time."
    )
    if repeats := sum(each.repeats for each in planned):
        say(
            f"{repeats} of the runs are repetitions: they pay again for jobs that have been paid for. The others take "
            "up what was paid for with the same raw data, settings and scripts."
        )
    if superseded := sum(each.superseded for each in planned):
        say(
            f"{superseded} of the runs will end as superseded: a newer model serves, and an older run never replaces "
            "it. They are paid for, and register a version that does not go live. To have one live all the same: "
            f"`{command_name()} promote CITY --as-of DATE` afterwards. To see cities grow month by month, backfill "
            "such as have no model yet, or dates after the model that serves."
        )


def _print(each: CityBackfill, progress: str = "") -> None:
    from city_fleet.cli.backfill_runner import FAILED, NOTHING, PLANNED  # noqa: PLC0415 - imports urllib3

    parts = []
    if each.state == PLANNED:
        again = f", {each.repeats} of the runs again" if each.repeats else ""
        older = f", {each.superseded} of them superseded" if each.superseded else ""
        parts.append(f"{each.runs} runs, up to {each.jobs} jobs{again}{older}")
    elif each.state == NOTHING:
        parts.append(
            "nothing to do: every run exists already, or the schedule has no run between these dates"
        )
    elif each.failed_runs:
        parts.append(f"done, but {each.failed_runs} of the runs between these dates failed")
    elif each.state == FAILED:
        parts.append("not done")
    else:
        parts.append(f"done: {each.runs} runs" if each.runs else "done")
    parts += [each.note] if each.note else []
    say(f"{each.dag_id}: {'; '.join(parts)}{progress}", err=each.state == FAILED)


def _hint(fleet: Fleet, runs: int) -> str:
    """Return the instance hours that so many runs would bill, estimated from the last runs in the index, or nothing."""
    from city_fleet.state import index  # noqa: PLC0415 - imports botocore

    known = None
    with suppress(PlatformError), aws_errors():
        known, _ = index.load(client(fleet, "s3"), fleet.keys)
    entries = known.cities.values() if known is not None else ()
    billed = [
        sum(seconds for _, seconds in entry.last_run.seconds)
        for entry in entries
        if entry.last_run is not None
    ]
    typical = [seconds for seconds in billed if seconds > 0]
    if not typical:
        return ""
    hours = runs * sum(typical) / len(typical) / 3600
    return f", about {hours:.1f} billed instance hours, estimated from the last runs"
