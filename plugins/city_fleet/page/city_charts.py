"""The charts of a city's page. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from city_fleet import metrics, naming
from city_fleet.page import held_out_charts
from city_fleet.page.chart import Axis, Band, Chart, Form, Line, day, noun_of, over, seconds, time_form
from city_fleet.views.city_answers import Forecast
from city_fleet.views.city_runs import CHALLENGER, CHAMPION
from city_fleet.views.city_story import CityStory

#: Periods that a forecast's chart begins with; all others are one press away.
_SHOWN_PERIODS = 30


def charts(story: CityStory) -> list[Chart]:
    """Return the charts that there is something to show in."""
    made = [
        _metric(story, story.limits.get(story.metric)),
        _forecast(story),
        *held_out_charts.held_out(story),
        held_out_charts.histogram(story),
        held_out_charts.calibration(story),
        _jobs(story),
    ]
    return [each for each in made if each is not None]


def _metric(story: CityStory, limit: float | None) -> Chart | None:
    runs = [run for run in reversed(story.runs) if run.values]
    if not runs:
        return None
    said = metrics.METRICS[story.metric]
    others = dict.fromkeys(name for run in runs for name in run.values if name not in (CHALLENGER, CHAMPION))
    live = tuple(run.values.get(CHALLENGER) if run.outcome == "live" else None for run in runs)
    lines = [
        Line("new model", "challenger", tuple(run.values.get(CHALLENGER) for run in runs), "both"),
        Line("went live", "live", live, "points"),
        Line("champion of the time", "champion", tuple(run.values.get(CHAMPION) for run in runs), "both"),
        *(
            Line(name, f"baseline{place}", tuple(run.values.get(name) for run in runs), "dashed")
            for place, name in enumerate(others)
            if place < 4
        ),
    ]
    far = ""
    if limit is not None:
        known = [value for line in lines for value in line.values if value is not None]
        if min(known) / 1.5 <= limit <= max(known) * 1.5:
            lines.append(Line("limit of the gate", "limit", (limit,) * len(runs), "dashed"))
        else:  # it would press all others into one line
            far = f". The gate's limit, {metrics.show(story.metric, limit)}, is beyond the chart"
    better = "higher" if said.higher else "lower"
    return Chart(
        "metric",
        f"{said.title} on held-out rows, by the moment up to which the run has seen data; {better} is better{far}",
        Axis("as of", "day"),
        Axis(said.title, _form(story.metric), story.unit if said.form == "unit" else ""),
        tuple(naming.parse_as_of(run.as_of).timestamp() for run in runs),
        tuple(line for line in lines if any(value is not None for value in line.values)),
    )


def _forecast(story: CityStory) -> Chart | None:
    """Draw what happened, the newest forecast and the one of what serves, and what was said one period ahead."""
    if not story.forecasts:
        return None
    serving = story.champion.as_of if story.champion else ""
    newest = story.forecasts[0]
    of_champion = next((each for each in story.forecasts if each.as_of == serving), None)
    first = of_champion or newest
    earlier = {each.ahead[0].period: each.ahead[0].prediction for each in reversed(story.forecasts)}
    periods = sorted({*story.actual, *earlier, *_periods(newest), *_periods(first)}, key=seconds)
    named = f"forecast, data until {day(first.as_of)}"
    lines = [
        Line("really happened", "actual", over(periods, story.actual), "both"),
        Line(f"{named} (serves)" if of_champion else named, "forecast", _of(periods, first), "both"),
    ]
    bands = []
    for level in ("95", "80"):
        ends = {each.period: each.intervals[level] for each in first.ahead if level in each.intervals}
        if ends:
            low, high = ({at: pair[side] for at, pair in ends.items()} for side in (0, 1))
            bands.append(Band(len(lines), len(lines) + 1, f"interval{level}", f"{level} % interval"))
            lines.append(Line(f"{level} % from", f"edge{level}", over(periods, low)))
            lines.append(Line(f"{level} % to", f"edge{level}", over(periods, high)))
    if newest is not first:
        lines.append(
            Line(f"newest model, data until {day(newest.as_of)}", "newest", _of(periods, newest), "both")
        )
    if len(story.forecasts) > 1:
        lines.append(Line("said one period ahead, then", "earlier", over(periods, earlier), "points"))
    xs = tuple(seconds(period) for period in periods)
    return Chart(
        "forecast",
        f"{story.target} of each {noun_of(story)}: what happened, and what was forecast, with the intervals in which "
        "it should lie",
        Axis(noun_of(story), time_form(story)),
        Axis(story.target, "unit", first.unit or story.unit),
        xs,
        tuple(lines),
        tuple(bands),
        start=xs[-_SHOWN_PERIODS] if len(xs) > _SHOWN_PERIODS else None,
    )


def _jobs(story: CityStory) -> Chart | None:
    runs = [run for run in reversed(story.runs) if run.jobs]
    if not runs:
        return None
    steps = dict.fromkeys(job.step for run in runs for job in run.jobs)
    return Chart(
        "jobs",
        "Billable seconds of each run's jobs",
        Axis("as of", "day"),
        Axis("billable seconds", "count", "s"),
        tuple(naming.parse_as_of(run.as_of).timestamp() for run in runs),
        tuple(
            Line(
                step,
                f"step{place % 4}",
                tuple(sum(job.seconds for job in run.jobs if job.step == step) for run in runs),
                "bars",
            )
            for place, step in enumerate(steps)
        ),
        stacked=True,
    )


def _of(periods: Sequence[str], forecast: Forecast) -> tuple[float | None, ...]:
    return over(periods, {each.period: each.prediction for each in forecast.ahead})


def _periods(forecast: Forecast) -> list[str]:
    return [each.period for each in forecast.ahead]


def _form(metric: str) -> Form:
    form = metrics.METRICS[metric].form
    return form if form in ("share", "unit") else "number"  # type: ignore[return-value]
