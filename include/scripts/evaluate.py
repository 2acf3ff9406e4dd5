"""Judges a new model on the held-out rows, beside the naive forecast and the model that is live now.

Runs as a SageMaker processing job. All three are judged on the same rows, and the models predict through
inference.py, the code that will serve them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import inference
from champion_table import NO_HISTORY, History, read_history, rows_for
from job_failure import ArgumentParser, JobFailure, option_value, run
from model_archive import one_archive, unpack_artifact
from model_artifact import Model, json_rows
from model_card import ArtifactError
from robust_scale import centre
from table_file import read_table
from table_schema import Table

FORMAT_VERSION = 1


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line.

    :raises JobFailure: when one is missing or unknown.
    """
    parser = ArgumentParser(__doc__ or "")
    parser.add_argument("--city", required=True, metavar="SLUG")
    parser.add_argument("--as-of", required=True, metavar="20140101T000000Z")
    parser.add_argument("--test-dir", type=Path, required=True, help="holds city=<slug>/test.csv")
    parser.add_argument("--model-dir", type=Path, required=True, help="holds model.tar.gz")
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--message-file", type=Path, help="where the sentence of a failure goes")
    parser.add_argument(
        "--champion-dir", type=Path, help="holds the live model's tar.gz; absent when none is live"
    )
    parser.add_argument("--champion-target-model", help="its target model")
    parser.add_argument("--champion-etag", help="ETag of the live pointer it was read from")
    parser.add_argument("--champion-as-of", help="its as_of")
    return parser.parse_args(arguments)


def scores(actual: np.ndarray, predicted: np.ndarray) -> dict[str, float | None]:
    """Measure predictions.

    :return: mape as a fraction, over the rows whose target is not 0, or None without such a row; rmse and mae in the
        target's unit; r2, or None where it is undefined.
    """
    # Here and not above: it takes longer to import than all the rest of the job, and a job that fails early
    # needs none.
    from sklearn.metrics import (  # noqa: PLC0415
        mean_absolute_error,
        mean_absolute_percentage_error,
        r2_score,
        root_mean_squared_error,
    )

    shares = actual != 0
    varies = len(actual) > 1 and float(np.ptp(actual)) > 0
    return {
        "mape": float(mean_absolute_percentage_error(actual[shares], predicted[shares]))
        if shares.any()
        else None,
        "rmse": float(root_mean_squared_error(actual, predicted)),
        "mae": float(mean_absolute_error(actual, predicted)),
        "r2": float(r2_score(actual, predicted)) if varies else None,
    }


def predict(model: Model, test: Table, history: History) -> np.ndarray:
    """Predict the held-out rows the way the endpoint will.

    :param test: rows x features; may hold more features than the model needs.
    :param history: of which features are made that it lacks.
    :return: predictions, one per row.
    :raises ArtifactError: when features can't be made, or a prediction is not a number.
    """
    predicted = inference.predict_fn(rows_for(model.card, test, history).tolist(), model)
    if not np.isfinite(predicted).all():
        raise ArtifactError(f"the model of {model.card.as_of} predicts something that is not a number.")
    return predicted


def load(archive: Path, city: str) -> Model:
    """Unpack and load an artifact.

    :param city: the slug it must be of.
    :raises ArtifactError: when it is broken, hostile or of another city.
    """
    with tempfile.TemporaryDirectory(prefix="city-fleet-model-") as folder:
        unpack_artifact(archive, Path(folder))
        model = inference.model_fn(folder)
    if model.card.city != city:
        raise ArtifactError(f"{archive.name}: got a model of city '{model.card.city}'; allowed: '{city}'.")
    return model


def judge_champion(
    arguments: argparse.Namespace, test: Table, history: History, target: str
) -> dict[str, Any] | None:
    """Measure the live model on the same rows.

    :param target: the column that the new model predicts.
    :return: its entry in evaluation.json; with ``error`` when it cannot be measured; None when there is none.
    """
    if arguments.champion_dir is None:
        return None
    entry: dict[str, Any] = {
        "target_model": arguments.champion_target_model,
        "etag": arguments.champion_etag,
        "as_of": arguments.champion_as_of,
    }
    if (
        arguments.champion_as_of or ""
    ) > arguments.as_of:  # stamps of one form sort as the instants they stand for
        # It was trained on months that are held out here, so its errors would look far too small.
        return entry | {"error": f"The champion was made as of {arguments.champion_as_of}."}
    try:
        model = load(one_archive(arguments.champion_dir), arguments.city)
        if model.card.target != target:
            raise ArtifactError(f"it predicts '{model.card.target}', the new model '{target}'.")
        predicted = predict(model, test, history)
        return entry | {"rows_trained": rows_trained(model)} | scores(test.target, predicted)
    except (ArtifactError, inference.BadRequest) as error:
        # A champion that cannot be measured does not keep a good challenger from being judged: the gate
        # decides.
        return entry | {"error": f"The champion cannot be compared: {error}"}


