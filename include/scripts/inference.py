"""Serves the models of all cities: the four functions that SageMaker's inference toolkit calls, and one for our server.

An endpoint loads this file once and serves every city's artifact with it, old ones too; so it reads every
format_version up to its own. Answers are in the target's own unit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from job_failure import listed, nearest
from json_request import json_rows
from model_artifact import Model, PackedArtifact, load_artifact, load_packed_artifact
from request_rows import BadRequest, Row, csv_rows, shown

CSV = "text/csv"
JSON = "application/json"
NAMED_FEATURES_SHOWN = 50
COMPARED_FEATURES = 1000
#: Rows that are evaluated, and predictions that are written, at a time: other threads have their turn in between.
SLICE_ROWS = 512
#: SageMaker waits as long for an answer.
LONGEST_SECONDS = 60


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


def input_fn(body: bytes | bytearray | str, content_type: str | None) -> Iterator[Row]:
    """Read a request, row by row as :func:`predict_fn` asks for them.

    :param body: text/csv: one row per line in feature order, no header, empty or nan where missing;
        application/json: ``{"instances": [[...]]}`` or ``{"instances": [{"feature": value}]}``, null where
        missing. UTF-8, with or without a byte order mark.
    :param content_type: may carry a charset; missing means text/csv.
    :raises BadRequest: when it can't be read; for a row, when that row is asked for.
    """
    kind = _media_type(content_type) or CSV
    if kind not in (CSV, JSON):
        raise BadRequest(f"Content-Type: got '{content_type}'; allowed: {CSV}, {JSON}.")
    try:
        text = body if isinstance(body, str) else bytes(body).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest(f"The request is not UTF-8 text (byte {error.start}).") from None
    # The mark is the bytes' own; a model server that decodes them itself has left it in the text.
    text = text.removeprefix("\ufeff")
    return csv_rows(text) if kind == CSV else json_rows(text)


def predict_fn(data: Iterable[Row], model: Model) -> np.ndarray:
    """Predict, a slice of rows at a time.

    :return: predictions, one per row, in the target's own unit.
    :raises BadRequest: at the first row that can't be read, does not fit the model's features or gets no finite
        number, for no rows, or after the time that SageMaker gives a request.
    """
    rows, parts, number = iter(data), [], 0
    deadline = time.monotonic() + LONGEST_SECONDS
    while part := list(islice(_checked(rows, number, model), SLICE_ROWS)):
        predicted = np.atleast_1d(model.predict(np.array(part, dtype=np.float64)))
        finite = np.isfinite(predicted)
        if not finite.all():
            raise BadRequest(
                f"Row {number + int(np.argmin(finite)) + 1}: the prediction of the model of {model.card.city} is no "
                "finite number. Look for values far from those that it was trained on."
            )
        parts.append(predicted)
        number += len(part)
        if time.monotonic() > deadline:
            raise BadRequest(
                f"Row {number}: reached after {LONGEST_SECONDS} seconds, when nobody waits for the answer any more. "
                "Send the rows in parts."
            )
    if not parts:
        raise BadRequest("The request holds no rows; at least 1 is needed.")
    return np.concatenate(parts)


def output_fn(prediction: np.ndarray, accept: str | None) -> tuple[str, str]:
    """Write an answer.

    :param accept: text/csv: one comma-joined line; application/json: ``{"predictions": [...]}``; missing or
        ``*/*`` means text/csv.
    :return: the answer, and its type: one, whatever list was accepted. Numbers read back exactly.
    :raises BadRequest: when no such kind is known.
    """
    for choice in (accept or CSV).split(","):
        kind = _media_type(choice)
        if kind in (CSV, "text/*", "*/*"):
            return ",".join(_written(prediction, ",")), CSV
        if kind in (JSON, "application/*"):
            return f'{{"predictions": [{", ".join(_written(prediction, ", "))}]}}', JSON
    raise BadRequest(f"Accept: got '{accept}'; allowed: {CSV}, {JSON}.")


def _written(prediction: np.ndarray, between: str) -> Iterator[str]:
    for first in range(0, len(prediction), SLICE_ROWS):
        # tolist makes Python's floats, whose repr reads back exactly.
        values = np.asarray(prediction[first : first + SLICE_ROWS], dtype=np.float64).tolist()
        yield between.join(map(repr, values))


def _media_type(header: str | None) -> str:
    return (header or "").partition(";")[0].strip().lower()


def _checked(rows: Iterator[Row], before: int, model: Model) -> Iterator[Sequence[float]]:
    """Rows in the features' order, each found fit for the model.

    :param before: how many rows came before these.
    """
    reference = model.card.transform.reference
    at = None if reference is None else model.card.features.index(reference)
    for number, row in enumerate(rows, start=before + 1):
        values = _in_order(row, number, model)
        if at is not None and not values[at] > 0:
            got = "nothing" if math.isnan(values[at]) else f"{values[at]:.12g}"
            raise BadRequest(
                f"Row {number}, feature '{reference}': got {got}; allowed: a number above 0 "
                f"(the model of {model.card.city} predicts the ratio to it)."
            )
        yield values


def _in_order(row: Row, number: int, model: Model) -> Sequence[float]:
    features = model.card.features
    if not isinstance(row, dict):
        if len(row) != len(features):
            names = listed(features, NAMED_FEATURES_SHOWN)
            raise BadRequest(
                f"Row {number}: got {len(row)} values; allowed: {len(features)}, the features of the model "
                f"of {model.card.city} in this order: {names}."
            )
        return row
    if row.keys() != set(features):
        raise _misfit(row, number, model)
    return [row[name] for name in features]


def _misfit(row: dict[str, float], number: int, model: Model) -> BadRequest:
    """What is wrong with the names of a row."""
    features = model.card.features
    known = set(features)
    foreign = next((name for name in row if name not in known), None)
    if foreign is not None:
        near = nearest(shown(foreign), features[:COMPARED_FEATURES])
        return BadRequest(
            f"Row {number}: got feature '{shown(foreign)}', which the model of {model.card.city} does not have; "
            f"allowed: {listed(features, NAMED_FEATURES_SHOWN)}.{near}"
        )
    lacking = [name for name in features if name not in row]
    return BadRequest(
        f"Row {number}: feature {listed(lacking, NAMED_FEATURES_SHOWN)} is not there; "
        f"allowed: all {len(features)} features of the model of {model.card.city}, null where missing."
    )
