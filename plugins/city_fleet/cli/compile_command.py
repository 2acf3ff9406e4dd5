"""Command ``compile``: keep what the fleet files say, for when one of them can't be used."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from city_fleet.cli.aws import aws_errors, client
from city_fleet.cli.output import AsJson, count_cities, show
from city_fleet.cli.selection import FleetFiles, FleetNames, files_named
from city_fleet.config import Fleet
from city_fleet.config.compiled_form import Form
from city_fleet.config.fleet_file import Claims
from city_fleet.config.form_mirror import Mirror
from city_fleet.config.usable_fleets import read_and_compile
from city_fleet.errors import ConfigError, display_path

_WORDS = {
    "written": "written",
    "there": "up to date",
    "missing": "missing or out of date",
    "read only": "can't be written",
}


def compile(
    files: FleetFiles = None,
    fleet: FleetNames = None,
    *,
    local: Annotated[
        bool, typer.Option("--local", help="Write to this machine's folder alone, not to S3.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 1 if a form is missing or out of date.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Keep what the fleet files say, for when one can't be used.

    The compiled form of a file goes to this machine's folder (CITY_FLEET_COMPILED) and to the fleet's bucket. While a
    mistake makes the file unusable, the fleet goes on by its last form. DAG files and the DAG <fleet>._reconcile keep
    forms too; do it where a deployment ends, and none is ever missing. What `${...}` stands for is not kept.

    Exit codes: 0 done, 1 a file can't be used, or --check found something, 2 wrong usage.

    \b
    Examples:
      ./fleet compile
      ./fleet compile --local
      ./fleet compile --check --fleet texas_housing
    """
    claims, rows = Claims(), []
    for path in files_named(files, fleet):
        reading, form = read_and_compile(path, os.environ)
        claims.claim(reading.fleet)
        if form is None:
            raise ConfigError(
                file=display_path(path),
                field="cities.from",
                got="a list of cities that no form can be made of",
                allowed="a list that is named without ${…}, and that nobody writes meanwhile",
            )
        with aws_errors():
            rows.append(_row(path, reading.fleet, form, local=local, check=check))
    show(rows, map(_line, rows), as_json)
    places = [row[place] for row in rows for place in ("here", "s3")]
    raise typer.Exit(1 if check and "missing" in places else 0)


def _row(path: Path, fleet: Fleet, form: Form, *, local: bool, check: bool) -> dict[str, Any]:
    return {
        "file": display_path(path),
        "fleet": fleet.fleet,
        "environment": fleet.environment,
        "digest": form.digest,
        "cities": len(fleet.cities) + len(fleet.broken),
        "broken": len(fleet.broken),
        "shards": len(form.shards),
        "here": _here(Mirror.of(path), form, check=check),
        "s3": None if local else _in_s3(fleet, form, check=check),
    }


def _here(mirror: Mirror, form: Form, *, check: bool) -> str:
    current = mirror.current()
    good = current is not None and not current.shared and current.digest == form.digest
    if good and mirror.is_whole(form):
        return "there"
    if check:
        return "missing"
    return "written" if mirror.keep(form) else "read only"


def _in_s3(fleet: Fleet, form: Form, *, check: bool) -> str:
    from city_fleet.state import form_store  # noqa: PLC0415 - imports botocore
    from city_fleet.state.objects import ObjectStore  # noqa: PLC0415

    objects = ObjectStore(client(fleet, "s3"), fleet.bucket)
    if form_store.current(objects, fleet.keys) == form.digest:
        return "there"
    if check:
        return "missing"
    form_store.keep(objects, fleet.keys, form.digest, form.manifest, form.digested_shards())
    return "written"


def _line(row: dict[str, Any]) -> str:
    places = [f"here {_WORDS[row['here']]}"] + ([f"in S3 {_WORDS[row['s3']]}"] if row["s3"] else [])
    broken = f", {row['broken']} of them with a mistake" if row["broken"] else ""
    return f"{row['file']}: {count_cities(row['cities'])}{broken}, form {row['digest'][:12]}: {', '.join(places)}."
