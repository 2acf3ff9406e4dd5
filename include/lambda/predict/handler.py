"""AWS Lambda: predictions of one fleet for applications, behind an API Gateway HTTP API or invoked directly.

The edge only: which path leads where, and what an answer looks like. What is asked of S3 and SageMaker is
``city_fleet.prediction.predict``, which ``./fleet predict`` uses as well. README.md beside this file has the formats,
and how to deploy it.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from city_fleet import naming, outgoing_text, traffic_rules
from city_fleet.errors import CityFleetError, PredictError, show_value
from city_fleet.naming import Keys
from city_fleet.prediction import http_event, openapi
from city_fleet.prediction.capture import Capture
from city_fleet.prediction.challenger_cache import Trials
from city_fleet.prediction.city_catalog import CityCatalog
from city_fleet.prediction.deadline import Deadline
from city_fleet.prediction.embedded_metrics import EmbeddedMetrics
from city_fleet.prediction.endpoint_answer import Prediction
from city_fleet.prediction.endpoint_cache import Endpoints
from city_fleet.prediction.http_event import EXAMPLE, EXAMPLE_OF_MANY, HttpCall, Refused, bad
from city_fleet.prediction.known_cache import KnownCopies
from city_fleet.prediction.live_cache import TTL_SECONDS, LivePointers
from city_fleet.prediction.model_question import NO_FEATURES, Asked
from city_fleet.prediction.outcome_inbox import OutcomeInbox, is_meant
from city_fleet.prediction.predict import DEADLINE_SECONDS, Predictor, clients
from city_fleet.state.encryption import encrypting
from city_fleet.state.objects import ObjectStore
from city_fleet.state.observed import Observer
from city_fleet.traffic_rules import CaptureRule

log = outgoing_text.logger("predict")

PREDICT, OUTCOME, CITIES, OPENAPI = "/predict", "/outcome", "/cities", "/openapi.json"
MAX_CITIES = 100
# Kept back of what Lambda leaves a call, to write the answer.
RESERVE_SECONDS = 0.5
FORECAST_MEMBERS = ("horizon", "history", "ahead")
MEMBERS = ("city", "features", "top_k", "caller", *FORECAST_MEMBERS)
LONGEST_CALLER = 200


@dataclass(frozen=True)
class Settings:
    """What the function's environment variables say.

    :param ttl_seconds: how long a live pointer is believed without asking S3.
    :param deadline_seconds: how long one call may take in all.
    :param cors_origins: whose pages may read answers in a browser; nobody's where there are none.
    :param embedded_metrics: whether metrics are written into the log, for CloudWatch.
    :param metrics_cities: slugs of cities that are counted each on its own.
    :param capture: which predictions are kept; None for none.
    """

    bucket: str
    fleet: str
    environment: str
    endpoint: str
    ttl_seconds: float
    deadline_seconds: float
    cors_origins: tuple[str, ...]
    embedded_metrics: bool = False
    metrics_cities: tuple[str, ...] = ()
    capture: CaptureRule | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read them.

        :raises CityFleetError: naming every variable that is missing or wrong, and what is allowed.
        """
        mistakes: list[str] = []

        def text(name: str, what: str) -> str:
            value = environment.get(name, "").strip()
            if not value:
                mistakes.append(f"{name} is not set; allowed: {what}.")
            return value

        def slug(name: str, what: str) -> str:
            value = text(name, what)
            if value and (not naming.is_slug(value) or value in naming.RESERVED_ENVIRONMENTS):
                mistakes.append(
                    f"{name}: got {show_value(value)}; allowed: {what}: lower-case letters and digits, words joined by "
                    f"one underscore, and not {', '.join(naming.RESERVED_ENVIRONMENTS)}."
                )
            return value

        def seconds(name: str, default: float, least: float, most: float) -> float:
            value = environment.get(name, "").strip() or str(default)
            try:
                number = float(value)
            except ValueError:
                number = math.nan
            if not least <= number <= most:
                mistakes.append(f"{name}: got {value!r}; allowed: seconds from {least:g} to {most:g}.")
            return number

        def origins(name: str) -> tuple[str, ...]:
            found = tuple(each.strip() for each in environment.get(name, "").split(",") if each.strip())
            mistakes.extend(
                f"{name}: got {show_value(each)}; allowed: origins such as https://app.example.com, joined by commas, "
                "or *."
                for each in found
                if not http_event.is_origin(each)
            )
            return found

        metrics: tuple[bool, tuple[str, ...]] = (False, ())
        capture = None
        try:
            metrics = traffic_rules.read_metrics(environment, naming.is_slug)
        except ValueError as error:
            mistakes.append(str(error))
        try:
            capture = traffic_rules.parse_capture(environment.get(traffic_rules.CAPTURE, ""))
        except ValueError as error:
            mistakes.append(f"{traffic_rules.CAPTURE}: {error}.")
        settings = cls(
            bucket=text("CITY_FLEET_BUCKET", "the fleet's S3 bucket"),
            fleet=text("CITY_FLEET_FLEET", "the fleet's name, as in its fleet file"),
            environment=slug(
                "CITY_FLEET_ENVIRONMENT", "the environment in its fleet file, for example production"
            ),
            endpoint=text("CITY_FLEET_ENDPOINT", "the name of the fleet's own shared endpoint"),
            ttl_seconds=seconds("CITY_FLEET_POINTER_TTL_SECONDS", TTL_SECONDS, 0, 3600),
            deadline_seconds=seconds("CITY_FLEET_DEADLINE_SECONDS", DEADLINE_SECONDS, 1, 890),
            cors_origins=origins("CITY_FLEET_CORS_ORIGINS"),
            embedded_metrics=metrics[0],
            metrics_cities=metrics[1],
            capture=capture,
        )
        if mistakes:
            raise CityFleetError(
                f"The function's environment variables: {' '.join(mistakes)} Set them with "
                "`aws lambda update-function-configuration --environment`."
            )
        return settings


