"""What the function says and keeps of its predictions: lines for CloudWatch, objects, a page for Prometheus."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from city_fleet import traffic_rules
from city_fleet.errors import CityFleetError
from city_fleet.prediction.traffic_page import CONTENT_TYPE, TrafficPage
from city_fleet.state import captured
from city_fleet.state.objects import ObjectStore
from local.stack.lambda_http import LambdaServer
from tests.support.serving import KEYS, ROW, Serving
from tests.support.waiting import wait_until

Load = Callable[[dict[str, str]], ModuleType]
RULE = traffic_rules.CaptureRule(share=1, mask=("trend",))
OBSERVED = {
    traffic_rules.METRICS: traffic_rules.EMBEDDED,
    traffic_rules.METRICS_CITIES: "waco",
    traffic_rules.CAPTURE: RULE.text(),
}


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_call_is_counted_and_kept_as_it_was_answered(
    load: Load, environment: dict[str, str], serving: Serving, context: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    function = load(environment | OBSERVED)
    request = {"cities": [{"city": city, "features": ROW} for city in ("waco", "Austin", "wacko")]}
    answer = function.handler(request, context())
    waco, austin, _ = answer["results"]
    fleet, of_waco = lines(capsys)
    assert (fleet["Predictions"], fleet["Errors"], len(fleet["Latency"])) == (3, 0, 2)
    assert sorted((each["City"], each["Status"]) for each in fleet["Served"]) == [
        ("austin", 200), ("wacko", 404), ("waco", 200),
    ]  # fmt: skip
    assert fleet["ColdLoads"] in (0, 1, 2), "the stand-in's model server says it"
    assert (of_waco["City"], of_waco["Predictions"]) == ("waco", 1)
    store = ObjectStore(serving.s3, KEYS.bucket)
    # A call does not wait for a slow bucket for long; then the object comes after it.
    (day,) = wait_until(lambda: captured.days(store, KEYS, "austin"), 20, "what was kept of Austin")
    (seen,) = [
        each
        for each in captured.read(store, KEYS, "austin", day)
        if each.prediction_id == austin["prediction_id"]
    ]
    assert seen.answer["prediction"] == austin["prediction"]
    assert seen.asked["features"] == {**ROW, "trend": None}
    assert (seen.masked, seen.target_model) == (("trend",), austin["target_model"])
    assert seen.cold is not None
    assert captured.days(store, KEYS, "wacko") == []
    # The next one waits for others, and is as warm as the first one has made it.
    again = function.handler({"city": "austin", "features": ROW}, context())
    (line,) = lines(capsys)
    assert (line["Served"][0]["Cold"], line["ColdLoads"]) == (False, 0)
    assert again["status"] == 200
    assert len(list(captured.read(store, KEYS, "austin", day))) == 1
    function.CAPTURE.close()
    assert [each.cold for each in captured.read(store, KEYS, "austin", day)] == [seen.cold, False]
    assert waco["status"] == 200


def test_what_was_not_answered_in_time_is_counted_once(
    load: Load, environment: dict[str, str], serving: Serving, context: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    function = load(environment | {traffic_rules.METRICS: traffic_rules.EMBEDDED})
    serving.publish("late", 2)
    slow = {"kind": "model_load_latency", "seconds": 3.0}
    with serving.faults(slow):
        answer = function.handler({"city": "late", "features": ROW}, context(1500))
    assert answer["status"] == 503
    (line,) = lines(capsys)
    assert (line["Predictions"], line["Errors"]) == (1, 1)
    assert line["Served"][0]["Error"] == "NotReady"


def test_a_bucket_that_refuses_stops_no_answer(
    load: Load, environment: dict[str, str], serving: Serving, capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    function = load(environment | OBSERVED)
    with serving.faults({"kind": "access_denied", "operation": "PutObject"}):
        assert function.handler({"city": "austin", "features": ROW}, None)["status"] == 200
    assert lines(capsys)[-1]["CaptureErrors"] == 1
    assert "give the role s3:PutObject there" in caplog.text


def test_without_the_variables_nothing_is_said_and_nothing_written(
    function: ModuleType, context: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert function.OBSERVERS == []
    function.handler({"city": "austin", "features": ROW}, context())
    assert capsys.readouterr().out == ""


def test_wrong_variables_are_said_together(load: Load, environment: dict[str, str]) -> None:
    wrong = {
        traffic_rules.METRICS: "on",
        traffic_rules.CAPTURE: '{"share": 7}',
    }
    with pytest.raises(CityFleetError) as raised:
        load(environment | wrong)
    assert "CITY_FLEET_METRICS: got 'on'; allowed: embedded or off." in str(raised.value)
    assert "CITY_FLEET_CAPTURE: got '{\"share\": 7}'; allowed: a JSON object with share" in str(raised.value)
    with pytest.raises(CityFleetError, match="CITY_FLEET_METRICS_CITIES: got 'Fort Worth'; allowed: slugs"):
        load(environment | {traffic_rules.METRICS_CITIES: "austin, Fort Worth"})


def test_prometheus_reads_what_was_predicted(load: Load, environment: dict[str, str]) -> None:
    function, page = load(environment), TrafficPage(KEYS.fleet, KEYS.environment, ["austin"])
    function.OBSERVERS.append(page)
    with LambdaServer(function.handler, 0, {"/metrics": lambda: (CONTENT_TYPE, page.text())}) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        body = json.dumps({"city": "austin", "features": ROW}).encode()
        urllib.request.urlopen(urllib.request.Request(f"{server.url}/predict", body), timeout=30).close()
        with urllib.request.urlopen(f"{server.url}/metrics?of=all", timeout=30) as answer:
            text, kind = answer.read().decode(), answer.headers["content-type"]
        server.shutdown()
        thread.join(10)
    assert kind == CONTENT_TYPE
    labels = 'fleet="houses",environment="laptop",city="austin"'
    assert f'city_fleet_predictions_total{{{labels},role="champion",status="2xx"}} 1' in text.splitlines()
    assert f"city_fleet_prediction_seconds_count{{{labels}}} 1" in text.splitlines()
