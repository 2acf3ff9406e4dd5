"""Command ``challenge``: try a registered model beside the champion, answering a share of requests or in its shadow."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from city_fleet import clock
from city_fleet.cli.aws import aws_errors
from city_fleet.cli.moving import By, DryRun, FleetClients, author, cities_and_clients, instant
from city_fleet.cli.output import AsJson, print_json, say, show, table
from city_fleet.cli.selection import FleetName, fleets_named

if TYPE_CHECKING:
    from city_fleet.state.challengers import Challengers

_DAYS = 14
_MOST_DAYS = 400


def challenge(
    city: Annotated[
        str | None, typer.Argument(metavar="CITY", help="Slug or name; without one: what is on trial.")
    ] = None,
    *,
    version: Annotated[
        int | None,
        typer.Option("--version", metavar="N", min=1, help="Version in the registry; the newest by default."),
    ] = None,
    share: Annotated[
        float | None,
        typer.Option(
            "--share",
            metavar="SHARE",
            help="Share of the city's requests, above 0 to 1: what it answers, or is asked in the shadow.",
        ),
    ] = None,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="It answers nobody: the champion does, and both are noted.")
    ] = False,
    days: Annotated[
        int | None,
        typer.Option(
            "--days",
            metavar="N",
            min=1,
            max=_MOST_DAYS,
            help=f"How long, {_DAYS} days by default.",
            show_default=False,
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="INSTANT", help="Instead of --days: when it ends.")
    ] = None,
    keep: Annotated[
        bool,
        typer.Option("--no-promote", help="Say who has won, and leave it to a person to make it live."),
    ] = False,
    end: Annotated[bool, typer.Option("--end", help="End the city's trial now.")] = False,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why, for the next person on call.")
    ] = "",
    fleet: FleetName = None,
    by: By = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Try a registered model beside the champion.

    With --share a canary: it answers that share of the city's requests. With --shadow it is asked beside the champion
    and answers nobody. The live pointer stays where it is; what the challenger can't answer, the champion does. A
    canary takes a version that is approved.

    The fleet's reaper looks after trials: a challenger that is worse, or does not answer, falls back by itself; one
    that is better on what really happened goes live; one that stays undecided ends with the champion. A trial is over
    as well when another model goes live. A pinned champion is not replaced: the reaper says who has won.

    Exit codes: 0 done, 1 it could not be begun, or there is none to end, 2 wrong usage.

    \b
    Examples:
      ./fleet challenge
      ./fleet challenge austin --version 7 --share 0.1
      ./fleet challenge austin --version 7 --shadow --days 30 --reason "new features"
      ./fleet challenge austin --version 7 --share 0.1 --dry-run
      ./fleet challenge austin --end
    """
    if city is None:
        _only_with_a_city(version, share, shadow, days, until, end, keep, dry_run)
        _list(fleet, as_json=as_json)
        return
    who = author(by, reason)
    wish = None if end else _wish(share, shadow, days, until)
    if end and (version, share, days, until) != (None, None, None, None):
        raise typer.BadParameter("--end goes without --version, --share, --days and --until.")
    from city_fleet.champions import trials  # noqa: PLC0415 - imports botocore
    from city_fleet.champions.promotion import Choice  # noqa: PLC0415
    from city_fleet.state import challengers  # noqa: PLC0415

    with aws_errors():
        ((clients, slug),) = cities_and_clients(fleet, [city])
        place = clients.city(slug)
        if wish is None:
            step = trials.end(place, who)
        else:
            way, part, ends = wish
            asked = trials.Wish(
                Choice(version), way, part, ends, promotes=challengers.NEVER if keep else challengers.BETTER
            )
            step = trials.begin(place, who, asked, dry_run=dry_run)
    show({"fleet": clients.fleet.fleet, **step.to_dict()}, _said(step, slug), as_json)
    raise typer.Exit(1 if step.outcome == "unchanged" else 0)


def _only_with_a_city(*options: object) -> None:
    if any(options):
        raise typer.BadParameter("name a city; without one, the trials are listed.")


