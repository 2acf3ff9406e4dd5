"""Command ``digest``: the summary of a night."""

from __future__ import annotations

from typing import Annotated

import typer

from city_fleet.cli.aws import aws_errors, client
from city_fleet.cli.moving import instant
from city_fleet.cli.output import AsJson, say, show
from city_fleet.cli.selection import FleetName, OwnerName, fleets_named, with_owner


def digest(
    fleet: FleetName = None,
    night: Annotated[
        str | None,
        typer.Option(
            "--night",
            metavar="AS_OF",
            help="The night of this as_of, such as 2014-01-01; by default the newest with a run.",
        ),
    ] = None,
    owner: OwnerName = None,
    as_json: AsJson = False,
) -> None:
    """Summarize a night: what went live, was held or failed, and why.

    It also lists the models awaiting approval and the cities served by an old model. The DAG <fleet>._digest sends the
    same summary every morning. A night is the time between two ticks of `digest.schedule` in the fleet file.

    \b
    Examples:
      ./fleet digest
      ./fleet digest --night 2014-01-01
      ./fleet digest --owner pricing_team
      ./fleet digest --fleet texas_housing --json
    """
    from city_fleet.views import digest as digests  # noqa: PLC0415 - imports botocore
    from city_fleet.views import digest_text, fleet_facts  # noqa: PLC0415

    moment = None if night is None else instant("--night", night)
    with aws_errors():
        found = []
        for item in with_owner(fleets_named(fleet), owner):
            s3, sagemaker = client(item, "s3"), client(item, "sagemaker")
            picture = fleet_facts.picture(item, s3, sagemaker, say=lambda text: say(text, err=True))
            for problem in picture.problems:
                say(f"warning: {problem}", err=True)
            schedule = item.digest.schedule
            newest = None if moment else digests.last_night(picture.refreshed.index, schedule)
            chosen = newest or digests.night_of(moment or picture.snapshot.at, schedule)
            found.append(fleet_facts.night_digests(item, s3, picture, chosen, [owner] if owner else [])[-1])
    texts = (digest_text.text(each) for each in found)
    show([each.to_dict() for each in found], "\n".join(texts).rstrip("\n").split("\n"), as_json)
