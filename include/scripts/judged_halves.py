"""Which half of a model counts on which row: what judges a new model, and what its champion is compared by.

A model that has learned the judged periods answers them far too well. So a comparison takes the answers of the models
that judged it, and the serving model only on rows that are newer than all that it has learned.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from backtest import BACKTEST_FILE, Backtest, distance
from calendar_grid import period_index, read_day
from job_failure import listed
from judged_blocks import Blocks, frequency_of, known_at
from model_card import ArtifactError
from rolling_origins import MOST_DISTANCE
from table_parts import rows_of
from table_schema import Table

#: Of what is measured here once more: what two machines' floats may differ by.
_SLACK = 1e-3


def judged_half(backtest: Backtest, served: np.ndarray, test: Table) -> tuple[np.ndarray, dict[str, Any]]:
    """Return a new model's answers that judge it, after a check that what serves is tied to them.

    :param served: the serving model's answers on the same rows.
    :return: rows; and what evaluation.json says of the two halves.
    :raises ArtifactError: a row was not judged, or the serving model is another one.
    """
    judged = backtest.answers(test)
    lacking = [day for day, value in zip(test.rows, judged.tolist(), strict=True) if not np.isfinite(value)]
    if lacking:
        raise ArtifactError(
            f"{BACKTEST_FILE}: {len(lacking)} of {len(test)} judged rows are not in it, the first of them of "
            f"{listed(lacking[:1])}; allowed: an answer for each. Train the model again."
        )
    apart = distance(served, judged, test.target)
    if backtest.refit and apart > MOST_DISTANCE * (1 + _SLACK):
        raise ArtifactError(
            f"the serving model answers {apart:.2f} times the judged error away from the judged answers; allowed: "
            f"{MOST_DISTANCE}. It is not the model that was judged: train it again."
        )
    return judged, {"refit": backtest.refit, "known_until": backtest.known_until, "distance": apart}


def newest_block(blocks: Blocks, test: Table) -> np.ndarray:
    """Return the numbers of the newest block's rows."""
    numbers = blocks.of(test)
    return np.flatnonzero(numbers == numbers.max())


def judged_champion(
    backtest: Backtest | None, test: Table, blocks: Blocks | None, ask: Callable[[Table], np.ndarray]
) -> np.ndarray:
    """Return the answers by which a champion is compared.

    :param backtest: how it was judged; None of an earlier version, whose model has never learned the newest block.
    :param ask: has the model that serves answer some rows of the test set.
    :return: rows; NaN where it has no answer that it could not know.
    :raises ArtifactError: no row is left.
    """
    answers = np.full(len(test), np.nan) if backtest is None else backtest.answers(test)
    if backtest is not None:
        until = period_index(read_day(backtest.known_until), frequency_of(test))
        fresh = np.flatnonzero(~np.isfinite(answers) & (known_at(test) >= until))
    else:
        fresh = np.arange(len(test)) if blocks is None else newest_block(blocks, test)
    if len(fresh):
        answers[fresh] = ask(rows_of(test, fresh))
    if not np.isfinite(answers).any():
        raise ArtifactError("it has judged none of these rows, and has learned them all.")
    return answers
