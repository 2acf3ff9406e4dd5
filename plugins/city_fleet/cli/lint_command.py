"""Commands ``lint`` and ``schema``: are fleet files correct?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from city_fleet.cli.output import AsJson, count_cities, say, show
from city_fleet.cli.selection import FleetFiles, FleetNames, as_slugs, files_named
from city_fleet.cohorts import reasons_counted
from city_fleet.config import Fleet, load_fleet
from city_fleet.errors import SCREENFUL, ConfigError, FleetFileError, UnknownName, display_path, screenful

if TYPE_CHECKING:
    from city_fleet.cli.lint_data import DataReport

_FIELD = re.compile(r"field '([^']+)'")


def lint(
    files: FleetFiles = None,
    fleet: FleetNames = None,
    *,
    with_data: Annotated[
        bool,
        typer.Option(
            "--data", help="Prepare the data at hand as a run of now would, and say what it would come to."
        ),
    ] = False,
    cities: Annotated[
        list[str] | None, typer.Option("--city", metavar="CITY", help="With --data: this city; repeatable.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check fleet files for mistakes.

    Each mistake is printed with its file, line, city and field, what was found and what is allowed. Warnings are about
    settings that are legal but probably not wanted; they do not change the exit code. Of more than a screenful an
    example of each kind is printed, and how many there are; --json lists all.

    Where `dataset.source` is set, the file must be there, with the columns and the cities that the fleet file names.

    With --data the fleet's own preprocess.py is run on the data at hand, `dataset.source` or else the raw data in the
    bucket: what a run would refuse is a mistake; cities with too little data, a feed that has stopped, zeros under a
    metric that is a share, and settings that reach further back than the data are warnings.

    Exit codes: 0 no mistakes (there may be warnings), 1 mistakes, 2 wrong usage.

    \b
    Examples:
      ./fleet lint
      ./fleet lint include/fleets/texas_housing.yaml
      ./fleet lint --fleet texas_housing
      ./fleet lint --data --fleet texas_housing --city waco
    """
    if cities and not with_data:
        raise typer.BadParameter("--city narrows down --data; give both.")
    loaded = [_loaded(path) for path in files_named(files, fleet)]
    reports = [_report(item) for item in loaded]
    if with_data:
        for item, report in zip(loaded, reports, strict=True):
            if isinstance(item, Fleet):
                report["data"] = _data(item, cities or [])
    show(
        [_as_json(report) for report in reports], (line for each in reports for line in _lines(each)), as_json
    )
    wrong = any(report["errors"] or ("data" in report and report["data"].errors) for report in reports)
    raise typer.Exit(1 if wrong else 0)


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
        endpoint_mistakes,
        fleet_warnings,
        link_mistakes,
    )
    from city_fleet.data.source_check import source_mistakes  # noqa: PLC0415
    from city_fleet.night.budget import doubts as budget_doubts  # noqa: PLC0415 - imports botocore

    if isinstance(item, FleetFileError):
        return {"file": item.file, "errors": item.errors, "warnings": [], "cities": 0}
    return {
        "file": display_path(item.path),
        "errors": [
            *item.errors,
            *link_mistakes(item),
            *_own_script_mistakes(item),
            *algorithm_mistakes(item),
            *endpoint_mistakes(item),
            *source_mistakes(item),
        ],
        "warnings": [*fleet_warnings(item), *reasons_counted(item), *budget_doubts(item)],
        "cities": len(item.cities),
    }


def _data(fleet: Fleet, cities: list[str]) -> DataReport:
    from city_fleet.cli.lint_data import check_data  # noqa: PLC0415 - for this option alone

    cities = as_slugs([fleet], cities)
    for slug in cities:
        if slug not in fleet.cities:
            raise UnknownName(
                "city", slug, fleet.cities, f"fleet {fleet.fleet!r} ({display_path(fleet.path)})"
            )
    return check_data(fleet, cities)


def _as_json(report: dict[str, Any]) -> dict[str, Any]:
    data = {"data": report["data"].to_dict()} if "data" in report else {}
    return {**report, "errors": [error.to_dict() for error in report["errors"]], **data}


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


def _said(kind: str, line: str) -> str:
    return line if line.startswith(("  …", "…")) else f"{kind}: {line}"


def _few(warnings: Sequence[str]) -> Iterator[str]:
    """Yield warnings, a screenful at most: of more the first of each field, and how many there are."""
    if len(warnings) <= SCREENFUL:
        yield from warnings
        return
    fields: dict[str, list[str]] = {}
    for warning in warnings:
        found = _FIELD.search(warning)
        fields.setdefault(found[1] if found else "", []).append(warning)
    shown = sorted(fields.items(), key=lambda each: -len(each[1]))[: (SCREENFUL - 1) // 2]
    for field, of_field in shown:
        yield of_field[0]
        if len(of_field) > 1:
            yield f"  … and {len(of_field) - 1:,} more about {field}"
    left = len(warnings) - sum(len(of_field) for _, of_field in shown)
    if left:
        yield f"… and {left:,} warnings about other fields."


def _lines(report: dict[str, Any]) -> Iterator[str]:
    yield from (_said("error", line) for line in screenful(report["errors"]))
    yield from (_said("warning", line) for line in _few(report["warnings"]))
    good, count = count_cities(report["cities"]), len(report["errors"])
    if count:
        yield f"{report['file']}: {count} {'mistake' if count == 1 else 'mistakes'}; {good} can run."
    else:
        yield f"{report['file']}: {good}, no mistakes."
    if "data" in report:
        yield from report["data"].lines()
