"""Command ``plan``: what a run of a city would do."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from city_fleet.cli.output import AsJson, errors, print_json
from city_fleet.cli.selection import FleetName, fleets_named
from city_fleet.config import City, Fleet
from city_fleet.errors import UnknownName, display_path
from city_fleet.naming import parse_as_of

if TYPE_CHECKING:
    from city_fleet.views.preview import PlannedJob, Preview

commands = typer.Typer()


@commands.command()
def plan(
    city: Annotated[str, typer.Argument(metavar="CITY", help="Slug of the city.")],
    *,
    fleet: FleetName = None,
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of",
            metavar="AS_OF",
            help="The run sees only data known by this moment; by default the last tick of the city's schedule.",
        ),
    ] = None,
    run_id: Annotated[
        str | None,
        typer.Option(
            "--run-id", metavar="ID", help="Airflow's id of the run; by default that of the tick's run."
        ),
    ] = None,
    requests: Annotated[
        bool, typer.Option("--requests", help="Show the requests to SageMaker as boto3 takes them.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say what a run of a city would do: its steps, jobs, names and URIs. Asks neither Airflow nor AWS.

    \b
    Examples:
      ./fleet plan austin
      ./fleet plan austin --as-of 2014-01-01 --requests
      ./fleet plan austin --json
    """
    from city_fleet.jobs.code_bundle import CodeBundle  # noqa: PLC0415 - these take a second to import
    from city_fleet.jobs.images import image_uri  # noqa: PLC0415
    from city_fleet.plan import plan_city, project_path  # noqa: PLC0415
    from city_fleet.views.preview import preview, scheduled_run_id  # noqa: PLC0415

    with errors(as_json):
        owner, settings = _city(fleets_named(fleet), city)
        city_plan = plan_city(owner, settings.slug)
        try:
            moment = _moment(settings, as_of)
            run = city_plan.run(run_id or scheduled_run_id(city_plan, moment), moment)
        except ValueError as error:
            raise typer.BadParameter(f"--as-of: {error}") from None
        bundle = CodeBundle.load(project_path(settings.scripts))
        found = preview(city_plan, run, image_uri=image_uri(settings.algorithm, owner.region), bundle=bundle)
    if as_json:
        print_json(found.to_dict())
    elif requests:
        print_json({job.name: job.request for job in found.jobs.values()})
    else:
        _print(found)


def _city(fleets: list[Fleet], slug: str) -> tuple[Fleet, City]:
    """Return the city and its fleet.

    :raises CityFleetError: no fleet has it, or its settings are broken.
    :raises typer.BadParameter: more than one fleet has it.
    """
    for fleet in fleets:
        if slug in fleet.broken:
            raise fleet.broken[slug]
    owners = [fleet for fleet in fleets if slug in fleet.cities]
    if not owners:
        known = {each for fleet in fleets for each in fleet.cities}
        raise UnknownName("city", slug, known, ", ".join(display_path(fleet.path) for fleet in fleets))
    if len(owners) > 1:
        names = ", ".join(fleet.fleet for fleet in owners)
        raise typer.BadParameter(f"city {slug!r} is in several fleets: {names}. Say which one with --fleet.")
    return owners[0], owners[0].cities[slug]


def _moment(city: City, as_of: str | None) -> datetime:
    """Return the as_of that is asked for, else the schedule's last tick, else now."""
    from city_fleet.ticks import last_tick  # noqa: PLC0415 - imports croniter

    if as_of is not None:
        return parse_as_of(as_of)
    now = datetime.now(UTC)
    tick = last_tick(city.schedule, now, first_day=city.start_date, last_day=city.end_date)
    return tick or now.replace(microsecond=0)


def _print(found: Preview) -> None:
    typer.echo(f"{found.dag_id}, as_of {found.as_of}")
    typer.echo(f"  run           {found.run_id}, key {found.run_key}")
    typer.echo(f"  made by       settings {found.settings_digest}, scripts {found.code_digest}")
    typer.echo(f"  package group {found.package_group}")
    typer.echo(f"  endpoint      {found.endpoint}")
    for number, (task, before) in enumerate(found.tasks.items(), start=1):
        after = f", after {', '.join(before)}" if before else ""
        typer.echo(f"\n{number}. {task}{after}")
        if task in found.jobs:
            _print_job(found.jobs[task])
    typer.echo("\nBeside the jobs' outputs it may write:")
    for uri, what in found.may_write.items():
        typer.echo(f"  {uri}  {what}")


def _print_job(job: PlannedJob) -> None:
    spot = ", spot" if job.spot else ""
    typer.echo(f"   {job.kind.lower()} job {job.name}")
    typer.echo(f"   on {job.instance_type}{spot}, for at most {job.max_runtime_seconds} seconds")
    for word, uris in (("reads", job.reads), ("writes", job.writes)):
        for name, uri in uris.items():
            typer.echo(f"   {word:<6}  {name}: {uri}")
    if job.note:
        typer.echo(f"   {job.note}")
