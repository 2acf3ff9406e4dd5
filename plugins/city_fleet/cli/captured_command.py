"""Command ``captured``: what was kept of a city's predictions."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from city_fleet import clock
from city_fleet.cli.aws import aws_errors, client
from city_fleet.cli.output import AsJson, show, table
from city_fleet.cli.selection import CityName, FleetName, cities_named, fleets_named
from city_fleet.config import Fleet

if TYPE_CHECKING:
    from city_fleet.state.observed import Observed

_DAYS_SHOWN = 7


def captured(
    city: CityName,
    day: Annotated[
        str | None,
        typer.Option(
            "--day", metavar="DATE", help="Of this day, UTC; the newest one that has any by default."
        ),
    ] = None,
    last: Annotated[
        int, typer.Option("--last", metavar="N", min=0, help="The last N of the day; 0 shows all of it.")
    ] = 20,
    fleet: FleetName = None,
    as_json: AsJson = False,
) -> None:
    """Show what was kept of a city's predictions.

    Who answered what, how fast, and what failed.

    The function that answers applications keeps a sample where the fleet file says so (capture.share), as JSON lines in
    the bucket, a minute or so after the answer. --json has what was asked and answered too; values of columns that are
    masked are nowhere.

    \b
    Examples:
      ./fleet captured austin
      ./fleet captured "Fort Worth" --day 2015-08-01 --last 0
      ./fleet captured austin --json
    """
    wanted = None if day is None else _day(day)
    ((item, slug),) = cities_named(fleets_named(fleet), [city])
    from city_fleet.state import captured as kept  # noqa: PLC0415 - imports botocore
    from city_fleet.state.objects import ObjectStore  # noqa: PLC0415

    store = ObjectStore(client(item, "s3"), item.bucket)
    with aws_errors():
        days = kept.days(store, item.keys, slug)
        shown = wanted or (days[-1] if days else None)
        found: Sequence[Observed] = ()
        count = failed = 0
        if shown is not None and shown in days:
            tally: Counter[bool] = Counter()
            lines = _counted(kept.read(store, item.keys, slug, shown), tally)
            # Objects come by their first line: those of several writers lie across one another.
            newest = (
                heapq.nlargest(last, lines, key=_moment) if last else sorted(lines, key=_moment, reverse=True)
            )
            found = newest[::-1]
            count, failed = tally.total(), tally[False]
    report = {
        "fleet": item.fleet,
        "city": slug,
        "share": item.capture.share,
        "day": None if shown is None else shown.isoformat(),
        "days": [each.isoformat() for each in days],
        "count": count,
        "failed": failed,
        "predictions": [{**asdict(each), "at": clock.iso(each.at)} for each in found],
    }
    show(report, _lines(item, report, found), as_json)


def _counted(lines: Iterable[Observed], tally: Counter[bool]) -> Iterator[Observed]:
    """Yield predictions, and count which of them were answered."""
    for each in lines:
        tally[each.status == 200] += 1
        yield each


def _moment(seen: Observed) -> datetime:
    return seen.at


def _day(text: str) -> date:
    """:raises typer.BadParameter: it is no day."""
    try:
        if clock.is_day(text):
            return clock.parse(text).date()
    except ValueError:
        pass
    raise typer.BadParameter(f"--day: got {text!r}; allowed: a day such as 2015-08-01.")


def _lines(item: Fleet, report: dict[str, Any], found: Sequence[Observed]) -> Iterator[str]:
    city, day, days = report["city"], report["day"], report["days"]
    if not days:
        yield f"{city}: nothing was kept of its predictions, or its time is over."
    elif not found:
        yield f"{city}: nothing was kept of {day}; there is {', '.join(days[-_DAYS_SHOWN:])}."
    if (why := _off(item, city)) is not None:
        yield why
    if not found:
        return
    head = ("moment", "answered by", "version", "ms", "cold", "answer", "prediction_id")
    yield from table(head, [_cells(each) for each in found])
    count, failed = report["count"], report["failed"]
    shown = "" if len(found) == count else f", the last {len(found)} of them here"
    yield f"{day}: {count:,} kept{shown}; {failed:,} failed."


def _off(item: Fleet, city: str) -> str | None:
    """Return why nothing new of a city is kept; None where something is."""
    capture = item.capture
    if capture.share == 0:
        return "capture.share is 0, so nothing is kept now; set it in the fleet file, then ./fleet deploy."
    if capture.cities and city not in capture.cities:
        return f"capture.cities does not name {city}, so nothing of it is kept now."
    return None


def _cells(seen: Observed) -> tuple[str, ...]:
    role = f"{seen.role}, shadow" if seen.shadow else seen.role
    return (
        clock.iso(seen.at).replace("+00:00", "Z"),
        role if seen.target_model else "nobody",
        "" if seen.package_version is None else str(seen.package_version),
        f"{seen.latency_ms:,.1f}",
        {True: "cold", False: "warm", None: "?"}[seen.cold],
        _answer(seen),
        seen.prediction_id,
    )


def _answer(seen: Observed) -> str:
    if seen.status != 200:
        return f"{seen.status} {seen.error}"
    steps = seen.answer.get("forecasts")
    value = seen.answer.get("label", seen.answer.get("prediction"))
    if value is None:
        return "masked" if seen.masked else "none"
    text = f"{value:,.6g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
    return f"{text}, and {len(steps) - 1} more" if isinstance(steps, list) and len(steps) > 1 else text
