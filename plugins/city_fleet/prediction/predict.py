"""Predictions for applications: live pointer → shared endpoint → a number, within one deadline.

The Lambda and ``./fleet predict`` use this module. Nothing on this path knows Airflow: pointer and endpoint serve on
while it is down. Standard library and boto3 only; clients are passed in (:func:`clients` makes suitable ones).
"""

from __future__ import annotations

import json
import math
import queue
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from city_fleet import aws_errors, naming, outgoing_text
from city_fleet.errors import BadRequest, CityFleetError, PredictError, ServingError, show_value
from city_fleet.prediction.deadline import Deadline
from city_fleet.prediction.feature_row import csv_line, read_row
from city_fleet.prediction.live_cache import LivePointers
from city_fleet.state import live

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_sagemaker_runtime import SageMakerRuntimeClient

log = outgoing_text.logger(__name__)

DEADLINE_SECONDS = 25.0
THREADS = 16
_S3_READ_SECONDS = 5
# Of the answer for one row: more than this is cut off, and so no JSON.
_ANSWER_BYTES = 1 << 20
_CONNECT_SECONDS = 3
# inference.py speaks of rows of a request; here a request is one row, whose features are what the caller knows.
_OUR_ROW = re.compile(r"Row 1[,:] *")
_FEATURE = re.compile(r"feature '([^']+)'")


@dataclass(frozen=True)
class Prediction:
    """What the model that is live now predicts for one row.

    :param prediction: in the target's own unit.
    :param target_model: the artifact that answered, as the live pointer and the endpoint name it.
    :param package_arn: its version in the model registry.
    :param package_version: the number at the end of that ARN, None when it has none.
    :param as_of: the moment up to which the model may have seen data, ISO 8601 in UTC.
    :param latency_ms: from the start of the request to the answer, waiting for a free thread and attempts included.
    """

    city: str
    prediction: float
    target_model: str
    package_arn: str
    package_version: int | None
    as_of: str
    latency_ms: float

    def to_dict(self) -> dict[str, Any]:
        return {"status": 200, **asdict(self)}


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

    def predict(self, city: object, features: object, seconds: float = DEADLINE_SECONDS) -> Prediction:
        """Predict one row of one city.

        :param features: feature name → number, or None where the value is missing; exactly the model's features.
        :param seconds: the deadline of the whole request.
        :raises PredictError: of the kind that says whose fault it is.
        """
        (answer,) = self.predict_many([(city, features)], seconds)
        if isinstance(answer, PredictError):
            raise answer
        return answer

    def predict_many(
        self, requests: Sequence[tuple[object, object]], seconds: float = DEADLINE_SECONDS
    ) -> list[Prediction | PredictError]:
        """Predict rows of several cities (a city may come more than once), at the same time.

        :param requests: (city, features) as :meth:`predict` takes them.
        :param seconds: the deadline of all of them together; what has no answer by then is NotReady.
        :return: one answer per request, in the same order.
        """
        started = time.perf_counter()
        deadline = Deadline(seconds)
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
                    answers[index] = self._predict(*requests[index], own[index], started)
                except PredictError as error:
                    answers[index] = error
                except Exception as error:
                    # One city's matter, whatever it is: the others of the request are answered.
                    log.exception("A prediction failed")
                    answers[index] = _unexpected(requests[index][0], error)
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

    def _predict(self, city: object, features: object, deadline: Deadline, started: float) -> Prediction:
        if not isinstance(city, str) or not city:
            raise BadRequest(
                f"city: got {show_value(city)}; allowed: the slug of a city as text, for example 'austin'.",
                mistakes=[],
            )
        pointer = self.pointers.get(city, deadline)
        try:
            value = self._ask(pointer, features, deadline)
        except _ModelGone as gone:
            # Its artifact may have been retired while this pointer was believed.
            newer = self.pointers.get(city, deadline, ask=True)
            if newer.target_model == pointer.target_model:
                raise ServingError(str(gone), city=city) from gone
            pointer = newer
            try:
                value = self._ask(pointer, features, deadline)
            except _ModelGone as again:
                raise ServingError(str(again), city=city) from again
        return Prediction(
            city=city,
            prediction=value,
            target_model=pointer.target_model,
            package_arn=pointer.package_arn,
            package_version=_package_version(pointer.package_arn),
            as_of=_iso(pointer.as_of),
            latency_ms=round((time.perf_counter() - started) * 1000, 1),
        )

    def _ask(self, pointer: live.LivePointer, features: object, deadline: Deadline) -> float:
        """Ask the endpoint for the prediction of a pointer's model.

        :raises _ModelGone: the endpoint cannot use the request; most likely the artifact is not there.
        """
        body = csv_line(read_row(pointer.city, pointer.features, features))
        whose = f"city {pointer.city!r}: endpoint {self._endpoint!r} with {pointer.target_model}"

        def invoke() -> bytes:
            answer = self._runtime.invoke_endpoint(
                EndpointName=self._endpoint,
                TargetModel=pointer.target_model,
                ContentType="text/csv",
                Accept="application/json",
                Body=body,
            )
            content: bytes = answer["Body"].read(_ANSWER_BYTES)
            return content

        try:
            content = deadline.call(whose, invoke)
        except ClientError as error:
            if aws_errors.is_model_error(error):
                raise _model_error(pointer.city, whose, error) from error
            if aws_errors.is_invalid(error):
                raise _ModelGone(f"{whose}: {aws_errors.message_of(error)}") from error
            raise ServingError(f"{whose}: {error}", city=pointer.city) from error
        except BotoCoreError as error:
            raise ServingError(f"{whose} cannot be asked: {error}", city=pointer.city) from error
        return _number(content, whose, pointer.city)


