"""The predict function with events as API Gateway and direct callers send them, against a real endpoint."""

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from city_fleet.errors import CityFleetError
from tests.support.openapi_check import check_answer, check_request
from tests.support.paths import ROOT
from tests.support.serving import FEATURES, KEYS, ROW, Serving, city_name

Event = Callable[..., dict[str, Any]]
FUNCTION = ROOT / "include" / "lambda" / "predict"
AUSTIN = {"city": "austin", "features": ROW}


class Caller:
    """Calls the function over HTTP's event and reads the answer as an application does."""

    def __init__(self, function: ModuleType, event: Event, context: Any) -> None:
        self.function, self.event, self.context = function, event, context

    def __call__(self, body: Any, remaining_ms: int = 28_000, **changes: Any) -> tuple[int, dict[str, Any]]:
        text = body if isinstance(body, str) or body is None else json.dumps(body)
        self.response = self.function.handler(self.event(text, **changes), self.context(remaining_ms))
        assert set(self.response) == {"statusCode", "headers", "body", "isBase64Encoded"}
        assert self.response["headers"]["content-type"] == "application/json"
        answer = json.loads(self.response["body"], parse_constant=pytest.fail)
        assert answer["status"] == self.response["statusCode"]
        if changes.keys() <= {"isBase64Encoded"}:
            check_answer("POST", "/predict", answer["status"], answer)
        return self.response["statusCode"], answer

    @property
    def headers(self) -> dict[str, str]:
        return self.response["headers"]


@pytest.fixture
def post(function: ModuleType, http_event: Event, context: Any, serving: Serving) -> Caller:
    return Caller(function, http_event, context)


def test_over_http_and_directly_the_answer_is_the_same(
    function: ModuleType, post: Caller, context: Any, serving: Serving
) -> None:
    row, expected = serving.expected(0)
    request = {"city": "austin", "features": row}
    status, answer = post(request)
    assert status == 200
    assert answer["prediction"] == pytest.approx(expected, rel=1e-9)
    assert answer["target_model"].startswith("austin/20140101T000000Z-")
    assert (answer["city"], answer["package_version"]) == ("austin", 1)
    assert answer["as_of"] == "2014-01-01T00:00:00Z"
    assert answer["latency_ms"] > 0
    direct = function.handler(request, context())
    assert direct["prediction_id"] != answer["prediction_id"]
    own = {"latency_ms": 0, "prediction_id": ""}
    assert direct | own == answer | own
    assert function.handler(request, None)["status"] == 200  # as a person tries it


def test_classes_are_answered_by_label_beside_numbers(post: Caller) -> None:
    features = {"x0": 1.5, "pool": True, "listed": None}
    houston = {"city": "houston", "features": features}
    status, answer = post(houston)
    assert status == 200
    assert answer["label"] == max(answer["probabilities"], key=answer["probabilities"].get)
    assert not {"prediction", "top_k"} & answer.keys()
    status, answer = post({"cities": [AUSTIN, {**houston, "top_k": 1}, {**AUSTIN, "top_k": 1}]})
    number, ranked, refused = answer["results"]
    assert (status, answer["failed"], number["status"]) == (200, 1, 200)
    assert [each["label"] for each in ranked["top_k"]] == [ranked["label"]]
    assert (refused["status"], "predicts a number" in refused["message"]) == (400, True)
    status, answer = post({**houston, "features": {**features, "pool": "yes"}})
    assert (status, answer["mistakes"][0]["problem"]) == (400, "not_a_boolean")


@pytest.mark.parametrize("path", ["/predict", "/predict/"])
def test_stages_and_base64_are_as_api_gateway_has_them(post: Caller, path: str) -> None:
    body = base64.b64encode(json.dumps(AUSTIN).encode()).decode()
    assert post(body, isBase64Encoded=True, path=path)[0] == 200
    assert post(AUSTIN, path=f"/prod{path}", stage="prod")[0] == 200
    assert post(AUSTIN, path=f"/prod{path}", stage="test")[0] == 404
    bom = base64.b64encode(b"\xef\xbb\xbf" + json.dumps(AUSTIN).encode()).decode()
    assert post(bom, isBase64Encoded=True)[0] == 200