# Once per container: Lambda gives this phase more time than a call, and reports what is wrong as an init error.
SETTINGS = Settings.from_environment(os.environ)
S3, RUNTIME = clients(deadline_seconds=SETTINGS.deadline_seconds)
KEYS = Keys(SETTINGS.bucket, SETTINGS.fleet, SETTINGS.environment)
POINTERS = LivePointers(S3, KEYS, ttl_seconds=SETTINGS.ttl_seconds)
KNOWN = KnownCopies(S3, KEYS, ttl_seconds=SETTINGS.ttl_seconds)
ENDPOINTS = Endpoints(S3, KEYS, SETTINGS.endpoint, ttl_seconds=SETTINGS.ttl_seconds)
METRICS = EmbeddedMetrics(KEYS, SETTINGS.metrics_cities) if SETTINGS.embedded_metrics else None
CAPTURE = None
if SETTINGS.capture is not None:
    CAPTURE = Capture(
        SETTINGS.capture, ObjectStore(encrypting(S3, SETTINGS.capture.kms_key), SETTINGS.bucket), KEYS
    )
# A list: a server that is no Lambda function adds its own.
OBSERVERS: list[Observer] = [each for each in (METRICS, CAPTURE) if each is not None]
TRIALS = Trials(S3, KEYS, ttl_seconds=SETTINGS.ttl_seconds)
PREDICTOR = Predictor(POINTERS, RUNTIME, ENDPOINTS, known=KNOWN, observers=OBSERVERS, trials=TRIALS)
INBOX = OutcomeInbox(ObjectStore(S3, SETTINGS.bucket), KEYS, POINTERS, SETTINGS.capture)
CATALOG = CityCatalog(ObjectStore(S3, SETTINGS.bucket), KEYS, POINTERS, KNOWN)


def handler(event: Any, context: Any) -> dict[str, Any]:
    """Answer one call.

    :param event: of an API Gateway HTTP API (payload format 2.0) or of a function URL, or the request itself.
    :param context: of Lambda; its remaining time shortens the deadline.
    :return: for API Gateway the response, else the answer itself, whose ``status`` says how it went.
    """
    try:
        return _answer(event, context)
    finally:
        _note(context)


