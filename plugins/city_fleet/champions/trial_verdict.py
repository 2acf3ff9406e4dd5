"""Whether a challenger on trial has turned out better or worse than the champion, by what really happened. Pure.

Where both have answered the same question (a shadow, or a forecast that both are asked for) their losses are compared
in pairs; of a canary, whose answers are to other requests than the champion's, as two samples. It is looked at every
night, so what promotes has to be surer than what a single look would ask for; falling back costs nothing, and is
easier.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, variance
from typing import Protocol

from city_fleet.champions.paired_test import Paired
from city_fleet.state.challengers import Challenger
from city_fleet.state.observed import CHALLENGER, CHAMPION

BETTER, WORSE, UNDECIDED = "better", "worse", "undecided"
#: How sure a verdict has to be, as one-sided confidence.
SURE_BETTER, SURE_WORSE = 0.99, 0.95
#: Outcomes that both have answered, or that each has; fewer say nothing.
LEAST_PAIRS, LEAST_EACH = 10, 30


class Row(Protocol):
    """An answer of one model whose truth is known.

    :param key: a period, or a ``prediction_id``; ``step``: periods ahead of a forecast.
    :param at: when it was asked; ISO 8601, UTC.
    :param error: predicted less actual; of a class 0 or 1. None until the truth is known.
    """

    @property
    def key(self) -> str: ...
    @property
    def step(self) -> int: ...
    @property
    def role(self) -> str: ...
    @property
    def target_model(self) -> str: ...
    @property
    def at(self) -> str: ...
    @property
    def error(self) -> float | None: ...


@dataclass(frozen=True)
class Verdict:
    """How a trial stands.

    :param kind: ``better``, ``worse`` or ``undecided``; of a trial that was ended, ``ended``.
    :param sentence: why, without its full stop.
    """

    kind: str
    sentence: str

    def and_so(self, more: str) -> Verdict:
        """Return it with more behind its sentence."""
        return Verdict(self.kind, f"{self.sentence}; {more}")


def compare(trial: Challenger, rows: Iterable[Row]) -> Verdict:
    """Say how a trial stands.

    :param rows: the city's scores; those of other models, and of before the trial, do not count.
    """
    mine = {CHALLENGER: trial.model.target_model, CHAMPION: trial.champion}
    found: dict[str, dict[str, dict[int, float]]] = {role: {} for role in mine}
    for row in rows:
        if row.error is not None and mine.get(row.role) == row.target_model and row.at >= trial.since[:10]:
            found[row.role].setdefault(row.key, {})[row.step] = abs(row.error)
    challenger, champion = found[CHALLENGER], found[CHAMPION]
    pairs = list(_pairs(challenger, champion))
    if len(pairs) >= LEAST_PAIRS:
        return _of_pairs(pairs)
    losses = [[fmean(steps.values()) for steps in each.values()] for each in (challenger, champion)]
    if min(map(len, losses)) >= LEAST_EACH:
        return _of_samples(*losses)
    return Verdict(
        UNDECIDED,
        f"{len(challenger)} outcomes of the challenger are known and {len(champion)} of the champion, {len(pairs)} of "
        f"them of both; it takes {LEAST_PAIRS} of both, or {LEAST_EACH} of each",
    )


def _pairs(
    challenger: Mapping[str, Mapping[int, float]], champion: Mapping[str, Mapping[int, float]]
) -> Iterable[tuple[float, float]]:
    """Yield both losses of each key: the steps of one period err together, so they are one outcome."""
    for key, steps in challenger.items():
        both = steps.keys() & champion.get(key, {}).keys()
        if both:
            yield fmean(steps[step] for step in both), fmean(champion[key][step] for step in both)


def _of_pairs(pairs: Sequence[tuple[float, float]]) -> Verdict:
    first, second = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    means, count = (fmean(first), fmean(second)), len(pairs)
    joint = sum((a - means[0]) * (b - means[1]) for a, b in pairs) / (count - 1)
    covariance = (variance(first) / count, joint / count, variance(second) / count)
    return _judged(Paired("mae", count, means, covariance), f"on {count} outcomes that both have answered")


def _of_samples(challenger: Sequence[float], champion: Sequence[float]) -> Verdict:
    means = fmean(challenger), fmean(champion)
    covariance = variance(challenger) / len(challenger), 0.0, variance(champion) / len(champion)
    fewer = min(len(challenger), len(champion))  # its degrees of freedom are Welch's at least
    how = f"on {len(challenger)} outcomes of the challenger and {len(champion)} of the champion"
    return _judged(Paired("mae", fewer, means, covariance), how)


def _judged(seen: Paired, how: str) -> Verdict:
    other = Paired(seen.loss, seen.origins, seen.means[::-1], seen.covariance[::-1])
    better, worse = seen.confidence(), other.confidence()
    said = f"its mean absolute error is {seen.means[0]:.6g}, the champion's {seen.means[1]:.6g}, {how}"
    if better >= SURE_BETTER:
        return Verdict(BETTER, f"{said}: smaller with a confidence of {better:.3f}")
    if worse >= SURE_WORSE:
        return Verdict(WORSE, f"{said}: larger with a confidence of {worse:.3f}")
    return Verdict(UNDECIDED, f"{said}, which may be chance")
