"""Predictions for applications: live pointer → endpoint → a number or a class, within one deadline.

The Lambda and ``./fleet predict`` use this module. Nothing on this path knows Airflow: pointer and endpoint serve on
while it is down. Standard library and boto3 only; clients are passed in (:func:`clients` makes suitable ones).
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from city_fleet import aws_errors, naming, outgoing_text
from city_fleet.errors import BadRequest, CityFleetError, PredictError, ServingError, show_value
from city_fleet.prediction.deadline import Deadline
from city_fleet.prediction.endpoint_answer import Prediction, model_error, read_classes, read_number
from city_fleet.prediction.feature_row import csv_line, json_request, read_row
from city_fleet.prediction.live_cache import LivePointers
from city_fleet.state import live, pointer_checks

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_sagemaker_runtime import SageMakerRuntimeClient

log = outgoing_text.logger(__name__)

DEADLINE_SECONDS = 25.0
THREADS = 16
_S3_READ_SECONDS = 5
# Of the answer for one row: more than this is cut off, and so no JSON. SageMaker hands on 6 MB.
_ANSWER_BYTES = 1 << 20
_ANSWER_OF_CLASSES_BYTES = 6 << 20
_CONNECT_SECONDS = 3
_MOST_CLASSES = 100_000


@dataclass(frozen=True)
class Asked:
    """A row of a city, and what is to be answered.

    :param features: feature name → value, or None where it is missing; exactly the model's features.
    :param top_k: of a classification: how many of the most probable classes; None: the probabilities of all.
    """

    city: object
    features: object
    top_k: object = None


def clients(
    *, region: str | None = None, deadline_seconds: float = DEADLINE_SECONDS
) -> tuple[S3Client, SageMakerRuntimeClient]:
    """Return a boto3 S3 and a SageMaker runtime client whose only retries are those of :class:`Deadline`.

    :param deadline_seconds: nothing is waited for longer than this.
    """

    def config(read_seconds: float) -> Config:
        return Config(
            region_name=region,
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=read_seconds,
            retries={"total_max_attempts": 1, "mode": "standard"},
            max_pool_connections=THREADS,
        )

    return (
        boto3.client("s3", config=config(min(_S3_READ_SECONDS, deadline_seconds))),
        boto3.client("sagemaker-runtime", config=config(deadline_seconds)),
    )


class Predictor:
    """Answers requests for predictions of one fleet; keeps what it knows of live pointers between them.

    :param pointers: the fleet's live pointers.
    :param runtime: a boto3 SageMaker runtime client, best of :func:`clients`.
    :param endpoint: name of the fleet's shared endpoint.
    :param threads: how many cities of one request are asked at the same time.
    """

    def __init__(
        self, pointers: LivePointers, runtime: SageMakerRuntimeClient, endpoint: str, threads: int = THREADS
    ) -> None:
        self.pointers = pointers
        self._runtime = runtime
        self._endpoint = endpoint
        self._threads = threads

    def predict(
        self, city: object, features: object, seconds: float = DEADLINE_SECONDS, top_k: object = None
    ) -> Prediction:
        """Predict one row of one city.

        :param features: feature name → value, or None where it is missing; exactly the model's features.
        :param seconds: the deadline of the whole request.
        :param top_k: of a classification: how many of the most probable classes; None: the probabilities of all.
        :raises PredictError: of the kind that says whose fault it is.
        """
        (answer,) = self.predict_many([Asked(city, features, top_k)], seconds)
        if isinstance(answer, PredictError):
            raise answer
        return answer

    def predict_many(
        self, requests: Sequence[Asked | tuple[object, object]], seconds: float = DEADLINE_SECONDS
    ) -> list[Prediction | PredictError]:
        """Predict rows of several cities (a city may come more than once), at the same time.

        :param requests: (city, features), or :class:`Asked`, with what :meth:`predict` takes.
        :param seconds: the deadline of all of them together; what has no answer by then is NotReady.
        :return: one answer per request, in the same order.
        """
        started = time.perf_counter()
        deadline = Deadline(seconds)
        asked = [each if isinstance(each, Asked) else Asked(*each) for each in requests]
        # One each, with the same end: what was asked last for a city is known when its time is over.
        own = [deadline.at_most(seconds) for _ in requests]
        answers: list[Prediction | PredictError | None] = [None] * len(requests)
        waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
        for index in range(len(requests)):
            waiting.put(index)
        broken: list[BaseException] = []

        def work() -> None:
            while deadline.left() > 0:
                try:
                    index = waiting.get_nowait()
                except queue.Empty:
                    return
                try:
                    answers[index] = self._predict(asked[index], own[index], started)
                except PredictError as error:
                    answers[index] = error
                except Exception as error:
                    # One city's matter, whatever it is: the others of the request are answered.
                    log.exception("A prediction failed")
                    answers[index] = _unexpected(asked[index].city, error)
                except BaseException as error:
                    broken.append(error)
                    return

        # Not a pool: its threads are waited for at the end of the process. A call to AWS cannot be taken back, only
        # left alone; it ends by itself at the client's own timeout.
        workers = [
            threading.Thread(target=work, name=f"predict-{number}", daemon=True)
            for number in range(min(self._threads, len(requests)))
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(deadline.left())
        if broken:
            raise broken[0]
        pairs = zip(answers, own, strict=True)
        return [limit.missed() if answer is None else answer for answer, limit in pairs]

    def _predict(self, asked: Asked, deadline: Deadline, started: float) -> Prediction:
        city = asked.city
        if not isinstance(city, str) or not city:
            raise BadRequest(
                f"city: got {show_value(city)}; allowed: the slug of a city as text, for example 'austin'.",
                mistakes=[],
            )
        pointer = self.pointers.get(city, deadline)
        try:
            value = self._ask(pointer, asked, deadline)
        except _ModelGone as gone:
            # Its artifact may have been retired while this pointer was believed.
            newer = self.pointers.get(city, deadline, ask=True)
            if newer.target_model == pointer.target_model:
                raise ServingError(str(gone), city=city) from gone
            pointer = newer
            try:
                value = self._ask(pointer, asked, deadline)
            except _ModelGone as again:
                raise ServingError(str(again), city=city) from again
        return Prediction(
            **{"prediction": None, **value},
            city=city,
            target_model=pointer.target_model,
            package_arn=pointer.package_arn,
            package_version=_package_version(pointer.package_arn),
            as_of=_iso(pointer.as_of),
            latency_ms=round((time.perf_counter() - started) * 1000, 1),
        )

    def _ask(self, pointer: live.LivePointer, asked: Asked, deadline: Deadline) -> dict[str, Any]:
        """Ask the endpoint for the prediction of a pointer's model.

        :return: fields of :class:`Prediction`.
        :raises _ModelGone: the endpoint cannot use the request; most likely the artifact is not there.
        """
        top_k = _top_k(pointer, asked.top_k)
        row = read_row(pointer.city, pointer.features, asked.features, pointer.inputs)
        as_json = pointer.is_table or top_k is not None
        body = json_request(row, top_k) if as_json else csv_line(row)
        endpoint = pointer.endpoint or self._endpoint
        whose = f"city {pointer.city!r}: endpoint {endpoint!r} with {pointer.target_model}"
        numbers = pointer.task == pointer_checks.REGRESSION

        def invoke() -> bytes:
            answer = self._runtime.invoke_endpoint(
                EndpointName=endpoint,
                TargetModel=pointer.target_model,
                ContentType="application/json" if as_json else "text/csv",
                Accept="application/json",
                Body=body,
            )
            content: bytes = answer["Body"].read(_ANSWER_BYTES if numbers else _ANSWER_OF_CLASSES_BYTES)
            return content

        try:
            content = deadline.call(whose, invoke)
        except ClientError as error:
            if aws_errors.is_model_error(error):
                raise model_error(pointer.city, whose, error) from error
            if aws_errors.is_invalid(error):
                raise _ModelGone(f"{whose}: {aws_errors.message_of(error)}") from error
            raise ServingError(f"{whose}: {error}", city=pointer.city) from error
        except BotoCoreError as error:
            raise ServingError(f"{whose} cannot be asked: {error}", city=pointer.city) from error
        if numbers:
            return {"prediction": read_number(content, whose, pointer.city)}
        return read_classes(content, whose, pointer.city)


def _top_k(pointer: live.LivePointer, value: object) -> int | None:
    """Return how many classes are asked for.

    :raises BadRequest: it is no number of classes, or the model predicts a number.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST_CLASSES:
        allowed = f"a whole number from 1 to {_MOST_CLASSES}"
    elif pointer.task == pointer_checks.REGRESSION:
        allowed = "nothing, for its model predicts a number and no class"
    else:
        return value
    raise BadRequest(
        f"city {pointer.city!r}, top_k: got {show_value(value)}; allowed: {allowed}.", mistakes=[]
    )


def _unexpected(city: object, error: Exception) -> ServingError:
    name = city if isinstance(city, str) else show_value(city)
    text = f"city {show_value(city)}: the prediction failed ({type(error).__name__}); the function's log says more."
    return ServingError(text, city=name)


class _ModelGone(CityFleetError):
    """The endpoint refuses the request itself: no such endpoint, or no such artifact."""


def _package_version(arn: str) -> int | None:
    last = arn.rpartition("/")[2]
    return int(last) if last.isdecimal() and last.isascii() else None


def _iso(as_of: str) -> str:
    try:
        return naming.parse_as_of(as_of).strftime("%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        return as_of  # what a person wrote into a pointer does not keep the model from answering
