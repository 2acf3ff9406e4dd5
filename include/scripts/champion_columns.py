"""Makes the rows of an older model of a table, whose features or categories are not today's, of raw text.

preprocess.py leaves what the held-out rows hold in the raw data beside the test set (``raw.csv``), so that a column
that was taken out of the settings, or has other categories by now, does not keep the new model from being compared with
the one that serves on the same rows.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from job_failure import JobFailure, listed
from model_card import ArtifactError, ModelCard
from table_schema import Feature, Table


class RawColumns:
    """The raw text of the held-out rows, column by column as they are asked for.

    :param path: raw.csv; without it there is no column.
    :param rows: how many rows the test set has.
    """

    def __init__(self, path: Path, rows: int) -> None:
        self._path = path
        self._rows = rows

    @cached_property
    def names(self) -> list[str]:
        """The columns that there are."""
        if not self._path.is_file():
            return []
        with self._path.open(encoding="utf-8", newline="") as file:
            return next(csv.reader(file), [])

    def column(self, name: str) -> list[str] | None:
        """Read a column.

        :return: a text for each row; None where there is no such column.
        :raises JobFailure: the file has other rows than the test set.
        """
        if name not in self.names:
            return None
        at = self.names.index(name)
        with self._path.open(encoding="utf-8", newline="") as file:
            lines = csv.reader(file)
            next(lines)
            cells = [line[at] if at < len(line) else "" for line in lines if line]
        if len(cells) != self._rows:
            raise JobFailure(
                f"{self._path}: got {len(cells)} rows; allowed: {self._rows}, those of test.csv."
            )
        return cells


def values_for(card: ModelCard, test: Table, raw: RawColumns) -> np.ndarray:
    """Make a model's rows of the held-out ones.

    :param card: of a model of the same target and task.
    :return: rows × features, in the model's order; NaN where missing.
    :raises ArtifactError: naming the features that can't be made.
    """
    known = {feature.name: at for at, feature in enumerate(test.schema.features)}
    columns, lacking = [], []
    for feature in card.schema.features:
        at = known.get(feature.name)
        if at is not None and test.schema.features[at] == feature:
            columns.append(test.values[:, at])
            continue
        cells = raw.column(feature.name)
        if cells is None:
            lacking.append(feature.name)
        else:
            columns.append(_encoded(feature, cells))
    if lacking:
        raise ArtifactError(
            f"the model of {card.as_of} needs feature {listed(lacking)}, which the test set lacks (it has "
            f"{listed(test.schema.names)}), and the raw data hold only the columns {listed(raw.names)}. "
            "Keep the column in the raw data, if only empty, until new models serve"
        )
    return np.column_stack(columns)


def _encoded(feature: Feature, cells: Sequence[str]) -> np.ndarray:
    """Turn raw texts into a feature's numbers, as preprocess.py does; what is of another kind by now is missing."""
    # Here and not above: a champion of today's columns needs none of it.
    import pyarrow as pa  # noqa: PLC0415

    from column_values import coded, days, numbers, truths  # noqa: PLC0415

    column = pa.array(cells, pa.string())
    if feature.kind == "number":
        values, bad = numbers(column)
        return np.where(bad, math.nan, values)
    found = coded(column, category=feature.kind == "category")
    if feature.kind == "boolean":
        return found.map(truths(found.texts))
    if feature.kind == "date":
        return found.map(days(found.texts, None))
    return found.map([feature.encode(text) for text in found.texts])