def test_what_is_no_request_is_refused_with_what_is_allowed(post: Caller, subtests: pytest.Subtests) -> None:
    for body, changes, error, words in [
        (AUSTIN, {"path": "/"}, (404, "UnknownPath"), "Path: got ''; allowed: /predict, /outcome,"),
        (AUSTIN, {"path": "/predictions"}, (404, "UnknownPath"), "got '/predictions'"),
        (AUSTIN, {"method": "GET"}, (405, "MethodNotAllowed"), "Method: got 'GET'; allowed: POST."),
        (None, {"method": "OPTIONS"}, (405, "MethodNotAllowed"), "got 'OPTIONS'"),
        (None, {}, (400, "BadRequest"), "The body is not JSON"),
        ("", {}, (400, "BadRequest"), "The body is not JSON"),
        ("{", {}, (400, "BadRequest"), "The body is not JSON (Expecting property name"),
        ("[" * 100_000, {}, (400, "BadRequest"), "The body is not JSON"),
        ("1" * 10_000, {}, (400, "BadRequest"), "The body is not JSON"),
        ("{}", {"isBase64Encoded": True}, (400, "BadRequest"), "marked as Base64, but is not"),
        ("/w==", {"isBase64Encoded": True}, (400, "BadRequest"), "not UTF-8 text (byte 0)"),
        (" " * 1_048_577, {}, (413, "BodyTooLarge"), "allowed: 1048576 bytes"),
        ("é" * 524_289, {}, (413, "BodyTooLarge"), "got 1048578 bytes or more"),
        ("A" * 1_400_000, {"isBase64Encoded": True}, (413, "BodyTooLarge"), "allowed: 1048576"),
        ("[]", {}, (400, "BadRequest"), "got an empty list; allowed: an object"),
        ("null", {}, (400, "BadRequest"), "got null; allowed: an object"),
        ({}, {}, (400, "BadRequest"), "has no 'city'; allowed: {\"city\""),
        ({"features": ROW}, {}, (400, "BadRequest"), "has no 'city'"),
        (
            {**AUSTIN, "horizon": 2},
            {},
            (400, "BadRequest"),
            "has 'features' and 'horizon'; allowed: features, or",
        ),
        ({**AUSTIN, "citty": 1}, {}, (400, "BadRequest"), "has an unknown member 'citty'"),
        ({**AUSTIN, "cities": []}, {}, (400, "BadRequest"), "has 'cities' and 'city', 'features'"),
        ({"cities": []}, {}, (400, "BadRequest"), "cities: got an empty list; allowed: a list of 1 to 100"),
        ({"cities": [AUSTIN] * 101}, {}, (400, "BadRequest"), "cities: got a list of 101"),
        ({"cities": [AUSTIN, 5]}, {}, (400, "BadRequest"), "cities, item 2: got 5"),
        ({"cities": [AUSTIN, {}]}, {}, (400, "BadRequest"), "cities, item 2 has no 'city'"),
        ('\ufeff{"features": {}}', {}, (400, "BadRequest"), "has no 'city'"),  # the mark is no mistake
        ('{"city": "a", "city": "b"}', {}, (400, "BadRequest"), "has 'city' twice in one object"),
    ]:
        with subtests.test(body=body):
            got, answer = post(body, **changes)
            assert (got, answer["error"]) == error, answer
            assert words in answer["message"]
            assert len(answer["message"]) < 700
            assert ("allow" in post.headers) == (got == 405)


def test_mistakes_in_a_request_are_named(post: Caller, subtests: pytest.Subtests) -> None:
    for text, status, words in [
        (
            '{"city": "austin", "features": {"trend": NaN}}',
            400,
            "feature 'trend': got NaN; allowed: a number, or",
        ),
        ('{"city": "austin", "features": {"trend": 1e999}}', 400, "got Infinity; allowed"),
        ('{"city": "austin", "features": null}', 400, "features: got null; allowed: an object with a number"),
        ('{"city": "austin", "features": {"\\ud800": 1}}', 400, "the model does not have it"),
        ('{"city": "\\ud800", "features": {}}', 404, "no live model of city"),
        ('{"city": "austn", "features": {}}', 404, "Did you mean 'austin'?"),
        ('{"city": "Austin ", "features": {}}', 400, "city 'austin': features missing"),
        ('{"city": NaN, "features": {}}', 400, "city: got nan; allowed: the name of a city"),
        ('{"city": {"a": []}, "features": {}}', 400, "city: got a mapping (a)"),
    ]:
        with subtests.test(text=text):
            got, answer = post(text)
            assert got == status, answer
            assert words in answer["message"]
            if "features" in answer:
                assert answer["features"] == list(FEATURES)


