"""Makes distinct artifacts for bench/serving.py: ``python serving_models.py <scripts> <folder> <count>``, in the image.

100 trees of depth 6 on 8 features each. A few are trained; the others are theirs with other leaves, since training a
thousand would take longer than everything that is measured.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, sys.argv[1])

import xgboost

from algorithms.xgboost import FittedBooster
from model_artifact import Model, save_artifact
from model_card import ModelCard
from table_schema import Feature, Schema
from target_transform import TargetTransform

FEATURES = [*(f"feature_{number}" for number in range(7)), "price_mean_12"]
TRAINED = 10
ROUNDS = 100


def train(seed: int) -> xgboost.Booster:
    """Train one model on random data."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(3000, 8)) + 5
    values[:, 7] = random.uniform(1e4, 1e6, 3000)
    label = values[:, :7] @ random.normal(size=7) * 0.02 + random.normal(size=3000) * 0.05
    matrix = xgboost.DMatrix(values, label, feature_names=FEATURES)
    return xgboost.train({"max_depth": 6, "nthread": 1, "seed": seed}, matrix, ROUNDS)


def main() -> None:
    """Write the artifacts, and ``rows.json`` with rows for all of them."""
    folder, count = Path(sys.argv[2]), int(sys.argv[3])
    random = np.random.default_rng(1)
    samples = random.normal(size=(64, 8)) + 5
    samples[:, 7] = random.uniform(1e4, 1e6, 64)
    bases = [json.loads(bytes(train(seed).save_raw("json"))) for seed in range(min(TRAINED, count))]
    for number in range(count):
        base = bases[number % len(bases)]
        for tree in base["learner"]["gradient_booster"]["model"]["trees"][number % ROUNDS :: 7]:
            for node, child in enumerate(tree["left_children"]):
                if child == -1:
                    tree["split_conditions"][node] *= 1 + random.normal() * 0.1
        booster = xgboost.Booster({"nthread": 1})
        booster.load_model(bytearray(json.dumps(base).encode()))
        schema = Schema(
            kind="series",
            task="regression",
            city=f"city_{number}",
            as_of="20140101T000000Z",
            target="price",
            transform=TargetTransform("log_ratio_to_mean", 12, "price_mean_12"),
            features=tuple(map(Feature, FEATURES)),
        )
        card = ModelCard(schema, "xgboost", {"train": 3000, "validation": 0})
        (folder / f"model-{number}").mkdir(parents=True)
        fitted = FittedBooster(booster, schema, {})
        save_artifact(folder / f"model-{number}", Model(fitted, card), samples[:8])
    (folder / "rows.json").write_text(json.dumps(samples.tolist()))


if __name__ == "__main__":
    main()
