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
from typing import Any

import numpy as np

from feature_table import CALENDAR_FEATURES
from hyperparameters import Hyperparameters, parse_hyperparameters
from job_failure import JobFailure, run
from lean_xgboost import xgboost
from model_artifact import Model, names_for_xgboost, save_artifact
from model_card import ModelCard
from robust_scale import Centre, centre
from table_file import read_table
from table_schema import Table

FORMAT_VERSION = 1
SAMPLE_ROWS = 8


def fit(
    hyperparameters: Hyperparameters, train: Table, validation: Table, threads: int
) -> tuple[Any, dict[str, Any]]:
    """Find the number of rounds on the validation set, then fit on all rows.

    :param threads: how many threads XGBoost may use.
    :return: the booster, and what is worth knowing about its training.
    """
    parameters = {"verbosity": 1, **hyperparameters.xgboost, "seed": hyperparameters.seed, "nthread": threads}
    history: dict[str, Any] = {}
    trial = xgboost.train(
        parameters,
        _matrix(train, threads),
        num_boost_round=hyperparameters.num_boost_round,
        evals=[(_matrix(validation, threads), "validation")],
        early_stopping_rounds=hyperparameters.early_stopping_rounds or None,
        evals_result=history,
        verbose_eval=50,
    )
    metric, scores = next(iter(history["validation"].items()))
    best = trial.best_iteration if hyperparameters.early_stopping_rounds else len(scores) - 1
    both = xgboost.DMatrix(
        np.concatenate([train.values, validation.values]),
        label=np.concatenate([train.label, validation.label]),
        feature_names=names_for_xgboost(train.schema.names),
        nthread=threads,
    )
    booster = xgboost.train(parameters, both, num_boost_round=best + 1)
    gains = booster.get_score(importance_type="gain")
    return booster, {
        "best_iteration": best,
        "rounds": best + 1,
        "rounds_tried": len(scores),
        "validation": {"metric": metric, "value": float(scores[best])},
        "importance_gain": {
            name: gains[spelled]
            for name, spelled in zip(train.schema.names, names_for_xgboost(train.schema.names), strict=True)
            if spelled in gains
        },
    }


def _matrix(examples: Table, threads: int) -> Any:
    return xgboost.DMatrix(
        examples.values,
        label=examples.label,
        feature_names=names_for_xgboost(examples.schema.names),
        nthread=threads,
    )


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
    try:
        booster, report = fit(hyperparameters, train, validation, int(os.environ.get("SM_NUM_CPUS") or 1))
    except xgboost.core.XGBoostError as error:
        # XGBoost prints a C++ stack trace after the one line that says what is wrong.
        raise JobFailure(
            f"XGBoost refused the hyperparameters or the data: {str(error).splitlines()[0]}"
        ) from None
    rows = {"train": len(train.rows), "validation": len(validation.rows)}
    card = ModelCard(
        city=train.schema.city,
        as_of=hyperparameters.as_of,
        target=hyperparameters.target,
        transform=hyperparameters.transform,
        features=train.schema.names,
        rows=rows,
        rounds=report["rounds"],
        xgboost_version=xgboost.__version__,
        centres=centres(train, validation),
    )
    save_artifact(_folder("SM_MODEL_DIR"), Model(booster, card), validation.values[-SAMPLE_ROWS:])
    report = {
        "format_version": FORMAT_VERSION,
        "city": train.schema.city,
        "as_of": hyperparameters.as_of,
        **report,
        "rows": rows,
    }
    metric = report["validation"]
    report["seconds"] = round(time.monotonic() - started, 3)
    output = _folder("SM_OUTPUT_DATA_DIR")
    output.mkdir(parents=True, exist_ok=True)
    (output / "training.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(
        f"{train.schema.city}: trained on {rows['train']} + {rows['validation']} rows, {report['rounds']} rounds, "
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
