"""A chart: numbers with their labels, units and roles, as the browser draws them, and as the table beside it. Pure.

A chart and its table are made of the same object, so whoever does not see the one reads the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from city_fleet import naming
from city_fleet.periods import noun, read_begin
from city_fleet.views.city_story import CityStory

#: How numbers are written: a share in percent, a moment as a day, others plainly.
Form = Literal["share", "number", "unit", "count", "day", "hour"]
Draw = Literal["line", "points", "both", "dashed", "bars", "none"]
#: Rows of a chart's table: of more, the newest.
_TABLE_ROWS = 120


@dataclass(frozen=True)
class Axis:
    """What an axis counts.

    :param unit: behind the numbers; empty for none.
    """

    label: str
    form: Form
    unit: str = ""


@dataclass(frozen=True)
class Line:
    """What is drawn over the values of x; None where there is nothing.

    :param role: what it stands for: the style sheet has a colour for each.
    :param draw: ``none``: it stands in the table, and beside the chart, alone.
    :param form: how its values are written, where not as the axis says.
    """

    label: str
    role: str
    values: tuple[float | None, ...]
    draw: Draw = "line"
    form: Form | None = None


@dataclass(frozen=True)
class Band:
    """The space between two lines, by their places; ``label`` is what both are together."""

    low: int
    high: int
    role: str
    label: str


@dataclass(frozen=True)
class Chart:
    """A chart.

    :param id: within the page.
    :param says: a sentence that says what is shown.
    :param xs: ascending; of days and moments seconds since 1970, UTC.
    :param start: where what is shown first begins; None for everything.
    :param stacked: bars stand on each other.
    :param square: both axes have the same scale.
    """

    id: str
    says: str
    x: Axis
    y: Axis
    xs: tuple[float, ...]
    lines: tuple[Line, ...]
    bands: tuple[Band, ...] = ()
    start: float | None = None
    stacked: bool = False
    square: bool = False

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def head(self) -> tuple[str, ...]:
        """The head of its table."""
        return self.x.label, *(line.label for line in self.lines)

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """The rows of its table, the newest first where x is time."""
        timely = self.x.form in ("day", "hour")
        places: Iterable[int] = range(len(self.xs))
        if timely:
            places = reversed(range(max(0, len(self.xs) - _TABLE_ROWS), len(self.xs)))
        forms = [self.y if line.form is None else Axis("", line.form) for line in self.lines]
        return [
            (show(self.xs[at], self.x), *map(_cell, (line.values[at] for line in self.lines), forms))
            for at in list(places)[:_TABLE_ROWS]
        ]

    @property
    def cut(self) -> int:
        """How many rows its table lacks."""
        return max(0, len(self.xs) - _TABLE_ROWS)


def show(value: float, axis: Axis) -> str:
    """Write a value as its axis does."""
    if axis.form in ("day", "hour"):
        moment = datetime.fromtimestamp(value, UTC)
        return f"{moment:%Y-%m-%d %H:%M}" if axis.form == "hour" else f"{moment:%Y-%m-%d}"
    plain = f"{value:,.0f}" if abs(value) >= 100 or value == 0 else f"{value:.3g}"
    forms = {"share": f"{value:.1%}", "number": f"{value:.3f}", "count": f"{value:,.0f}"}
    return forms.get(axis.form, plain).replace("-", "\N{MINUS SIGN}")


def _cell(value: float | None, axis: Axis) -> str:
    return "–" if value is None else show(value, axis)


def over(periods: Sequence[str], values: Mapping[str, Any]) -> tuple[float | None, ...]:
    return tuple(values.get(period) for period in periods)


def seconds(period: str) -> float:
    return read_begin(period).timestamp()


def day(as_of: str) -> str:
    return f"{naming.parse_as_of(as_of):%Y-%m-%d}"


def noun_of(story: CityStory) -> str:
    return noun(story.frequency) if story.frequency else "period"


def time_form(story: CityStory) -> Form:
    return "hour" if story.frequency.endswith("hour") else "day"
