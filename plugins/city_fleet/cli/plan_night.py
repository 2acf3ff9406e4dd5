"""What a night of a whole fleet comes to: ``plan`` without a city. A DAG per city and cohorts, side by side."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from city_fleet import ticks
from city_fleet.cli.cost_text import price_line
from city_fleet.cli.output import count_cities, show, table
from city_fleet.config import Fleet
from city_fleet.config.cohort_rule import own_dag_reason, spread
from city_fleet.config.endpoint_section import Endpoint
from city_fleet.config.places import fleets_folder
from city_fleet.config.settings import Defaults
from city_fleet.night import service_quotas
from city_fleet.night.measured import MEASURED, Measured
from city_fleet.night.night_advice import Need, commands, needs, settings
from city_fleet.night.night_model import JOBS, Limits, NightModel, predict
from city_fleet.night.prices import Prices, prices_of
from city_fleet.night.service_quotas import Quotas
from city_fleet.night.workload import USUAL_COHORT, Workload, imagined, of_fleet
from city_fleet.serving.office_hours import share_open

_OF_S3 = "s3:"
#: Stands for no fleet of the fleet files.
ANY_FLEET = "any_fleet"


@dataclass(frozen=True)
class Asked:
    """What a person has asked for.

    :param cities: how many there would be; None for the fleet as it is.
    :param within_hours: in which the night shall be over.
    :param quotas: file with the account's quotas, as the AWS command line prints them.
    :param start_up_seconds: of a job; None for the usual.
    :param pool: slots of the pool there is; None for no limit.
    """

    cities: int | None = None
    within_hours: float = 6.0
    quotas: Path | None = None
    start_up_seconds: float | None = None
    pool: int | None = None


@dataclass(frozen=True)
class Way:
    """One way to run the night: a DAG per city, or cohorts.

    :param night: with nothing in the way but the pool that was named.
    :param limited: with the account's quotas too; None where nobody has said which those are.
    :param nights: of a month, by the schedules.
    :param alone: cities that are in no cohort, counted by the reason.
    """

    title: str
    cohort: int | None
    work: Workload
    night: NightModel
    limited: NightModel | None
    needs: list[Need]
    settings: list[str]
    commands: list[str]
    nights: float
    alone: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "cohort": self.cohort,
            "night": self.night.to_dict(),
            "with_quotas": self.limited.to_dict() if self.limited else None,
            "needs": [asdict(need) | {"fits": need.fits} for need in self.needs],
            "settings": self.settings,
            "commands": self.commands,
            "alone": self.alone,
            "nights_a_month": round(self.nights, 3),
            "dollars_a_month": round(self.night.dollars_a_month(self.nights), 2),
            "without_price": list(self.night.lacking),
        }


def plan_nights(fleets: Sequence[Fleet], asked: Asked, as_json: bool) -> None:
    """Print what a night of each fleet comes to."""
    measured = MEASURED
    if asked.start_up_seconds is not None:
        measured = replace(measured, start_up_seconds=asked.start_up_seconds)
    quotas = Quotas() if asked.quotas is None else service_quotas.read(asked.quotas)
    found = [(fleet, _ways(fleet, asked, measured, quotas)) for fleet in fleets]
    value = [
        {
            "fleet": fleet.fleet,
            "environment": fleet.environment,
            "within_hours": asked.within_hours,
            "ways": [way.to_dict() for way in ways],
            "measured": asdict(measured),
            "prices": {name: getattr(_prices(fleet), name) for name in ("as_of", "region", "source")},
        }
        for fleet, ways in found
    ]
    show(value, _lines(found, asked, measured), as_json)


def _prices(fleet: Fleet) -> Prices:
    """Return the prices that a fleet is reckoned with: of its region, the installation's own first."""
    return prices_of(fleet.region, fleets_folder())


def _nights_a_month(fleet: Fleet, asked: Asked) -> float:
    """Return how often a city is retrained in a month: the mean of the fleet's cities, or by its own schedule."""
    cities = list(fleet.cities.values())
    if asked.cities is not None or not cities:
        return ticks.per_month(fleet.schedule)
    return sum(ticks.per_month(city.schedule) for city in cities) / len(cities)


def with_usual_settings(fleet: Fleet) -> Fleet:
    """Return a fleet that sets nothing itself, for a plan that is about no fleet in particular.

    :param fleet: any, for what has no usual value, such as its bucket.
    """
    usual = {
        "defaults": Defaults(),
        "endpoint": Endpoint(),
        "endpoints": {},
        "schedule": "@daily",
        "spread_minutes": 0,
        "cities": {},
        "children": {},
    }
    return fleet.model_copy(update={"fleet": ANY_FLEET, **usual})


