"""Command ``migrate``: move an installation out of the layout of before, which knew no environments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from city_fleet.cli import output
from city_fleet.cli.aws import aws_errors, client
from city_fleet.cli.moving import DryRun, FleetClients
from city_fleet.cli.output import AsJson, count_cities, print_json
from city_fleet.cli.selection import FleetName, fleets_named
from city_fleet.errors import CityFleetError
from city_fleet.naming import fleet_dag_id
from city_fleet.plan import ENDPOINT_PURPOSE

if TYPE_CHECKING:
    from city_fleet.champions.layout_move import CityMoved

DeleteOld = Annotated[
    bool,
    typer.Option(
        "--delete-old",
        help="Delete what is left of it, when the new endpoint is in service and answers for every city.",
    ),
]


def migrate(
    fleet: FleetName = None,
    *,
    dry_run: DryRun = False,
    delete_old: DeleteOld = False,
    as_json: AsJson = False,
) -> None:
    """Move what an earlier version of City Fleet has left, once.

    Earlier versions kept everything right below <fleet>/ in the bucket, where two environments met. This copies models,
    runs, run records, history and live pointers of this environment below <fleet>/<environment>/ and registers its
    versions anew. Nothing is deleted; the old endpoint and Lambda function go on answering. It may be stopped at any
    moment and run again. Until it is done, commands and tasks that write refuse.

    First switch off the old Airflow, or pause its DAGs and let runs end. Raw data stay where they are.

    Exit codes: 0 done (or nothing to move), 1 a city could not be moved (the others are), 2 wrong usage.

    \b
    Examples:
      ./fleet migrate --dry-run
      ./fleet migrate --fleet texas_housing
      ./fleet migrate --fleet texas_housing --delete-old --dry-run
    """
    done: list[dict[str, Any]] = []
    failed = False
    for item in fleets_named(fleet):
        clients = _clients(item)
        with aws_errors():
            report = _delete(clients, dry_run, as_json) if delete_old else _move(clients, dry_run, as_json)
        done.append({"fleet": item.fleet, "environment": item.environment, **report})
        failed = failed or bool(report.get("problems"))
    if as_json:
        print_json(done)
    raise typer.Exit(1 if failed else 0)


def _clients(fleet: Any) -> FleetClients:
    from city_fleet.jobs import pacing  # noqa: PLC0415 - imports botocore
    from city_fleet.retiring import retire_sweep  # noqa: PLC0415 - imports botocore

    clients = FleetClients(fleet)
    sagemaker = client(fleet, "sagemaker", retire_sweep.CLIENT_CONFIG)
    pace = pacing.RequestPace(retire_sweep.REGISTRY_REQUESTS_PER_SECOND)
    clients.sagemaker = pacing.keep_pace(sagemaker, pace)
    return clients


def _move(clients: FleetClients, dry_run: bool, as_json: bool) -> dict[str, Any]:
    from city_fleet.champions import layout_inventory, layout_move  # noqa: PLC0415 - imports botocore
    from city_fleet.state.objects import ObjectStore  # noqa: PLC0415 - imports botocore

    keys, fleet, say = clients.keys, clients.fleet, _say(as_json)
    store = ObjectStore(clients.s3, keys.bucket)
    cities = sorted(layout_inventory.cities(store, keys))
    if not cities or store.exists(keys.moved()):
        why = "was moved already" if cities else "there is nothing of an earlier layout"
        say(f"{fleet.fleet}: {why}.")
        if cities:
            say(f"./fleet migrate --fleet {fleet.fleet} --delete-old deletes what is left of it.")
        return {"cities": []}
    moved: list[CityMoved] = []
    for each in layout_move.run(clients, keys, cities, dry_run=dry_run):
        moved.append(each)
        say(_line(each, dry_run), err=each.problem is not None)
    problems = sum(each.problem is not None for each in moved)
    say(_sum(clients, moved, dry_run))
    if not problems and not dry_run:
        for line in _next_steps(clients):
            say(line)
    elif problems:
        say(
            f"{count_cities(problems)} could not be moved. Run the command again; it goes on where it ended.",
            err=True,
        )
    return {"cities": [each.to_dict() for each in moved], "problems": problems}


def _line(moved: CityMoved, dry_run: bool) -> str:
    if moved.problem is not None:
        return f"{moved.city}: {moved.problem}"
    verb = "would be copied" if dry_run else "copied"
    serves = f"{moved.live} is live" if moved.live else "nothing is live"
    left = f"; {moved.others} objects of another environment stay" if moved.others else ""
    left += f"; {moved.unknown} objects that nothing names stay" if moved.unknown else ""
    return f"{moved.city}: {moved.objects} objects {verb}, {moved.versions} versions, {serves}{left}."


def _sum(clients: FleetClients, moved: list[CityMoved], dry_run: bool) -> str:
    serving = sum(each.live is not None for each in moved)
    verb = "would be moved" if dry_run else "moved"
    where = clients.keys.uri(clients.keys.prefix)
    return (
        f"{clients.fleet.fleet}: {count_cities(len(moved))}, {serving} with a live model, {verb} to {where}."
    )


def _next_steps(clients: FleetClients) -> Iterator[str]:
    from city_fleet.state import old_layout  # noqa: PLC0415 - imports botocore

    fleet, keys = clients.fleet, clients.keys
    before, dag_id = old_layout.old_endpoint(keys), fleet_dag_id(fleet.fleet, ENDPOINT_PURPOSE)
    yield "Next:"
    yield f"  1. Run the DAG {dag_id}: endpoint {clients.endpoint} then serves from {keys.uri(keys.models_prefix())}."
    if clients.endpoint != before:
        yield f"     To keep the name of the old endpoint, set endpoint.name: {before} in {fleet.path.name} first."
    yield (
        f"  2. Deploy the Lambda function anew, with CITY_FLEET_ENVIRONMENT={fleet.environment} and "
        f"CITY_FLEET_ENDPOINT={clients.endpoint}. Until then the old one answers with what is live now."
    )
    yield f"  3. ./fleet migrate --fleet {fleet.fleet} --delete-old deletes what is left."


def _delete(clients: FleetClients, dry_run: bool, as_json: bool) -> dict[str, Any]:
    from city_fleet.champions import layout_cleanup, layout_inventory  # noqa: PLC0415 - imports botocore
    from city_fleet.state import old_layout  # noqa: PLC0415 - imports botocore
    from city_fleet.state.objects import ObjectStore  # noqa: PLC0415 - imports botocore

    keys, name, say = clients.keys, clients.fleet.fleet, _say(as_json)
    store = ObjectStore(clients.s3, keys.bucket)
    found = layout_cleanup.look(clients, keys, sorted(layout_inventory.cities(store, keys)))
    doomed = len(found.keys_to_delete(store, keys))
    versions = sum(len(city.versions) for city in found.cities)
    if not doomed and not versions:
        say(f"{name}: nothing is left of an earlier layout.")
        return {"objects": 0, "versions": 0}
    try:
        layout_cleanup.refuse_early(clients, keys, clients.endpoint, found)
    except CityFleetError as error:
        raise type(error)(f"fleet {name!r}: {error}") from error
    if not dry_run:
        layout_cleanup.delete(clients, keys, found)
    verb = "would be deleted" if dry_run else "deleted"
    say(f"{name}: {doomed} objects and {versions} versions of the layout of before {verb}.")
    if found.shared:
        say("What another environment has written there stays, and what nothing names.")
    old_endpoint = old_layout.old_endpoint(keys)
    if old_endpoint != clients.endpoint:
        say(
            f"If the old endpoint is not needed: aws sagemaker delete-endpoint --endpoint-name {old_endpoint}"
        )
    return {"objects": doomed, "versions": versions}


def _say(as_json: bool) -> Any:
    def told(text: str, err: bool = False) -> None:
        if not as_json:
            output.say(text, err=err)

    return told
