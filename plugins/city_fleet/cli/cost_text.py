"""What ``./fleet cost`` prints of a fleet. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from city_fleet.cli.output import table
from city_fleet.night.costs import Cost
from city_fleet.night.fleet_costs import WindowCost
from city_fleet.night.prices import Prices

_SHOWN_GROUPS = 50


def dollars(value: float | None) -> str:
    """Return an amount for people; small ones with enough digits to be more than nothing."""
    if value is None:
        return "not known"
    return f"{value:,.4f}" if 0 < abs(value) < 0.1 else f"{value:,.2f}"


def window_lines(found: Sequence[WindowCost], forecast: Mapping[str, float | None] | None) -> Iterator[str]:
    """Yield a table of what some windows have cost, a column each.

    :param forecast: of the last window's end: row → dollars; None for no such column.
    """
    more = [""] if forecast is not None else []
    steps = dict.fromkeys(step for each in found for step in each.steps)

    def row(title: str, of: Callable[[WindowCost], float | None], key: str = "") -> list[str]:
        last = [dollars(forecast.get(key)) if key in forecast else ""] if forecast is not None else []
        return [title, *(dollars(of(each)) for each in found), *last]

    rows = [row("jobs", lambda each: _known(each.jobs), "jobs")]
    rows += [
        [f"  {step}", *(dollars(_known(each.steps.get(step, Cost()))) for each in found), *more]
        for step in steps
    ]
    rows += [
        row("endpoints, estimated", lambda each: each.around.endpoints, "endpoints"),
        row("S3, estimated", lambda each: each.around.s3),
        row("CloudWatch logs, estimated", lambda each: each.around.logs),
        row("together, as far as known", lambda each: each.dollars, "together"),
        row("jobs of a city and night", _per_run),
        row("of the jobs: in vain", lambda each: sum(each.jobs.waste.values())),
    ]
    rows += [
        [f"  {kind}", *(dollars(each.jobs.waste.get(kind, 0.0)) for each in found), *more]
        for kind in dict.fromkeys(kind for each in found for kind in sorted(each.jobs.waste))
    ]
    rows += [
        row("of the jobs: models that the gate held", lambda each: each.jobs.held),
        row("saved by spot", lambda each: each.jobs.saved),
        row("instead: an endpoint per city, estimated", lambda each: each.around.one_each),
    ]
    head = ["US dollars", *(each.window.name for each in found)]
    yield from table([*head, "forecast"] if forecast is not None else head, rows)
    yield ""
    for each in found:
        cost = each.jobs
        yield (
            f"{each.window.name}: {cost.jobs:,} jobs of {len(cost.runs):,} runs and {cost.cities:,} cities, "
            f"{cost.seconds / 3600:,.2f} instance hours; {each.around.endpoint_hours:,.1f} hours of endpoints"
        )
    if found:
        yield f"Not counted: {', '.join(found[-1].not_counted)}."
    for each in found:
        for lacking in each.lacking:
            yield f"warning: {each.window.name} lacks {lacking}: no price is known, and the sum goes without it"


def group_lines(group: str, found: Mapping[str, Cost]) -> Iterator[str]:
    """Yield a table of what jobs have cost by a group; of many cities the dearest."""
    shown = list(found.items())
    if group in ("city", "owner"):
        shown.sort(key=lambda item: (-item[1].dollars, item[0]))
    rows = [
        [
            name,
            f"{cost.jobs:,}",
            f"{cost.seconds / 3600:,.2f}",
            dollars(_known(cost)),
            dollars(sum(cost.waste.values())),
            dollars(cost.saved),
        ]
        for name, cost in shown[:_SHOWN_GROUPS]
    ]
    yield from table((group, "jobs", "hours", "dollars", "in vain", "saved by spot"), rows)
    if len(shown) > _SHOWN_GROUPS:
        rest = sum(cost.dollars for _, cost in shown[_SHOWN_GROUPS:])
        yield f"and {len(shown) - _SHOWN_GROUPS:,} more with {dollars(rest)} dollars together; --json has them all"
    for name, cost in shown[:_SHOWN_GROUPS]:
        for kind, seconds in sorted(cost.unknown.items()):
            yield f"warning: {name} lacks {seconds:,} seconds of {kind}: no price is known"


def imagined_line(told: Mapping[str, Any], window: str) -> str:
    """Return a sentence about what the jobs of a night of any number of cities would cost.

    :param told: as the JSON output has it.
    :param window: name of the time that the mean is of.
    """
    if told["dollars_a_night"] is None:
        why = "no run has ended" if not told["runs"] else "some of its seconds have no price"
        return (
            f"A night of {told['cities']:,} cities: not known, since {why} in {window}; "
            "./fleet plan reckons without any run"
        )
    return (
        f"A night of {told['cities']:,} cities: {dollars(told['dollars_a_night'])} dollars for jobs, "
        f"{dollars(told['dollars_30_nights'])} for 30 nights, by the mean of {told['runs']:,} runs of {window}; "
        "endpoints come on top"
    )


def price_line(prices: Prices) -> str:
    """Return a sentence about where prices are from."""
    if not prices.as_of:
        return (
            f"warning: no prices of {prices.region} are known: nothing is reckoned with another region's. "
            "./fleet cost --refresh-prices fetches AWS's list"
        )
    others = "" if prices.has_others else "; S3 and CloudWatch have no known price in this region"
    return f"List prices of {prices.region}, {prices.as_of}, on demand, without free tiers and Savings Plans{others}."


def _known(cost: Cost) -> float | None:
    return None if cost.unknown and not cost.dollars else cost.dollars


def _per_run(each: WindowCost) -> float | None:
    cost = each.jobs
    known = _known(cost)
    return known / len(cost.runs) if cost.runs and known is not None else known