def _ways(fleet: Fleet, asked: Asked, measured: Measured, quotas: Quotas) -> list[Way]:
    named = (city.cohort for city in fleet.cities.values() if city.cohort is not None)
    size = fleet.defaults.cohort or next(named, USUAL_COHORT)
    reasons: Counter[str] = Counter()
    if asked.cities is None:
        each = of_fleet(fleet, measured, cohorts={})
        cohorts, reasons = _cohorts(fleet, size)
        together = of_fleet(fleet, measured, cohorts=cohorts)
    else:
        each = imagined(fleet, asked.cities, measured, cohort=None)
        together = imagined(fleet, asked.cities, measured, cohort=size)
    each_has = round(together.in_cohorts / max(1, together.cohorts))
    dags = f"{together.cohorts:,} cohort{'s' * (together.cohorts != 1)} of {each_has}"
    if alone := together.dag_runs - together.cohorts:
        dags += f", {alone:,} alone"
    ways = [
        _way("a DAG per city", None, each, fleet=fleet, asked=asked, measured=measured, quotas=quotas),
        _way(dags, size, together, fleet=fleet, asked=asked, measured=measured, quotas=quotas),
    ]
    return [ways[0], replace(ways[1], alone=dict(reasons.most_common()))]


def _cohorts(fleet: Fleet, size: int) -> tuple[dict[str, tuple[str, ...]], Counter[str]]:
    """Return the cities of each cohort: as the file has them, or as they would be if all cities named one.

    :return: and how many cities have a DAG of their own all the same, by the reason.
    """
    reasons: Counter[str] = Counter()
    fit = []
    for slug, city in fleet.cities.items():
        reason = own_dag_reason(city, fleet, fleet.children.get(slug, ()))
        if reason is None and fleet.members and fleet.cohort_of(slug) is None:
            reason = "it names no cohort"
        if reason is None:
            fit.append(slug)
        else:
            reasons[reason] += 1
    return fleet.members or spread(sorted(fit), size), reasons


def _way(
    title: str,
    cohort: int | None,
    work: Workload,
    *,
    fleet: Fleet,
    asked: Asked,
    measured: Measured,
    quotas: Quotas,
) -> Way:
    prices = _prices(fleet)
    endpoints = map(fleet.endpoint_settings, fleet.endpoint_names)
    serving = [(each.instance_type, each.instance_count * share_open(each.hours)) for each in endpoints]
    night = predict(work, measured, prices, Limits(pool=asked.pool), endpoints=serving)
    limited = None
    if quotas.instances:
        limits = Limits(asked.pool, quotas.instances)
        limited = predict(work, measured, prices, limits, endpoints=serving)
    needed = needs(
        work, night, measured, within_seconds=asked.within_hours * 3600, quotas=quotas, fleet=fleet
    )
    lines = list(settings(work, night, measured, prices, needed=needed, fleet=fleet, cohort=cohort))
    nights = _nights_a_month(fleet, asked)
    return Way(title, cohort, work, night, limited, needed, lines, list(commands(needed)), nights)


def _lines(found: list[tuple[Fleet, list[Way]]], asked: Asked, measured: Measured) -> Iterator[str]:
    for number, (fleet, ways) in enumerate(found):
        if number:
            yield ""
        yield from _fleet_lines(fleet, ways, asked)
    yield ""
    yield from dict.fromkeys(price_line(_prices(fleet)) for fleet, _ in found)
    yield (
        f"Reckoned with {measured.start_up_seconds:.0f} s until AWS has an instance for a job, which it does not bill;"
    )
    yield f"{measured.starts_per_second:g} starts of tasks a second in Airflow."
    yield "docs/scaling.md says where these figures are from, and how near they come."


def _fleet_lines(fleet: Fleet, ways: list[Way], asked: Asked) -> Iterator[str]:
    first = ways[0].night
    if fleet.fleet == ANY_FLEET:
        yield f"A night of {first.cities:,} cities, with the usual settings (--fleet takes those of a fleet file)"
    else:
        what = "as it is" if asked.cities is None else "with the settings of its file"
        yield f"{fleet.fleet} ({fleet.environment}): a night of {first.cities:,} cities, {what}"
    yield ""
    yield from table(("", *(way.title for way in ways)), list(_rows(ways)))
    yield ""
    yield from _price_lines(fleet, ways)
    yield from _scaled_lines(fleet)
    for way in ways:
        for reason, count in way.alone.items():
            yield f"{count_cities(count)} in no cohort: {reason}"
        if way.alone:
            yield ""
    yield f"To be over within {asked.within_hours:g} hours it needs at a time:"
    yield ""
    yield from table(("quota", "code", *(way.title for way in ways), "you have"), list(_quota_rows(ways)))
    for way in ways:
        if way.night.seconds > asked.within_hours * 3600:
            yield ""
            yield f"No quota makes it so short with {way.title}: {way.night.bounded_by} alone"
            yield f"makes it {_duration(way.night.seconds)}."
    if asked.quotas is None:
        yield ""
        yield "What the account has is in what this command prints; --quotas FILE says what does not fit:"
        yield f"  {service_quotas.COMMAND}"
    for way in ways:
        yield ""
        yield f"{way.title[0].upper()}{way.title[1:]}:"
        for line in (*way.commands, *way.settings):
            yield f"  {line}"


