"""What a city's models have answered, and what really happened: forecasts, held-out rows, errors. Pure.

Made of what jobs have left in the bucket, without trusting it: a member that is not what it should be is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any

from city_fleet import metrics, naming
from city_fleet.champions.data_checks import finite
from city_fleet.periods import Grid, begin_text, read_begin
from city_fleet.state.known_values import KnownValues
from city_fleet.views.untrusted import member, text

#: Levels of intervals, in percent, the narrowest first.
LEVELS = ("80", "95")
#: Bars of a histogram, bins of probabilities, classes of a confusion matrix.
BARS, BINS, MOST_CLASSES = 24, 10, 20


@dataclass(frozen=True)
class Ahead:
    """One period of a forecast.

    :param period: its first day, an ISO date, or of an hour its moment.
    :param prediction: in the target's unit; ``intervals``: level in percent → lower and upper end.
    """

    period: str
    step: int
    prediction: float
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Forecast:
    """What a model answered, right after it was made, to the question what comes next.

    :param as_of: stamp of the moment up to which it has seen data.
    :param withheld: why intervals are missing; empty where none is.
    """

    as_of: str
    ahead: tuple[Ahead, ...]
    unit: str = ""
    withheld: str = ""


@dataclass(frozen=True)
class Covered:
    """How many of the forecasts that have come true lay within their interval.

    :param level: in percent: so many should.
    """

    level: str
    inside: int
    of: int


@dataclass(frozen=True)
class HeldRow:
    """A row that a model had not learned when it answered.

    :param actual: a number, or the name of a class; ``predicted`` a number, or class → probability.
    :param naive: what is predicted without a model; None where nobody knows.
    """

    period: str
    step: int
    actual: float | str
    predicted: float | Mapping[str, float]
    naive: float | None = None

    @property
    def error(self) -> float | None:
        """Predicted less actual, in the target's unit; None of a class."""
        if isinstance(self.actual, str) or isinstance(self.predicted, Mapping):
            return None
        return self.predicted - self.actual


@dataclass(frozen=True)
class HeldOut:
    """The held-out rows of one run, or those of them that were kept.

    :param of_rows: how many there were.
    """

    as_of: str
    task: str
    rows: tuple[HeldRow, ...]
    of_rows: int
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Errors:
    """How far off a model was: predicted less actual, in the target's unit.

    :param edges: of the histogram's bars, one more than there are ``counts``.
    """

    count: int
    mean: float
    middle: float
    largest: float
    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Bin:
    """Held-out rows to which a model gave a probability from ``low`` to ``high`` of its class.

    :param said: mean of the probabilities; ``happened`` the share of rows that were of the class.
    """

    low: float
    high: float
    rows: int
    said: float
    happened: float


@dataclass(frozen=True)
class Classes:
    """How a model of classes answers.

    :param names: of the classes, those with most rows first; the last is ``other`` where there are too many.
    :param matrix: actual × predicted, rows counted.
    :param about: what ``bins`` are about: the positive class, or the likeliest one.
    """

    names: tuple[str, ...]
    matrix: tuple[tuple[int, ...], ...]
    about: str
    bins: tuple[Bin, ...]


def forecast_of(report: Any) -> Forecast | None:
    """Return what a run's model forecast; None of a table, or where the report does not say."""
    value = member(report, "forecast")
    made = value.get("forecasts")
    as_of = report.get("as_of") if isinstance(report, Mapping) else None
    if not isinstance(made, list) or not isinstance(as_of, str) or not _is_moment(as_of):
        return None
    ahead = tuple(each for entry in made if (each := _ahead(entry)) is not None)
    if not ahead:
        return None
    return Forecast(as_of, ahead, text(value.get("unit")), text(value.get("intervals_withheld"), 300))


def _ahead(entry: Any) -> Ahead | None:
    if not isinstance(entry, Mapping):
        return None
    period, prediction, step = (
        _period(entry.get("period")),
        finite(entry.get("prediction")),
        finite(entry.get("step")),
    )
    if period is None or prediction is None or step is None:
        return None
    found = {}
    for level, ends in member(entry, "intervals").items():
        if level in LEVELS and isinstance(ends, list) and len(ends) == 2:
            low, high = finite(ends[0]), finite(ends[1])
            if low is not None and high is not None:
                found[level] = (low, high)
    return Ahead(period, int(step), prediction, found)


def known_target(known: KnownValues | None) -> dict[str, float]:
    """Return the newest known values of a city's target, by period."""
    if known is None or known.first is None:
        return {}
    value = json.loads(known.text)
    try:
        grid = Grid.parse(known.frequency)
        first = grid.index(read_begin(known.first))
        rows = value["rows"]
        return {
            grid.text(first + place): number
            for place, row in enumerate(rows)
            if (number := finite(row[0])) is not None
        }
    except (ValueError, OverflowError, KeyError, TypeError, IndexError):
        return {}