def _unexpected(city: object, error: Exception) -> ServingError:
    name = city if isinstance(city, str) else show_value(city)
    text = f"city {show_value(city)}: the prediction failed ({type(error).__name__}); the function's log says more."
    return ServingError(text, city=name)


class _ModelGone(CityFleetError):
    """The endpoint refuses the request itself: no such endpoint, or no such artifact."""


def _model_error(city: str, whose: str, error: ClientError) -> PredictError:
    """Tell a mistake of the caller, in inference.py's words, from a fault of the model."""
    response: dict[str, Any] = dict(error.response)
    said = str(response.get("OriginalMessage") or aws_errors.message_of(error)).strip()
    sentence = said.splitlines()[0] if said else "no reason"
    mine = _OUR_ROW.match(sentence)
    if 400 <= int(response.get("OriginalStatusCode") or 0) < 500 and mine:
        sentence = sentence[mine.end() :]
        feature = _FEATURE.search(sentence)
        mistake = {"feature": feature[1] if feature else None, "problem": "refused_by_model", "got": sentence}
        return BadRequest(f"city {city!r}: {sentence}", mistakes=[mistake])
    stream = response.get("LogStreamArn")
    return ServingError(f"{whose}: the model failed: {sentence}", city=city, log_stream_arn=stream)


def _number(content: bytes, whose: str, city: str) -> float:
    try:
        (value,) = json.loads(content)["predictions"]
        number = float(value)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        got = f"{content[:80]!r} ({type(error).__name__})"
        raise ServingError(f"{whose}: the answer is not a prediction: {got}", city=city) from error
    if not math.isfinite(number):
        raise ServingError(f"{whose}: predicts {number}, which is not a finite number", city=city)
    return number


def _package_version(arn: str) -> int | None:
    last = arn.rpartition("/")[2]
    return int(last) if last.isdecimal() and last.isascii() else None


def _iso(as_of: str) -> str:
    try:
        return naming.parse_as_of(as_of).strftime("%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        return as_of  # what a person wrote into a pointer does not keep the model from answering
