"""Many rows of features through the endpoint: in batches that a request holds, each row with an answer or a sentence.

Where :mod:`~city_fleet.prediction.predict` answers one row for an application, this is for a file of them. A row that
is refused keeps its place and the others go on. Clients are passed in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from city_fleet.errors import BadRequest, NotReady, PredictError, ServingError
from city_fleet.prediction.deadline import Deadline
from city_fleet.prediction.endpoint_answer import model_error, read_many_classes, read_numbers, refused_row
from city_fleet.prediction.endpoint_cache import Endpoints
from city_fleet.prediction.feature_row import Value, csv_line, read_row
from city_fleet.prediction.live_cache import LivePointers
from city_fleet.prediction.model_call import ModelGone, call_model
from city_fleet.prediction.model_question import iso
from city_fleet.prediction.predict import package_version
from city_fleet.state import pointer_checks
from city_fleet.state.live_pointer import LivePointer
from city_fleet.state.model_address import Address

if TYPE_CHECKING:
    from types_boto3_sagemaker_runtime import SageMakerRuntimeClient

#: Requests that are under way at the same time.
THREADS = 8
#: Of a request. SageMaker takes 6 MiB; a batch that has to be sent again without a row should be cheap.
MOST_ROWS, MOST_BODY_BYTES = 500, 4_000_000
_ANSWER_BYTES = 6 << 20
#: With so many rows, an answer stays far below what SageMaker hands on.
MOST_CLASSES = 50
#: Of one request, its tries included.
BATCH_SECONDS = 120.0


@dataclass(frozen=True)
class RowAnswer:
    """What became of a row.

    :param city: its slug.
    :param prediction: of a regression, in the target's own unit.
    :param label: of a classification: the most probable class, with its ``probability``.
    :param top_k: of a classification: the most probable classes, as ``label`` and ``probability``.
    :param error: why there is no prediction, as a sentence.
    :param target_model: the artifact that answered, or would have.
    """

    city: str
    prediction: float | None = None
    label: str | None = None
    probability: float | None = None
    top_k: Sequence[Mapping[str, Any]] | None = None
    error: str | None = None
    target_model: str | None = None
    package_version: int | None = None
    as_of: str | None = None


class _RowRefused(BadRequest):
    """The model refuses a row of a request.

    :param number: which, from 0.
    """

    number: int = -1


@dataclass(frozen=True)
class _Batch:
    """Rows of one city that go into one request.

    :param places: where each stands among those that were asked for.
    """

    pointer: LivePointer
    places: list[int]
    rows: list[list[Value]]


class RowScorer:
    """Answers rows of a fleet's cities, each by the model of its own city that is live.

    :param pointers: the fleet's live pointers.
    :param endpoints: the fleet's shared endpoints.
    :param top_k: of a classification: how many of the most probable classes, at most :data:`MOST_CLASSES`.
    """

    def __init__(
        self, pointers: LivePointers, runtime: SageMakerRuntimeClient, endpoints: Endpoints, top_k: int = 1
    ) -> None:
        self._pointers = pointers
        self._runtime = runtime
        self._endpoints = endpoints
        self._top_k = top_k

    def pointer(self, city: str) -> LivePointer:
        """Return which model answers for a city.

        :param city: its slug.
        :raises PredictError: none does, or its pointer can't be read.
        """
        return self._pointers.get(city, Deadline(BATCH_SECONDS))

    def score(self, rows: Sequence[tuple[str, Mapping[str, Any]]]) -> list[RowAnswer]:
        """Predict rows.

        :param rows: the slug of a city, and feature name → value of exactly its model's features.
        :return: one answer per row, in their order.
        :raises NotReady: S3 or the endpoint does not answer in time: that is no matter of a row.
        """
        answers: list[RowAnswer | None] = [None] * len(rows)
        batches: list[_Batch] = []
        for city, places in _by_city(rows).items():
            try:
                pointer = self.pointer(city)
            except NotReady:
                raise
            except PredictError as error:
                for place in places:
                    answers[place] = RowAnswer(city, error=str(error))
                continue
            fit: list[tuple[int, list[Value]]] = []
            for place in places:
                try:
                    fit.append((place, read_row(city, pointer.features, rows[place][1], pointer.inputs)))
                except BadRequest as error:
                    answers[place] = _refused(pointer, str(error))
            batches += _batches(pointer, fit)
        with ThreadPoolExecutor(THREADS, thread_name_prefix="score") as pool:
            try:
                for batch, found in zip(batches, pool.map(self._answered, batches), strict=True):
                    for place, answer in zip(batch.places, found, strict=True):
                        answers[place] = answer
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [answer for answer in answers if answer is not None]

    def _answered(self, batch: _Batch) -> list[RowAnswer]:
        """Ask for a batch; again without each row that its model refuses."""
        answers: dict[int, RowAnswer] = {}
        left = dict(enumerate(batch.rows))
        pointer = batch.pointer
        while left:
            rows = list(left.values())
            try:
                pointer, found = self._ask(pointer, rows)
            except _RowRefused as refused:
                number = list(left)[refused.number]
                answers[number] = _refused(pointer, refused.message)
                del left[number]
                continue
            except NotReady:
                raise
            except PredictError as error:
                found = [{"error": str(error)}] * len(rows)
            base = _of_model(pointer)
            answers |= {number: replace(base, **said) for number, said in zip(left, found, strict=True)}
            break
        return [answers[number] for number in range(len(batch.rows))]

    def _ask(self, pointer: LivePointer, rows: list[list[Value]]) -> tuple[LivePointer, list[dict[str, Any]]]:
        """Ask the model of a pointer, or the one that has come in its place meanwhile and takes the same rows."""
        deadline = Deadline(BATCH_SECONDS)
        at = self._endpoints.address_of(pointer, deadline)
        try:
            return pointer, self._call(pointer, at, rows, deadline)
        except ModelGone as gone:
            newer = self._pointers.get(pointer.city, deadline, ask=True)
            same = (newer.features, newer.inputs) == (pointer.features, pointer.inputs)
            now = self._endpoints.address_of(newer, deadline, ask=True)
            if now == gone.at or not same:
                raise ServingError(str(gone), city=pointer.city) from gone
            try:
                return newer, self._call(newer, now, rows, deadline)
            except ModelGone as again:
                raise ServingError(str(again), city=pointer.city) from again

    def _call(
        self, pointer: LivePointer, at: Address, rows: list[list[Value]], deadline: Deadline
    ) -> list[dict[str, Any]]:
        regression = pointer.task == pointer_checks.REGRESSION
        as_json = pointer.is_table or not regression
        lines = [_line(row, as_json) for row in rows]
        top_k = "" if regression else f'"top_k": {self._top_k}, '
        body = (
            b"{%s" % top_k.encode() + b'"instances": [' + b",".join(lines) + b"]}"
            if as_json
            else b"\n".join(lines)
        )

        def refused(city: str, whose: str, error: ClientError) -> PredictError:
            found = refused_row(error)
            if found is None or found[0] > len(rows):
                return model_error(city, whose, error)
            problem = _RowRefused(f"city {city!r}: {found[1]}", mistakes=[])
            problem.number = found[0] - 1
            return problem

        answered = call_model(
            self._runtime,
            at,
            pointer.city,
            deadline,
            body=body,
            as_json=as_json,
            answer_bytes=_ANSWER_BYTES,
            refused=refused,
        )
        content, whose = answered.content, answered.whose
        if regression:
            numbers = read_numbers(content, whose, pointer.city, len(rows))
            return [{"prediction": number} for number in numbers]
        return [
            {
                "label": each["label"],
                "probability": next(
                    one["probability"] for one in each["top_k"] if one["label"] == each["label"]
                ),
                "top_k": each["top_k"],
            }
            for each in read_many_classes(content, whose, pointer.city, len(rows))
        ]


def _by_city(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for place, (city, _) in enumerate(rows):
        found.setdefault(city, []).append(place)
    return found


def _batches(pointer: LivePointer, fit: list[tuple[int, list[Value]]]) -> Iterator[_Batch]:
    """Yield rows of a city in parts that a request holds."""
    batch, size = _Batch(pointer, [], []), 0
    for place, row in fit:
        length = len(_line(row, as_json=True)) + 1
        if batch.rows and (size + length > MOST_BODY_BYTES or len(batch.rows) == MOST_ROWS):
            yield batch
            batch, size = _Batch(pointer, [], []), 0
        batch.places.append(place)
        batch.rows.append(row)
        size += length
    if batch.rows:
        yield batch


def _line(row: Sequence[Value], as_json: bool) -> bytes:
    return json.dumps(row, allow_nan=False).encode() if as_json else csv_line(row)


def _of_model(pointer: LivePointer) -> RowAnswer:
    return RowAnswer(
        pointer.city,
        target_model=pointer.target_model,
        package_version=package_version(pointer.package_arn),
        as_of=iso(pointer.as_of),
    )


def _refused(pointer: LivePointer, sentence: str) -> RowAnswer:
    return replace(_of_model(pointer), error=sentence)
