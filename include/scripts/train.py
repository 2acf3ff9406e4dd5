"""Trains one city's model: early stopping on the validation set, then a refit on train and validation.

Runs in SageMaker's script mode: hyperparameters arrive as ``--name value``, folders as SM_* variables. The
same inputs give the same bytes of the booster.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import numpy as np

import algorithms
from feature_table import CALENDAR_FEATURES
from hyperparameters import Hyperparameters, parse_hyperparameters
from job_failure import JobFailure, run
from model_artifact import Model, save_artifact
from model_card import ModelCard
from robust_scale import Centre, centre
from table_file import read_table
from table_schema import Table

FORMAT_VERSION = 1
SAMPLE_ROWS = 8


def centres(train: Table, validation: Table) -> dict[str, Centre]:
    """Say where most values of each feature lay, so that drift away from there can be measured.

    :param validation: the validation set, on which the model is trained too.
    :return: feature → centre; features of the calendar, and those without a value, are left out.
    """
    values = np.concatenate([train.values, validation.values])
    found = {
        name: centre(values[:, column].tolist())
        for column, name in enumerate(train.schema.names)
        if name not in CALENDAR_FEATURES
    }
    return {name: item for name, item in found.items() if item is not None}


def train_city(arguments: list[str]) -> None:
    """Train the model of the city in the channels.

    :param arguments: the hyperparameters, as ``--name value``.
    :raises JobFailure: for wrong hyperparameters or channels.
    """
    started = time.monotonic()
    hyperparameters = parse_hyperparameters(arguments)
    train, validation = _read_channels(hyperparameters)
    given = {
        **hyperparameters.xgboost,
        "num_boost_round": hyperparameters.num_boost_round,
        "early_stopping_rounds": hyperparameters.early_stopping_rounds,
    }
    threads = int(os.environ.get("SM_NUM_CPUS") or 1)
    fitted = algorithms.algorithm("xgboost").fit(
        train, validation, given, seed=hyperparameters.seed, threads=threads
    )
    rows = {"train": len(train), "validation": len(validation)}
    card = ModelCard(
        train.schema, "xgboost", rows, centres=centres(train, validation), describe=fitted.describe()
    )
    save_artifact(_folder("SM_MODEL_DIR"), Model(fitted, card), validation.values[-SAMPLE_ROWS:])
    report = {
        "format_version": FORMAT_VERSION,
        "city": card.city,
        "as_of": hyperparameters.as_of,
        **fitted.describe(),
        "rows": rows,
    }
    metric = report["validation"]
    report["seconds"] = round(time.monotonic() - started, 3)
    output = _folder("SM_OUTPUT_DATA_DIR")
    output.mkdir(parents=True, exist_ok=True)
    (output / "training.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(
        f"{card.city}: trained on {rows['train']} + {rows['validation']} rows, {report['rounds']} rounds, "
        f"validation {metric['metric']} {metric['value']:.5f}, {report['seconds']} s",
        flush=True,
    )


def _read_channels(hyperparameters: Hyperparameters) -> tuple[Table, Table]:
    """Read the training and the validation set, and check that the hyperparameters are about them."""
    train = read_table(_folder("SM_CHANNEL_TRAIN"), "train")
    validation = read_table(_folder("SM_CHANNEL_VALIDATION"), "validation")
    for examples in (train, validation):
        if hyperparameters.city not in (examples.schema.city, _decoded(examples.schema.city)):
            raise JobFailure(
                f"hyperparameter 'city': got '{hyperparameters.city}'; the channels hold '{examples.schema.city}'."
            )
    if train.schema.names != validation.schema.names:
        raise JobFailure(
            f"the features of train ({train.schema.names}) and validation ({validation.schema.names}) differ."
        )
    reference = hyperparameters.transform.reference
    if reference and reference not in train.schema.names:
        raise JobFailure(
            f"hyperparameter 'target_transform' needs feature '{reference}', which the training set lacks; "
            "preprocess.py must have run with the same --target and --target-transform."
        )
    return train, validation


def _decoded(text: str) -> str:
    """Spell a text as SageMaker's toolkit hands it on, which takes 12e4 for a number unless it comes in quotes."""
    try:
        return str(json.loads(text))
    except ValueError:
        return text


def _folder(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        raise JobFailure(
            f"{variable} is not set; SageMaker's script mode sets it (a channel's by the channel's name)."
        )
    return Path(value)


def failure_file() -> Path | None:
    """Find where SageMaker looks for the sentence of a failed training job.

    :return: ``<SM_OUTPUT_DIR>/failure``, or None outside script mode.
    """
    output = os.environ.get("SM_OUTPUT_DIR")
    return Path(output) / "failure" if output else None


if __name__ == "__main__":
    sys.exit(run(lambda: train_city(sys.argv[1:]), failure_file()))
