"""Makes an artifact of each algorithm for each task: ``python serving_kinds_models.py <scripts> <folder>``.

In the image's Python, with rows of numbers, and with rows that hold categories, truth values and dates as well. Each
lies in a folder of its own as model.tar.gz would be extracted, ``rows.json`` beside them holds rows as a request does.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, sys.argv[1])

import algorithms
from hyperparameters import checked
from model_artifact import Model, save_artifact
from model_card import ModelCard
from table_parts import rows_of
from table_schema import Baseline, Feature, Schema, Table
from target_transform import TargetTransform

ROWS, ASKED = 3000, 50
NUMBERS = tuple(Feature(f"x{number}") for number in range(8))
MIXED = (
    *NUMBERS[:5],
    Feature("garden", "boolean"),
    Feature("built", "date"),
    Feature("kind", "category", tuple(f"kind {number}" for number in range(20))),
)
CLASSES = {
    "regression": (),
    "binary": ("no", "yes"),
    "multiclass": tuple(f"class {number}" for number in range(10)),
}


def table(schema: Schema, random: np.random.Generator) -> Table:
    """Random rows whose target hangs on all features."""
    draw = {
        "number": lambda: random.normal(size=ROWS),
        "boolean": lambda: random.integers(0, 2, ROWS).astype(float),
        "date": lambda: random.integers(9000, 16000, ROWS).astype(float),
        "category": lambda: random.integers(0, 21, ROWS).astype(float),
    }
    values = np.column_stack([draw[feature.kind]() for feature in schema.features])
    score = ((values - values.mean(axis=0)) / values.std(axis=0)).sum(axis=1) + 0.5 * random.normal(size=ROWS)
    count = len(schema.classes)
    label = np.argsort(np.argsort(score)) * count // ROWS if count else score
    return Table(
        schema,
        [str(each) for each in range(ROWS)],
        label.astype(float),
        label.astype(float),
        np.ones(ROWS),
        values,
    )


def main() -> None:
    """Train them all."""
    folder, random = Path(sys.argv[2]), np.random.default_rng(1)
    rows: dict[str, list[list[object]]] = {}
    for features, named in ((NUMBERS, "numbers"), (MIXED, "mixed")):
        for task, classes in CLASSES.items():
            values = tuple(1 / len(classes) for _ in classes) or (0.0,)
            schema = Schema(
                "table",
                task,
                "austin",
                "20150801T000000Z",
                "y",
                TargetTransform("none"),
                features,
                classes,
                Baseline("baseline", values),
            )
            whole = table(schema, random)
            train, validation = rows_of(whole, slice(0, 2400)), rows_of(whole, slice(2400, None))
            for name in algorithms.names():
                module = algorithms.algorithm(name)
                hyperparameters = checked(module.SPEC, task, {})
                fitted = module.fit(train, validation, hyperparameters, seed=0, threads=1)
                place = folder / f"{name}-{task}-{named}"
                place.mkdir(parents=True)
                card = ModelCard(schema, name, {"train": len(train), "validation": len(validation)})
                save_artifact(place, Model(fitted, card), validation.values[:10])
            asked = validation.values[:ASKED].tolist()
            rows[f"{task}-{named}"] = [
                [each.decode(value) for each, value in zip(features, row, strict=True)] for row in asked
            ]
    (folder / "rows.json").write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
