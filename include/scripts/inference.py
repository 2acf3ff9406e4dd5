"""Serves the models of all cities: the four functions that SageMaker's inference toolkit calls, and one for our server.

An endpoint loads this file once and serves every city's artifact with it, old ones too; so it reads every
format_version up to its own. Answers are in the target's own unit.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from job_failure import listed, nearest
from model_artifact import Model, PackedArtifact, load_artifact, load_packed_artifact

try:
    # The managed container answers with the status and message of its own kind of error only.
    from sagemaker_inference.errors import BaseInferenceToolkitError as _ToolkitError
except ImportError:

    class _ToolkitError(Exception):  # type: ignore[no-redef]
        """Stands in where the toolkit is not installed."""


CSV = "text/csv"
JSON = "application/json"
NAMED_FEATURES_SHOWN = 50

# Rows as they came: values in feature order, or by feature name.
Rows: TypeAlias = "Sequence[Sequence[float] | dict[str, float]]"


class BadRequest(_ToolkitError, ValueError):
    """A request that the caller can put right.

    :param message: one sentence.
    """

    def __init__(self, message: str) -> None:
        Exception.__init__(self, message)
        self.status_code = 400
        self.message = message
        self.phrase = "Bad Request"


def model_fn(model_dir: str | Path) -> Model:
    """Load an artifact.

    :param model_dir: holds what model.tar.gz held.
    :raises ArtifactError: naming the file that is missing, too new or broken.
    """
    return load_artifact(Path(model_dir))


def packed_model_fn(model_dir: str | Path) -> PackedArtifact | None:
    """Load an artifact for a server that evaluates packed trees itself. Other servers never call this.

    By being here it also says: one row of text/csv with as many numbers as features means no more than the trees'
    prediction and the way back from the transform, and such a server may answer it without the functions below.

    :param model_dir: holds what model.tar.gz held.
    :return: None for an artifact without packed trees; then :func:`model_fn` loads it.
    :raises ArtifactError: naming the file that is missing, too new or broken.
    """
    return load_packed_artifact(Path(model_dir))


def input_fn(body: bytes | bytearray | str, content_type: str | None) -> Rows:
    """Read a request.

    :param body: text/csv: one row per line in feature order, no header, empty or nan where missing;
        application/json: ``{"instances": [[...]]}`` or ``{"instances": [{"feature": value}]}``, null where
        missing.
    :param content_type: may carry a charset; missing means text/csv.
    :raises BadRequest: when they cannot be read.
    """
    kind = _media_type(content_type) or CSV
    if kind not in (CSV, JSON):
        raise BadRequest(f"Content-Type: got '{content_type}'; allowed: {CSV}, {JSON}.")
    try:
        text = body if isinstance(body, str) else bytes(body).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRequest(f"The request is not UTF-8 text (byte {error.start}).") from None
    rows = _csv_rows(text) if kind == CSV else _json_rows(text)
    if not rows:
        raise BadRequest("The request holds no rows; at least 1 is needed.")
    return rows


def predict_fn(data: Rows, model: Model) -> np.ndarray:
    """Predict.

    :return: predictions, one per row, in the target's own unit.
    :raises BadRequest: when the rows do not fit the model's features.
    """
    values = np.array(
        [_in_order(row, number, model) for number, row in enumerate(data, start=1)], dtype=np.float64
    )
    reference = model.card.transform.reference
    if reference is not None:
        column = values[:, model.card.features.index(reference)]
        for number, value in enumerate(column, start=1):
            if not value > 0:
                got = "nothing" if math.isnan(value) else f"{value:.12g}"
                raise BadRequest(
                    f"Row {number}, feature '{reference}': got {got}; allowed: a number above 0 "
                    f"(the model of {model.card.city} predicts the ratio to it)."
                )
    return model.predict(values)


def output_fn(prediction: np.ndarray, accept: str | None) -> str:
    """Write an answer.

    :param accept: text/csv: one comma-joined line; application/json: ``{"predictions": [...]}``; missing or
        ``*/*`` means text/csv.
    :return: the answer; numbers are written so that they read back exactly.
    :raises BadRequest: when no such kind is known.
    """
    predictions = [float(value) for value in prediction]
    for choice in (accept or CSV).split(","):
        kind = _media_type(choice)
        if kind in (CSV, "text/*", "*/*"):
            return ",".join(map(repr, predictions))
        if kind in (JSON, "application/*"):
            return json.dumps({"predictions": predictions})
    raise BadRequest(f"Accept: got '{accept}'; allowed: {CSV}, {JSON}.")


def _media_type(header: str | None) -> str:
    return (header or "").partition(";")[0].strip().lower()


def _csv_rows(text: str) -> list[list[float]]:
    lines = csv.reader(io.StringIO(text, newline=""))
    return [
        [_csv_value(cell, number, position) for position, cell in enumerate(line, start=1)]
        for number, line in enumerate((line for line in lines if line), start=1)
    ]


def _csv_value(cell: str, row: int, position: int) -> float:
    text = cell.strip()
    if text.lower() in ("", "nan"):
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.inf
    if math.isinf(value):
        raise BadRequest(
            f"Row {row}, value {position}: got '{text}'; allowed: a number, or empty (no header row)."
        )
    return value


def _json_rows(text: str) -> Rows:
    shape = '{"instances": [[1.5, null]]} or {"instances": [{"feature": 1.5}]}'
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"The request is not JSON ({error}); allowed: {shape}.") from None
    instances = document.get("instances") if isinstance(document, dict) else None
    if not isinstance(instances, list):
        raise BadRequest(f"The request has no list of instances; allowed: {shape}.")
    rows: list[Any] = []
    for number, instance in enumerate(instances, start=1):
        if isinstance(instance, list):
            rows.append(
                [_json_value(value, f"value {at}", number) for at, value in enumerate(instance, start=1)]
            )
        elif isinstance(instance, dict):
            rows.append(
                {name: _json_value(value, f"feature '{name}'", number) for name, value in instance.items()}
            )
        else:
            raise BadRequest(
                f"Row {number}: got {json.dumps(instance)}; allowed: a list of values or an object."
            )
    return rows


def _json_value(value: Any, where: str, row: int) -> float:
    if value is None:
        return math.nan
    number = math.inf
    if isinstance(value, int | float) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            number = float(value)
    if math.isinf(number):
        raise BadRequest(
            f"Row {row}, {where}: got {json.dumps(value)[:50]}; allowed: a number, or null where missing."
        )
    return number


def _in_order(row: Sequence[float] | dict[str, float], number: int, model: Model) -> Sequence[float]:
    features = model.card.features
    if not isinstance(row, dict):
        if len(row) != len(features):
            names = listed(features, NAMED_FEATURES_SHOWN)
            raise BadRequest(
                f"Row {number}: got {len(row)} values; allowed: {len(features)}, the features of the model "
                f"of {model.card.city} in this order: {names}."
            )
        return row
    for name in row:
        if name not in features:
            raise BadRequest(
                f"Row {number}: got feature '{name}', which the model of {model.card.city} does not have; "
                f"allowed: {listed(features, NAMED_FEATURES_SHOWN)}.{nearest(name, features)}"
            )
    lacking = [name for name in features if name not in row]
    if lacking:
        raise BadRequest(
            f"Row {number}: feature {listed(lacking, NAMED_FEATURES_SHOWN)} is not there; "
            f"allowed: all {len(features)} features of the model of {model.card.city}, null where missing."
        )
    return [row[name] for name in features]
