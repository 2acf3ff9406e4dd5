"""Trains a model for each city of the settings: all candidates are fitted, and the best on validation is kept.

Runs in SageMaker's script mode: folders are SM_* variables, and the channel ``settings`` holds settings.json. Without
that channel hyperparameters arrive as ``--name value``, for XGBoost and the one city in the channels. The same inputs
give the same bytes of the model.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from candidates import choose
from category_shares import category_count, category_shares
from feature_table import CALENDAR_FEATURES
from hyperparameters import Hyperparameters, parse_hyperparameters
from job_failure import JobFailure, run, sentence_of
from job_settings import Candidate, CitySettings, read_job_settings
from model_artifact import Model, save_artifact
from model_card import ArtifactError, ModelCard
from robust_scale import Centre, centre
from table_file import read_table
from table_schema import SERIES, Table

FORMAT_VERSION = 1
SAMPLE_ROWS = 8
DEFAULT_CANDIDATES = (Candidate("xgboost", {}),)


def centres(train: Table, validation: Table) -> dict[str, Centre]:
    """Say where most values of each feature lay, so that drift away from there can be measured.

    :param validation: the validation set, on which the model is trained too.
    :return: feature → centre; categories, a series' features of the calendar, and those without a value, are left out.
    """
    values = np.concatenate([train.values, validation.values])
    found = {
        feature.name: centre(values[:, column].tolist())
        for column, feature in enumerate(train.schema.features)
        if feature.kind != "category"
        and not (train.schema.kind == SERIES and feature.name in CALENDAR_FEATURES)
    }
    return {name: item for name, item in found.items() if item is not None}


def shares(train: Table, validation: Table) -> dict[str, list[float]]:
    """Say how many rows each category had, so that a drift away from there can be measured.

    :return: feature → shares of all rows: one for each category, for every other one, and for a missing value (of a
        truth value: false, true, missing).
    """
    values = np.concatenate([train.values, validation.values])
    return {
        feature.name: category_shares(feature, values[:, column])
        for column, feature in enumerate(train.schema.features)
        if category_count(feature)
    }


def train_city(
    parts: tuple[Table, Table],
    city: CitySettings,
    model_folder: Path,
    report_folder: Path,
) -> None:
    """Train one city's model, and write its artifact and training.json.

    :param parts: train and validation.
    :param model_folder: becomes the artifact's root.
    :raises JobFailure: no candidate can be fitted, or the artifact is too large.
    """
    started = time.monotonic()
    train, validation = parts
    chosen = choose(
        train,
        validation,
        city.candidates or DEFAULT_CANDIDATES,
        seed=city.seed,
        threads=int(os.environ.get("SM_NUM_CPUS") or 1),
        metric=city.metric,
        ordered=city.ordered,
    )
    rows = {"train": len(train), "validation": len(validation)}
    describe = chosen.fitted.describe()
    card = ModelCard(
        train.schema,
        chosen.algorithm,
        rows,
        centres=centres(train, validation),
        shares=shares(train, validation),
        describe=describe,
    )
    try:
        periods = validation.rows[-SAMPLE_ROWS:] if train.schema.kind == SERIES else []
        save_artifact(model_folder, Model(chosen.fitted, card), validation.values[-SAMPLE_ROWS:], periods)
    except ArtifactError as error:
        raise JobFailure(str(error)) from None
    seconds = round(time.monotonic() - started, 3)
    report = {
        "format_version": FORMAT_VERSION,
        "city": card.city,
        "as_of": card.as_of,
        "task": card.schema.task,
        "algorithm": chosen.algorithm,
        **describe,
        "loss": next(each["loss"] for each in chosen.reports if each.get("chosen")),
        "rows": rows,
        "candidates": chosen.reports,
        "seconds": seconds,
    }
    _write_report(report_folder, report)
    print(
        f"{card.city}: trained on {rows['train']} + {rows['validation']} rows: {chosen.sentence()}, {seconds} s",
        flush=True,
    )


def train_all(arguments: list[str]) -> None:
    """Train the models of all cities of the settings, or of the one that hyperparameters are about.

    SageMaker keeps nothing of a training job that fails. So the job fails when no city could be trained; otherwise a
    city without a model has the reason in its training.json, and no folder among the models.

    :param arguments: the hyperparameters, as ``--name value``.
    :raises JobFailure: for wrong hyperparameters, settings or channels, or when no city could be trained.
    """
    settings_folder = os.environ.get("SM_CHANNEL_SETTINGS")
    if not settings_folder:
        _train_by_hand(parse_hyperparameters(arguments))
        return
    settings = read_job_settings(Path(settings_folder))
    failures = []
    for slug, city in settings.cities.items():
        report_folder = _folder("SM_OUTPUT_DATA_DIR") / f"city={slug}"
        try:
            parts = _read_parts(slug)
            model_folder = _folder("SM_MODEL_DIR") / f"city={slug}"
            train_city(parts, city, model_folder, report_folder)
        except Exception as error:  # one city's end is not that of the others
            sentence = sentence_of(error)
            failures.append(sentence if len(settings.cities) == 1 else f"{slug}: {sentence}")
            print(f"{slug}: {sentence}", file=sys.stderr, flush=True)
            error_report = {"format_version": FORMAT_VERSION, "city": slug, "as_of": settings.as_of}
            _write_report(report_folder, error_report | {"error": sentence})
    if len(failures) == len(settings.cities):
        raise JobFailure(" ".join(failures))


def _train_by_hand(hyperparameters: Hyperparameters) -> None:
    given = {
        **hyperparameters.xgboost,
        "num_boost_round": hyperparameters.num_boost_round,
        "early_stopping_rounds": hyperparameters.early_stopping_rounds,
    }
    candidates = (Candidate("xgboost", given),)
    parts = _read_channels(hyperparameters)
    folders = _folder("SM_MODEL_DIR"), _folder("SM_OUTPUT_DATA_DIR")
    by_hand = CitySettings(hyperparameters.city, {}, "", candidates, hyperparameters.seed)
    train_city(parts, by_hand, *folders)


def _read_parts(city: str | None) -> tuple[Table, Table]:
    train = read_table(_folder("SM_CHANNEL_TRAIN"), "train", city)
    validation = read_table(_folder("SM_CHANNEL_VALIDATION"), "validation", city)
    if train.schema != validation.schema:
        raise JobFailure(
            f"the schemas of train ({train.schema.names}) and validation ({validation.schema.names}) differ."
        )
    return train, validation


def _read_channels(hyperparameters: Hyperparameters) -> tuple[Table, Table]:
    """Read the training and the validation set, and check that the hyperparameters are about them."""
    train, validation = _read_parts(None)
    city = train.schema.city
    if hyperparameters.city not in (city, _decoded(city)):
        raise JobFailure(f"hyperparameter 'city': got '{hyperparameters.city}'; the channels hold '{city}'.")
    reference = hyperparameters.transform.reference
    if reference and reference not in train.schema.names:
        raise JobFailure(
            f"hyperparameter 'target_transform' needs feature '{reference}', which the training set lacks; "
            "preprocess.py must have run with the same --target and --target-transform."
        )
    schema = replace(
        train.schema,
        as_of=hyperparameters.as_of,
        target=hyperparameters.target,
        transform=hyperparameters.transform,
    )
    return replace(train, schema=schema), replace(validation, schema=schema)


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


def _write_report(folder: Path, report: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "training.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def failure_file() -> Path | None:
    """Find where SageMaker looks for the sentence of a failed training job.

    :return: ``<SM_OUTPUT_DIR>/failure``, or None outside script mode.
    """
    output = os.environ.get("SM_OUTPUT_DIR")
    return Path(output) / "failure" if output else None


if __name__ == "__main__":
    sys.exit(run(lambda: train_all(sys.argv[1:]), failure_file()))