def test_an_old_payload_format_says_what_to_set(function: ModuleType, context: Any) -> None:
    event = {"version": "1.0", "httpMethod": "POST", "path": "/predict", "requestContext": {"stage": "prod"}}
    response = function.handler({**event, "body": json.dumps(AUSTIN)}, context())
    assert response["statusCode"] == 500
    assert "--payload-format-version 2.0" in json.loads(response["body"])["message"]


@pytest.mark.parametrize("event", [None, [], "austin", 5, {"requestContext": 5}])
def test_a_direct_call_that_is_no_request_is_answered(function: ModuleType, context: Any, event: Any) -> None:
    answer = function.handler(event, context())
    assert (answer["status"], answer["error"]) == (400, "BadRequest")


def test_several_cities_have_a_status_each(post: Caller) -> None:
    items = [
        {"city": "waco", "features": ROW},
        {"city": "nobody", "features": ROW},
        {"city": "austin", "features": {**ROW, "trend": "x"}},
        {"city": "san_antonio", "features": ROW},
        {"city": "waco", "features": {**ROW, "median_mean_12": 400_000}},
    ]
    status, answer = post({"cities": items})
    assert status == 200
    assert answer["failed"] == 2
    results = answer["results"]
    assert [result["city"] for result in results] == [item["city"] for item in items]
    assert [result["status"] for result in results] == [200, 404, 400, 200, 200]
    assert results[4]["prediction"] == pytest.approx(2 * results[0]["prediction"])
    assert results[2]["mistakes"][0]["feature"] == "trend"


def test_when_all_cities_failed_the_answer_says_whether_to_ask_again(post: Caller, serving: Serving) -> None:
    bad = {"city": "austin", "features": {}}
    unknown = {"city": "nobody", "features": ROW}
    assert post({"cities": [bad]})[0] == 400
    status, answer = post({"cities": [bad, unknown]})
    assert (status, answer["failed"]) == (404, 2)
    with serving.faults({"kind": "throttling", "operation": "InvokeEndpoint"}):
        status, answer = post({"cities": [bad, unknown, AUSTIN]}, remaining_ms=1500)
        assert (status, answer["failed"], answer["retry_after_seconds"]) == (503, 3, 5)
        assert post.headers["retry-after"] == "5"
        status, answer = post(AUSTIN, remaining_ms=1500)
        assert (status, answer["error"]) == (503, "NotReady")
        assert post.headers["retry-after"] == "5"
    assert post(AUSTIN)[0] == 200
    assert "retry-after" not in post.headers


def test_the_time_that_lambda_leaves_is_the_deadline(post: Caller, serving: Serving) -> None:
    slow = {"kind": "latency", "operation": "InvokeEndpoint", "seconds": 15}
    with serving.faults(slow):
        started = time.monotonic()
        status, answer = post(AUSTIN, remaining_ms=1500)
        assert time.monotonic() - started < 12  # the answer itself takes 15 s
    assert status == 503
    assert "did not answer within 1 s" in answer["message"]
    assert post(AUSTIN, remaining_ms=100)[0] == 503


def test_a_model_that_fails_is_a_bad_gateway(post: Caller, serving: Serving) -> None:
    city = city_name()
    serving.publish(city, b"no archive")
    status, answer = post({"city": city, "features": ROW})
    assert (status, answer["error"]) == (502, "ServingError")
    assert "the model failed" in answer["message"]


def test_the_next_call_sees_a_model_that_went_live(post: Caller, serving: Serving) -> None:
    city = city_name()
    request = {"city": city, "features": ROW}
    assert post(request)[0] == 404
    for model in (0, 1):
        pointer = serving.publish(city, model)
        answer = post(request)[1]
        assert (answer["target_model"], answer["package_version"]) == (pointer.target_model, model + 1)


