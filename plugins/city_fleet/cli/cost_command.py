"""Command ``cost``: what the fleet has cost."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from city_fleet import clock
from city_fleet.cli import budget_lines
from city_fleet.cli.aws import aws_errors, client
from city_fleet.cli.moving import Reason, instant
from city_fleet.cli.output import AsJson, say, show
from city_fleet.cli.selection import FleetName, fleets_named
from city_fleet.config import Fleet
from city_fleet.config.places import fleets_folder
from city_fleet.errors import PlatformError, display_path

if TYPE_CHECKING:
    from city_fleet.night.costs import Cost
    from city_fleet.night.fleet_costs import Window, WindowCost
    from city_fleet.night.prices import Prices
    from city_fleet.state.budget_question import BudgetNight

_SHOWN_CHANGES = 20
_NIGHTS = 30
GROUPS = ("night", "month", "city", "step", "owner")


def cost(
    *,
    fleet: FleetName = None,
    by: Annotated[
        str | None,
        typer.Option("--by", metavar="GROUP", help=f"Sum up the jobs by one of {', '.join(GROUPS)}."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", metavar="MOMENT", help="Only what was paid from here on, such as 2026-11-01."
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="MOMENT", help="Only what was paid before this moment.")
    ] = None,
    cities: Annotated[
        int | None,
        typer.Option(
            "--cities",
            metavar="N",
            min=1,
            help="Reckon the jobs of a night of N cities too, by what a city's have cost here.",
        ),
    ] = None,
    refresh_prices: Annotated[
        bool,
        typer.Option(
            "--refresh-prices",
            help="Fetch AWS's public list prices of the fleets' regions into prices.json beside the fleet files.",
        ),
    ] = False,
    allow_night: Annotated[
        bool,
        typer.Option(
            "--allow-night", help="Let the runs begin that wait because of the fleet file's budget."
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --allow-night: don't ask.")] = False,
    who: Annotated[
        str | None,
        typer.Option(
            "--who", metavar="NAME", help="With --allow-night: who does it; your login name by default."
        ),
    ] = None,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Show what the fleet has cost, by night, city or step.

    Jobs are reckoned exactly: by the seconds that SageMaker bills, as run records have them, and AWS's list prices. The
    endpoints, S3 and logs are estimated. A job counts when it has ended. docs/cost.md says what is in it.

    With `budget` in the fleet file it says whether the night stays within it; runs of a night that does not wait until
    somebody allows it with `--allow-night`.

    Exit codes: 0 done, 1 it could not be, or you said no, 2 wrong usage.

    \b
    Examples:
      ./fleet cost
      ./fleet cost --by city --since 2026-11-01
      ./fleet cost --by night --fleet texas_housing --json
      ./fleet cost --cities 3000
      ./fleet cost --refresh-prices
      ./fleet cost --allow-night --fleet texas_housing --reason "new cities"
    """
    from city_fleet.night.prices import prices_of  # noqa: PLC0415 - few commands need it

    if by is not None and by not in GROUPS:
        raise typer.BadParameter(f"--by: got {by!r}; allowed: {', '.join(GROUPS)}.")
    if not allow_night and (yes or who is not None or reason):
        raise typer.BadParameter("--yes, --who and --reason belong to --allow-night.")
    if allow_night:
        if refresh_prices or not (by is since is until is cities is None):
            raise typer.BadParameter(
                "--allow-night: goes with --fleet, --yes, --who, --reason and --json alone."
            )
        budget_lines.allow_night(fleet, yes=yes, who=who, reason=reason, as_json=as_json)
        return
    if refresh_prices:
        if not (by is since is until is cities is None):
            raise typer.BadParameter("--refresh-prices: goes without --by, --since, --until and --cities.")
        _refresh(fleet, as_json)
        return
    now = clock.utc_now()
    begin = None if since is None else instant("--since", since)
    end = None if until is None else instant("--until", until)
    if begin is not None and begin >= (end or now):
        raise typer.BadParameter(f"--since: got {since!r}; allowed: a moment before --until, and before now.")
    with aws_errors():
        found = [
            _of_fleet(item, prices_of(item.region, fleets_folder()), now, asked=(begin, end), by=by)
            for item in fleets_named(fleet)
        ]
    show([each.to_dict() | each.imagined(cities) for each in found], _lines(found, cities), as_json)


