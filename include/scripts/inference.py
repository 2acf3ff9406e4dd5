"""Serves the models of all cities: the four functions that SageMaker's inference toolkit calls, and one for our server.

An endpoint loads this file once and serves every city's artifact with it, old ones too; so it reads every
format_version up to its own. Answers are in the target's own unit, or name a class; docs/steps.md shows them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

import class_answers
import forecasts
from class_answers import ClassAnswers
from forecasts import ForecastRequest, Forecasts
from job_failure import listed, nearest
from json_request import TOP_K, json_rows, json_values
from model_artifact import Model, PackedArtifact, load_artifact, load_packed_artifact
from request_rows import BadRequest, RawRow, Row, csv_cells, csv_rows, encoded_row, shown

CSV = "text/csv"
JSON = "application/json"
CUSTOM_ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
NAMED_FEATURES_SHOWN = 50
COMPARED_FEATURES = 1000
#: Rows that are evaluated, and predictions that are written, at a time: other threads have their turn in between.
SLICE_ROWS = 512
#: As many probabilities are made at a time at most.
SLICE_PROBABILITIES = 64 * 1024
#: SageMaker waits as long for an answer.
LONGEST_SECONDS = 60


class Request:
    """The rows of a request. Iterated, they are rows of numbers.

    :param kind: :data:`CSV` or :data:`JSON`.
    :param top_k: how many classes of each row are asked for, where it does not stand in the body.
    """

    def __init__(self, text: str, kind: str, top_k: str | None = None) -> None:
        self.is_csv = kind == CSV
        self._text = text
        self._beside: dict[str, Any] = {TOP_K: top_k}

    def __iter__(self) -> Iterator[Row]:
        return csv_rows(self._text) if self.is_csv else json_rows(self._text)

    def raw_rows(self) -> Iterator[RawRow]:
        """Give the rows as they came."""
        return csv_cells(self._text) if self.is_csv else json_values(self._text, self._beside)

    @property
    def top_k(self) -> int | None:
        """How many classes of each row are asked for, as far as the body has been read; None: all."""
        return class_answers.read_top_k(self._beside[TOP_K])


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


def input_fn(
    body: bytes | bytearray | str, content_type: str | None, context: Any = None
) -> Request | ForecastRequest:
    """Read a request, row by row as :func:`predict_fn` asks for them.

    :param body: text/csv: one row per line in feature order, no header, empty or nan where missing;
        application/json: ``{"instances": [[...]]}`` or ``{"instances": [{"feature": value}]}``, null where
        missing; or ``{"forecast": {...}}``, for the periods that come next. UTF-8, with or without a byte order mark.
    :param content_type: may carry a charset, and ``top_k`` where no context is handed on; missing means text/csv.
    :param context: of the toolkit, where it has one: knows the request's headers.
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
    if kind == JSON and (asked := forecasts.read_request(text)) is not None:
        return asked
    return Request(text, kind, _asked_top_k(content_type, context))


