"""Whether a night stays within the fleet's budget: what its jobs have cost so far, and what the rest of them will.

Jobs alone are counted, exactly as ``./fleet cost`` does; what their runs will cost is a forecast: so many runs are due,
and so much a run has cost when there were some last. Where no run has ended yet it is the model of ``./fleet plan``.
A budget that can't be judged stops nobody, and says so. A boto3 S3 client is passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from botocore.exceptions import ClientError

from city_fleet import aws_errors, clock
from city_fleet.config import Fleet
from city_fleet.config.places import fleets_folder
from city_fleet.errors import Busy, CityFleetError, ConfigError, PlatformError, display_path
from city_fleet.naming import as_of_stamp
from city_fleet.night.costs import Cost, grouped
from city_fleet.night.measured import MEASURED
from city_fleet.night.night_model import JOBS, predict
from city_fleet.night.prices import Prices, prices_of
from city_fleet.night.workload import of_fleet
from city_fleet.state import budget_question, cost_ledger
from city_fleet.state.budget_question import OVER, UNKNOWN, WITHIN, BudgetNight
from city_fleet.state.cost_ledger import PaidJob
from city_fleet.state.objects import ObjectStore

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

# How far back a run is looked for that says what a run costs: a day's records are many, and most fleets run daily.
_LOOKS_NEAR, _LOOKS_BACK = timedelta(days=2), timedelta(days=35)
_A_DAY = timedelta(days=1)
_CANT = "the budget can't be judged, so it stops no run"


class Night(NamedTuple):
    """The time between two ticks of the digest's schedule, as ``./fleet cost`` has it."""

    since: datetime
    until: datetime

    @property
    def stamp(self) -> str:
        return as_of_stamp(self.until)


@dataclass(frozen=True)
class Figures:
    """What a verdict is made of, in US dollars.

    :param spent: by jobs that have ended in the night; ``month`` those of the calendar month.
    :param runs: of cities that are still to come, and ``per_run``: what one costs.
    :param measured: by runs that there were, not by the model.
    """

    spent: float
    month: float
    runs: int
    per_run: float
    measured: bool = True

    @property
    def coming(self) -> float:
        return self.runs * self.per_run

    def to_dict(self) -> dict[str, float | None]:
        members = ("spent", "month", "runs", "per_run", "coming")
        return {name: round(getattr(self, name), 6) for name in members}


def judge(
    figures: Figures, limits: Mapping[str, float | None], night: Night, now: datetime
) -> tuple[str, str]:
    """Return the verdict about a night, and it as a sentence without a full stop.

    :param limits: ``night`` and ``month``.
    """
    how = (
        "as the last runs were" if figures.measured else "by the model of ./fleet plan: no run has ended yet"
    )
    runs = "1 run" if figures.runs == 1 else f"{figures.runs:,} runs"
    rest = f"{_dollars(figures.coming)} of {runs} to come, {how}"
    over, within = [], []
    for name, spent, when in (
        ("night", figures.spent, f"the night until {night.until:%Y-%m-%d %H:%M} UTC"),
        ("month", figures.month, f"{now:%B}"),
    ):
        limit = limits.get(name)
        if limit is None:
            continue
        total = spent + figures.coming
        said = f"{when}: jobs of {_dollars(total)} dollars ({_dollars(spent)} so far, {rest})"
        if total > limit:
            over.append(f"{said}, and budget.{name} is {_dollars(limit)}")
        else:
            within.append(f"{said}, within budget.{name}, {_dollars(limit)}")
    return (OVER, "; ".join(over)) if over else (WITHIN, "; ".join(within))


def ask(
    fleet: Fleet,
    s3: S3Client,
    night: Night,
    now: datetime,
    *,
    runs: int = 1,
    whole: Callable[[], Fleet] | None = None,
) -> BudgetNight | None:
    """Return the verdict about a night of a fleet that has a budget, and make it where nobody has.

    A budget that can't be judged, or be read, gives :data:`UNKNOWN` with a sentence that says why.

    :param runs: that are about to begin, at least.
    :param whole: returns the fleet with all its cities, where ``fleet`` has some of them; called by whoever judges.
    :return: None while another process makes the night's first verdict: ask again in a while.
    """
    assert fleet.budget is not None  # noqa: S101 - asked only then
    store, keys, limits = ObjectStore(s3, fleet.bucket), fleet.keys, fleet.budget.limits
    nothing = BudgetNight(night=night.stamp, limits=limits, at=clock.iso(now))
    try:
        known, judges = budget_question.claim(store, keys, night.stamp, limits, now)
        if not judges:
            return known if known.verdict else None
        every = fleet if whole is None else whole()
        return budget_question.keep(store, keys, verdict(every, s3, night, now, runs=runs))
    except (CityFleetError, ClientError) as error:
        if isinstance(error, Busy) or (isinstance(error, ClientError) and not aws_errors.is_denied(error)):
            raise
        return replace(nothing, verdict=UNKNOWN, sentence=f"{_CANT}: {error}")


