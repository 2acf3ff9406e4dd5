"""Command ``backfill``."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from city_fleet.cli.aws import aws_errors, client
from city_fleet.cli.output import AsJson, errors, print_json
from city_fleet.cli.selection import FleetName, cities_named, fleets_named
from city_fleet.config import Fleet
from city_fleet.errors import PlatformError
from city_fleet.naming import Keys, city_dag_id

if TYPE_CHECKING:
    from city_fleet.airflow_rest import AirflowRest
    from city_fleet.cli.backfill_runner import BackfillOrder, CityBackfill

commands = typer.Typer()


@commands.command()
def backfill(
    cities: Annotated[list[str] | None, typer.Argument(metavar="CITY", help="Slugs of cities.")] = None,
    *,
    first: Annotated[
        str, typer.Option("--from", metavar="DATE", help="First logical date, such as 2014-01-01 (UTC).")
    ],
    last: Annotated[
        str, typer.Option("--to", metavar="DATE", help="Last logical date; a mere day means all of it.")
    ],
    every: Annotated[bool, typer.Option("--all", help="Every city of the fleet.")] = False,
    at_once: Annotated[
        int, typer.Option("--max-active", metavar="N", min=1, help="Cities backfilled at the same time.")
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
            help="What becomes of runs that are there: none leaves them, failed runs failed ones again, "
            "completed all.",
        ),
    ] = "none",
    resume: Annotated[
        bool, typer.Option("--resume", help="Leave cities alone that have had this very backfill.")
    ] = False,
    unpause: Annotated[
        bool,
        typer.Option("--unpause", help="Switch paused DAGs on, also for their schedule, and leave them on."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how many runs and jobs it would start, and start nothing.")
    ] = False,
    fleet: FleetName = None,
    as_json: AsJson = False,
) -> None:
    """Run cities for past dates, a few cities at a time, each seen through to its end.

    Each run trains on what was known on its date, and never replaces a newer model. Airflow does the work, through
    its REST API: set CITY_FLEET_AIRFLOW_URL and CITY_FLEET_AIRFLOW_TOKEN (or ..._USER and ..._PASSWORD); for a local
    stack `make up` does it. The command may be stopped at any time: what Airflow has begun goes on, and the same
    command goes on from there. With `--reprocess failed` or `completed` add `--resume` to it, else cities that are
    done begin anew.

    In Airflow 3.3 twenty or more running scheduled runs keep backfills from starting theirs; raise
    [scheduler] max_dagruns_per_loop_to_schedule, or backfill when the night's runs are over.

    \b
    Exit codes: 0 done, 1 a city could not be backfilled or a run of it has failed, 2 wrong usage.

    \b
    Examples:
      ./fleet backfill --from 2014-01-01 --to 2014-06-01 austin waco --dry-run
      ./fleet backfill --from 2014-01-01 --to 2014-06-01 --all --max-active 8
      ./fleet backfill --from 2014-01-01 --to 2014-06-01 --all --reprocess failed --resume
    """
    from city_fleet.airflow_rest import AirflowRest  # noqa: PLC0415
    from city_fleet.cli import backfill_runner as backfilling  # noqa: PLC0415 - imports httpx

    if bool(cities) == every:
        raise typer.BadParameter("name cities, or give --all.")
    if reprocess not in backfilling.REPROCESS:
        allowed = ", ".join(backfilling.REPROCESS)
        raise typer.BadParameter(f"--reprocess: got {reprocess!r}; allowed: {allowed}.")
    try:
        begin, end = backfilling.window(first, last)
    except ValueError as error:
        raise typer.BadParameter(f"--from and --to: {error}.") from None
    order = backfilling.BackfillOrder(begin, end, reprocess, runs_per_city, resume, unpause)
    with errors(as_json):
        fleets = fleets_named(fleet)
        if every and len(fleets) > 1:
            raise typer.BadParameter(f"--all needs --fleet: there are {', '.join(f.fleet for f in fleets)}.")
        found = cities_named(fleets, cities or sorted(fleets[0].cities), lambda *_: False)
        dag_ids = {city_dag_id(item.fleet, city): item for item, city in found}
        with AirflowRest.of_environment(os.environ) as airflow:
            airflow.check()
            if dry_run:
                planned = list(backfilling.plan(airflow, order, list(dag_ids)))
                _show_plan(planned, {item.fleet: item for item in dag_ids.values()}, at_once, as_json)
                done = planned
            else:
                done = _run(airflow, order, list(dag_ids), at_once, as_json)
    raise typer.Exit(1 if any(each.state == backfilling.FAILED for each in done) else 0)


def _run(
    airflow: AirflowRest, order: BackfillOrder, dag_ids: list[str], at_once: int, as_json: bool
) -> list[CityBackfill]:
    from city_fleet.cli import backfill_runner as backfilling  # noqa: PLC0415 - imports httpx

    done: list[CityBackfill] = []
    try:
        for each in backfilling.run(airflow, order, dag_ids, at_once=at_once):
            done.append(each)
            if not as_json:
                _print(each, f" [{len(done)} of {len(dag_ids)}]")
    except KeyboardInterrupt:
        typer.echo(
            f"Stopped after {len(done)} of {len(dag_ids)} cities. What Airflow has begun goes on; the same command "
            "with --resume goes on from there.",
            err=True,
        )
        raise typer.Exit(1) from None
    if as_json:
        print_json([each.as_dict() for each in done])
    return done


def _show_plan(planned: list[CityBackfill], fleets: dict[str, Fleet], at_once: int, as_json: bool) -> None:
    from city_fleet.cli.backfill_runner import JOBS_PER_RUN  # noqa: PLC0415 - imports httpx

    if as_json:
        print_json([each.as_dict() for each in planned])
        return
    for each in planned:
        _print(each)
    runs = sum(each.runs for each in planned)
    hint = _hint(next(iter(fleets.values())), runs) if len(fleets) == 1 else ""
    typer.echo(
        f"{len(planned)} {'city' if len(planned) == 1 else 'cities'}: {runs} runs, up to {runs * JOBS_PER_RUN} jobs"
        f"{hint}; at most {at_once} cities at the same time."
    )


def _print(each: CityBackfill, progress: str = "") -> None:
    from city_fleet.cli.backfill_runner import FAILED, JOBS_PER_RUN, NOTHING, PLANNED  # noqa: PLC0415 - imports httpx

    parts = []
    if each.state == PLANNED:
        parts.append(f"{each.runs} runs, up to {each.runs * JOBS_PER_RUN} jobs")
    elif each.state == NOTHING:
        parts.append("nothing to do: every run is there already, or none belongs there")
    elif each.failed_runs:
        parts.append(f"done, but {each.failed_runs} runs between these dates have failed")
    elif each.state == FAILED:
        parts.append("not done")
    else:
        parts.append(f"done: {each.runs} runs" if each.runs else "done")
    parts += [each.note] if each.note else []
    typer.echo(f"{each.dag_id}: {'; '.join(parts)}{progress}", err=each.state == FAILED)


def _hint(fleet: Fleet, runs: int) -> str:
    """Say how long the jobs of so many runs would bill, going by the last run of each city, if the index tells."""
    from city_fleet.state import index  # noqa: PLC0415 - imports botocore

    known = None
    with suppress(PlatformError), aws_errors():
        known, _ = index.load(client(fleet, "s3"), Keys(fleet.bucket, fleet.fleet))
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
    return f", billed for about {hours:.1f} instance hours going by the last runs"
