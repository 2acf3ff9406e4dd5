"""Commands ``lint`` and ``schema``: are fleet files correct?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from city_fleet.cli.output import AsJson, count_cities, say, show
from city_fleet.cli.selection import fleets_folder, no_fleet_file
from city_fleet.config import Fleet, load_fleet, load_fleets
from city_fleet.errors import ConfigError, FleetFileError, display_path


def lint(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE", help="Fleet files; all by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check fleet files for mistakes.

    Each mistake is printed with its file, line, city and field, what was found and what is allowed. Warnings are about
    settings that are legal but probably not wanted; they do not change the exit code.

    Where `dataset.source` is set, the file must be there, with the columns and the cities that the fleet file names.

    \b
    Exit codes: 0 no mistakes (there may be warnings), 1 mistakes, 2 wrong usage.

    \b
    Examples:
      ./fleet lint
      ./fleet lint include/fleets/texas_housing.yaml
    """
    loaded = [_loaded(path) for path in files] if files else load_fleets(fleets_folder())
    if not loaded:
        raise no_fleet_file()
    reports = [_report(item) for item in loaded]
    show(
        [{**report, "errors": [error.to_dict() for error in report["errors"]]} for report in reports],
        (line for report in reports for line in _lines(report)),
        as_json,
    )
    raise typer.Exit(1 if any(report["errors"] for report in reports) else 0)


def schema(
    check: Annotated[
        bool,
        typer.Option("--check", help="Print nothing; exit with 1 if the committed schema is out of date."),
    ] = False,
) -> None:
    """Print the JSON Schema of fleet files, for your editor.

    With it an editor completes and checks fleet files while you type.

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
        state = "is out of date" if committed is not None else "is missing"
        name = display_path(SCHEMA_PATH)
        say(f"{name} {state}. Run `./fleet schema > {name}`.", err=True)
        raise typer.Exit(1)


def _loaded(path: Path) -> Fleet | FleetFileError:
    try:
        return load_fleet(path)
    except FleetFileError as error:
        return error


def _report(item: Fleet | FleetFileError) -> dict[str, Any]:
    from city_fleet.config.lint import (  # noqa: PLC0415 - reads botocore's models
        algorithm_mistakes,
        fleet_warnings,
        link_mistakes,
    )
    from city_fleet.data.source_check import source_mistakes  # noqa: PLC0415

    if isinstance(item, FleetFileError):
        return {"file": item.file, "errors": item.errors, "warnings": [], "cities": 0}
    return {
        "file": display_path(item.path),
        "errors": [
            *item.errors,
            *link_mistakes(item),
            *_own_script_mistakes(item),
            *algorithm_mistakes(item),
            *source_mistakes(item),
        ],
        "warnings": fleet_warnings(item),
        "cities": len(item.cities),
    }


def _own_script_mistakes(fleet: Fleet) -> list[ConfigError]:
    """Return what is wrong with single own scripts and requirements, once for all cities that share them."""
    from city_fleet.jobs.code_bundle import CodeBundle  # noqa: PLC0415 - imports boto3's types
    from city_fleet.plan import plan_city  # noqa: PLC0415

    found = []
    for slug in {city.code_name: slug for slug, city in fleet.cities.items()}.values():
        plan = plan_city(fleet, slug)
        try:
            if (plan.own_scripts or plan.has_own_folder) and plan.scripts.is_dir():
                CodeBundle.of(plan)
        except ConfigError as error:
            found.append(error)
    return found


def _lines(report: dict[str, Any]) -> Iterator[str]:
    yield from (f"error: {error}" for error in report["errors"])
    yield from (f"warning: {warning}" for warning in report["warnings"])
    good, count = count_cities(report["cities"]), len(report["errors"])
    if count:
        yield f"{report['file']}: {count} {'mistake' if count == 1 else 'mistakes'}; {good} can run."
    else:
        yield f"{report['file']}: {good}, no mistakes."
