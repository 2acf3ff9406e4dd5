"""Is a model still right? A sequence of live errors becomes an alarm. Pure.

Errors are in standard deviations of those on the held-out rows. Two cumulative sums, one for forecasts that are too
high and one for those too low (Page 1954, "Continuous inspection schemes", Biometrika 41). Each period adds its error
less an allowance, so errors as large as on the held-out rows add nothing; when a sum passes the limit it is an alarm,
and the alarm stays until both have fallen to a quarter of it: a series at the edge does not flap. One period adds at
most :data:`MOST`, so that a single odd one is no alarm (Lucas & Crosier 1982, "Robust CUSUM", Communications in
Statistics 11), and no sum grows beyond twice the limit, so that an alarm ends.

What is too small for the sums to notice soon, but is there each time, is told by a run beside them: one period more
than patience asks for, each off by :data:`EACH` of the limit to the same side. It lifts their sum to the limit, so that
alarm ends as any other. Chance makes such a run rarely whatever the tails are, since no single error counts for much.

An allowance of one standard deviation is that of a shift of two and more, which is what a person would act on.
``tests/quick/city_fleet/monitoring/test_decay.py`` counts the false alarms of the default limit.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from city_fleet.state.live_scores import Scored
from city_fleet.state.observed import CHAMPION

ALLOWANCE = 1.0
#: At most so many standard deviations count of one error.
MOST = 5.0
#: So large a share of the limit each error of a run is.
EACH = 1 / 3
#: An alarm ends where both sums have fallen to this share of the limit.
LEAVE = 0.25
#: Errors that are needed where nobody has said how large they were on the held-out rows.
FEW = 8
#: A held-out deviation of less than this share of the forecast counts as this: a series that never moved has none.
_FLOOR = 0.002
_MAD = 1.4826
#: Periods that a live error is the mean of.
SHOWN = 12


@dataclass(frozen=True)
class Alarm:
    """A model that is no longer right.

    :param since: key of the first period of those that speak against it.
    :param raised: key of the period at which that was enough.
    :param high: whether its forecasts are too high; else too low.
    """

    since: str
    raised: str
    high: bool


@dataclass(frozen=True)
class LiveError:
    """How far off the nearest forecasts of the newest periods were.

    :param share: mean absolute error as a share of the truth; None where every truth is 0.
    :param naive: the same without a model; None where nobody knows.
    """

    periods: int
    share: float | None
    naive: float | None


def nearest(rows: Iterable[Scored]) -> list[Scored]:
    """Return of each period whose truth is known the forecast that served last before it, by period.

    That is the fewest steps ahead, and of those the one asked last.
    """
    found: dict[str, Scored] = {}
    for row in rows:
        if row.role != CHAMPION or row.error is None or row.step < 1:
            continue
        other = found.get(row.key)
        if other is None or (-row.step, row.at) > (-other.step, other.at):
            found[row.key] = row
    return [found[key] for key in sorted(found)]


def standardized(rows: Sequence[Scored]) -> list[float | None]:
    """Return the errors in standard deviations; None where nobody can say.

    :param rows: of :func:`nearest`. Where the model does not say how far off it was on its held-out rows, the errors
        before count, from :data:`FEW` on.
    """
    found: list[float | None] = []
    before: list[float] = []
    for row in rows:
        error = row.error or 0.0
        deviation = row.deviation
        if deviation is None and len(before) >= FEW:
            deviation = _MAD * statistics.median(before)
        before.append(abs(error))
        level = abs(row.predicted) if isinstance(row.predicted, int | float) else 0.0
        if deviation is not None:
            deviation = max(deviation, _FLOOR * level)
        if deviation is None or (deviation == 0 and error != 0):
            found.append(None)
        else:
            found.append(0.0 if error == 0 else error / deviation)
    return found


def judge(rows: Iterable[Scored], limit: float, patience: int) -> Alarm | None:
    """Return the alarm that stands after the newest of some rows: the end of :func:`course`."""
    states = list(course(rows, limit, patience))
    return states[-1] if states else None


def course(rows: Iterable[Scored], limit: float, patience: int) -> Iterator[Alarm | None]:
    """Yield the alarm that stands after each period, oldest first; None where there is none.

    :param limit: of the sums, in standard deviations.
    :param patience: periods in a row that must have added to a sum.
    """
    ordered = nearest(rows)
    yield from sums([row.key for row in ordered], standardized(ordered), limit, patience)


def sums(
    names: Sequence[str], errors: Sequence[float | None], limit: float, patience: int, sides: int = 2
) -> Iterator[Alarm | None]:
    """Yield the alarm that stands after each error, oldest first; None where there is none.

    :param names: what each error is of.
    :param errors: in standard deviations; None changes nothing.
    :param sides: 1 where only errors that are too high count.
    """
    found, began, lasted, runs = [0.0] * sides, [""] * sides, [0] * sides, [0] * sides
    alarm: Alarm | None = None
    for name, error in zip(names, errors, strict=True):
        if error is None:
            yield alarm
            continue
        for side, signed in enumerate((error, -error)[:sides]):
            added = min(signed, MOST) - ALLOWANCE
            if found[side] == 0 and added > 0:
                began[side] = name
            found[side] = min(max(0.0, found[side] + added), 2 * limit)
            lasted[side] = lasted[side] + 1 if added > 0 else 0
            runs[side] = runs[side] + 1 if added > 0 and signed >= EACH * limit else 0
            if runs[side] > patience:
                found[side] = max(found[side], limit)
            if alarm is None and found[side] >= limit and lasted[side] >= patience:
                alarm = Alarm(began[side], name, high=side == 0)
        if alarm is not None and max(found) <= LEAVE * limit:
            alarm = None
        yield alarm


def live_error(rows: Iterable[Scored]) -> LiveError | None:
    """Return how far off the newest forecasts were; None where no truth is known yet."""
    newest = nearest(rows)[-SHOWN:]
    if not newest:
        return None
    shares = [row.share for row in newest if row.share is not None]
    naive = [
        abs(row.naive - row.actual) / abs(row.actual)
        for row in newest
        if row.naive is not None and isinstance(row.actual, int | float) and row.actual
    ]
    return LiveError(
        len(newest),
        statistics.fmean(shares) if shares else None,
        statistics.fmean(naive) if naive else None,
    )
