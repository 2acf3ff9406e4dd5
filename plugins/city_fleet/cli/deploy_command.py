"""Command ``deploy``: what a fleet needs in an AWS account, by CloudFormation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from city_fleet.cli import output
from city_fleet.cli.aws import aws_errors, client
from city_fleet.cli.output import AsJson, print_json, say
from city_fleet.cli.selection import FleetName, fleets_named, only_fleet
from city_fleet.config import Fleet

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

    from city_fleet.infrastructure.change_set import ChangeSet, Stacks
    from city_fleet.infrastructure.deployment import FunctionCode

#: Of a function's zip, the parameter that names its key.
_CODE_OF = {"predict": "PredictCode", "retrain": "RetrainCode"}


def deploy(
    fleet: FleetName = None,
    *,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Ask CloudFormation what would change, print it, and change nothing."),
    ] = False,
    template: Annotated[
        bool, typer.Option("--template", help="Print the template, without asking AWS for anything.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before the change is carried out.")] = False,
    functions: Annotated[
        Path | None,
        typer.Option(
            "--functions",
            metavar="FOLDER",
            help="Deploy the zips of `make lambda` in this folder, such as dist.",
        ),
    ] = None,
    airflow: Annotated[
        str | None,
        typer.Option(
            "--airflow", metavar="ARN", help="The role that Airflow runs under; may take Airflow's role."
        ),
    ] = None,
    airflow_url: Annotated[
        str | None,
        typer.Option(
            "--airflow-url", metavar="URL", help="Where the function retrain finds Airflow's api-server."
        ),
    ] = None,
    airflow_secret: Annotated[
        str | None,
        typer.Option("--airflow-secret", metavar="ARN", help="The secret of Secrets Manager with its login."),
    ] = None,
    mwaa: Annotated[
        str | None,
        typer.Option("--mwaa", metavar="NAME", help="The MWAA environment that retrain asks instead."),
    ] = None,
    email: Annotated[
        str | None, typer.Option("--email", metavar="ADDRESS", help="Who gets alarms by mail.")
    ] = None,
    budget: Annotated[
        int | None,
        typer.Option(
            "--budget", metavar="USD", min=0, help="Dollars a month above which mail is sent; 0 for none."
        ),
    ] = None,
    wait: Annotated[
        float, typer.Option("--wait", metavar="SECONDS", min=1, help="How long to wait for CloudFormation.")
    ] = 1800.0,
    as_json: AsJson = False,
) -> None:
    """Make what a fleet needs in AWS, or bring it up to date.

    One CloudFormation stack per fleet and environment: bucket, key, roles and policies, arrivals queue, function and
    API for applications, alarms, budget. A bucket or a role that is there already stays as it is. Options that are left
    out keep what the stack has. Every change is asked for before it is carried out; docs/infrastructure.md has it all.

    Exit codes: 0 done (or nothing to change), 1 it could not be done or was not wanted, 2 wrong usage.

    \b
    Examples:
      ./fleet deploy --fleet texas_housing --template
      ./fleet deploy --fleet texas_housing --dry-run
      ./fleet deploy --fleet texas_housing --email ml@example.com --budget 500
      ./fleet deploy --fleet texas_housing --functions dist
    """
    from city_fleet.infrastructure import template as templates  # noqa: PLC0415

    item = only_fleet(fleets_named(fleet, as_they_are=True), "deploy needs")
    made = templates.template(item)
    if template:
        print_json(made)
        return
    if as_json and not (yes or dry_run):
        raise typer.BadParameter("--json does not ask: add --yes or --dry-run.")
    given = {
        "AirflowPrincipal": airflow,
        "AirflowUrl": airflow_url,
        "AirflowSecretArn": airflow_secret,
        "MwaaEnvironment": mwaa,
        "AlarmEmail": email,
    }
    values = {name: value for name, value in given.items() if value is not None}
    values |= {} if budget is None else {"MonthlyBudget": str(budget)}
    values |= {"HearsArrivals": "true"} if _hears_arrivals(item) else {"HearsArrivals": "false"}
    with aws_errors():
        _deploy(
            item, made, values, functions,
            dry_run=dry_run, yes=yes, wait=wait, as_json=as_json,
        )  # fmt: skip


def _hears_arrivals(fleet: Fleet) -> bool:
    """Tell whether the fleet file has something read the arrivals queue."""
    events = getattr(fleet, "events", None)
    return bool(events is not None and getattr(events, "queue", None))


def _deploy(
    fleet: Fleet,
    made: dict[str, Any],
    values: dict[str, str],
    folder: Path | None,
    *,
    dry_run: bool,
    yes: bool,
    wait: float,
    as_json: bool,
) -> None:
    from city_fleet.infrastructure import deployment, large_template  # noqa: PLC0415 - imports botocore
    from city_fleet.infrastructure import template as templates  # noqa: PLC0415
    from city_fleet.infrastructure.change_set import Stacks  # noqa: PLC0415
    from city_fleet.infrastructure.names import StackNames  # noqa: PLC0415

    names, body = StackNames(fleet), templates.as_body(made)
    deployment.refuse_other_account(fleet, client(fleet, "sts"))
    stacks, s3 = Stacks(client(fleet, "cloudformation")), client(fleet, "s3")
    bodies = [body]
    if stacks.described(names.stack) is None:
        values |= deployment.found_there(fleet, s3, client(fleet, "iam"))
        if large_template.is_large(body) and values["BucketExists"] == "false":
            bodies = [templates.as_body(large_template.storage_part(names, made)), body]
    if "AirflowUrl" in values and "MwaaEnvironment" in values:
        raise typer.BadParameter("--airflow-url and --mwaa: Airflow is in one place.")
    codes = _codes(fleet, folder, stacks.described(names.stack), values)
    values |= {code.parameter: code.key for code in codes}
    if codes and not dry_run:
        deployment.upload(fleet, s3, codes)
    result: dict[str, Any] = {
        "stack": names.stack, "creates": False, "changes": [], "whole": True, "executed": False, "outputs": {}
    }  # fmt: skip
    for part in bodies:
        if part is not body:
            say(_two_parts(fleet, body), err=True)
        with large_template.sendable(fleet, s3, part) as sent:
            change_set = stacks.prepare(names.stack, part, values, names.tags, sent)
        result["creates"] |= change_set.creates
        result["changes"] += [change.to_dict() for change in change_set.changes]
        for line in [] if as_json else _lines(fleet, change_set):
            say(line)
        # What comes after the first of two parts can't be asked for before the bucket is there.
        result["whole"] = part is body
        if not _carried_out(stacks, change_set, result, dry_run=dry_run, yes=yes, wait=wait):
            break
    if not dry_run and deployment.is_foreign_bucket(stacks.described(names.stack)):
        _warn_of_silence(fleet, s3)
    if as_json:
        print_json(result)
    elif result["executed"]:
        say(f"{names.stack}: done.")
        for line in output.table([], sorted(result["outputs"].items())):
            say(f"  {line}")


def _warn_of_silence(fleet: Fleet, s3: S3Client) -> None:
    from city_fleet.infrastructure import deployment  # noqa: PLC0415 - imports botocore

    if deployment.events_are_off(fleet, s3):
        say(
            f"warning: bucket {fleet.bucket} tells EventBridge nothing, so arrivals and moves go unnoticed; "
            "docs/infrastructure.md says how to turn it on",
            err=True,
        )


def _carried_out(
    stacks: Stacks, change_set: ChangeSet, result: dict[str, Any], *, dry_run: bool, yes: bool, wait: float
) -> bool:
    """Carry a change set out and note it in the result, or discard it.

    :return: False for a dry run.
    :raises typer.Exit: somebody has said no.
    """
    if change_set.name and (dry_run or not _agreed(change_set.stack, yes)):
        stacks.discard(change_set)
        if not dry_run:
            say(f"Nothing {'more ' if result['executed'] else ''}was changed.", err=True)
            raise typer.Exit(1)
    elif change_set.name:
        result["outputs"] = stacks.execute(change_set, wait)
        result["executed"] = True
    return not dry_run


def _codes(
    fleet: Fleet, folder: Path | None, stack: dict[str, Any] | None, values: dict[str, str]
) -> list[FunctionCode]:
    """Return the zips to deploy; retrain's only where it would know Airflow."""
    from city_fleet.infrastructure import deployment  # noqa: PLC0415 - imports botocore

    if folder is None:
        return []
    codes = deployment.function_codes(fleet, folder, _CODE_OF)
    if deployment.knows_airflow(stack, values):
        return codes
    others = [code for code in codes if code.parameter != _CODE_OF["retrain"]]
    if others != codes:
        say(
            "retrain is left out: say where Airflow is, by --airflow-url and --airflow-secret or by --mwaa",
            err=True,
        )
    return others