def _note(context: Any) -> None:
    """Write what this call has predicted: what is kept into the bucket, what is counted into the log."""
    errors = 0
    if CAPTURE is not None and not CAPTURE.has_thread:
        CAPTURE.end_of_call(lambda: _seconds(context))
        errors = CAPTURE.taken_errors()
    if METRICS is not None:
        for line in METRICS.lines(errors):
            # At once, with its end: Lambda's own stdout hands each write on, and another thread's may come between.
            sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def _answer(event: Any, context: Any) -> dict[str, Any]:
    if not http_event.is_http(event):
        try:
            if is_meant(event):
                return take(event, _seconds(context))
            return respond(event, _seconds(context))
        except Refused as refused:
            return refused.body
    call, headers = None, {}
    try:
        call = http_event.read(event)
        if call.method == "OPTIONS" and SETTINGS.cors_origins:
            return http_event.preflight(call, SETTINGS.cors_origins, ("GET", "POST"))
        answer = _route(call, _seconds(context))
    except Refused as refused:
        answer, headers = refused.body, refused.headers
    if "retry_after_seconds" in answer:
        headers = {**headers, "retry-after": str(answer["retry_after_seconds"])}
    status = answer["status"] if isinstance(answer.get("status"), int) else 200
    return http_event.answer(
        answer, status, {**headers, **http_event.cross_origin(call, SETTINGS.cors_origins)}
    )


def _route(call: HttpCall, seconds: float) -> dict[str, Any]:
    """Answer a call over HTTP.

    :raises Refused: another path or method, or a body that is not JSON.
    """
    path, _, rest = call.path[1:].partition("/")
    known = call.path in (PREDICT, OUTCOME, CITIES, OPENAPI) or (f"/{path}" == CITIES and rest)
    if not known:
        paths = f"{PREDICT}, {OUTCOME}, {CITIES}, {CITIES}/<city>, {OPENAPI}"
        raise Refused(404, "UnknownPath", f"Path: got {show_value(call.path)}; allowed: {paths}.")
    method = "POST" if call.path in (PREDICT, OUTCOME) else "GET"
    if call.method != method:
        got = show_value(call.method)
        raise Refused(405, "MethodNotAllowed", f"Method: got {got}; allowed: {method}.", {"allow": method})
    if call.path == PREDICT:
        return respond(call.json(), seconds)
    if call.path == OUTCOME:
        return take(call.json(), seconds)
    if call.path == OPENAPI:
        return openapi.document()
    try:
        deadline = Deadline(seconds)
        found = CATALOG.about(rest, deadline) if rest else _names(call.query.get("after", ""), deadline)
        return {"status": 200, **found}
    except PredictError as error:
        return _shown(rest, error) if rest else _failed(CITIES, error)


def _names(after: str, deadline: Deadline) -> dict[str, Any]:
    if after and not naming.is_slug(after):
        raise bad(
            f"after: got {show_value(after)}; allowed: a city's slug, as `next` of the page before says."
        )
    return {"fleet": SETTINGS.fleet, **CATALOG.names(after, deadline)}