def _refresh(fleet: str | None, as_json: bool) -> None:
    """Fetch the prices of the fleets' regions, and write them where this installation's stand."""
    from city_fleet.night import price_list  # noqa: PLC0415 - few commands need it
    from city_fleet.night.prices import OWN_TABLE, own_bytes, own_table  # noqa: PLC0415

    path = fleets_folder() / OWN_TABLE
    before = own_table(path.parent)
    regions = sorted({item.region for item in fleets_named(fleet)})
    fetched = {region: price_list.fetch(region, price_list.HOST) for region in regions}
    changed = {region: price_list.changes(before.get(region), table) for region, table in fetched.items()}
    # A process that dies leaves the old table or the new one.
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(own_bytes(before | fetched))
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise PlatformError(f"{display_path(path)}: the prices can't be written: {error}") from error
    value = [
        {"region": region, "as_of": table["as_of"], "source": table["source"], "changes": changed[region]}
        for region, table in fetched.items()
    ]

    def lines() -> Iterator[str]:
        for region, table in fetched.items():
            count = sum(map(len, table["uses"].values()))
            said = changed[region]
            new = "all are new" if region not in before else f"{len(said):,} have changed"
            yield f"{region}: {count:,} prices of {table['as_of']}, {new}"
            if region in before:
                yield from (f"  {line}" for line in said[:_SHOWN_CHANGES])
                if len(said) > _SHOWN_CHANGES:
                    yield f"  and {len(said) - _SHOWN_CHANGES:,} more; --json has them all"
        yield f"Written to {display_path(path)}; deploy it with the fleet files."

    show(value, lines(), as_json)


@dataclass(frozen=True)
class _Shown:
    """What is shown of a fleet.

    :param groups: by the name of a group; None where nobody has asked for groups.
    :param forecast: of the month's end: row → dollars; None where a window was asked for.
    :param budget: the night's verdict; None where a window was asked for, or there is no budget.
    """

    fleet: Fleet
    prices: Prices
    windows: list[WindowCost]
    by: str | None
    groups: dict[str, Cost] | None
    forecast: dict[str, float | None] | None
    models: int
    budget: BudgetNight | None = None

    @property
    def idle(self) -> bool:
        """Tell whether all that has cost something are endpoints."""
        return self.budget is None and not any(each.jobs.jobs or each.lacking for each in self.windows)

    def to_dict(self) -> dict[str, Any]:
        groups = self.groups
        return {
            "fleet": self.fleet.fleet,
            "environment": self.fleet.environment,
            "prices": {name: getattr(self.prices, name) for name in ("region", "as_of", "source")},
            "windows": [each.to_dict() for each in self.windows],
            "forecast": self.forecast,
            "models": self.models,
            "budget": budget_lines.as_dict(self.budget),
            "by": self.by,
            "groups": None if groups is None else {name: each.to_dict() for name, each in groups.items()},
        }

    def imagined(self, cities: int | None) -> dict[str, Any]:
        """Return what the jobs of so many cities would cost, by the mean of the longest window; None if unknown."""
        if cities is None:
            return {}
        jobs = self.windows[-1].jobs
        known = bool(jobs.runs) and not jobs.unknown
        night = round(cities * jobs.dollars / len(jobs.runs), 4) if known else None
        month = None if night is None else round(_NIGHTS * night, 4)
        told = {
            "cities": cities,
            "runs": len(jobs.runs),
            "dollars_a_night": night,
            "dollars_30_nights": month,
        }
        return {"imagined": told}


