"""Tables of cities for foreign models; runs in the importer's Python, with the scripts on its path."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from table_file import write_table
from table_schema import BINARY, MULTICLASS, REGRESSION, TABLE, Baseline, Feature, Schema, Table
from target_transform import TargetTransform

NAMES = ("rooms", "area", "age", "distance", "floor")
CLASSES = {REGRESSION: (), BINARY: ("no", "yes"), MULTICLASS: ("low", "middle", "high")}
ROWS = {"train": 700, "validation": 200, "test": 200}


def city_table(task: str, part: str, *, missing: bool = False) -> Table:
    """Make a part of a city whose slug is its task, with something to learn."""
    random = np.random.default_rng({"train": 1, "validation": 2, "test": 3}[part])
    count = ROWS[part]
    values = np.column_stack(
        [
            random.integers(1, 9, count),
            random.normal(90, 30, count),
            random.gamma(2.0, 12.0, count),
            random.lognormal(1.0, 0.7, count),
            random.integers(0, 5, count),
        ]
    ).astype(np.float64)
    score = 40 * values[:, 0] + 3 * values[:, 1] - 0.02 * (values[:, 2] - 30) ** 2 - 20 * values[:, 3]
    score += random.normal(0, 15, count)
    target = score + 500
    if task == BINARY:
        target = (score > 380).astype(float)
    if task == MULTICLASS:
        target = np.digitize(score, [300, 450]).astype(float)
    if missing:
        values[random.random(values.shape) < 0.05] = np.nan
    classes = CLASSES[task]
    shares = (
        np.bincount(target.astype(int), minlength=len(classes)) / count if classes else [np.median(target)]
    )
    schema = Schema(
        kind=TABLE,
        task=task,
        city=task,
        as_of="20150801T000000Z",
        target="price",
        transform=TargetTransform("none"),
        features=tuple(Feature(name) for name in NAMES),
        classes=classes,
        baseline=Baseline("median" if not classes else "class frequencies", tuple(map(float, shares))),
    )
    rows = [f"{part}-{at}" for at in range(count)]
    return Table(schema, rows, target, target, np.ones(count), values)


def write_city(folder: Path, task: str, *, missing: bool = False) -> None:
    """Write all parts of a city."""
    for part in ROWS:
        write_table(folder / part / f"city={task}", part, city_table(task, part, missing=missing))