def test_what_goes_wrong_is_logged_without_anybodys_data(
    post: Caller, serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        post({"city": "austin\nforged", "features": {"trend": 123456.789}})
        post({"city": "austin", "features": {**ROW, "trend": "secret"}})
        post(AUSTIN)
    lines = [record.getMessage() for record in caplog.records if record.name == "predict"]
    assert lines == [r"404 UnknownCity: city 'austin\nforged'", "400 BadRequest: city 'austin'"]


def test_settings_that_are_missing_or_wrong_stop_the_start(
    load: Callable[[dict[str, str]], ModuleType], environment: dict[str, str]
) -> None:
    with pytest.raises(CityFleetError) as caught:
        load({})
    for name in ("CITY_FLEET_BUCKET", "CITY_FLEET_FLEET", "CITY_FLEET_ENVIRONMENT", "CITY_FLEET_ENDPOINT"):
        assert f"{name} is not set; allowed:" in str(caught.value)
    for odd in ("pre-prod", "live", "a/b"):
        with pytest.raises(
            CityFleetError, match=f"CITY_FLEET_ENVIRONMENT: got '{odd}'; allowed: the environment"
        ):
            load(environment | {"CITY_FLEET_ENVIRONMENT": odd})
    wrong = environment | {"CITY_FLEET_DEADLINE_SECONDS": "soon", "CITY_FLEET_POINTER_TTL_SECONDS": "-1"}
    with pytest.raises(CityFleetError) as caught:
        load(wrong)
    assert "CITY_FLEET_DEADLINE_SECONDS: got 'soon'; allowed: seconds from 1 to 890." in str(caught.value)
    assert "CITY_FLEET_POINTER_TTL_SECONDS: got '-1'; allowed: seconds from 0 to 3600." in str(caught.value)
    defaults = {name: value for name, value in environment.items() if not name.endswith("_SECONDS")}
    settings = load(defaults).SETTINGS
    assert (settings.ttl_seconds, settings.deadline_seconds) == (30.0, 25.0)
    assert settings.bucket == KEYS.bucket


FORECAST = {"city": "Fort Worth"}


def test_a_city_is_forecast_by_its_name_beside_others(post: Caller, forecast: dict[str, Any]) -> None:
    status, answer = post(FORECAST)
    assert (status, answer["city"], answer["forecasts"]) == (200, "fort_worth", forecast["forecasts"])
    assert answer["prediction"] == forecast["forecasts"][0]["prediction"]
    assert (answer["known_until"], answer["as_of"]) == ("2015-07-01", "2014-01-01T00:00:00Z")
    assert "older than expected" in answer["warning"]
    newer = {**FORECAST, "horizon": 1, "history": [{"period": "2015-08-01", "median": 255_000}]}
    request = {"cities": [newer, AUSTIN, {"city": "waco"}, {"city": "houston"}, {**FORECAST, "horizon": 9}]}
    check_request(request)
    status, answer = post(request)
    ahead, row, of_before, of_a_table, too_far = answer["results"]
    assert (status, answer["failed"]) == (200, 3)
    assert [each["period"] for each in ahead["forecasts"]] == ["2015-09-01"]
    assert (row["status"], "forecasts" in row) == (200, False)
    assert "can't be asked by the city's name alone" in of_before["message"]
    assert of_a_table["features"] == ["x0", "pool", "listed"]
    assert "horizon: got 9; allowed: a whole number from 1 to 3" in too_far["message"]
    for wrong, words in (
        ({**FORECAST, "history": [{"period": "2015-08-01", "median": "1"}]}, "column 'median': got '1'"),
        (
            {**FORECAST, "ahead": [{"period": "2015-08-01", "x": 1}]},
            "the model has no column that is known ahead",
        ),
        ({**AUSTIN, "ahead": []}, "has 'features' and 'ahead'"),
        ({**FORECAST, "top_k": 3}, "its model predicts a number and no class"),
    ):
        status, answer = post(wrong)
        assert (status, words in answer["message"]) == (400, True), answer


def get(post: Caller, path: str, **changes: Any) -> dict[str, Any]:
    status, answer = post(None, method="GET", path=path, **changes)
    assert status == answer["status"]
    return answer


def test_what_can_be_asked_is_answered_of_all_cities_and_of_one(
    post: Caller, serving: Serving, forecast: dict[str, Any]
) -> None:
    answer = get(post, "/cities")
    check_answer("GET", "/cities", 200, answer)
    assert answer["fleet"] == KEYS.fleet
    assert answer["next"] is None
    assert {"austin", "fort_worth", "houston", "san_antonio", "waco"} <= set(answer["cities"])
    after = get(post, "/cities", queryStringParameters={"after": "houston"})
    assert after["cities"] == [each for each in answer["cities"] if each > "houston"]
    assert get(post, "/cities", queryStringParameters={"after": "Houston!"})["status"] == 400
    of_a_name = get(post, "/cities/Fort%20Worth")
    check_answer("GET", "/cities/{city}", 200, of_a_name)
    assert of_a_name["by_name"] is True
    assert (of_a_name["city"], of_a_name["forecast"]["horizon"], of_a_name["forecast"]["frequency"]) == (
        "fort_worth",
        3,
        "month",
    )
    assert of_a_name["forecast"]["columns"][0] == "median"
    of_a_table = get(post, "/cities/houston")
    check_answer("GET", "/cities/{city}", 200, of_a_table)
    assert (of_a_table["kind"], of_a_table["by_name"]) == ("table", False)
    assert [each["name"] for each in of_a_table["features"]] == ["x0", "pool", "listed"]
    unknown = get(post, "/cities/nobody")
    check_answer("GET", "/cities/{city}", 404, unknown)
    assert (unknown["status"], unknown["error"]) == (404, "UnknownCity")
    assert post(None, method="POST", path="/cities")[0] == 405
    with serving.faults({"kind": "slow_down", "operation": "ListObjectsV2"}):
        status, answer = post(None, 1500, method="GET", path="/cities")
        check_answer("GET", "/cities", status, answer)
        assert (status, answer["retry_after_seconds"]) == (503, 5)


def test_the_function_says_itself_what_it_takes_and_answers(function: ModuleType, http_event: Event) -> None:
    response = function.handler(http_event(None, method="GET", path="/openapi.json"), None)
    assert response["statusCode"] == 200
    assert json.loads(response["body"]) == json.loads((FUNCTION / "openapi.json").read_text(encoding="utf-8"))


def test_pages_of_the_origins_that_are_named_may_ask_and_no_others(
    load: Callable[[dict[str, str]], ModuleType], environment: dict[str, str], http_event: Event
) -> None:
    page, other = "https://app.example.com", "https://evil.example.com"

    def ask(function: ModuleType, method: str, origin: str | None) -> dict[str, Any]:
        event = http_event(None, method=method, path="/openapi.json" if method == "GET" else "/predict")
        event["headers"] |= {"Origin": origin} if origin else {}
        return dict(function.handler(event, None))

    named = load(environment | {"CITY_FLEET_CORS_ORIGINS": f"http://localhost:3000, {page}"})
    preflight = ask(named, "OPTIONS", page)
    assert (preflight["statusCode"], preflight["body"]) == (204, "")
    assert preflight["headers"]["access-control-allow-origin"] == page
    assert preflight["headers"]["access-control-allow-methods"] == "GET, POST"
    assert "content-type" in preflight["headers"]["access-control-allow-headers"]
    answer = ask(named, "GET", page)["headers"]
    assert (answer["access-control-allow-origin"], answer["vary"]) == (page, "origin")
    for origin in (other, None):
        for method in ("OPTIONS", "GET"):
            assert "access-control-allow-origin" not in ask(named, method, origin)["headers"]
    anybody = load(environment | {"CITY_FLEET_CORS_ORIGINS": "*"})
    assert ask(anybody, "GET", other)["headers"]["access-control-allow-origin"] == "*"
    nobody = load(environment)
    assert ask(nobody, "OPTIONS", page)["statusCode"] == 405
    assert "access-control-allow-origin" not in ask(nobody, "GET", page)["headers"]
    with pytest.raises(
        CityFleetError, match=r"CITY_FLEET_CORS_ORIGINS: got 'app\.example\.com'; allowed: origins such"
    ):
        load(environment | {"CITY_FLEET_CORS_ORIGINS": "app.example.com"})