def respond(request: Any, seconds: float) -> dict[str, Any]:
    """Answer a request for one city or several.

    :param request: ``{"city"}`` for a forecast, with ``horizon``, ``history`` and ``ahead`` where they are given; or
        ``{"city", "features"}``, with ``top_k`` where the most probable classes alone are asked for; or
        ``{"cities": […]}``, a list of those.
    :return: JSON-ready. Of several cities: ``results`` in the order of the request, each with its own status, and
        status 200; if all failed, the highest status of them.
    :raises Refused: the request is neither.
    """
    if not isinstance(request, dict):
        raise bad(
            f"The request: got {show_value(request)}; allowed: an object, {EXAMPLE} or {EXAMPLE_OF_MANY}."
        )
    if "cities" not in request:
        _check_members(request, "The request")
        (single,) = PREDICTOR.predict_many([_asked(request)], seconds)
        return _shown(request["city"], single)
    if len(request) > 1:
        others = ", ".join(repr(name) for name in request if name != "cities")
        raise bad(f"The request has 'cities' and {others}; allowed: 'cities' alone: {EXAMPLE_OF_MANY}.")
    items = request["cities"]
    if not isinstance(items, list) or not 1 <= len(items) <= MAX_CITIES:
        raise bad(
            f"cities: got {show_value(items)}; allowed: a list of 1 to {MAX_CITIES}: {EXAMPLE_OF_MANY}."
        )
    for number, item in enumerate(items, start=1):
        if not isinstance(item, dict):
            raise bad(f"cities, item {number}: got {show_value(item)}; allowed: an object, {EXAMPLE}.")
        _check_members(item, f"cities, item {number}")
    answers = PREDICTOR.predict_many([_asked(item) for item in items], seconds)
    results = [_shown(item["city"], answer) for item, answer in zip(items, answers, strict=True)]
    failed = [result["status"] for result in results if result["status"] != 200]
    # 503 is above 502, 404 and 400: if asking again may help any of them, the whole says so.
    status = max(failed) if len(failed) == len(results) else 200
    whole: dict[str, Any] = {"status": status, "failed": len(failed), "results": results}
    if status == 503:
        whole["retry_after_seconds"] = max(result.get("retry_after_seconds", 0) for result in results)
    return whole


def take(request: Any, seconds: float) -> dict[str, Any]:
    """Keep what a caller says really happened, all of a request or none.

    :param request: ``{"prediction_id", "outcome"}``, or ``{"outcomes": […]}``, a list of those.
    :return: JSON-ready: ``accepted``, and ``not_kept``: of how many the prediction was not captured.
    """
    try:
        return INBOX.take(request, Deadline(seconds))
    except PredictError as error:
        return _failed(OUTCOME, error)


def _asked(item: Mapping[str, Any]) -> Asked:
    features = item.get("features", NO_FEATURES)
    horizon, history, ahead = (item.get(name) for name in FORECAST_MEMBERS)
    return Asked(item["city"], features, item.get("top_k"), horizon, history, ahead, item.get("caller"))


def _check_members(item: Mapping[str, Any], where: str) -> None:
    surplus = [name for name in item if name not in MEMBERS]
    if surplus:
        raise bad(f"{where} has an unknown member {show_value(surplus[0])}; allowed: {EXAMPLE}.")
    if "city" not in item:
        raise bad(f"{where} has no 'city'; allowed: {EXAMPLE}.")
    caller = item.get("caller")
    if caller is not None and not (isinstance(caller, str) and 1 <= len(caller) <= LONGEST_CALLER):
        raise bad(
            f"{where}, caller: got {show_value(caller)}; allowed: a text of 1 to {LONGEST_CALLER} characters that "
            "stands for whoever asks."
        )
    of_forecast = [name for name in FORECAST_MEMBERS if name in item]
    if "features" in item and of_forecast:
        raise bad(
            f"{where} has 'features' and {', '.join(map(repr, of_forecast))}; allowed: features, or a forecast by the "
            f"city's name: {EXAMPLE}."
        )


def _shown(city: Any, answer: Prediction | PredictError) -> dict[str, Any]:
    if isinstance(answer, Prediction):
        return answer.to_dict()
    return {
        "city": city if isinstance(city, str) else show_value(city),
        **_failed(f"city {show_value(city)}", answer),
    }


def _failed(what: str, error: PredictError) -> dict[str, Any]:
    # Features stay out of the log: they may be personal data. What the caller got wrong, the caller is told.
    said = error.message if error.status >= 500 else what
    log.warning("%s %s: %s", error.status, type(error).__name__, said)
    return {name: value for name, value in error.to_dict().items() if value not in (None, "")}


def _seconds(context: Any) -> float:
    """Return how long this call may take."""
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    if remaining is None:
        return SETTINGS.deadline_seconds
    return max(0.0, min(SETTINGS.deadline_seconds, remaining() / 1000 - RESERVE_SECONDS))