def _two_parts(fleet: Fleet, body: str) -> str:
    from city_fleet.infrastructure.large_template import MAX_BODY_BYTES  # noqa: PLC0415 - imports botocore

    return (
        f"The template has {len(body.encode())} bytes. CloudFormation takes {MAX_BODY_BYTES} in a request and reads a "
        f"larger one from a bucket, and {fleet.bucket} is not there yet: first the bucket and its key, then all else, "
        "which CloudFormation can be asked about when the bucket is there (--template prints it)."
    )


def _agreed(stack: str, yes: bool) -> bool:
    try:
        return yes or typer.confirm(f"Carry this out on stack {stack}?")
    except typer.Abort:  # nobody is there to answer, or somebody has gone
        return False


def _lines(fleet: Fleet, change_set: ChangeSet) -> Iterator[str]:
    if not change_set.name:
        yield f"{change_set.stack}: nothing to change."
        return
    if not change_set.changes:
        yield f"{change_set.stack}: no resource changes by itself; parameters, outputs or tags do."
        return
    verb = "would be made" if change_set.creates else "would change"
    count = len(change_set.changes)
    yield f"{change_set.stack} ({fleet.region}): {count} resource{'' if count == 1 else 's'} {verb}."
    head = ("action", "resource", "type", "made anew")
    rows = [
        (
            each.action,
            each.resource,
            each.kind,
            {"True": "yes", "Conditional": "perhaps"}.get(each.replacement, ""),
        )
        for each in change_set.changes
    ]
    for line in output.table(head, rows):
        yield f"  {line}"
    anew = [each.resource for each in change_set.changes if each.replacement == "True"]
    if anew:
        yield f"Made anew means: the old {', '.join(anew)} goes, and what it holds stays only where it is kept."