def _wish(
    share: float | None, shadow: bool, days: int | None, until: str | None
) -> tuple[str, float, datetime]:
    """Return way, share and end of a trial, as the options say it.

    :raises typer.BadParameter: they don't.
    """
    if share is None and not shadow:
        raise typer.BadParameter(
            "say how it is tried: --share 0.1 answers a tenth of the requests, --shadow none."
        )
    part = 1.0 if share is None else share
    if not 0 < part <= 1:
        raise typer.BadParameter(f"--share: got {part:g}; allowed: above 0 to 1, such as 0.1 for a tenth.")
    if days is not None and until is not None:
        raise typer.BadParameter("give --days or --until, not both.")
    now = clock.utc_now()
    ends = now + timedelta(days=days or _DAYS) if until is None else instant("--until", until)
    if not now < ends <= now + timedelta(days=_MOST_DAYS):
        raise typer.BadParameter(
            f"--until: got {until!r}; allowed: an instant to come, within {_MOST_DAYS} days."
        )
    return ("shadow" if shadow else "canary"), part, ends


def _said(step: Any, slug: str) -> Iterator[str]:
    yield f"{slug}: {step.sentence}."
    if step.outcome in ("begun", "planned"):
        trial = step.trial
        yield f"{slug}:   against {trial.champion}, until {_minute(trial.until)}."
        won = "is left to a person" if trial.promotes == "never" else "goes live"
        yield f"{slug}:   If it is better on what really happened, it {won}; else the champion stays."
        yield f"{slug}:   A model that goes live meanwhile ends the trial; ./fleet challenge {slug} --end does too."


def _list(fleet: str | None, *, as_json: bool) -> None:
    """Print what is on trial, and how the last trials have ended."""
    report: list[dict[str, Any]] = []
    for item in fleets_named(fleet):
        from city_fleet.state import challengers  # noqa: PLC0415 - imports botocore
        from city_fleet.state.objects import ObjectStore  # noqa: PLC0415

        with aws_errors():
            clients = FleetClients(item)
            found = challengers.read(ObjectStore(clients.s3, item.bucket), item.keys)
            report += _of_fleet(clients, found)
    if as_json:
        print_json(report)
        return
    running = [each for each in report if each["state"] != "ended"]
    ended = [each for each in report if each["state"] == "ended"]
    if not report:
        say("No challenger is on trial. ./fleet challenge --help says how to begin.")
    if running:
        for line in table(
            ("fleet", "city", "version", "way", "share", "since", "until", "by", ""),
            [
                (
                    each["fleet"],
                    each["city"],
                    str(each["version"]),
                    each["way"],
                    f"{100 * each['share']:.4g} %",
                    _minute(each["since"]),
                    _minute(each["until"]),
                    each["by"],
                    "" if each["state"] == "running" else f"over: {each['over']}",
                )
                for each in running
            ],
        ):
            say(line)
    for each in ended:
        what = f"version {each['version']} ended {_minute(each['at'])}, {each['verdict']}"
        say(f"{each['city']}: {what}: {each['reason']}.")


def _of_fleet(clients: FleetClients, found: Challengers) -> Iterator[dict[str, Any]]:
    from city_fleet.champions import trials  # noqa: PLC0415 - imports botocore
    from city_fleet.state import live  # noqa: PLC0415

    name, now = clients.fleet.fleet, clock.utc_now()
    for city, trial in sorted(found.running.items()):
        current = live.read_or_broken(clients.s3, clients.keys, city)
        pointer = current.pointer if isinstance(current, live.Versioned) else None
        over = trial.over(pointer, now)
        state = "running" if over is None else "over"
        yield {"fleet": name, **trials.shown(trial), "state": state, "over": over}
    for city, last in sorted(found.ended.items()):
        yield {"fleet": name, "city": city, **vars(last), "state": "ended"}


def _minute(moment: str) -> str:
    return clock.parse(moment).strftime("%Y-%m-%d %H:%M")
