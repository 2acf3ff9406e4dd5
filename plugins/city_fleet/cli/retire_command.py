"""Command ``retire``: delete what is no longer needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from city_fleet.cli.aws import aws_errors, client
from city_fleet.cli.moving import DryRun
from city_fleet.cli.output import AsJson, count_cities, print_json, say
from city_fleet.cli.selection import CityNames, FleetName, cities_named, fleets_named
from city_fleet.config import Fleet

if TYPE_CHECKING:
    from city_fleet.retiring.retire_facts import Rule
    from city_fleet.retiring.retire_inventory import InventorySource
    from city_fleet.retiring.retire_report import CityReport


def retire(
    cities: CityNames = None,
    fleet: FleetName = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Delete models, runs and versions that are no longer needed.

    The `retire` section of the fleet file says what is kept: the live model and those a rollback could return to, the
    newest ones, those awaiting approval, and all that served within `grace_days`. The rest is marked, and deleted by a
    later pass when the mark is `grace_days` old. Raw data, run records and the history are never deleted. The DAG
    <fleet>._retire does the same on its schedule.

    Without CITY it works on every city that has models or runs. Of a named city every model and run is listed, with
    what happens to it and why.

    Exit codes: 0 done, 1 a city failed (the others are done), 2 wrong usage.

    \b
    Examples:
      ./fleet retire --dry-run
      ./fleet retire austin --dry-run
      ./fleet retire --fleet texas_housing --json
    """
    from city_fleet.retiring import retire_sweep  # noqa: PLC0415 - imports botocore
    from city_fleet.retiring.retire_report import Totals  # noqa: PLC0415
    from city_fleet.state import old_layout  # noqa: PLC0415 - imports botocore

    named, problems, found = sorted(set(cities or [])), 0, []
    with aws_errors():
        fleets = fleets_named(fleet)
        sources = {item.fleet: _source(item) for item in fleets}
        targets: list[tuple[Fleet, list[str] | None]] = [(item, None) for item in fleets]
        if named:
            owners = cities_named(fleets, named, lambda item, city: _has_any(sources[item.fleet], city))
            targets = [(item, [city for owner, city in owners if owner is item]) for item in fleets]
        for item, only in targets:
            if only == []:
                continue
            old_layout.refuse(sources[item.fleet].s3, item.keys)
            rule, totals = retire_sweep.rule_of(item), Totals()
            for report in retire_sweep.run(sources[item.fleet], rule, only=only, dry_run=dry_run):
                totals += report.totals()
                if as_json:
                    found.append({"fleet": item.fleet, **report.to_dict(rule)})
                else:
                    _print(report, rule, dry_run=dry_run, in_detail=only is not None)
            problems += totals.problems
            if not as_json and (only is None or len(only) > 1):
                counts = f"{count_cities(totals.cities)}; {totals.sentence(dry_run=dry_run)}"
                say(f"{item.fleet}: {counts}.")
    if as_json:
        print_json(found)
    raise typer.Exit(1 if problems else 0)


def _source(fleet: Fleet) -> InventorySource:
    from city_fleet.jobs import pacing  # noqa: PLC0415 - imports botocore
    from city_fleet.retiring import retire_sweep  # noqa: PLC0415 - imports botocore
    from city_fleet.retiring.retire_inventory import InventorySource  # noqa: PLC0415

    sagemaker: Any = client(fleet, "sagemaker", retire_sweep.CLIENT_CONFIG)
    return InventorySource(
        client(fleet, "s3", retire_sweep.CLIENT_CONFIG),
        pacing.keep_pace(sagemaker, pacing.RequestPace(retire_sweep.REGISTRY_REQUESTS_PER_SECOND)),
        fleet.keys,
        fleet.environment,
    )


def _has_any(source: InventorySource, city: str) -> bool:
    from city_fleet.retiring import retire_inventory  # noqa: PLC0415 - imports botocore

    with aws_errors():
        return any(retire_inventory.cities(source.s3, source.keys, only=[city]))


def _print(report: CityReport, rule: Rule, *, dry_run: bool, in_detail: bool) -> None:
    if report.problem:
        say(report.problem, err=True)
        return
    totals = report.totals()
    if in_detail or totals.objects or totals.versions or report.marked:
        say(f"{report.city}: {totals.sentence(dry_run=dry_run)}.")
    if in_detail:
        for unit, fate in report.fate(rule).items():
            say(f"  {unit}  {fate}")