def actual_of(held_out: HeldOut | None) -> dict[str, float]:
    """Return what really happened in the held-out periods."""
    rows = () if held_out is None else held_out.rows
    return {row.period: row.actual for row in rows if not isinstance(row.actual, str)}


def covered(forecasts: Iterable[Forecast], actual: Mapping[str, float]) -> tuple[Covered, ...]:
    """Count how many forecasts that have come true lay within their intervals."""
    counts = {level: [0, 0] for level in LEVELS}
    for ahead in (each for forecast in forecasts for each in forecast.ahead):
        happened = actual.get(ahead.period)
        for level, (low, high) in ahead.intervals.items():
            if happened is not None:
                counts[level][0] += low <= happened <= high
                counts[level][1] += 1
    return tuple(Covered(level, inside, of) for level, (inside, of) in counts.items() if of)


def held_out_of(holdout: Any, as_of: str) -> HeldOut | None:
    """Return a run's held-out rows; None where there are none that can be read."""
    if not isinstance(holdout, Mapping) or not isinstance(holdout.get("rows"), list):
        return None
    task = str(holdout.get("task") or metrics.REGRESSION)
    names = holdout.get("classes")
    classes = tuple(text(name) for name in names) if isinstance(names, list) else ()
    rows = tuple(row for entry in holdout["rows"] if (row := _row(entry, bool(classes))) is not None)
    of_rows = finite(holdout.get("of_rows"))
    if task not in metrics.TASKS or not rows:
        return None
    return HeldOut(as_of, task, rows, int(of_rows) if of_rows else len(rows), classes)


def _row(entry: Any, of_classes: bool) -> HeldRow | None:
    if not isinstance(entry, Mapping):
        return None
    step, naive = finite(entry.get("step")), finite(entry.get("naive"))
    period = text(entry.get("period"))
    if of_classes:
        named = {
            text(name): number
            for name, share in member(entry, "predicted").items()
            if (number := finite(share)) is not None
        }
        return HeldRow(period, int(step or 1), text(entry.get("actual")), named) if named else None
    actual, predicted = finite(entry.get("actual")), finite(entry.get("predicted"))
    if actual is None or predicted is None:
        return None
    return HeldRow(period, int(step or 1), actual, predicted, naive)


def errors_of(rows: Iterable[HeldRow]) -> Errors | None:
    """Count errors by size; None where there are none. The bars reach as far to both sides."""
    found = sorted(error for row in rows if (error := row.error) is not None)
    if not found:
        return None
    reach = max(abs(found[0]), abs(found[-1])) or 1.0
    edges = tuple(-reach + 2 * reach * place / BARS for place in range(BARS + 1))
    counts = [0] * BARS
    for error in found:
        counts[min(BARS - 1, int((error + reach) / (2 * reach) * BARS))] += 1
    largest = max(found, key=abs)
    return Errors(len(found), fmean(found), median(found), largest, edges, tuple(counts))


def classes_of(held_out: HeldOut) -> Classes | None:
    """Return how often which class was taken for which, and what a model's probabilities are worth."""
    rows = [row for row in held_out.rows if isinstance(row.predicted, Mapping)]
    if not rows:
        return None
    frequency: dict[str, int] = {}
    for row in rows:
        frequency[str(row.actual)] = frequency.get(str(row.actual), 0) + 1
    names = sorted({*held_out.classes, *frequency}, key=lambda name: (-frequency.get(name, 0), name))
    shown = names if len(names) <= MOST_CLASSES else [*names[: MOST_CLASSES - 1], "other classes"]
    place = {name: min(at, len(shown) - 1) for at, name in enumerate(names)}
    matrix = [[0] * len(shown) for _ in shown]
    binary = held_out.task == metrics.BINARY and bool(held_out.classes)
    about = held_out.classes[-1] if binary else "the likeliest class"
    pairs = []
    for row in rows:
        said: Mapping[str, float] = row.predicted if isinstance(row.predicted, Mapping) else {}
        likeliest = max(said, key=lambda name: said[name])
        matrix[place[str(row.actual)]][place.get(likeliest, len(shown) - 1)] += 1
        asked = about if binary else likeliest
        pairs.append((min(1.0, max(0.0, said.get(asked, 0.0))), row.actual == asked))
    return Classes(tuple(shown), tuple(map(tuple, matrix)), about, tuple(_bins(pairs)))


def _bins(pairs: Sequence[tuple[float, bool]]) -> list[Bin]:
    grouped: dict[int, list[tuple[float, bool]]] = {}
    for said, happened in pairs:
        grouped.setdefault(min(BINS - 1, int(said * BINS)), []).append((said, happened))
    return [
        Bin(
            at / BINS,
            (at + 1) / BINS,
            len(each),
            fmean(said for said, _ in each),
            fmean(it for _, it in each),
        )
        for at, each in sorted(grouped.items())
    ]


def _is_moment(as_of: str) -> bool:
    try:
        naming.parse_as_of(as_of)
        return True
    except ValueError:
        return False


def _period(value: Any) -> str | None:
    try:
        return begin_text(value)
    except (ValueError, TypeError, OverflowError):
        return None
