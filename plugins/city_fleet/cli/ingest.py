"""Command ``ingest``: raw data to S3."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from city_fleet.cli.aws import client
from city_fleet.cli.output import AsJson, print_json
from city_fleet.cli.selection import FleetName, fleets_named, only_fleet

if TYPE_CHECKING:
    from city_fleet.data.ingest import IngestReport


def ingest(
    fleet: FleetName = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="CSV", help="Upload this file instead of the fleet's dataset.source."),
    ] = None,
    city: Annotated[
        list[str] | None,
        typer.Option("--city", metavar="CITY", help="Upload only this city; may be repeated."),
    ] = None,
    create_bucket: Annotated[
        bool, typer.Option("--create-bucket", help="Create the bucket if it does not exist.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Split the raw data by city and upload what is new or changed.

    The raw data are the CSV file that the fleet file names as `dataset.source`. Rows of cities that are not in the
    fleet file are left out, with a warning.

    \b
    Examples:
      ./fleet ingest
      ./fleet ingest --fleet texas_housing --city austin --city waco
      ./fleet ingest --fleet texas_housing --file newer.csv
    """
    from city_fleet.data.ingest import ingest as ingest_fleet  # noqa: PLC0415 - imports botocore

    reports = []
    fleets = fleets_named(fleet)
    if file is not None or city:
        only_fleet(fleets, "--file and --city need")
    for item in fleets:
        report = ingest_fleet(
            item, client(item, "s3"), source=file, cities=city or (), create_bucket=create_bucket
        )
        reports.append(report)
        if not as_json:
            _print(report)
    if as_json:
        print_json([report.to_dict() for report in reports])


def _print(report: IngestReport) -> None:
    for upload in report.cities:
        typer.echo(
            f"{upload.status:<9}  {upload.city}  {upload.rows} rows  s3://{report.bucket}/{upload.key}"
        )
    for unknown in report.unknown:
        near = f" Did you mean {unknown.nearest!r}?" if unknown.nearest else ""
        what = f"{unknown.name!r} ({unknown.rows} rows) is not in the fleet file"
        typer.echo(f"warning: {report.source}: {what}.{near}", err=True)
    for slug in report.without_rows:
        typer.echo(f"warning: city {slug!r} has no rows in {report.source}.", err=True)
    uploaded = sum(upload.status == "uploaded" for upload in report.cities)
    typer.echo(
        f"{report.fleet}: {uploaded} of {len(report.cities)} cities uploaded, "
        f"{len(report.cities) - uploaded} unchanged."
    )
