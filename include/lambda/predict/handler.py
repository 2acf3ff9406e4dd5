"""AWS Lambda: predictions of one fleet for applications, behind an API Gateway HTTP API or invoked directly.

The edge only: reads events and writes answers. What is asked of S3 and SageMaker is ``city_fleet.prediction.predict``,
which ``./fleet predict`` uses as well. README.md beside this file has the formats, and how to deploy it.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from city_fleet import naming, outgoing_text
from city_fleet.errors import CityFleetError, PredictError, show_value
from city_fleet.naming import Keys
from city_fleet.prediction.live_cache import TTL_SECONDS, LivePointers
from city_fleet.prediction.predict import DEADLINE_SECONDS, Asked, Prediction, Predictor, clients

log = outgoing_text.logger("predict")

PATH = "/predict"
MAX_BODY_BYTES = 1_048_576
MAX_CITIES = 100
# Kept back of what Lambda leaves a call, to write the answer.
RESERVE_SECONDS = 0.5
EXAMPLE = '{"city": "austin", "features": {"sales_lag_1": 2873, "inventory_lag_1": null}}'
EXAMPLE_OF_MANY = '{"cities": [{"city": …, "features": …}, …]}'


@dataclass(frozen=True)
class Settings:
    """What the function's environment variables say.

    :param ttl_seconds: how long a live pointer is believed without asking S3.
    :param deadline_seconds: how long one call may take in all.
    """

    bucket: str
    fleet: str
    environment: str
    endpoint: str
    ttl_seconds: float
    deadline_seconds: float

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

        settings = cls(
            bucket=text("CITY_FLEET_BUCKET", "the fleet's S3 bucket"),
            fleet=text("CITY_FLEET_FLEET", "the fleet's name, as in its fleet file"),
            environment=slug(
                "CITY_FLEET_ENVIRONMENT", "the environment in its fleet file, for example production"
            ),
            endpoint=text("CITY_FLEET_ENDPOINT", "the name of the fleet's SageMaker endpoint"),
            ttl_seconds=seconds("CITY_FLEET_POINTER_TTL_SECONDS", TTL_SECONDS, 0, 3600),
            deadline_seconds=seconds("CITY_FLEET_DEADLINE_SECONDS", DEADLINE_SECONDS, 1, 890),
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
POINTERS = LivePointers(
    S3, Keys(SETTINGS.bucket, SETTINGS.fleet, SETTINGS.environment), ttl_seconds=SETTINGS.ttl_seconds
)
PREDICTOR = Predictor(POINTERS, RUNTIME, SETTINGS.endpoint)


class Refused(Exception):
    """A request that does not ask for predictions.

    :param kind: what it is called in the answer's ``error``.
    """

    def __init__(self, status: int, kind: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self.body: dict[str, Any] = {"status": status, "error": kind, "message": message}


def handler(event: Any, context: Any) -> dict[str, Any]:
    """Answer one call.

    :param event: of an API Gateway HTTP API (payload format 2.0) or of a function URL, or the request itself.
    :param context: of Lambda; its remaining time shortens the deadline.
    :return: for API Gateway the response, else the answer itself, whose ``status`` says how it went.
    """
    headers: dict[str, str] = {}
    over_http = isinstance(event, dict) and isinstance(event.get("requestContext"), dict)
    try:
        answer = respond(_http_request(event) if over_http else event, _seconds(context))
    except Refused as refused:
        answer, headers = refused.body, refused.headers
    if not over_http:
        return answer
    if "retry_after_seconds" in answer:
        headers = {**headers, "retry-after": str(answer["retry_after_seconds"])}
    return {
        "statusCode": answer["status"],
        "headers": {"content-type": "application/json", **headers},
        "body": json.dumps(answer, allow_nan=False),
        "isBase64Encoded": False,
    }


def respond(request: Any, seconds: float) -> dict[str, Any]:
    """Answer a request for one city or several.

    :param request: ``{"city", "features"}`` or ``{"cities": [{"city", "features"}, …]}``; with ``top_k`` beside the
        features where the most probable classes alone are asked for.
    :return: JSON-ready. Of several cities: ``results`` in the order of the request, each with its own status, and
        status 200; if all failed, the highest status of them.
    :raises Refused: the request is neither.
    """
    if not isinstance(request, dict):
        raise _bad(
            f"The request: got {show_value(request)}; allowed: an object, {EXAMPLE} or {EXAMPLE_OF_MANY}."
        )
    if "cities" not in request:
        _check_members(request, "The request")
        (single,) = PREDICTOR.predict_many([_asked(request)], seconds)
        return _shown(request["city"], single)
    if len(request) > 1:
        others = ", ".join(repr(name) for name in request if name != "cities")
        raise _bad(f"The request has 'cities' and {others}; allowed: 'cities' alone: {EXAMPLE_OF_MANY}.")
    items = request["cities"]
    if not isinstance(items, list) or not 1 <= len(items) <= MAX_CITIES:
        raise _bad(
            f"cities: got {show_value(items)}; allowed: a list of 1 to {MAX_CITIES}: {EXAMPLE_OF_MANY}."
        )
    for number, item in enumerate(items, start=1):
        if not isinstance(item, dict):
            raise _bad(f"cities, item {number}: got {show_value(item)}; allowed: an object, {EXAMPLE}.")
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


def _asked(item: Mapping[str, Any]) -> Asked:
    return Asked(item["city"], item["features"], item.get("top_k"))


def _check_members(item: Mapping[str, Any], where: str) -> None:
    if set(item) - {"top_k"} != {"city", "features"}:
        lacking = [name for name in ("city", "features") if name not in item]
        what = f"has no {' and no '.join(map(repr, lacking))}" if lacking else ""
        surplus = [name for name in item if name not in ("city", "features", "top_k")]
        what += " and " if lacking and surplus else ""
        what += f"has an unknown member {show_value(surplus[0])}" if surplus else ""
        raise _bad(f"{where} {what}; allowed: {EXAMPLE}.")


def _shown(city: Any, answer: Prediction | PredictError) -> dict[str, Any]:
    if isinstance(answer, Prediction):
        return answer.to_dict()
    shown = city if isinstance(city, str) else show_value(city)
    # Features stay out of the log: they may be personal data. What the caller got wrong, the caller is told.
    what = answer.message if answer.status >= 500 else f"city {show_value(city)}"
    log.warning("%s %s: %s", answer.status, type(answer).__name__, what)
    facts = {name: value for name, value in answer.to_dict().items() if value is not None}
    return {"city": shown, **facts}


def _http_request(event: Mapping[str, Any]) -> Any:
    """Read the request out of an event of API Gateway.

    :raises Refused: another path, method or format, or a body that is not JSON.
    """
    http = event["requestContext"].get("http")
    if event.get("version") != "2.0" or not isinstance(http, dict):
        raise Refused(
            500,
            "WrongPayloadFormat",
            "The function understands payload format 2.0 of API Gateway's HTTP APIs; set it with "
            "`aws apigatewayv2 update-integration --payload-format-version 2.0`.",
        )
    path = str(event.get("rawPath", ""))
    stage = event["requestContext"].get("stage", "$default")
    if stage != "$default":
        path = path.removeprefix(f"/{stage}")
    if path.rstrip("/") != PATH:
        raise Refused(404, "UnknownPath", f"Path: got {show_value(path)}; allowed: {PATH}.")
    if http.get("method") != "POST":
        got = show_value(http.get("method"))
        raise Refused(405, "MethodNotAllowed", f"Method: got {got}; allowed: POST.", {"allow": "POST"})
    return _json(_body(event))


def _body(event: Mapping[str, Any]) -> str:
    body = event.get("body") or ""
    if event.get("isBase64Encoded"):
        # Four characters stand for three bytes: what is far too large need not be decoded to know it.
        _check_size(len(body) * 3 // 4 - 2)
        try:
            content = base64.b64decode(body, validate=True)
        except (binascii.Error, ValueError):
            raise _bad("The body is marked as Base64, but is not.") from None
        _check_size(len(content))
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise _bad(f"The body is not UTF-8 text (byte {error.start}).") from None
    _check_size(len(body) if len(body) > MAX_BODY_BYTES else len(body.encode(errors="surrogatepass")))
    return str(body).removeprefix("\ufeff")


def _check_size(size_bytes: int) -> None:
    if size_bytes > MAX_BODY_BYTES:
        raise Refused(
            413, "BodyTooLarge", f"The body: got {size_bytes} bytes or more; allowed: {MAX_BODY_BYTES} bytes."
        )


def _json(text: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) < len(pairs):
            twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
            raise _bad(f"The body has {show_value(twice)} twice in one object; allowed: once.")
        return value

    try:
        return json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise _bad(f"The body is not JSON ({error}); allowed: {EXAMPLE} or {EXAMPLE_OF_MANY}.") from None


def _bad(message: str) -> Refused:
    return Refused(400, "BadRequest", message)


def _seconds(context: Any) -> float:
    """Return how long this call may take."""
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    if remaining is None:
        return SETTINGS.deadline_seconds
    return max(0.0, min(SETTINGS.deadline_seconds, remaining() / 1000 - RESERVE_SECONDS))