def verdict(fleet: Fleet, s3: S3Client, night: Night, now: datetime, *, runs: int = 0) -> BudgetNight:
    """Return the verdict about a night as of now, and write nothing about it.

    :param runs: that are about to begin, at least.
    """
    assert fleet.budget is not None  # noqa: S101 - asked only then
    found = BudgetNight(night=night.stamp, limits=fleet.budget.limits, at=clock.iso(now))
    try:
        figures = _figures(fleet, s3, night, now, runs)
    except (CityFleetError, ClientError) as error:
        if isinstance(error, Busy) or (isinstance(error, ClientError) and not aws_errors.is_denied(error)):
            raise
        return replace(found, verdict=UNKNOWN, sentence=f"{_CANT}: {error}")
    what, sentence = judge(figures, fleet.budget.limits, night, now)
    return replace(found, verdict=what, sentence=sentence, figures=figures.to_dict())


def _figures(fleet: Fleet, s3: S3Client, night: Night, now: datetime, runs: int) -> Figures:
    """:raises PlatformError: there is no price of something."""
    prices = prices_of(fleet.region, fleets_folder())
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    begin = clock.iso(night.since)
    near = night.since - _LOOKS_NEAR
    since = near if fleet.budget is None or fleet.budget.month is None else min(month, near)
    for look_since in (since, min(since, night.since - _LOOKS_BACK)):
        jobs = cost_ledger.read(s3, fleet.keys, look_since, now + timedelta(seconds=1), now=now).jobs
        before = [job for job in jobs if job.ended_at < begin]
        if before:
            break
    tonight = [job for job in jobs if job.ended_at >= begin]
    done = {job.city for job in tonight}
    due = sum(
        slug not in done and city.is_due_in(night.since, night.until) for slug, city in fleet.cities.items()
    )
    last = _last_day(before) or tonight
    cost = _known(last, prices)
    per_run = cost.dollars / len(cost.runs) if cost.runs else _by_model(fleet, prices)
    return Figures(
        spent=_known(tonight, prices).dollars,
        month=_known([job for job in jobs if job.ended_at >= clock.iso(month)], prices).dollars,
        runs=max(due, runs),
        per_run=per_run,
        measured=bool(cost.runs),
    )


def _last_day(jobs: Sequence[PaidJob]) -> list[PaidJob]:
    """Return the jobs of the last day in which some have ended."""
    newest = max((job.ended_at for job in jobs), default=None)
    if newest is None:
        return []
    begin = clock.iso(clock.parse(newest) - _A_DAY)
    return [job for job in jobs if job.ended_at > begin]


def _known(jobs: Iterable[PaidJob], prices: Prices) -> Cost:
    cost = grouped(jobs, prices, lambda job: "").get("", Cost())
    if cost.unknown:
        raise PlatformError(
            f"no price is known of {', '.join(sorted(cost.unknown))} in {prices.region}; "
            "`./fleet cost --refresh-prices` fetches them"
        )
    return cost


def _by_model(fleet: Fleet, prices: Prices) -> float:
    """Return what a run will cost by the model of ``./fleet plan``; 0 of a fleet without cities."""
    jobs, cities = _model_of(fleet, prices)
    if lacking := _lacking(jobs):
        raise PlatformError(
            f"no run has ended yet, and no price is known of {', '.join(lacking)} in {prices.region}; "
            "`./fleet cost --refresh-prices` fetches them"
        )
    return sum(cost or 0.0 for cost in jobs.values()) / max(1, cities)


def doubts(fleet: Fleet) -> list[str]:
    """Return a sentence where the budget will stop no run, since jobs of the fleet file have no price; else nothing."""
    if fleet.budget is None:
        return []
    stops = f"{display_path(fleet.path)}: field 'budget': it can't be judged, so it stops no run"
    try:
        prices = prices_of(fleet.region, fleets_folder())
    except ConfigError as error:
        return [f"{stops}: {error}"]
    lacking = _lacking(_model_of(fleet, prices)[0])
    if not lacking:
        return []
    what = f"no price is known of {', '.join(lacking)} in {prices.region}"
    return [f"{stops}: {what}; `./fleet cost --refresh-prices` fetches them"]


def _model_of(fleet: Fleet, prices: Prices) -> tuple[dict[str, float | None], int]:
    """Return what the jobs of a night cost by the model of ``./fleet plan``, None without a price; and its cities."""
    work = of_fleet(fleet, MEASURED, cohorts=fleet.members)
    cost = predict(work, MEASURED, prices).cost
    return {item: each for item, each in cost.items() if item.startswith(JOBS)}, work.cities


def _lacking(jobs: Mapping[str, float | None]) -> list[str]:
    return [item.removeprefix(JOBS) for item, cost in jobs.items() if cost is None]


def _dollars(value: float) -> str:
    return f"{value:,.4f}" if 0 < value < 0.1 else f"{value:,.2f}"
