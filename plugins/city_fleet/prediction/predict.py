"""Predictions for applications: live pointer → endpoint → a number, a class or a forecast, within one deadline.

The Lambda and ``./fleet predict`` use this module. Nothing on this path knows Airflow: pointer and endpoint serve on
while it is down. Standard library and boto3 only; clients are passed in (:func:`clients` makes suitable ones).
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from city_fleet import clock, outgoing_text
from city_fleet.errors import (
    BadRequest,
    PredictError,
    ServingError,
    UnknownCity,
    show_value,
)
from city_fleet.prediction import model_question, observation, prediction_id, substitute
from city_fleet.prediction.challenger_cache import Trials
from city_fleet.prediction.deadline import Deadline
from city_fleet.prediction.endpoint_answer import Prediction
from city_fleet.prediction.endpoint_cache import Endpoints
from city_fleet.prediction.known_cache import KnownCopies, Newest
from city_fleet.prediction.live_cache import LivePointers
from city_fleet.prediction.model_call import ModelGone, call_model
from city_fleet.prediction.model_question import NO_FEATURES, Asked, iso, slug_of
from city_fleet.prediction.seat import Seat, seat_of
from city_fleet.prediction.trial_calls import TrialCalls, Tried
from city_fleet.state import challengers, live
from city_fleet.state.challengers import Challenger
from city_fleet.state.live_pointer import ServedModel
from city_fleet.state.observed import CHALLENGER, Observed, Observer

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_sagemaker_runtime import SageMakerRuntimeClient

log = outgoing_text.logger(__name__)

DEADLINE_SECONDS = 25.0
THREADS = 16
S3_READ_SECONDS = 5
_CONNECT_SECONDS = 3


def clients(
    *, region: str | None = None, deadline_seconds: float = DEADLINE_SECONDS
) -> tuple[S3Client, SageMakerRuntimeClient]:
    """Return a boto3 S3 and a SageMaker runtime client whose only retries are those of :class:`Deadline`.

    :param deadline_seconds: nothing is waited for longer than this.
    """

    s3_config = client_config(min(S3_READ_SECONDS, deadline_seconds))
    return (
        boto3.client("s3", region_name=region, config=s3_config),
        boto3.client("sagemaker-runtime", region_name=region, config=client_config(deadline_seconds)),
    )


def client_config(read_seconds: float) -> Config:
    """Return the settings of a client whose only retries are those of :class:`Deadline`.

    :param read_seconds: how long an answer is waited for.
    """
    return Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=read_seconds,
        retries={"total_max_attempts": 1, "mode": "standard"},
        max_pool_connections=THREADS,
    )


class Predictor:
    """Answers requests for predictions of one fleet; keeps what it knows of live pointers between them.

    :param pointers: the fleet's live pointers.
    :param runtime: a boto3 SageMaker runtime client, best of :func:`clients`.
    :param endpoints: the fleet's shared endpoints.
    :param threads: how many cities of one request are asked at the same time.
    :param known: what is known of the fleet's cities; None leaves forecasts to what the models' artifacts hold.
    :param observers: are told of every prediction that was made or failed in time.
    :param trials: the challengers that are tried beside champions; None leaves all to the champions.
    """

    def __init__(
        self,
        pointers: LivePointers,
        runtime: SageMakerRuntimeClient,
        endpoints: Endpoints,
        threads: int = THREADS,
        *,
        known: KnownCopies | None = None,
        observers: Sequence[Observer] = (),
        trials: Trials | None = None,
    ) -> None:
        self._observers = observers
        self.trials = None if trials is None else TrialCalls(trials, self._tell)
        self.pointers = pointers
        self.known = known
        self._runtime = runtime
        self.endpoints = endpoints
        self._threads = threads

    def predict(
        self, city: object, features: object, seconds: float = DEADLINE_SECONDS, top_k: object = None
    ) -> Prediction:
        """Predict one row of one city.

        :param city: its slug, or its name as people write it.
        :param features: feature name → value, or None where it is missing; exactly the model's features.
        :param seconds: the deadline of the whole request.
        :param top_k: of a classification: how many of the most probable classes; None: the probabilities of all.
        :raises PredictError: of the kind that says whose fault it is.
        """
        return self._one(Asked(city, features, top_k), seconds)

    def forecast(
        self,
        city: object,
        horizon: object = None,
        history: object = None,
        seconds: float = DEADLINE_SECONDS,
        *,
        ahead: object = None,
    ) -> Prediction:
        """Predict the next periods of one city from what is known of it.

        :param horizon: how many periods ahead; None: as many as the model can.
        :param history: the caller's own newer rows: ``period`` and values by column.
        :raises PredictError: of the kind that says whose fault it is.
        """
        return self._one(Asked(city, horizon=horizon, history=history, ahead=ahead), seconds)

    def _one(self, asked: Asked, seconds: float) -> Prediction:
        (answer,) = self.predict_many([asked], seconds)
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
        answers: dict[int, Prediction | PredictError] = {}
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
                    answer = self._answer(asked[index], own[index], started)
                    if answers.setdefault(index, answer) is answer:
                        self._note(asked[index], answer, started)
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
        for index, limit in enumerate(own):
            if index not in answers:
                missed = limit.missed()
                # A thread may come to its answer at this very moment: then that is the one.
                if answers.setdefault(index, missed) is missed:
                    self._note(asked[index], missed, started)
        return [answers[index] for index in range(len(requests))]

    def _answer(self, asked: Asked, deadline: Deadline, started: float) -> Prediction | PredictError:
        """Answer one request, whatever comes of it."""
        try:
            return self._predict(asked, deadline, started)
        except PredictError as error:
            return error
        except Exception as error:
            # One city's matter, whatever it is: the others of the request are answered.
            log.exception("A prediction failed")
            return _unexpected(asked.city, error)

    def _note(self, asked: Asked, answer: Prediction | PredictError, started: float) -> None:
        """Tell who wants to know of an answer."""
        if self._observers:
            self._tell(observation.of(asked, answer, (time.perf_counter() - started) * 1000))

    def _tell(self, seen: Observed) -> None:
        for observer in self._observers:
            try:
                observer(seen)
            except Exception:
                log.exception("A prediction was made, and could not be noted")

    def _predict(self, asked: Asked, deadline: Deadline, started: float) -> Prediction:
        city = asked.city
        if not isinstance(city, str) or not city:
            raise BadRequest(
                f"city: got {show_value(city)}; allowed: the name of a city as text, for example 'austin'.",
                mistakes=[],
            )
        city = slug_of(city)
        name = prediction_id.new(city, clock.utc_now())
        seat = self._seat(city, asked, deadline)

        def champion() -> Prediction:
            return self._of_champion(seat, asked, name, deadline, started)

        # A parent answers for its child as what it is; only a city's own champion is tried against.
        if self.trials is None or seat.child is not None:
            return champion()
        trial = self.trials.of(seat.pointer, asked, name, deadline)
        if trial is None:
            return champion()

        def ask(limit: Deadline) -> Prediction:
            value = self._of_challenger(seat, trial.model, asked, limit)
            return replace(_prediction(city, trial.model, value, name, started), role=CHALLENGER)

        way = self.trials.canary if trial.way == challengers.CANARY else self.trials.shadow
        return way(Tried(trial, asked, name, ask), champion, deadline)

    def of_challenger(self, trial: Challenger, asked: Asked, seconds: float = DEADLINE_SECONDS) -> Prediction:
        """Ask a challenger alone, for a comparison with the champion.

        :raises PredictError: of the kind that says whose fault it is.
        """
        started, deadline, city = time.perf_counter(), Deadline(seconds), trial.city
        value = self._of_challenger(Seat(self.pointers.get(city, deadline)), trial.model, asked, deadline)
        name = prediction_id.new(city, clock.utc_now())
        return replace(_prediction(city, trial.model, value, name, started), role=CHALLENGER)

    def _of_challenger(
        self, seat: Seat, model: ServedModel, asked: Asked, deadline: Deadline
    ) -> dict[str, Any]:
        """Ask a model that is tried beside the champion.

        :return: fields of :class:`Prediction`.
        """
        for _ in range(2):
            try:
                return self._ask(seat, model, asked, deadline)
            except ModelGone as gone:
                failure = gone
                if self.endpoints.address_of(model, deadline, ask=True) == gone.at:
                    break
        raise ServingError(str(failure), city=model.city) from failure

    def _of_champion(
        self, seat: Seat, asked: Asked, name: str, deadline: Deadline, started: float
    ) -> Prediction:
        """Ask the model that serves.

        :param name: the prediction's id.
        """
        city = seat.child or seat.pointer.city
        try:
            pointer, value = self._answered(seat, asked, deadline)
        except (UnknownCity, ServingError) as error:
            if seat.child is None:
                raise
            if seat.own is None:
                if isinstance(error, UnknownCity):
                    raise
                raise substitute.broken_parent(error, city, seat.pointer.city) from error
            # A model of the city's own is better than no answer, however old.
            log.warning("City %r: its parent can't answer, its own model does: %s", city, error)
            pointer, value = self._answered(seat.without_parent(), asked, deadline)
        return _prediction(city, pointer, value, name, started)

    def _seat(self, city: str, asked: Asked, deadline: Deadline) -> Seat:
        """Find out whose model answers; for a row of features no other than the city's."""
        if asked.features is NO_FEATURES and self.known is not None:
            return seat_of(city, self.pointers, self.known, deadline)
        return Seat(self.pointers.get(city, deadline))

    def _answered(
        self, seat: Seat, asked: Asked, deadline: Deadline
    ) -> tuple[live.LivePointer, dict[str, Any]]:
        """Ask the model of a seat, or the one that has come in its place meanwhile.

        :return: the pointer of the model that has answered, and fields of :class:`Prediction`.
        """
        try:
            value = self._ask(seat, seat.pointer, asked, deadline)
        except ModelGone as gone:
            # Its artifact may have been retired while this pointer was believed, or another endpoint have taken over.
            city = seat.pointer.city
            newer = self.pointers.get(city, deadline, ask=True)
            if self.endpoints.address_of(newer, deadline, ask=True) == gone.at:
                raise ServingError(str(gone), city=city) from gone
            seat = replace(seat, pointer=newer)
            try:
                value = self._ask(seat, newer, asked, deadline)
            except ModelGone as again:
                raise ServingError(str(again), city=city) from again
        return seat.pointer, value

    def _ask(self, seat: Seat, model: ServedModel, asked: Asked, deadline: Deadline) -> dict[str, Any]:
        """Ask the endpoint for the prediction of a model.

        :param seat: whom it answers for.
        :return: fields of :class:`Prediction`.
        :raises ModelGone: the endpoint cannot use the request; most likely the artifact is not there.
        """
        city = seat.child or model.city
        question = model_question.put(
            model, asked, lambda: self._newest(city, deadline), child=seat.child, problem=seat.problem
        )
        answered = call_model(
            self._runtime,
            self.endpoints.address_of(model, deadline),
            city,
            deadline,
            body=question.body,
            as_json=question.as_json,
            answer_bytes=question.answer_bytes,
        )
        return {**question.read(answered.content, answered.whose, city), "cold": answered.cold}

    def _newest(self, city: str, deadline: Deadline) -> Newest:
        return self.known.newest(city, deadline) if self.known is not None else Newest()


def _prediction(
    city: str, model: ServedModel, value: dict[str, Any], name: str, started: float
) -> Prediction:
    """Return what a model has answered.

    :param value: fields of :class:`Prediction`.
    :param name: its id.
    """
    return Prediction(
        **{"prediction": None, **value},
        city=city,
        target_model=model.target_model,
        package_arn=model.package_arn,
        package_version=package_version(model.package_arn),
        as_of=iso(model.as_of),
        latency_ms=round((time.perf_counter() - started) * 1000, 1),
        prediction_id=name,
    )


def _unexpected(city: object, error: Exception) -> ServingError:
    name = city if isinstance(city, str) else show_value(city)
    text = f"city {show_value(city)}: the prediction failed ({type(error).__name__}); the function's log says more."
    return ServingError(text, city=name)


def package_version(arn: str) -> int | None:
    """Return the number at the end of a model package's ARN; None when it has none."""
    last = arn.rpartition("/")[2]
    return int(last) if last.isdecimal() and last.isascii() else None
