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
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from backtest import BACKTEST_FILE
from candidates import Chosen, choose, fit_again
from category_shares import category_count, category_shares
from feature_table import CALENDAR_FEATURES
from hyperparameters import Hyperparameters, parse_hyperparameters
from job_failure import JobFailure, run, sentence_of
from job_settings import Candidate, CitySettings, JobSettings, read_job_settings
from judged_blocks import BETWEEN, Parts, read_blocks
from model_artifact import Model, save_artifact
from model_card import ArtifactError, ModelCard
from robust_scale import Centre, centre
from rolling_origins import Judged, judge_and_refit
from table_file import read_table
from table_parts import joined
from table_schema import SERIES, Table

FORMAT_VERSION = 1
SAMPLE_ROWS = 8
DEFAULT_CANDIDATES = (Candidate("xgboost", {}),)


def centres(table: Table) -> dict[str, Centre]:
    """Say where most values of each feature lay, so that drift away from there can be measured.

    :return: feature → centre; categories, a series' features of the calendar, and those without a value, are left out.
    """
    found = {
        feature.name: centre(table.values[:, column].tolist())
        for column, feature in enumerate(table.schema.features)
        if feature.kind != "category"
        and not (table.schema.kind == SERIES and feature.name in CALENDAR_FEATURES)
    }
    return {name: item for name, item in found.items() if item is not None}


def shares(table: Table) -> dict[str, list[float]]:
    """Say how many rows each category had, so that a drift away from there can be measured.

    :return: feature → shares of all rows: one for each category, for every other one, and for a missing value (of a
        truth value: false, true, missing).
    """
    return {
        feature.name: category_shares(feature, table.values[:, column])
        for column, feature in enumerate(table.schema.features)
        if category_count(feature)
    }


def train_city(
    parts: Parts,
    city: CitySettings,
    model_folder: Path,
    report_folder: Path,
) -> None:
    """Train one city's model, and write its artifact and training.json.

    :param model_folder: becomes the artifact's root.
    :raises JobFailure: no candidate can be fitted, or the artifact is too large.
    """
    started = time.monotonic()
    train, validation = parts.train, parts.validation
    threads = int(os.environ.get("SM_NUM_CPUS") or 1)
    chosen = choose(
        train,
        validation,
        city.candidates or DEFAULT_CANDIDATES,
        seed=city.seed,
        threads=threads,
        metric=city.metric,
        ordered=city.ordered,
    )
    parts = parts.seen_by(chosen.algorithm)
    train, validation = parts.train, parts.validation
    judged = _judged(parts, chosen, city, threads)
    fitted, rows = chosen.fitted, {"train": len(train), "validation": len(validation)}
    before, newest = joined(train, validation), validation
    if judged is not None and parts.test is not None:
        fitted, rows, before, newest = judged.serving, judged.rows, judged.before, parts.test
    describe = fitted.describe()
    card = ModelCard(
        train.schema,
        chosen.algorithm,
        rows,
        centres=centres(before),
        shares=shares(before),
        describe=describe,
    )
    try:
        periods = newest.rows[-SAMPLE_ROWS:] if train.schema.kind == SERIES else []
        save_artifact(model_folder, Model(fitted, card), newest.values[-SAMPLE_ROWS:], periods)
        if judged is not None:
            (model_folder / BACKTEST_FILE).write_bytes(judged.backtest.to_bytes())
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
        "backtest": None if judged is None else judged.report(),
        "seconds": seconds,
    }
    _write_report(report_folder, report)
    if judged is not None and judged.note:
        print(f"{card.city}: {judged.note}", file=sys.stderr, flush=True)
    print(
        f"{card.city}: trained on {rows['train']} + {rows['validation']} rows: {chosen.sentence()}, {seconds} s",
        flush=True,
    )


