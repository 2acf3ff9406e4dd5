"""Command ``ingest``: raw data to S3."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from city_fleet import clock
from city_fleet.cli.aws import client
from city_fleet.cli.output import AsJson, print_json, say
from city_fleet.cli.selection import CityNames, FleetName, cities_named, fleets_named, only_fleet
from city_fleet.errors import list_names

if TYPE_CHECKING:
    from city_fleet.config import Fleet
    from city_fleet.data.ingest import IngestReport


def ingest(
    cities: CityNames = None,
    *,
    fleet: FleetName = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--file", metavar="FILE", help="Upload this file instead of the fleet's dataset.source."
        ),
    ] = None,
    create_bucket: Annotated[
        bool, typer.Option("--create-bucket", help="Create the bucket if it does not exist.")
    ] = False,
    append: Annotated[
        bool, typer.Option("--append", help="Add the file; leave every other file of the cities.")
    ] = False,
    replace_all: Annotated[
        bool,
        typer.Option("--replace-all", help="Remove also data files that something else has put there."),
    ] = False,
    allow_unknown: Annotated[
        bool,
        typer.Option("--allow-unknown", help="Leave out rows under a name that looks like a city's."),
    ] = False,
    allow_fewer_rows: Annotated[
        bool, typer.Option("--allow-fewer-rows", help="Replace a city's data by fewer or older rows.")
    ] = False,
    known: Annotated[
        str | None,
        typer.Option(
            "--known",
            metavar="INSTANT",
            help="Since when the rows of a table without a time are known; now if not given.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Split the raw data by city and replace what is there.

    The raw data are the file that the fleet file names as `dataset.source`: .csv, .csv.gz or .parquet. A city's rows
    take the place of those that earlier ingests wrote, whatever their files were called; `--append` adds instead.
    Files that something else put there are named and stay, unless you say `--replace-all`; `./fleet data CITY` shows
    and removes single files. Of a table without a time earlier files stay too, for runs as of an earlier day.

    Rows of cities that are not in the fleet file are left out, with a warning. Cities that are named are uploaded
    alone; one of them without any row is an error. Nothing of a city is replaced, and the exit code is 1, when a name
    nobody knows looks like the city's, when it would have fewer periods than in S3 or an older last one, or when the
    file contradicts one that stays; the other cities go on.

    Exit codes: 0 done, 1 a city was refused or has no rows, or something could not be done, 2 wrong usage.

    \b
    Examples:
      ./fleet ingest
      ./fleet ingest austin "Fort Worth"
      ./fleet ingest --fleet texas_housing --file full_2025-05.csv
      ./fleet ingest --fleet texas_housing --file june.csv --append
    """
    from city_fleet.data.ingest import Permissions  # noqa: PLC0415 - imports botocore
    from city_fleet.data.ingest import ingest as ingest_fleet  # noqa: PLC0415

    if append and replace_all:
        raise typer.BadParameter("--append leaves every file, --replace-all none: say one of them.")
    allow = Permissions(append, replace_all, allow_unknown, allow_fewer_rows)
    try:
        since = None if known is None else clock.parse(known)
    except ValueError as error:
        raise typer.BadParameter(f"--known: {error}") from None
    reports = []
    fleets = fleets_named(fleet, as_they_are=True)
    named: dict[str, list[str]] = {}
    if cities:
        for owner, slug in cities_named(fleets, cities):
            named.setdefault(owner.fleet, []).append(slug)
        fleets = [item for item in fleets if item.fleet in named]
    if file is not None:
        only_fleet(fleets, "--file needs")
    for item in fleets:
        report = ingest_fleet(
            item,
            client(item, "s3"),
            source=file,
            cities=named.get(item.fleet, ()),
            create_bucket=create_bucket,
            allow=allow,
            known=since,
        )
        reports.append(report)
        if not as_json:
            _print(report)
            _tell_what_follows(item, report)
    if as_json:
        print_json([report.to_dict() for report in reports])
    lacking = any(report.without_rows for report in reports if named)
    raise typer.Exit(1 if lacking or any(report.refused for report in reports) else 0)


def _tell_what_follows(fleet: Fleet, report: IngestReport) -> None:
    """Say which cities retrain by themselves. Whether S3 tells the queue is not looked up."""
    events, uploaded = fleet.events, [each.city for each in report.cities if each.status == "uploaded"]
    if events.queue is None or not events.assets or not uploaded:
        return
    verb = "retrains" if len(uploaded) == 1 else "retrain"
    dags = list_names(sorted({fleet.dag_id_of(city) for city in uploaded}))
    say(
        f"{list_names(uploaded)} {verb} when nothing has arrived for {events.quiet_seconds} s, if S3 tells queue "
        f"{events.queue} and in Airflow the DAG is on: {dags}."
    )


def _print(report: IngestReport) -> None:
    for upload in report.cities:
        say(f"{upload.status:<9}  {upload.city}  {upload.rows} rows  s3://{report.bucket}/{upload.key}")
        if upload.removed:
            say(f"           {upload.city}  replaced: {', '.join(upload.removed)}")
        if upload.kept:
            say(f"           {upload.city}  beside it: {', '.join(upload.kept)}")
    for unknown in report.unknown:
        near = f" Did you mean {unknown.nearest!r}?" if unknown.nearest else ""
        what = f"{unknown.name!r} ({unknown.rows} rows) is not in the fleet file"
        say(f"warning: {report.source}: {what}.{near}", err=True)
    for slug in report.without_rows:
        say(f"warning: city {slug!r} has no rows in {report.source}.", err=True)
    for refusal in report.refused:
        say(f"error: {refusal.text}. Nothing of city {refusal.city!r} was replaced. {refusal.hint}", err=True)
    uploaded = sum(upload.status == "uploaded" for upload in report.cities)
    refused = f", {len(report.refused)} refused" if report.refused else ""
    say(
        f"{report.fleet}: {uploaded} of {len(report.cities)} cities uploaded, "
        f"{len(report.cities) - uploaded} unchanged{refused}."
    )
