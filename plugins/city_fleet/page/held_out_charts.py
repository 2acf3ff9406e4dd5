"""The charts of a city's held-out rows: predicted against actual, errors, how far to believe probabilities. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from city_fleet import metrics
from city_fleet.page.chart import Axis, Chart, Line, day, noun_of, over, seconds, time_form
from city_fleet.views.city_answers import HeldRow
from city_fleet.views.city_story import CityStory

_MOST_POINTS = 4_000


def held_out(story: CityStory) -> list[Chart | None]:
    if story.held_out is None or story.task != metrics.REGRESSION:
        return []
    rows: Sequence[HeldRow] = story.held_out.rows[-_MOST_POINTS:]
    if story.kind == "table" or story.children:
        return _scatter(story, rows)
    rows = [row for row in rows if _is_period(row.period)]
    if not rows:
        return []
    steps = sorted({row.step for row in rows})
    chosen = steps if len(steps) <= 2 else [steps[0], steps[-1]]
    periods = sorted({row.period for row in rows}, key=seconds)
    xs = tuple(seconds(period) for period in periods)
    x = Axis(noun_of(story), time_form(story))
    by_step = {step: {row.period: row for row in rows if row.step == step} for step in chosen}
    nearest = by_step[chosen[0]]
    actual = {row.period: row.actual for row in rows if not isinstance(row.actual, str)}
    naive = {period: row.naive for period, row in nearest.items() if row.naive is not None}
    lines = [Line("really happened", "actual", over(periods, actual))]
    errors = []
    for place, step in enumerate(chosen):
        name = f"{step} {noun_of(story)}{'s' if step > 1 else ''} ahead"
        said = {
            period: row.predicted
            for period, row in by_step[step].items()
            if not isinstance(row.predicted, Mapping)
        }
        off = {period: row.error for period, row in by_step[step].items() if row.error is not None}
        role = ("challenger", "champion")[place]
        lines.append(Line(f"predicted {name}", role, over(periods, said), "line" if place == 0 else "dashed"))
        errors.append(Line(name, role, over(periods, off), "points"))
    lines.append(Line("last known value", "baseline0", over(periods, naive), "dashed"))
    zero = Line("no error", "limit", (0.0,) * len(xs), "dashed")
    until = day(story.held_out.as_of)
    return [
        Chart(
            "held-out",
            f"Held-out {x.label}s of the run with data until {until}: what models said that had not learned them",
            x,
            Axis(story.target, "unit", story.unit),
            xs,
            tuple(lines),
        ),
        Chart(
            "residuals",
            "Errors on the held-out rows, predicted less actual: above the line was too much",
            x,
            Axis("error", "unit", story.unit),
            xs,
            (*errors, zero),
        ),
    ]


def _scatter(story: CityStory, rows: Sequence[HeldRow]) -> list[Chart | None]:
    """Of a table: what was predicted against what was, row by row."""
    pairs = sorted(
        (row.actual, row.predicted)
        for row in rows
        if not isinstance(row.actual, str) and not isinstance(row.predicted, Mapping)
    )
    xs = tuple(actual for actual, _ in pairs)
    said = Line("predicted", "challenger", tuple(predicted for _, predicted in pairs), "points")
    off = Line("error", "challenger", tuple(predicted - actual for actual, predicted in pairs), "points")
    x = Axis(f"actual {story.target}", "unit", story.unit)
    zero = Line("no error", "limit", (0.0,) * len(xs), "dashed")
    until = day(story.held_out.as_of) if story.held_out else ""
    return [
        Chart(
            "held-out",
            f"Held-out rows of the run with data until {until}: on the dashed line prediction and truth are equal",
            x,
            Axis(f"predicted {story.target}", "unit", story.unit),
            xs,
            (said, Line("equal", "limit", xs, "dashed")),
            square=True,
        ),
        Chart(
            "residuals",
            "Errors on the held-out rows, predicted less actual: above the line was too much",
            x,
            Axis("error", "unit", story.unit),
            xs,
            (off, zero),
        ),
    ]


def histogram(story: CityStory) -> Chart | None:
    errors = story.errors
    if errors is None or errors.count < 2:
        return None
    middles = tuple((low + high) / 2 for low, high in zip(errors.edges, errors.edges[1:], strict=False))
    return Chart(
        "histogram",
        "How often errors of which size occur",
        Axis("error, middle of the bar", "unit", story.unit),
        Axis("held-out rows", "count"),
        middles,
        (Line("rows", "challenger", tuple(map(float, errors.counts)), "bars"),),
    )


def calibration(story: CityStory) -> Chart | None:
    if story.classes is None or not story.classes.bins:
        return None
    bins = story.classes.bins
    xs = tuple(each.said for each in bins)
    return Chart(
        "calibration",
        f"Probabilities of {story.classes.about} against how often it was so: on the dashed line they can be believed",
        Axis("probability, mean", "share"),
        Axis("was so", "share"),
        xs,
        (
            Line("share of rows", "challenger", tuple(each.happened for each in bins), "both"),
            Line("as said", "limit", xs, "dashed"),
            Line("rows", "none", tuple(float(each.rows) for each in bins), "none", "count"),
        ),
        square=True,
    )


def _is_period(text: str) -> bool:
    try:
        seconds(text)
        return True
    except ValueError:
        return False
