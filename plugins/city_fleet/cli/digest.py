"""Command ``digest``: the morning's message, now or about an earlier night."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from city_fleet.cli.aws import aws_errors, client
from city_fleet.cli.output import AsJson, errors, print_json
from city_fleet.cli.selection import FleetName, fleets_named
from city_fleet.naming import parse_as_of

commands = typer.Typer()


@commands.command()
def digest(
    fleet: FleetName = None,
    night: Annotated[
        str | None,
        typer.Option(
            "--night",
            metavar="AS_OF",
            help="A moment of the night, as the as_of of its runs; by default the newest night with a run.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what a night's runs came to: live, held and failed by cause, what waits for approval, who is served by an
    old model. The DAG <fleet>._digest sends the same every morning.

    A night is the time between two ticks of the digest's schedule in the fleet file.

    \b
    Examples:
      ./fleet digest
      ./fleet digest --night 2014-01-01
      ./fleet digest --fleet texas_housing --json
    """
    from city_fleet.views import digest as digests  # noqa: PLC0415 - imports botocore
    from city_fleet.views import digest_text, fleet_facts  # noqa: PLC0415

    moment = None if night is None else _instant(night)
    with errors(as_json), aws_errors():
        found = []
        for item in fleets_named(fleet):
            s3, sagemaker = client(item, "s3"), client(item, "sagemaker")
            now = datetime.now(UTC)
            picture = fleet_facts.picture(
                item, s3, sagemaker, now, say=lambda text: typer.echo(text, err=True)
            )
            for problem in picture.problems:
                typer.echo(f"warning: {problem}", err=True)
            schedule = item.digest.schedule
            if moment is None:
                chosen = digests.last_night(picture.refreshed.index, schedule) or digests.night_of(
                    now, schedule
                )
            else:
                chosen = digests.night_of(moment, schedule)
            found.append(fleet_facts.night_digest(item, s3, picture, chosen))
    if as_json:
        print_json([each.to_dict() for each in found])
    else:
        typer.echo("\n".join(digest_text.text(each) for each in found), nl=False)


def _instant(text: str) -> datetime:
    """:raises typer.BadParameter: the text is no instant."""
    try:
        return parse_as_of(text)
    except ValueError as error:
        raise typer.BadParameter(f"--night: {error}") from None