def _judged(parts: Parts, chosen: Chosen, city: CitySettings, threads: int) -> Judged | None:
    """Judge the chosen candidate from rolling origins; None where the test part has not been handed on."""
    if parts.test is None or parts.train.schema.kind != SERIES:
        if city.refit:
            print(f"{city.city}: no channel 'test': the model is not fitted again", flush=True)
        return None
    return judge_and_refit(
        chosen.fitted,
        parts,
        lambda train, validation: fit_again(
            chosen.candidate, train, validation, seed=city.seed, threads=threads
        ),
        refit=city.refit,
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
        model_folder = _folder("SM_MODEL_DIR") / f"city={slug}"
        sentence = train_or_say(partial(_read_channels, slug), settings, city, model_folder, report_folder)
        if sentence is not None:
            failures.append(sentence if len(settings.cities) == 1 else f"{slug}: {sentence}")
    if len(failures) == len(settings.cities):
        raise JobFailure(" ".join(failures))


def train_or_say(
    read: Callable[[], Parts],
    settings: JobSettings,
    city: CitySettings,
    model_folder: Path,
    report_folder: Path,
) -> str | None:
    """Train one city's model; what goes wrong is said in its training.json, whatever it is.

    :param read: reads the city's tables.
    :return: what went wrong; None when the model is there.
    """
    try:
        train_city(read(), city, model_folder, report_folder)
    except Exception as error:  # one city's end is not that of the others
        sentence = sentence_of(error)
        print(f"{city.city}: {sentence}", file=sys.stderr, flush=True)
        report = {"format_version": FORMAT_VERSION, "city": city.city, "as_of": settings.as_of}
        _write_report(report_folder, report | {"error": sentence})
        return sentence
    return None


def _train_by_hand(hyperparameters: Hyperparameters) -> None:
    given = {
        **hyperparameters.xgboost,
        "num_boost_round": hyperparameters.num_boost_round,
        "early_stopping_rounds": hyperparameters.early_stopping_rounds,
    }
    candidates = (Candidate("xgboost", given),)
    parts = _parts_by_hand(hyperparameters)
    folders = _folder("SM_MODEL_DIR"), _folder("SM_OUTPUT_DATA_DIR")
    by_hand = CitySettings(hyperparameters.city, {}, "", candidates, hyperparameters.seed)
    train_city(parts, by_hand, *folders)


def read_parts(train_dir: Path, validation_dir: Path, test_dir: Path | None, city: str | None) -> Parts:
    """Read the tables of one city.

    :param test_dir: None, or of a table: without what judges the model from several origins.
    :param city: the slug; None for the only city there is.
    :raises JobFailure: they are not there, or are not of one schema.
    """
    train = read_table(train_dir, "train", city)
    validation = read_table(validation_dir, "validation", city)
    if train.schema != validation.schema:
        raise JobFailure(
            f"the schemas of train ({train.schema.names}) and validation ({validation.schema.names}) differ."
        )
    if test_dir is None or train.schema.kind != SERIES:
        return Parts(train, validation)
    slug = train.schema.city
    test, place = read_table(test_dir, "test", slug), test_dir / f"city={slug}"
    between = read_table(test_dir, BETWEEN, slug) if (place / f"{BETWEEN}.csv").is_file() else None
    if any(each.schema != train.schema for each in (test, between) if each is not None):
        raise JobFailure(
            f"the schemas of train ({train.schema.names}) and test ({test.schema.names}) differ."
        )
    return Parts(train, validation, test, between, read_blocks(place))


def _read_channels(city: str | None) -> Parts:
    test = _folder("SM_CHANNEL_TEST") if "SM_CHANNEL_TEST" in os.environ else None
    return read_parts(_folder("SM_CHANNEL_TRAIN"), _folder("SM_CHANNEL_VALIDATION"), test, city)


def _parts_by_hand(hyperparameters: Hyperparameters) -> Parts:
    """Read the training and the validation set, and check that the hyperparameters are about them."""
    parts = _read_channels(None)
    train, validation = parts.train, parts.validation
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
    return Parts(replace(train, schema=schema), replace(validation, schema=schema))


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
