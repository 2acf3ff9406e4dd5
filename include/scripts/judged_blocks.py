"""The blocks of periods that judge a series' models: each by a model of what was known when the block began.

Of sixty months and blocks of twelve the first model judges a year of forecasts, then one that has learned that year
judges the next, and so on: a rolling origin, with as few fits as a yearly refit needs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from calendar_grid import period_index, read_day
from job_failure import JobFailure
from table_parts import seen_by
from table_schema import Table

FORMAT_VERSION = 1
#: Beside test.csv: how it is divided, and the rows that lie between the parts (of no use to the first model).
BLOCKS_FILE = "blocks.json"
BETWEEN = "between"
_MOST_BYTES = 10_000


@dataclass(frozen=True)
class Blocks:
    """How the judged periods are divided.

    :param count: how many blocks there are.
    :param periods: how many periods each has.
    """

    count: int
    periods: int

    def to_json(self) -> dict[str, Any]:
        """Write blocks.json."""
        return {"format_version": FORMAT_VERSION, "blocks": self.count, "periods": self.periods}

    def of(self, test: Table) -> np.ndarray:
        """Number the rows' blocks by the period in which their forecasts are made.

        :return: rows; whole numbers from 0, the last one the newest.
        """
        made = made_at(test)
        return np.clip(self.count - 1 - (made.max() - made) // self.periods, 0, None)


@dataclass(frozen=True)
class Parts:
    """What preprocess.py has made of a city.

    :param test: of a series: what judges its models; None where nobody has handed it on: then one model is made, and
        evaluate.py judges it.
    :param between: rows that lie between the parts; None where there are none.
    """

    train: Table
    validation: Table
    test: Table | None = None
    between: Table | None = None
    blocks: Blocks | None = None

    def seen_by(self, algorithm: str) -> Parts:
        """Take the columns that an algorithm gets."""
        return replace(
            self,
            train=seen_by(algorithm, self.train),
            validation=seen_by(algorithm, self.validation),
            test=None if self.test is None else seen_by(algorithm, self.test),
            between=None if self.between is None else seen_by(algorithm, self.between),
        )


def read_blocks(folder: Path) -> Blocks | None:
    """Read how a city's judged periods are divided.

    :param folder: holds test.csv.
    :return: None where nobody has said so, as an earlier preprocess.py: one model judges them all.
    :raises JobFailure: it is not as preprocess.py writes it.
    """
    path = folder / BLOCKS_FILE
    if not path.is_file():
        return None
    allowed = "blocks and periods, whole numbers from 1"
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise JobFailure(f"{path}: allowed: at most {_MOST_BYTES} bytes.")
        value = json.loads(path.read_text(encoding="utf-8"))
        blocks = Blocks(value["blocks"], value["periods"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise JobFailure(f"{path}: {str(error)[:100]}; allowed: {allowed}.") from None
    numbers = (blocks.count, blocks.periods)
    if not all(isinstance(each, int) and not isinstance(each, bool) and each >= 1 for each in numbers):
        raise JobFailure(f"{path}: got {numbers}; allowed: {allowed}.")
    return blocks


def whole(test: Table) -> Blocks:
    """Return one block of all rows."""
    return Blocks(1, int(np.ptp(made_at(test))) + 1)


def periods_of(table: Table) -> np.ndarray:
    """Return the number of each row's period."""
    frequency = frequency_of(table)
    numbers = {day: period_index(read_day(day), frequency) for day in set(table.rows)}
    return np.array([numbers[day] for day in table.rows], dtype=np.int64)


def made_at(table: Table) -> np.ndarray:
    """Return the number of the period that begins when each row's forecast is made."""
    return periods_of(table) - table.baselines["ahead"].astype(np.int64) + 1


def known_at(table: Table) -> np.ndarray:
    """Return the number of the newest period that is known when each row's forecast is made."""
    return periods_of(table) - table.baselines["lead"].astype(np.int64)


def frequency_of(table: Table) -> str:
    """Return the length of a period.

    :raises JobFailure: an earlier preprocess.py has made the table, and did not say so.
    """
    if table.schema.layout is None:
        raise JobFailure("schema.json: layout is missing; prepare the data again.")
    return table.schema.layout.frequency