def _of_fleet(
    fleet: Fleet,
    prices: Prices,
    now: datetime,
    *,
    asked: tuple[datetime | None, datetime | None],
    by: str | None,
) -> _Shown:
    """Look at a fleet.

    :param asked: the window that somebody has asked for; None for an end that is left open.
    """
    from city_fleet.night import fleet_costs  # noqa: PLC0415 - imports botocore
    from city_fleet.night.costs import forecast  # noqa: PLC0415
    from city_fleet.views.digest import night_of  # noqa: PLC0415

    schedule, (since, until) = fleet.digest.schedule, asked
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    narrowed = since is not None or until is not None
    until = until or now + timedelta(seconds=1)
    # Also the night that the month has begun in.
    begin = since or (until - timedelta(days=31) if narrowed else min(month, now - timedelta(days=3)))
    s3 = client(fleet, "s3")
    facts = fleet_costs.look(fleet, s3, begin, until, now=now, say=lambda text: say(text, err=True))
    for problem in facts.problems:
        say(f"warning: {problem}", err=True)
    newest = max((job.ended_at for job in facts.jobs), default=None)
    windows: list[Window]
    coming: dict[str, float | None] | None = None
    if narrowed:
        windows = [fleet_costs.Window(f"{_day(begin)} to {_day(until)}", begin, until)]
    else:
        night = night_of(now if newest is None else clock.parse(newest), schedule)
        windows = [
            fleet_costs.Window("last night", night.since, night.until),
            fleet_costs.Window(f"{month:%B} so far", month, until),
        ]
    costs = [fleet_costs.cost_in(each, facts, prices, now) for each in windows]
    if not narrowed:
        end = (month + timedelta(days=32)).replace(day=1)
        of = costs[-1]
        amounts = {"jobs": of.jobs.dollars, "endpoints": of.around.endpoints, "together": of.dollars}
        coming = {
            name: None if amount is None else forecast(amount, (month, now), end)
            for name, amount in amounts.items()
        }
    groups = None
    if by is not None:
        jobs = windows[-1].among(facts.jobs)
        groups = fleet_costs.by_group(by, fleet, jobs, prices, list(_nights(begin, now, schedule)))
    judged = None if narrowed else budget_lines.verdict_now(fleet)
    return _Shown(fleet, prices, costs, by, groups, coming, facts.models, judged)


def _nights(since: datetime, now: datetime, schedule: str | None) -> Iterator[datetime]:
    """Yield the ends of the nights of a time, in their order."""
    from city_fleet.views.digest import night_of  # noqa: PLC0415 - imports botocore

    moment = since
    while moment <= now + timedelta(days=1):
        end = night_of(moment, schedule).until
        yield end
        moment = max(end + timedelta(microseconds=1), moment + timedelta(seconds=1))


def _day(moment: datetime) -> str:
    return moment.astimezone(UTC).date().isoformat()


def _lines(found: list[_Shown], cities: int | None) -> Iterator[str]:
    from city_fleet.cli import cost_text  # noqa: PLC0415 - imports botocore

    for number, each in enumerate(found):
        name = f"{each.fleet.fleet} ({each.fleet.environment})"
        if len(found) > 1 and cities is None and each.idle:
            spent = ", ".join(
                f"{cost_text.dollars(window.dollars)} dollars {window.window.name}" for window in each.windows
            )
            yield f"{name}, {each.models:,} cities with a model: no job has ended; its endpoints {spent}"
            continue
        if number:
            yield ""
        yield f"{name}, {each.models:,} cities with a model"
        yield ""
        if each.groups is not None:
            yield from cost_text.group_lines(str(each.by), each.groups)
        else:
            yield from cost_text.window_lines(each.windows, each.forecast)
        yield ""
        if each.budget is not None:
            yield budget_lines.line(each.fleet, each.budget)
        if cities is not None:
            yield cost_text.imagined_line(each.imagined(cities)["imagined"], each.windows[-1].window.name)
        yield cost_text.price_line(each.prices)