def _price_lines(fleet: Fleet, ways: list[Way]) -> Iterator[str]:
    """Yield what the sums lack, and what the fleet's budget means for them."""
    lacking = list(dict.fromkeys(item for way in ways for item in way.night.lacking))
    for item in lacking:
        yield f"warning: no price of {item} is known in {fleet.region}: the sums go without it"
    beyond = []
    for way in ways if fleet.budget is not None else ():
        night = sum(value or 0.0 for item, value in way.night.cost.items() if item.startswith(JOBS))
        for name, spent in (("night", night), ("month", night * way.nights)):
            limit = fleet.budget.limits[name] if fleet.budget else None
            if limit is not None and spent > limit:
                beyond.append(
                    f"{way.title}: jobs of {spent:,.2f} dollars a {name}, and budget.{name} is {limit:,.2f}"
                )
    yield from (f"warning: {line}: runs would wait for a person" for line in beyond)
    if lacking or beyond:
        yield ""


def _scaled_lines(fleet: Fleet) -> Iterator[str]:
    """Yield what endpoints that scale come to at most; the table has them with instance_count."""
    prices = _prices(fleet)
    for name in fleet.endpoint_names:
        settings = fleet.endpoint_settings(name)
        if settings.scaling is None:
            continue
        most = settings.most_instances
        day = prices.instance_seconds(settings.instance_type, 24 * 3600)
        cost = "a price that is not known" if day is None else f"{day * most:,.2f} dollars a day"
        yield (
            f"Endpoint {fleet.endpoint_name(name)} is reckoned with {settings.instance_count} of up to {most} "
            f"instances: {cost} at most"
        )
    if any(fleet.endpoint_settings(name).scaling for name in fleet.endpoint_names):
        yield ""


def _rows(ways: list[Way]) -> Iterator[list[str]]:
    nights = [way.night for way in ways]
    yield ["DAG runs", *(f"{night.dag_runs:,}" for night in nights)]
    yield ["SageMaker jobs", *(f"{night.jobs:,}" for night in nights)]
    yield ["starts of tasks in Airflow", *(f"{night.starts:,}" for night in nights)]
    yield ["calls of SageMaker", *(f"{night.calls_of_sagemaker:,}" for night in nights)]
    yield ["  of each city", *(f"{night.calls_of_sagemaker / max(1, night.cities):.1f}" for night in nights)]
    for operation in sorted({name for night in nights for name in night.calls}):
        if not operation.startswith(_OF_S3):
            yield [f"  {operation}", *(_count(night.calls.get(operation, 0)) for night in nights)]
    yield ["calls of S3", *(f"{_of_s3(night):,}" for night in nights)]
    for name in sorted({name for night in nights for name in night.peak}):
        cells = (_count(night.peak.get(name, 0)) for night in nights)
        yield [f"at a time: {name.removesuffix(' usage')}", *cells]
    yield ["wall time, every quota granted", *(_duration(night.seconds) for night in nights)]
    yield ["  because of", *map(_because, nights)]
    limited = [way.limited for way in ways]
    if all(limited):
        yield ["wall time with your quotas", *(_duration(night.seconds) for night in limited if night)]
        yield ["  because of", *(_because(night) for night in limited if night)]
    for item in dict.fromkeys(item for night in nights for item in night.cost):
        yield [f"dollars, {item}", *(_dollars(night.cost.get(item, 0.0)) for night in nights)]
    unknown = [len(night.lacking) == len(night.cost) for night in nights]
    months = [way.night.dollars_a_month(way.nights) for way in ways]
    for title, sums in (("a night", [night.dollars for night in nights]), ("a month", months)):
        known = (_dollars(None if none else each) for each, none in zip(sums, unknown, strict=True))
        yield [f"dollars {title}", *known]
    yield ["  of so many nights", *(f"{way.nights:,.1f}" for way in ways)]


def _quota_rows(ways: list[Way]) -> Iterator[list[str]]:
    by_name = {need.name: need for way in ways for need in way.needs}
    for name, any_need in sorted(by_name.items()):
        own = [next((need for need in way.needs if need.name == name), None) for way in ways]
        cells = [
            "–" if need is None else f"{need.needed:,}{' does not fit' if need.fits is False else ''}"
            for need in own
        ]
        have = "not known" if any_need.have is None else f"{any_need.have:,}"
        yield [name.removesuffix(" usage"), any_need.code or "–", *cells, have]


def _because(night: NightModel) -> str:
    """Return in a few words what a night waits for."""
    found = re.fullmatch(r"the quota '\S+ for (.+) job usage'", night.bounded_by)
    return f"the {found[1]} quota" if found else night.bounded_by


def _of_s3(night: NightModel) -> int:
    return sum(count for name, count in night.calls.items() if name.startswith(_OF_S3))


def _count(number: int) -> str:
    return f"{number:,}" if number else "–"


def _dollars(value: float | None) -> str:
    return "not known" if value is None else f"{value:,.2f}"


def _duration(seconds: float) -> str:
    """Return a time for people: ``2 h 05 min``, ``7 min``."""
    if math.isinf(seconds):
        return "never"
    minutes = max(1, round(seconds / 60))
    hours, rest = divmod(minutes, 60)
    return f"{hours:,} h {rest:02} min" if hours else f"{rest} min"
