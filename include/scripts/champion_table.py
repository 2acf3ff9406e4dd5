"""Makes the features of an older model, which today's settings do not ask for, from what the raw data still hold.

A model that serves was made by the settings of its day. preprocess.py leaves every column of numbers beside the test
set (``history.csv``), so that a feature that was taken out of the settings, or has another window, does not keep the
new model from being compared with it on the same rows.
"""

from __future__ import annotations

import csv
import math
import re
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

import numpy as np

from calendar_grid import read_day
from feature_table import calendar_features, lagged, mean_until, smoothed_feature
from holiday_calendar import feature_names
from job_failure import listed
from model_card import ArtifactError, ModelCard
from series_layout import CALENDAR, STEP, SeriesLayout
from table_parts import rows_of
from table_schema import Table

_LAG = re.compile(r"(?P<column>.+)_lag_(?P<lag>[0-9]+)(?P<ratio>_ratio)?", re.DOTALL)


@dataclass(frozen=True)
class History:
    """What preprocess.py knew of a city.

    :param indices: period (an ISO date) → its number.
    :param values: number of a period → column → value; None where missing.
    :param columns: the columns that hold numbers.
    :param members: of a parent: the same of each of its cities; it has no values of its own.
    """

    indices: Mapping[str, int]
    values: Mapping[int, Mapping[str, float | None]]
    columns: frozenset[str]
    members: Mapping[str, History] = field(default_factory=dict)


NO_HISTORY = History({}, {}, frozenset())


def read_history(path: Path) -> History:
    """Read ``history.csv``, or of a parent the files in ``history/``; where nothing is, as of an earlier
    preprocess.py, it holds nothing."""
    of_members = path.with_suffix("")
    if of_members.is_dir():
        return replace(
            NO_HISTORY, members={file.stem: read_history(file) for file in sorted(of_members.glob("*.csv"))}
        )
    if not path.is_file():
        return NO_HISTORY
    indices: dict[str, int] = {}
    values: dict[int, Mapping[str, float | None]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        lines = csv.reader(file)
        places = {name: at for at, name in enumerate(next(lines, [])[2:])}
        for row in lines:
            indices[row[1]] = int(row[0])
            numbers = array("d", [float(cell) if cell else math.nan for cell in row[2:]])
            values[int(row[0])] = _Period(places, numbers)
    return History(indices, values, frozenset(places))


class _Period(Mapping[str, "float | None"]):
    """The values of one period, in an eighth of a dictionary's memory.

    :param places: column → its place, shared by all periods.
    :param numbers: NaN where missing.
    """

    __slots__ = ("_numbers", "_places")

    def __init__(self, places: Mapping[str, int], numbers: array[float]) -> None:
        self._places = places
        self._numbers = numbers

    def __getitem__(self, name: str) -> float | None:
        value = self._numbers[self._places[name]]
        return None if math.isnan(value) else value

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def rows_for(card: ModelCard, test: Table, history: History) -> np.ndarray:
    """Make a model's rows for the periods of the test set.

    :param card: of a model of the same target.
    :return: rows x features, in the model's order; NaN where missing.
    :raises ArtifactError: naming the features that can't be made.
    """
    if test.members:
        made = np.empty((len(test), len(card.features)))
        for member in dict.fromkeys(test.members):
            at = np.flatnonzero(np.array(test.members) == member)
            own = replace(rows_of(test, at), members=())
            made[at] = rows_for(card, own, history.members.get(member, NO_HISTORY))
        return made
    reference = card.transform.reference
    columns, lacking = [], []
    for name in card.features:
        # Under another window a ratio of the same name is another number.
        is_ratio = name.endswith("_ratio") and reference is not None
        same = (not is_ratio or reference in test.schema.names) and _means_the_same(name, card, test)
        if name in test.schema.names and same:
            columns.append(test.values[:, test.schema.names.index(name)])
            continue
        if name == STEP:
            columns.append(test.baselines["ahead"])
            continue
        make = _maker(name, card, history)
        if make is None or not set(test.rows) <= set(history.indices):
            lacking.append(name)
            continue
        values = (
            make(history.indices[period] - int(lead), history.indices[period], read_day(period))
            for period, lead in zip(test.rows, test.baselines["lead"], strict=True)
        )
        columns.append(np.array([math.nan if value is None else value for value in values]))
    if lacking:
        raise ArtifactError(
            f"the model of {card.as_of} needs feature {listed(lacking)}, which the test set lacks (it has "
            f"{listed(test.schema.names)}), and the raw data hold only the columns {listed(sorted(history.columns))}. "
            "Keep the column in the raw data, if only empty, until new models serve"
        )
    return np.column_stack(columns)


def _means_the_same(name: str, card: ModelCard, test: Table) -> bool:
    """Tell whether a feature that both have is the same number: lags of a column that is known ahead are counted from
    another period, and holidays may be another country's."""
    mine, theirs = card.schema.layout, test.schema.layout
    holidays = mine.holidays if mine is not None else None
    if holidays is not None and name in feature_names(mine.frequency if mine is not None else ""):
        return holidays.is_of(theirs.holidays if theirs is not None else None)
    found = _LAG.fullmatch(name)
    return found is None or _is_ahead(found["column"], mine) == _is_ahead(found["column"], theirs)


def _is_ahead(column: str, layout: SeriesLayout | None) -> bool:
    return layout is not None and column in layout.known_ahead


def _maker(name: str, card: ModelCard, history: History) -> Callable[[int, int, date], float | None] | None:
    """Return what makes a feature of the newest known period's number, the forecast period's, and its first day.

    None for one that can't be made.
    """
    for kind in CALENDAR:
        names = [kind] if kind == "trend" else [f"{kind}_sin", f"{kind}_cos"]
        if name in names:
            at = names.index(name)
            return lambda _, index, day: calendar_features(kind, day)[at]
    layout = card.schema.layout
    if layout is not None and layout.holidays is not None and name in feature_names(layout.frequency):
        holidays, place = layout.holidays, feature_names(layout.frequency).index(name)
        return lambda _, index, day: holidays.features(index, layout.frequency)[place]
    if name == card.transform.reference and card.target in history.columns:
        return lambda newest, index, day: _mean(card, history, newest)
    if layout is not None and card.target in history.columns:
        for method in layout.smoothed:
            if name == layout.smoothed_name(method):
                return lambda newest, index, day: smoothed_feature(
                    layout, method, history.values, (newest, index)
                )
    found = _LAG.fullmatch(name)
    if found is None or found["column"] not in history.columns:
        return None
    column, lag, ratio = found["column"], int(found["lag"]), found["ratio"]
    ahead = _is_ahead(column, layout)

    def make(newest: int, index: int, _: date) -> float | None:
        value = lagged(history.values, index - 1 if ahead else newest, column, lag)
        if value is None or not ratio:
            return value
        mean = _mean(card, history, newest)
        return value / mean if mean else None

    return make


def _mean(card: ModelCard, history: History, newest: int) -> float | None:
    return mean_until(history.values, newest, card.target, card.transform.window)