def rows_trained(model: Model) -> int:
    """Return how many rows a model was fitted to: those of training and validation."""
    return sum(model.card.rows.values())


def drift(model: Model, test: Table) -> dict[str, float | None]:
    """Measure how far the held-out rows lie from what a model was trained on, feature by feature.

    It is the distance of the medians, in robust standard deviations of the training rows. The usual population
    stability index needs hundreds of rows: over ten bins, with 12 rows against 170, its expected value without any
    drift is 9 × (1/12 + 1/170) = 0.8 (Yurdakul & Naranjo 2020, "Statistical properties of the population stability
    index"), three times the 0.25 that is commonly called a serious shift.

    :return: feature → distance; None where it cannot be measured (no value is known, or nearly all were equal).
    """
    found: dict[str, float | None] = {}
    for name, trained in model.card.centres.items():
        recent = centre(test.values[:, test.schema.names.index(name)].tolist())
        distance = trained.deviations(recent.median) if recent else None
        found[name] = None if distance is None else round(distance, 3)
    return found


def evaluate(arguments: argparse.Namespace) -> None:
    """Write evaluation.json and holdout.json.

    :raises JobFailure: when the test set or the new model cannot be used.
    """
    test = read_table(arguments.test_dir, "test")
    if test.schema.city != arguments.city:
        raise JobFailure(f"--city: got '{arguments.city}'; the test set is of '{test.schema.city}'.")
    history = read_history(arguments.test_dir / f"city={test.schema.city}" / "history.csv")
    try:
        archive = one_archive(arguments.model_dir)
        model = load(archive, arguments.city)
        predicted = predict(model, test, NO_HISTORY)  # it was made of the same table
    except (ArtifactError, inference.BadRequest) as error:
        raise JobFailure(f"The new model of {arguments.city} cannot be evaluated: {error}") from None
    report = {
        "format_version": FORMAT_VERSION,
        "city": arguments.city,
        "as_of": arguments.as_of,
        "rows": len(test.rows),
        "zero_rows": int(np.count_nonzero(test.target == 0)),
        "holdout": {"first": test.rows[0], "last": test.rows[-1]},
        "artifact_sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
        "features": model.card.features,
        "challenger": scores(test.target, predicted) | {"rows_trained": rows_trained(model)},
        "naive": scores(test.target, test.baselines["naive"]),
        "champion": judge_champion(arguments, test, history, model.card.target),
        "drift": drift(model, test),
    }
    columns = [test.schema.names.index(name) for name in model.card.features]
    rows = zip(
        test.rows,
        json_rows(test.values[:, columns]),
        test.target,
        predicted,
        test.baselines["naive"],
        strict=True,
    )
    holdout = {
        "format_version": FORMAT_VERSION,
        "city": arguments.city,
        "features": model.card.features,
        "rows": [
            {
                "period": period,
                "values": values,
                "actual": float(actual),
                "predicted": float(prediction),
                "naive": float(naive),
            }
            for period, values, actual, prediction, naive in rows
        ],
    }
    folder = arguments.output_dir / "evaluation" / f"city={arguments.city}"
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in (("evaluation.json", report), ("holdout.json", holdout)):
        (folder / name).write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    print(_summary(report), flush=True)


def _summary(report: dict[str, Any]) -> str:
    parts = []
    for name in ("challenger", "naive", "champion"):
        mape = (report[name] or {}).get("mape")
        if mape is not None and math.isfinite(mape):
            parts.append(f"{name} {mape:.2%}")
    return f"{report['city']}: MAPE over {report['rows']} held-out rows: {', '.join(parts)}"


if __name__ == "__main__":
    sys.exit(
        run(lambda: evaluate(parse_arguments(sys.argv[1:])), option_value(sys.argv[1:], "--message-file"))
    )
