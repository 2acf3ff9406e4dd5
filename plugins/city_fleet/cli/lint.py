"""Commands about a fleet's files: lint, schema, ingest, cities."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from city_fleet.cli.output import AsJson, errors, fail, print_json
from city_fleet.cli.selection import FleetName, fleets_folder, fleets_named, no_fleet_file
from city_fleet.config import Fleet, load_fleet, load_fleets
from city_fleet.errors import FleetFileError, display_path

commands = typer.Typer()


@commands.command()
def lint(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE]...", help="Fleet files; all by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check fleet files and say what is wrong, where, and what is allowed.

    Warnings are about settings that are legal but hardly wanted; they do not fail.

    \b
    Examples:
      ./fleet lint
      ./fleet lint include/fleets/texas_housing.yaml
    """
    from city_fleet.config.lint import fleet_warnings  # noqa: PLC0415 - reads botocore's models

    loaded = [_loaded(path) for path in files] if files else load_fleets(fleets_folder())
    if not loaded:
        fail(no_fleet_file(), as_json)
    reports = []
    for item in loaded:
        if isinstance(item, FleetFileError):
            reports.append({"file": item.file, "errors": item.fields["errors"], "warnings": [], "cities": 0})
        else:
            warnings = fleet_warnings(item)
            reports.append(
                {
                    "file": display_path(item.path),
                    "errors": list(item.errors),
                    "warnings": warnings,
                    "cities": len(item.cities),
                }
            )
    failed = any(report["errors"] for report in reports)
    if as_json:
        print_json([{**r, "errors": [error.as_dict() for error in r["errors"]]} for r in reports])
    else:
        for report in reports:
            _print_lint(report)
    raise typer.Exit(1 if failed else 0)


@commands.command()
def schema(
    check: Annotated[
        bool, typer.Option("--check", help="Only tell whether the committed schema is up to date.")
    ] = False,
) -> None:
    """Print the JSON Schema of the fleet file, which lets editors complete and check it.

    \b
    Examples:
      ./fleet schema > include/fleets/fleet.schema.json
      ./fleet schema --check
    """
    from city_fleet.config.json_schema import SCHEMA_PATH, schema_text  # noqa: PLC0415 - for this command alone

    if not check:
        typer.echo(schema_text(), nl=False)
        return
    committed = SCHEMA_PATH.read_text(encoding="utf-8") if SCHEMA_PATH.is_file() else None
    if committed != schema_text():
        state = "differs from" if committed is not None else "is missing beside"
        name = display_path(SCHEMA_PATH)
        typer.echo(f"{name} {state} the models. Run `./fleet schema > {name}`.", err=True)
        raise typer.Exit(1)


@commands.command()
def ingest(
    fleet: FleetName = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="CSV", help="Upload this file instead of the fleet's dataset.source."),
    ] = None,
    city: Annotated[
        list[str] | None,
        typer.Option("--city", metavar="SLUG", help="Upload only this city; may be repeated."),
    ] = None,
    create_bucket: Annotated[
        bool, typer.Option("--create-bucket", help="Create the bucket when it is missing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Split the raw data by city and upload what is new or changed.

    \b
    Examples:
      ./fleet ingest
      ./fleet ingest --fleet texas_housing --city austin --city waco
      ./fleet ingest --fleet texas_housing --file newer.csv
    """
    import boto3  # noqa: PLC0415 - slow to import, and lint needs none of it

    from city_fleet.data.ingest import ingest as ingest_fleet  # noqa: PLC0415

    with errors(as_json):
        fleets = fleets_named(fleet)
        if len(fleets) > 1 and (file is not None or city):
            names = ", ".join(item.fleet for item in fleets)
            raise typer.BadParameter(f"--file and --city need --fleet: there are {names}.")
        reports = []
        for item in fleets:
            s3 = boto3.client("s3", region_name=item.region)
            report = ingest_fleet(item, s3, source=file, cities=city or (), create_bucket=create_bucket)
            reports.append(report)
            if not as_json:
                _print_ingest(report)
        if as_json:
            print_json([report.as_dict() for report in reports])


@commands.command()
def cities(fleet: FleetName = None, as_json: AsJson = False) -> None:
    """List the cities of the fleets, and which of them have broken settings.

    \b
    Examples:
      ./fleet cities
      ./fleet cities --fleet texas_housing --json
    """
    with errors(as_json):
        rows = []
        for item in fleets_named(fleet):
            for slug in sorted({*item.cities, *item.broken}):
                found, error = item.cities.get(slug), item.broken.get(slug)
                rows.append(
                    {
                        "fleet": item.fleet,
                        "city": slug,
                        "name": found.name if found else None,
                        "broken": error is not None,
                        "error": str(error) if error else None,
                    }
                )
        if as_json:
            print_json(rows)
            return
        width = max((len(str(row["city"])) for row in rows), default=0)
        for row in rows:
            state = f"broken: {row['error']}" if row["broken"] else row["name"]
            typer.echo(f"{row['fleet']}  {row['city']:<{width}}  {state}")


def _loaded(path: Path) -> Fleet | FleetFileError:
    try:
        return load_fleet(path)
    except FleetFileError as error:
        return error


def _print_lint(report: dict[str, Any]) -> None:
    for error in report["errors"]:
        typer.echo(f"error: {error}")
    for warning in report["warnings"]:
        typer.echo(f"warning: {warning}")
    good = f"{report['cities']} {'city' if report['cities'] == 1 else 'cities'}"
    if not report["errors"]:
        typer.echo(f"{report['file']}: {good}, no mistakes.")
    else:
        count = len(report["errors"])
        mistakes = "1 mistake" if count == 1 else f"{count} mistakes"
        typer.echo(f"{report['file']}: {mistakes}; {good} can run.")


def _print_ingest(report: Any) -> None:
    for upload in report.cities:
        typer.echo(
            f"{upload.status:<9}  {upload.city}  {upload.rows} rows  s3://{report.bucket}/{upload.key}"
        )
    for unknown in report.unknown:
        near = f" Did you mean {unknown.nearest!r}?" if unknown.nearest else ""
        what = f"{unknown.name!r} ({unknown.rows} rows) is no city of the fleet"
        typer.echo(f"warning: {report.source}: {what}.{near}", err=True)
    for slug in report.without_rows:
        typer.echo(f"warning: city {slug!r} has no rows in {report.source}.", err=True)
    uploaded = sum(upload.status == "uploaded" for upload in report.cities)
    typer.echo(
        f"{report.fleet}: {uploaded} of {len(report.cities)} cities uploaded, "
        f"{len(report.cities) - uploaded} unchanged."
    )
