"""Command ``plan``: what a run of a city would do, or a night of all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from city_fleet.cli.moving import instant
from city_fleet.cli.output import AsJson, print_json, show
from city_fleet.cli.selection import FleetName, OneCity, city_named, fleets_named
from city_fleet.config import City
from city_fleet.config.endpoint_section import MULTI_CONTAINER
from city_fleet.errors import list_names

if TYPE_CHECKING:
    from city_fleet.jobs.code_bundle import CodeBundle
    from city_fleet.plan import CityPlan, Run
    from city_fleet.views.preview import PlannedJob, Preview


def plan(
    city: OneCity = None,
    *,
    fleet: FleetName = None,
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of",
            metavar="AS_OF",
            help="Moment of the run, such as 2014-01-01; by default the last tick of the city's schedule.",
        ),
    ] = None,
    run_id: Annotated[
        str | None,
        typer.Option(
            "--run-id", metavar="ID", help="Airflow's run ID; by default that of the scheduled run."
        ),
    ] = None,
    requests: Annotated[
        bool, typer.Option("--requests", help="Print the requests to SageMaker as JSON, as boto3 takes them.")
    ] = False,
    look: Annotated[
        bool,
        typer.Option(
            "--look",
            help="Ask S3 for the raw data: show the run's real key and names, and whether it is paid for already.",
        ),
    ] = False,
    cities: Annotated[
        int | None,
        typer.Option(
            "--cities",
            metavar="N",
            min=1,
            max=1_000_000,
            help="Without CITY: a night of so many cities, with the settings of the fleet file, or the usual ones.",
        ),
    ] = None,
    within: Annotated[
        float,
        typer.Option(
            "--within", metavar="HOURS", min=0.1, max=24 * 31, help="In which a night shall be over."
        ),
    ] = 6.0,
    quotas: Annotated[
        Path | None,
        typer.Option(
            "--quotas",
            metavar="FILE",
            help="The account's quotas, as `aws service-quotas list-service-quotas` prints them.",
        ),
    ] = None,
    start_up: Annotated[
        float | None,
        typer.Option(
            "--start-up",
            metavar="SECONDS",
            min=0,
            max=86_400,
            help="Until AWS has an instance for a job; 120 by default.",
        ),
    ] = None,
    pool: Annotated[
        int | None,
        typer.Option("--pool", metavar="SLOTS", min=1, help="Of Airflow's pool of jobs, where there is one."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a run of a city, or a night of a fleet, would do.

    Without a city: jobs, instances, calls, wall time and cost of a night with a DAG per city and with cohorts, which
    quotas it needs, and the settings that follow. With one:

    The tasks in their order, the SageMaker jobs, and everything they read and write in S3. Neither Airflow nor AWS is
    asked, so it works without credentials; but then it can't know the raw data, and the run's key and job names, which
    depend on them, are only examples. `--look` shows the real ones.

    \b
    Examples:
      ./fleet plan austin
      ./fleet plan austin --as-of 2014-01-01 --requests
      ./fleet plan austin --look
      ./fleet plan austin --json
      ./fleet plan --fleet texas_housing
      ./fleet plan --cities 3000
      ./fleet plan --cities 3000 --fleet texas_housing --within 4 --quotas quotas.json
    """
    if city is None:
        if as_of is not None or run_id is not None or requests or look:
            raise typer.BadParameter("--as-of, --run-id, --requests and --look are about one city: name it.")
        from city_fleet.cli.plan_night import Asked, plan_nights, with_usual_settings  # noqa: PLC0415

        found = fleets_named(fleet, as_they_are=True)
        if cities is not None and len(found) > 1:
            found = [with_usual_settings(found[0])]
        plan_nights(found, Asked(cities, within, quotas, start_up, pool), as_json)
        return
    if any(given is not None for given in (cities, quotas, start_up, pool)):
        raise typer.BadParameter("--cities, --quotas, --start-up and --pool are about a night: name no city.")
    from city_fleet.jobs.code_bundle import CodeBundle  # noqa: PLC0415 - these take a second to import
    from city_fleet.jobs.images import image_uri  # noqa: PLC0415
    from city_fleet.plan import plan_city  # noqa: PLC0415
    from city_fleet.views.preview import preview, run_unseen, scheduled_run_id  # noqa: PLC0415

    owner, settings = city_named(fleets_named(fleet, as_they_are=True), city)
    city_plan = plan_city(owner, settings.slug)
    bundle = CodeBundle.of(city_plan)
    uri = image_uri(settings.algorithm, owner.region)
    try:
        moment = _moment(settings, as_of)
        run = run_unseen(city_plan, run_id or scheduled_run_id(city_plan, moment), moment, bundle)
    except ValueError as error:
        raise typer.BadParameter(f"--as-of: {error}") from None
    joins: str | None = None
    raw: tuple[str, ...] = ()
    if look:
        run, raw, joins = _looked(city_plan, run, bundle)
    shown = preview(city_plan, run, image_uri=uri, bundle=bundle, raw=raw, looked=look, joins=joins)
    if requests and not as_json:
        print_json({job.name: job.request for job in shown.jobs.values()})
    else:
        show(shown.to_dict(), _lines(shown), as_json)


