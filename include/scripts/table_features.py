"""Learns from the training part what a column is, and turns every row's cells into the numbers of its feature.

What a category, a kind or a class is, the training rows alone say: of what is only in the holdout no trace is left.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa

from column_values import TRUTH_WORDS, coded, days, inferred_kind, numbers, truths
from job_failure import quoted
from raw_data import LARGEST, Complaints
from table_rows import TableRows
from table_schema import Feature
from table_settings import ColumnSettings, TableSettings

_EPOCH_DAY = 719_163


@dataclass(frozen=True)
class EncodedColumn:
    """A feature with the numbers of all rows.

    :param values: rows; NaN where missing.
    :param shares: of a category: how much of the known training cells is none of the categories.
    """

    feature: Feature
    values: np.ndarray
    shares: float = 0.0


@dataclass(frozen=True)
class LearnedFeatures:
    """What the training part says of the columns.

    :param columns: in the order of the model's rows.
    :param left_out: column → why it is no feature.
    :param missing: column → rows; whether the cell is missing.
    """

    columns: list[EncodedColumn]
    left_out: dict[str, str]
    missing: dict[str, np.ndarray]


def learn_features(
    rows: TableRows, train: np.ndarray, settings: TableSettings, complaints: Complaints
) -> LearnedFeatures:
    """Encode the columns that the settings ask for, or all that there are.

    :param train: places of the training rows.
    :param complaints: gets the cells that are not of their column's kind.
    """
    asked = settings.columns
    if asked is None:
        free = [name for name in sorted(rows.texts) if name not in settings.reserved]
        asked = tuple(ColumnSettings(name) for name in free if name not in settings.ignore)
    columns, left_out, missing = [], {}, {}
    for column in asked:
        cells = rows.texts[column.column]
        kind = column.kind or inferred_kind(cells.take(pa.array(train)))
        if kind is None:
            left_out[column.column] = "no value in the training rows"
            missing[column.column] = coded(cells).code < 0
            continue
        encoded = _encode(rows, replace(column, kind=kind), train, complaints, column.kind is None)
        missing[column.column] = np.isnan(encoded.values)
        reason = _useless(encoded.values[train])
        if reason:
            left_out[column.column] = reason
        else:
            columns.append(encoded)
    return LearnedFeatures(columns, left_out, missing)


def _useless(values: np.ndarray) -> str:
    known = values[~np.isnan(values)]
    if not len(known):
        return "no value in the training rows"
    return "the same in all training rows" if len(known) == len(values) and np.ptp(known) == 0 else ""


def _encode(
    rows: TableRows, column: ColumnSettings, train: np.ndarray, complaints: Complaints, inferred: bool
) -> EncodedColumn:
    cells = rows.texts[column.column]
    kind = str(column.kind)
    guess = (
        " The training rows hold nothing else; give the column its kind in dataset.columns, or correct the cell."
        if inferred
        else ""
    )
    if kind == "number":
        values, bad = numbers(cells)
        bad |= _outside(values, column)
        complain(rows, column.column, bad, f"{column.limits}, or empty.{guess}", complaints)
        return EncodedColumn(Feature(column.column), np.where(bad, math.nan, values))
    found = coded(cells, category=kind == "category")
    if kind == "category":
        return _category(found.code, found.texts, column, train)
    if kind == "boolean":
        read, allowed = truths(found.texts), TRUTH_WORDS
    else:
        read = days(found.texts, column.format)
        allowed = f"a date written as {column.format or '2014-07-31'}, in the years 1 to 9999"
    values = found.map(read)
    bad = np.isnan(values) & (found.code >= 0)
    complain(rows, column.column, bad, f"{allowed}, or empty.{guess}", complaints)
    return EncodedColumn(Feature(column.column, kind), values)


def _outside(values: np.ndarray, column: ColumnSettings) -> np.ndarray:
    low = -LARGEST if column.limits.low is None else column.limits.low
    high = LARGEST if column.limits.high is None else column.limits.high
    return (values < low) | (values > high)


def _category(
    code: np.ndarray, texts: Sequence[str], column: ColumnSettings, train: np.ndarray
) -> EncodedColumn:
    """Give the commonest categories of the training rows a number each, and all others the next one."""
    of_train = code[train]
    counts = np.bincount(of_train[of_train >= 0], minlength=len(texts))
    seen = [at for at in np.flatnonzero(counts).tolist() if len(texts[at]) <= 1000]
    common = sorted(seen, key=lambda at: (-counts[at], texts[at]))[: column.most]
    place = np.full(len(texts), float(len(common)))
    place[common] = np.arange(len(common))
    feature = Feature(column.column, "category", tuple(texts[at] for at in common))
    values = np.append(place, math.nan)[code]
    known = int(counts.sum())
    return EncodedColumn(feature, values, 1 - float(counts[common].sum()) / known if known else 0.0)


def complain(rows: TableRows, column: str, bad: np.ndarray, allowed: str, complaints: Complaints) -> None:
    """Note each bad cell with its row.

    :param bad: rows of truth.
    """
    for row in np.flatnonzero(bad).tolist():
        got = quoted(rows.texts[column][row].as_py().strip())
        complaints.add(f"{rows.where(row)}, column '{column}': got '{got}'; allowed: {allowed}")


def raw_cells(
    rows: TableRows, places: np.ndarray, features: Sequence[Feature], settings: TableSettings
) -> tuple[list[str], Any]:
    """Return the held-out rows as the files have them, for a champion of other features or encodings.

    Cells of a feature are spelled as a request has them: ``true``, an ISO date; a missing one is empty.

    :return: all columns in order of their names, and the rows' cells.
    """
    kinds: Mapping[str, str] = {feature.name: feature.kind for feature in features}
    formats = {each.column: each.format for each in settings.columns or ()}
    names = sorted(rows.texts)
    columns = []
    for name in names:
        kind = kinds.get(name)
        found = coded(rows.texts[name].take(pa.array(places)), category=kind in (None, "category"))
        texts = found.texts
        if kind == "boolean":
            texts = ["true" if value else "false" for value in truths(texts)]
        elif kind == "date":
            texts = [iso_day(value) for value in days(texts, formats.get(name))]
        texts = [*texts, ""]
        columns.append([texts[at] for at in found.code])
    return names, zip(*columns, strict=True)


def iso_day(value: float) -> str:
    """Spell a day's number as a date."""
    return date.fromordinal(int(value) + _EPOCH_DAY).isoformat()
