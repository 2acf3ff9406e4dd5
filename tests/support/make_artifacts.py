"""Makes artifacts of random models: ``python make_artifacts.py <scripts> <folder> [<count>]``, in the image's Python.

Each lies in a folder of its own as model.tar.gz would be extracted; ``<name>.expected.json`` beside it holds rows as
text/csv and what inference.py answers to each through XGBoost.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, sys.argv[1])

import xgboost

import inference
from algorithms.xgboost import FittedBooster
from model_artifact import Model, save_artifact
from model_card import ModelCard
from table_schema import Feature, Schema
from target_transform import TargetTransform

REFERENCE = "price_mean_12"
TRANSFORMS = (
    TargetTransform("log_ratio_to_mean", 12, REFERENCE),
    TargetTransform("log"),
    TargetTransform("none"),
)
OBJECTIVES = (
    "reg:squarederror",
    "reg:absoluteerror",
    "reg:pseudohubererror",
    "reg:squaredlogerror",
    "count:poisson",
    "reg:gamma",
    "reg:tweedie",
)
KINDS = ("gbtree", "deep", "forest", "dart", "stump", "constant")


def make(folder: Path, seed: int) -> None:
    """Train a random model and write its artifact."""
    random = np.random.default_rng(seed)
    kind = KINDS[seed % len(KINDS)]
    objective = OBJECTIVES[seed // 2 % len(OBJECTIVES)]
    transform = TRANSFORMS[seed % len(TRANSFORMS)]
    features = int(random.integers(1, 30))
    rows = int(random.integers(50, 1500))
    values = random.normal(size=(rows, features)) * 10.0 ** random.integers(-3, 4)
    values[random.random(values.shape) < 0.1] = np.nan
    values[:, 0] = random.uniform(1e4, 1e6, rows)
    label = np.nan_to_num(values[:, -1]) / 1e4 + random.normal(size=rows) * 0.1
    if objective not in OBJECTIVES[:3]:
        label = np.exp(np.clip(label, -2, 2))
    names = [REFERENCE, *(f"feature_{number}" for number in range(1, features))]
    parameters = {"objective": objective, "max_depth": 6, "nthread": 1, "seed": seed}
    rounds = 60
    if kind == "deep":
        parameters |= {
            "max_depth": 12,
            "grow_policy": "lossguide",
            "tree_method": "hist",
            "min_child_weight": 0,
        }
    elif kind == "forest":
        parameters |= {"num_parallel_tree": 5, "subsample": 0.5, "base_score": 0.25}
        rounds = 7
    elif kind == "dart":
        parameters |= {"booster": "dart", "rate_drop": 0.2}
        rounds = 15
    elif kind == "stump":
        parameters["max_depth"] = 1
    elif kind == "constant":
        parameters["gamma"] = 1e12
        rounds = 3
    booster = xgboost.train(parameters, xgboost.DMatrix(values, label, feature_names=names), rounds)
    schema = Schema(
        kind="series",
        task="regression",
        city=f"city_{seed}",
        as_of="20140101T000000Z",
        target="price",
        transform=transform,
        features=tuple(map(Feature, names)),
    )
    card = ModelCard(schema, "xgboost", {"train": rows, "validation": 0})
    folder.mkdir(parents=True)
    save_artifact(folder, Model(FittedBooster(booster, schema, {}), card), values[:8])
    model = inference.model_fn(folder)
    # Rows at and beside thresholds too: values that training saw split there.
    asked = values[random.integers(0, rows, 40)]
    asked[:20] += random.normal(size=(20, features)) * np.nanstd(values, axis=0)
    asked[random.random(asked.shape) < 0.15] = np.nan
    asked[:, 0] = random.uniform(1, 1e6, len(asked))
    expected = []
    for row in asked:
        text = ",".join("" if np.isnan(value) else repr(float(value)) for value in row)
        prediction = inference.predict_fn(inference.input_fn(text, "text/csv"), model)
        expected.append([text, inference.output_fn(prediction, "text/csv")[0]])
    content = {"kind": kind, "objective": objective, "features": names, "rows": expected}
    folder.with_name(f"{folder.name}.expected.json").write_text(json.dumps(content))


if __name__ == "__main__":
    for number in range(int(sys.argv[3]) if len(sys.argv) > 3 else 42):
        make(Path(sys.argv[2]) / f"model-{number}", number)