def _looked(city_plan: CityPlan, run: Run, bundle: CodeBundle) -> tuple[Run, tuple[str, ...], str | None]:
    """Return the run as it would be, the names of its raw data, and who has begun a run about the same."""
    from city_fleet.cli.aws import aws_errors, client  # noqa: PLC0415
    from city_fleet.jobs import fixed_run  # noqa: PLC0415 - imports botocore

    s3 = client(city_plan.fleet, "s3")
    with aws_errors():
        found, begun = fixed_run.find(s3, city_plan, run.as_of, bundle.digest)
    raw = tuple(each.name for each in found.raw)
    return (
        replace(run, key=found.key, champion=found.champion, parent=found.parent),
        raw,
        found.begun_by if begun else None,
    )


def _moment(city: City, as_of: str | None) -> datetime:
    """Return the as_of that was given, else the schedule's last tick, else now."""
    if as_of is not None:
        return instant("--as-of", as_of)
    now = datetime.now(UTC)
    return city.last_tick(now) or now.replace(microsecond=0)


def _lines(found: Preview) -> Iterator[str]:
    yield f"{found.dag_id}, as_of {found.as_of}"
    key = found.run_key if found.looked else "unknown: it depends on the raw data; --look asks S3"
    yield f"  run           {found.run_id}, key {key}"
    if found.joins:
        yield f"  joins         the run that {found.joins} has begun: what that has paid for is not paid again"
    if not found.looked:
        yield f"                {found.run_key} stands for it below, so names and URIs are examples"
    yield f"  made by       settings {found.settings_digest}, scripts {found.code_digest}"
    yield f"  package group {found.package_group}"
    yield f"  endpoint      {found.endpoint}"
    if found.endpoint_kind == MULTI_CONTAINER:
        yield "                in a container of its own: when the model goes live another endpoint is made for it,"
        yield "                which takes minutes, and both are paid for until the old one is deleted"
    if found.parent:
        yield f"  parent        {found.parent} answers where the city has no model of its own that may"
    if found.children:
        yield f"  parent of     {list_names(found.children)}: trained on their raw data"
    for number, (task, before) in enumerate(found.tasks.items(), start=1):
        after = f", after {', '.join(before)}" if before else ""
        yield from ("", f"{number}. {task}{after}")
        if task in found.jobs:
            yield from _job_lines(found.jobs[task])
    yield from ("", "Besides the outputs of its jobs it may write:")
    for uri, what in found.may_write.items():
        yield f"  {uri}  {what}"


def _job_lines(job: PlannedJob) -> Iterator[str]:
    spot = ", spot" if job.spot else ""
    yield f"   {job.kind.lower()} job {job.name}"
    yield f"   on {job.instance_type}{spot}, for at most {job.max_runtime_seconds} seconds"
    for word, uris in (("reads", job.reads), ("writes", job.writes)):
        for name, uri in uris.items():
            yield f"   {word:<6}  {name}: {uri}"
    if job.note:
        yield f"   {job.note}"