def predict_fn(data: Iterable[Row] | Request | ForecastRequest, model: Model) -> Any:
    """Predict, a slice of rows at a time.

    :return: :class:`Forecasts` where those are asked for; of a regression an array of predictions, one per row, in the
        target's own unit; else :class:`ClassAnswers`.
    :raises BadRequest: at the first row that can't be read, does not fit the model's features or gets no finite
        number, for no rows, or after the time that SageMaker gives a request.
    """
    if isinstance(data, ForecastRequest):
        return forecasts.forecast(data, model, lambda rows: predict_fn(rows.tolist(), model))
    schema = model.card.schema
    classes = schema.classes
    request = data if isinstance(data, Request) else None
    raw = bool(classes) or any(each.kind != "number" for each in schema.features)
    rows: Iterator[Any] = request.raw_rows() if request is not None and raw else iter(data)
    slice_rows = max(1, min(SLICE_ROWS, SLICE_PROBABILITIES // max(len(classes), 1)))
    parts: list[Any] = []
    number = 0
    deadline = time.monotonic() + LONGEST_SECONDS
    while part := list(islice(_checked(rows, number, model, request if raw else None), slice_rows)):
        predicted = np.atleast_1d(model.predict(np.array(part, dtype=np.float64)))
        finite = np.isfinite(predicted).reshape(len(predicted), -1).all(axis=1)
        if not finite.all():
            raise BadRequest(
                f"Row {number + int(np.argmin(finite)) + 1}: the prediction of the model of {model.card.city} is no "
                "finite number. Look for values far from those that it was trained on."
            )
        number += len(part)
        if classes:
            top_k = request.top_k if request is not None else None
            class_answers.check_size(number, min(top_k or len(classes), len(classes)))
            parts.append(_classes(classes, predicted, top_k))
        else:
            parts.append(predicted)
        if time.monotonic() > deadline:
            raise BadRequest(
                f"Row {number}: reached after {LONGEST_SECONDS} seconds, when nobody waits for the answer any more. "
                "Send the rows in parts."
            )
    if not parts:
        raise BadRequest("The request holds no rows; at least 1 is needed.")
    if not classes:
        return np.concatenate(parts)
    top_k = request.top_k if request is not None else None
    # The body may say it behind the last row.
    return class_answers.joined([_classes(classes, part, top_k) for part in parts])


def output_fn(prediction: np.ndarray | ClassAnswers | Forecasts, accept: str | None) -> tuple[str, str]:
    """Write an answer.

    :param accept: text/csv: one comma-joined line, or a line for each row of a classification; application/json:
        ``{"predictions": [...]}``; missing or ``*/*`` means text/csv.
    :return: the answer, and its type: one, whatever list was accepted. Numbers read back exactly.
    :raises BadRequest: when no such kind is known.
    """
    if isinstance(prediction, Forecasts):
        return prediction.json_text(), JSON  # whatever is accepted: it has no other form
    for choice in (accept or CSV).split(","):
        kind = _media_type(choice)
        if kind in (CSV, "text/*", "*/*"):
            if isinstance(prediction, ClassAnswers):
                return "\n".join(prediction.csv_text()), CSV
            return ",".join(_written(prediction, ",")), CSV
        if kind in (JSON, "application/*"):
            written = (
                prediction.json_text() if isinstance(prediction, ClassAnswers) else _written(prediction, ", ")
            )
            return f'{{"predictions": [{", ".join(written)}]}}', JSON
    raise BadRequest(f"Accept: got '{accept}'; allowed: {CSV}, {JSON}.")


def _classes(classes: Sequence[str], found: np.ndarray | ClassAnswers, top_k: int | None) -> ClassAnswers:
    """Answer probabilities, or answers of all classes, as they are asked for."""
    answers = found if isinstance(found, ClassAnswers) else ClassAnswers(classes, found)
    if top_k is None or answers.ranked is not None:
        return answers
    return class_answers.ranked(classes, answers.probabilities, top_k)


def _asked_top_k(content_type: str | None, context: Any) -> str | None:
    """What the headers say of ``top_k``: the custom attributes, or a parameter of the content type."""
    headers = [content_type or ""]
    ask = getattr(context, "get_request_header", None)
    if ask is not None:
        headers[:0] = [ask(0, CUSTOM_ATTRIBUTES) or ask(0, CUSTOM_ATTRIBUTES.lower()) or ""]
    for header in headers:
        for part in header.replace(",", ";").split(";")[:100]:
            name, equals, value = part.partition("=")
            if equals and name.strip().lower() == TOP_K:
                return value.strip()
    return None


def _written(prediction: np.ndarray, between: str) -> Iterator[str]:
    for first in range(0, len(prediction), SLICE_ROWS):
        # tolist makes Python's floats, whose repr reads back exactly.
        values = np.asarray(prediction[first : first + SLICE_ROWS], dtype=np.float64).tolist()
        yield between.join(map(repr, values))


def _media_type(header: str | None) -> str:
    return (header or "").partition(";")[0].strip().lower()


def _checked(
    rows: Iterator[Any], before: int, model: Model, raw: Request | None
) -> Iterator[Sequence[float]]:
    """Rows in the features' order, each found fit for the model.

    :param before: how many rows came before these.
    :param raw: the request whose rows are as they came; None where they are numbers.
    """
    reference = model.card.transform.reference
    at = None if reference is None else model.card.features.index(reference)
    for number, row in enumerate(rows, start=before + 1):
        values = _in_order(row, number, model)
        if raw is not None:
            values = encoded_row(
                model.card.schema.features,
                values,
                number,
                text=raw.is_csv,
            )
        if at is not None and not values[at] > 0:
            got = "nothing" if math.isnan(values[at]) else f"{values[at]:.12g}"
            raise BadRequest(
                f"Row {number}, feature '{reference}': got {got}; allowed: a number above 0 "
                f"(the model of {model.card.city} predicts the ratio to it)."
            )
        yield values


def _in_order(row: Row | RawRow, number: int, model: Model) -> Sequence[Any]:
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


def _misfit(row: dict[str, Any], number: int, model: Model) -> BadRequest:
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
