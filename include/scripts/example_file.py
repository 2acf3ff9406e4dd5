"""Reads the sets that preprocess.py wrote."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from job_failure import JobFailure, listed

LEADING_COLUMNS = ("period", "target", "label", "naive")


@dataclass(frozen=True)
class ExampleSet:
    """A set of examples of one city.

    :param periods: ISO dates, one per row.
    :param target: rows; in the target's own unit.
    :param label: rows; the target under the transform.
    :param naive: rows; the naive forecast, in the target's own unit.
    :param values: rows x features; NaN where missing.
    """

    city: str
    features: list[str]
    periods: list[str]
    target: np.ndarray
    label: np.ndarray
    naive: np.ndarray
    values: np.ndarray


def read_examples(folder: Path, part: str) -> ExampleSet:
    """Read the one set below a folder.

    :param folder: holds ``city=<slug>/<part>.csv``.
    :param part: train, validation or test.
    :raises JobFailure: when there is none, more than one, or it is not as preprocess.py writes it.
    """
    cities = sorted(path for path in folder.glob("city=*") if path.is_dir())
    if len(cities) != 1:
        names = listed([path.name.removeprefix("city=") for path in cities])
        raise JobFailure(f"{folder}: holds {len(cities)} cities ({names}); one model is of exactly one city.")
    path = cities[0] / f"{part}.csv"
    if not path.is_file():
        raise JobFailure(f"{path}: missing; preprocess.py writes it when a city has enough data.")
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        rows = [row for row in reader if row]
    if tuple(header[:4]) != LEADING_COLUMNS or len(header) < 5:
        raise JobFailure(
            f"{path}, row 1: got columns {listed(header)}; "
            f"allowed: {', '.join(LEADING_COLUMNS)}, then the features."
        )
    if not rows:
        raise JobFailure(f"{path}: holds no rows; at least 1 is needed.")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise JobFailure(
                f"{path}, row {number}: got {len(row)} values; allowed: {len(header)}, one per column."
            )
    try:
        numbers = np.array(
            [[float(cell) if cell else math.nan for cell in row[1:]] for row in rows], dtype=np.float64
        )
    except ValueError as error:
        raise JobFailure(f"{path}: {error}; allowed: numbers, or empty where missing.") from None
    if not np.isfinite(numbers[:, :3]).all():
        raise JobFailure(f"{path}: target, label and naive must be there in every row.")
    return ExampleSet(
        city=cities[0].name.removeprefix("city="),
        features=header[4:],
        periods=[row[0] for row in rows],
        target=numbers[:, 0],
        label=numbers[:, 1],
        naive=numbers[:, 2],
        values=numbers[:, 3:],
    )
