"""Judges a chosen candidate from rolling origins, and makes the model that serves.

The candidate is chosen on training and validation alone. The model of these two judges the first block of periods; for
each later block, and for serving, the same algorithm with the same settings and seed is fitted to all that is known by
then (docs/adr/0025-judged-then-learned-from.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from algorithms import Fitted
from backtest import MOST_ROWS, Backtest, distance, keys_of
from calendar_grid import period_start
from job_failure import JobFailure
from judged_blocks import Parts, frequency_of, known_at, periods_of, whole
from model_artifact import untransformed
from table_parts import joined, rows_of
from table_schema import Table

#: Further than this from the judged answers a refit model does not serve. One that knows the judged rows by heart is at
#: 1, and the largest of 133 refits of four panels was 1.13 (ADR 0025).
MOST_DISTANCE = 1.5

#: Fits a candidate to a training and a validation part.
Fit = Callable[[Table, Table], Fitted]


@dataclass(frozen=True)
class Judged:
    """The two halves of a model.

    :param serving: the model that serves.
    :param rows: how many rows of each part it was fitted to.
    :param backtest: how it was judged.
    :param before: the rows that were known when the newest block began, which a drift is measured from.
    :param blocks: how many models have judged it.
    :param note: why another model serves than was asked for; empty where it is as asked.
    :param seconds: what judging and fitting again have taken.
    """

    serving: Fitted
    rows: dict[str, int]
    backtest: Backtest
    before: Table
    blocks: int
    note: str = ""
    seconds: float = 0.0

    def report(self) -> dict[str, Any]:
        """Return what training.json says of it."""
        return {
            "blocks": self.blocks,
            "refit": self.backtest.refit,
            "known_until": self.backtest.known_until,
            "distance": self.backtest.distance,
            "note": self.note or None,
            "seconds": self.seconds,
        }


def judge_and_refit(first: Fitted, parts: Parts, fit: Fit, *, refit: bool) -> Judged:
    """Judge a candidate on all blocks, and fit what serves.

    :param first: the model of training and validation.
    :param parts: with a test part.
    :param refit: whether what serves learns the judged periods.
    :raises JobFailure: a fit fails, or an answer is no number.
    """
    started = time.monotonic()
    train, validation, test = parts.train, parts.validation, parts.test
    if test is None:
        raise JobFailure("the test part is missing.")
    blocks = parts.blocks or whole(test)
    known = joined(*(each for each in (train, validation, parts.between, test) if each is not None))
    # In the order of their periods, as preprocess.py has them: some algorithms take later rows for later ones.
    known = rows_of(known, np.argsort(periods_of(known), kind="stable"))
    periods = periods_of(known)
    if len(test) > MOST_ROWS:
        raise JobFailure(
            f"{len(test)} rows are judged; allowed: {MOST_ROWS}. Set dataset.backtest_periods to fewer."
        )
    held = int(np.ptp(periods_of(validation))) + 1
    numbers, origins = blocks.of(test), known_at(test)
    model, rows = first, {"train": len(train), "validation": len(validation)}
    until = int(periods_of(validation).max())
    judged = np.full(len(test), np.nan)
    before = joined(train, validation)
    for number in np.unique(numbers).tolist():
        mine = numbers == number
        if number > 0:
            # What is known when the block's first forecast is made; later ones of the block know more.
            until = int(origins[mine].min())
            model, rows = _fit_until(known, periods, until, held, fit)
            before = _where(known, periods <= until)
        judged[mine] = _answers(model, _where(test, mine))
    newest = int(periods.max())
    note, apart = "", distance(_answers(model, test), judged, test.target)
    if refit:
        again, again_rows = _fit_until(known, periods, newest, held, fit)
        far = distance(_answers(again, test), judged, test.target)
        if far <= MOST_DISTANCE:
            model, rows, until, apart = again, again_rows, newest, far
        else:
            refit = False
            note = (
                f"the model that has learned the judged periods too answers {far:.2f} times the judged error away from "
                f"the judged answers (allowed: {MOST_DISTANCE}), so the newest judged model serves"
            )
    day = period_start(until, frequency_of(test)).isoformat()
    answered = dict(zip(keys_of(test), judged.tolist(), strict=True))
    seconds = round(time.monotonic() - started, 3)
    return Judged(model, rows, Backtest(refit, day, apart, answered), before, blocks.count, note, seconds)


def _fit_until(
    known: Table, periods: np.ndarray, until: int, held: int, fit: Fit
) -> tuple[Fitted, dict[str, int]]:
    """Fit to all rows whose target is known at a period; the newest of them stop the training early.

    :param held: how many periods these are; fewer where that were more than a third of all.
    """
    first = int(periods.min())
    held = max(1, min(held, (until - first + 1) // 3))
    train = _where(known, periods <= until - held)
    validation = _where(known, (periods > until - held) & (periods <= until))
    if not len(train) or not len(validation):
        raise JobFailure(
            f"too few rows are known until {period_start(until, frequency_of(known)).isoformat()} to fit a model."
        )
    return fit(train, validation), {"train": len(train), "validation": len(validation)}


def _where(table: Table, mask: np.ndarray) -> Table:
    return rows_of(table, np.flatnonzero(mask))


def _answers(model: Fitted, table: Table) -> np.ndarray:
    labels = np.asarray(model.predict(table.values), dtype=np.float64)
    answers = untransformed(table.schema, labels, table.values)
    if not np.isfinite(answers).all():
        raise JobFailure("its predictions for the judged rows are no finite numbers.")
    return answers
