"""What predictions of a table's model were worth: outcomes joined with captured predictions, and judged. Pure.

A single prediction is right or wrong by chance, so they are judged in groups of :data:`GROUP`, in the order in which
they were asked for. Of each group the loss (the absolute error; of a classification the share of wrong classes) is held
against the model's own on its held-out rows, in standard deviations of what chance makes of so many: of wrong classes
that of a binomial share, of absolute errors that of MAE and RMSE. :mod:`city_fleet.monitoring.decay` adds them up as it
adds up periods, for losses that are too large alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from city_fleet import clock
from city_fleet.monitoring import decay
from city_fleet.state.live_scores import Scored
from city_fleet.state.observed import CHAMPION, Observed

GROUP = 20
#: Models whose held-out errors are remembered.
MODELS = 60
#: Predictions that a live error is the mean of.
SHOWN = 100
#: A model that made no mistake on its held-out rows counts as one that makes one in so many.
_LEAST_SHARE = 0.005

#: Metric → value of a model, as a live pointer has them.
HeldOut = Mapping[str, float]


@dataclass(frozen=True)
class Losses:
    """How far off the newest predictions were.

    :param mean: absolute error, or share of wrong classes.
    :param held_out: the same on the held-out rows; None where nobody knows.
    :param share: absolute error as a share of the truth, or ``mean`` of a classification; None where there is none.
    """

    count: int
    mean: float
    held_out: float | None
    share: float | None


def scored(seen: Observed) -> Scored | None:
    """Return a captured prediction as a row without its truth; None of a failure, or where the answer is masked."""
    value = seen.answer.get("label", seen.answer.get("prediction"))
    if seen.status != 200 or isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return Scored(
        key=seen.prediction_id, step=0, role=seen.role, target_model=seen.target_model, at=clock.iso(seen.at),
        predicted=value,
    )  # fmt: skip


def truth_of(row: Scored, value: float | str) -> float | str | None:
    """Return an outcome in the words of a prediction; None where a number was predicted and a class happened.

    A file may say ``1`` where the class is called ``"1"``.
    """
    if not isinstance(row.predicted, str):
        return None if isinstance(value, str) else value
    if isinstance(value, str):
        return value
    try:
        return row.predicted if float(row.predicted) == value else str(value)
    except ValueError:
        return str(value)


def remembered(before: Any, target_model: str, metrics: Mapping[str, float | None]) -> dict[str, HeldOut]:
    """Add a model's held-out metrics to those that a look before has noted; the newest stay.

    :param before: of the notes, not trusted.
    """
    noted = before if isinstance(before, dict) else {}
    names = ("mae", "rmse", "accuracy")
    found = {
        model: {
            name: each[name]
            for name in names
            if isinstance(each.get(name), int | float)
            and not isinstance(each[name], bool)
            and math.isfinite(each[name])
        }
        for model, each in {**noted, target_model: metrics}.items()
        if isinstance(each, Mapping)
    }
    return dict(list(found.items())[-MODELS:])


def judge(
    rows: Iterable[Scored], held_out: Mapping[str, HeldOut], limit: float, patience: int
) -> decay.Alarm | None:
    """Return the alarm that stands after the newest group; None where there is none.

    :param held_out: target model → its metrics; predictions of others are not judged.
    :param patience: groups in a row.
    """
    known = [(row, own) for row in rows if _counts(row) and (own := _own(row, held_out)) is not None]
    names, errors = [], list[float | None]()
    for first in range(0, len(known) - GROUP + 1, GROUP):
        group = known[first : first + GROUP]
        over = sum(abs(row.error or 0.0) - mean for row, (mean, _) in group)
        spread = math.sqrt(sum(variance for _, (_, variance) in group))
        names.append(group[0][0].at[:10])
        errors.append(over / spread if spread else None)
    states = list(decay.sums(names, errors, limit, patience, sides=1))
    return states[-1] if states else None


def losses(rows: Iterable[Scored], held_out: Mapping[str, HeldOut]) -> Losses | None:
    """Return how far off the newest predictions were; None where no outcome is known."""
    newest = [row for row in rows if _counts(row)][-SHOWN:]
    if not newest:
        return None
    means = [own[0] for row in newest if (own := _own(row, held_out)) is not None]
    mean = sum(abs(row.error or 0.0) for row in newest) / len(newest)
    shares: Sequence[float] = [row.share for row in newest if row.share is not None]
    share = sum(shares) / len(shares) if shares else None
    if isinstance(newest[-1].predicted, str):
        share = mean
    return Losses(len(newest), mean, sum(means) / len(means) if means else None, share)


def _counts(row: Scored) -> bool:
    return row.step == 0 and row.role == CHAMPION and row.error is not None


def _own(row: Scored, held_out: Mapping[str, HeldOut]) -> tuple[float, float] | None:
    """Return mean and variance of a prediction's loss on the held-out rows of its model; None where nobody knows."""
    own = held_out.get(row.target_model, {})
    if isinstance(row.predicted, str):
        if "accuracy" not in own:
            return None
        share = min(max(1 - own["accuracy"], _LEAST_SHARE), 1 - _LEAST_SHARE)
        return share, share * (1 - share)
    if "mae" not in own or "rmse" not in own:
        return None
    return own["mae"], max(own["rmse"] ** 2 - own["mae"] ** 2, (0.1 * own["mae"]) ** 2)
