"""What commands say of a fleet's budget, and how a person allows a night."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from city_fleet import clock
from city_fleet.cli.aws import aws_errors, client
from city_fleet.cli.moving import author
from city_fleet.cli.output import print_json, say
from city_fleet.cli.selection import fleets_named, only_fleet
from city_fleet.config import Fleet
from city_fleet.errors import CityFleetError, PlatformError

if TYPE_CHECKING:
    from city_fleet.night.budget import Night
    from city_fleet.state.author import Author
    from city_fleet.state.budget_question import BudgetNight


def verdict_now(fleet: Fleet, runs: int = 0) -> BudgetNight | None:
    """Return the verdict that runs of this moment go by, or would; None of a fleet without a budget. Writes none.

    :param runs: that are about to begin; a verdict that lets runs go on is made anew with them.
    :raises PlatformError: S3 can't be asked.
    """
    if fleet.budget is None:
        return None
    from city_fleet.night import budget  # noqa: PLC0415 - imports botocore
    from city_fleet.state import budget_question  # noqa: PLC0415
    from city_fleet.state.objects import ObjectStore  # noqa: PLC0415

    with aws_errors():
        now, s3 = clock.utc_now(), client(fleet, "s3")
        night = _tonight(fleet)
        known = budget_question.read(ObjectStore(s3, fleet.bucket), fleet.keys)
        holds = known is not None and known.answers(night.stamp, fleet.budget.limits, now)
        if known is not None and holds and (not runs or known.asks or known.allowed_by):
            return known
        return budget.verdict(fleet, s3, night, now, runs=runs)


def line(fleet: Fleet, found: BudgetNight) -> str:
    """Return a verdict as a line for people."""
    if not found.asks:
        return f"budget: {found.told}"
    allows = f"./fleet cost --allow-night --fleet {fleet.fleet}"
    return f"warning: budget: {found.told}: runs wait for a person, {allows} lets them begin"


def as_dict(found: BudgetNight | None) -> dict[str, Any] | None:
    """Return what ``--json`` shows of a verdict."""
    return None if found is None else asdict(found) | {"asks": found.asks}


def say_before_runs(fleet: Fleet, runs: int) -> BudgetNight | None:
    """Say what the budget means for runs that are about to begin; what can't be judged is said, and stops nothing."""
    try:
        found = verdict_now(fleet, runs)
    except CityFleetError as error:
        say(f"warning: the budget can't be judged: {error}", err=True)
        return None
    if found is not None:
        say(line(fleet, found), err=True)
    return found


def permit_runs(fleet: Fleet, found: BudgetNight, who: Author) -> None:
    """Allow a night that a person has just been asked about.

    :raises PlatformError: it can't be kept, or another night is asked about by now.
    """
    from city_fleet.state import budget_question  # noqa: PLC0415 - imports botocore
    from city_fleet.state.objects import ObjectStore  # noqa: PLC0415

    with aws_errors():
        store = ObjectStore(client(fleet, "s3"), fleet.bucket)
        known = budget_question.read(store, fleet.keys)
        if known is None or (known.night, known.at) != (found.night, found.at):
            budget_question.keep(store, fleet.keys, found)
        if budget_question.allow(store, fleet.keys, found.night, who, clock.utc_now()) is None:
            raise PlatformError(
                f"{fleet.keys.uri(fleet.keys.budget())}: another night is asked about by now; look again"
            )


def allow_night(fleet: str | None, *, yes: bool, who: str | None, reason: str, as_json: bool) -> None:
    """Let the runs begin that wait because of the budget, and all others of that night.

    :raises PlatformError: S3 can't be asked, or somebody judges the night right now.
    """
    from city_fleet.night import budget  # noqa: PLC0415 - imports botocore

    if as_json and not yes:
        raise typer.BadParameter("--allow-night with --json needs --yes: nobody can be asked.")
    item = only_fleet(fleets_named(fleet), "--allow-night needs")
    if item.budget is None:
        raise typer.BadParameter(
            f"--allow-night: fleet {item.fleet} has no budget in its fleet file, so no run waits for one."
        )
    person = author(who, reason, "--who")
    with aws_errors():
        found = budget.ask(item, client(item, "s3"), _tonight(item), clock.utc_now(), runs=0)
    if found is None:
        raise PlatformError("The night's budget is being judged right now; try again in a minute")
    if not as_json:
        say(f"{found.told}.")
    changed = not found.allowed_by
    if changed:
        waits = "Let the waiting runs begin" if found.asks else "No run waits. Allow this night all the same"
        if not yes and not typer.confirm(f"{waits}, and all others until {found.night}?"):
            say("Nothing was changed.", err=True)
            raise typer.Exit(1)
        permit_runs(item, found, person)
    if as_json:
        print_json(
            {"fleet": item.fleet, "night": found.night, "sentence": found.sentence, "changed": changed}
        )
    elif changed:
        say(f"Allowed by {person.by}. Waiting runs begin within about two minutes.")


def _tonight(fleet: Fleet) -> Night:
    from city_fleet.night.budget import Night  # noqa: PLC0415 - imports botocore
    from city_fleet.views.digest import night_of  # noqa: PLC0415

    window = night_of(clock.utc_now(), fleet.digest.schedule)
    return Night(window.since, window.until)
