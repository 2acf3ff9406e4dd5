"""Makes artifacts of tables: ``python make_table_artifacts.py <scripts> <folder>``, in the image's Python.

Each lies in a folder of its own as model.tar.gz would be extracted; ``<name>.expected.json`` beside it holds rows as a
request has them and what inference.py answers through XGBoost itself.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, sys.argv[1])

import inference
from algorithms import xgboost
from model_artifact import Model, save_artifact
from model_card import ModelCard
from table_schema import BINARY, MULTICLASS, REGRESSION, TABLE, Feature, Schema, Table
from target_transform import TargetTransform

NUMBERS = tuple(Feature(f"x{number}") for number in range(5))
MIXED = (Feature("x0"), Feature("pool", "boolean"), Feature("listed", "date"))
CATEGORIES = (Feature("x0"), Feature("type", "category", ("Condo", "Haus, groß", "Loft")))
CLASSES = {
    REGRESSION: (),
    BINARY: ("nein, danke", "ja"),
    MULTICLASS: tuple(f"Käfer {number}" for number in range(7)),
}
#: Name → task, features, transform.
KINDS = {
    "number": (REGRESSION, NUMBERS, "none"),
    "log": (REGRESSION, NUMBERS, "log"),
    "two": (BINARY, NUMBERS, "none"),
    "many": (MULTICLASS, NUMBERS, "none"),
    "mixed": (REGRESSION, MIXED, "none"),
    "mixed_two": (BINARY, MIXED, "none"),
    "categories": (REGRESSION, CATEGORIES, "none"),
    "categories_many": (MULTICLASS, CATEGORIES, "none"),
}
ROWS = 300


def table(schema: Schema, random: np.random.Generator) -> Table:
    """Random rows with something to learn."""
    columns = []
    for feature in schema.features:
        draws = {
            "number": lambda: random.normal(size=ROWS) * 100,
            "boolean": lambda: random.integers(0, 2, ROWS).astype(float),
            "date": lambda: random.integers(10_000, 17_000, ROWS).astype(float),
            "category": lambda feature=feature: random.integers(0, len(feature.categories) + 1, ROWS).astype(
                float
            ),
        }[feature.kind]()
        draws[random.random(ROWS) < 0.1] = np.nan
        columns.append(draws)
    values = np.column_stack(columns)
    signal = np.nan_to_num(values[:, 0]) + 20 * np.nan_to_num(values[:, 1]) + random.normal(size=ROWS)
    if schema.classes:
        label = np.argsort(np.argsort(signal)) * len(schema.classes) // ROWS
    else:
        label = signal / 100 + 5
    label = label.astype(float)
    return Table(schema, [str(n) for n in range(ROWS)], label, label, np.ones(ROWS), values)


def make(folder: Path, name: str, seed: int) -> None:
    """Train a model and write its artifact."""
    random = np.random.default_rng(seed)
    task, features, transform = KINDS[name]
    schema = Schema(
        TABLE, task, "austin", "20150801T000000Z", "y", TargetTransform(transform), features, CLASSES[task]
    )
    train, validation = table(schema, random), table(schema, random)
    hyperparameters = {"num_boost_round": 25, "early_stopping_rounds": 0, "max_depth": 5}
    fitted = xgboost.fit(train, validation, hyperparameters, seed=seed, threads=1)
    (folder / name).mkdir(parents=True)
    card = ModelCard(schema, "xgboost", {"train": ROWS, "validation": ROWS})
    save_artifact(folder / name, Model(fitted, card), validation.values[:20])
    model = inference.model_fn(folder / name)
    asked = table(schema, random).values[:60]
    rows = [[each.decode(value) for each, value in zip(features, row, strict=True)] for row in asked.tolist()]
    body = json.dumps({"instances": rows})
    answer = inference.output_fn(
        inference.predict_fn(inference.input_fn(body, "application/json"), model), None
    )
    found = inference.predict_fn(inference.input_fn(body, "application/json"), model)
    content = {
        "features": schema.names,
        "rows": rows,
        "csv": answer[0],
        "json": json.loads(inference.output_fn(found, "application/json")[0])["predictions"],
    }
    (folder / f"{name}.expected.json").write_text(json.dumps(content))


if __name__ == "__main__":
    for number, name in enumerate(KINDS):
        make(Path(sys.argv[2]), name, number)
