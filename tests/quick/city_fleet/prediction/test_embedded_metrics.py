"""Predictions as lines that CloudWatch makes metrics of: few dimensions, whatever the number of cities."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from city_fleet.naming import Keys
from city_fleet.prediction.embedded_metrics import EmbeddedMetrics
from city_fleet.state.observed import CHALLENGER
from tests.quick.city_fleet.state.test_captured import SEEN

KEYS = Keys("city-fleet", "houses", "laptop")


def documents(metrics: EmbeddedMetrics, capture_errors: int = 0) -> list[dict[str, Any]]:
    """What was written, held against CloudWatch's own rules for the format."""
    found = []
    for line in metrics.lines(capture_errors):
        assert "\n" not in line
        document = json.loads(line)
        found.append(document)
        for directive in document["_aws"]["CloudWatchMetrics"]:
            assert set(directive) == {"Namespace", "Dimensions", "Metrics"}
            for dimensions in directive["Dimensions"]:
                assert all(isinstance(document[name], str) and document[name] for name in dimensions)
            for metric in directive["Metrics"]:
                value = document[metric["Name"]]
                values = value if isinstance(value, list) else [value]
                assert 1 <= len(values) <= 100
                assert all(isinstance(each, int | float) and not isinstance(each, bool) for each in values)
    return found


def test_a_call_of_many_cities_is_one_line_without_a_city_among_its_dimensions() -> None:
    metrics = EmbeddedMetrics(KEYS, ["waco"], now=lambda: 1.5)
    for number in range(98):
        metrics(replace(SEEN, city=f"city_{number}", cold=None))
    metrics(replace(SEEN, city="waco", cold=True, latency_ms=7.5))
    metrics(replace(SEEN, city="waco", status=503, error="NotReady: late", answer={}, cold=None))
    fleet, waco = documents(metrics)
    (directive,) = fleet["_aws"]["CloudWatchMetrics"]
    assert (directive["Namespace"], directive["Dimensions"]) == ("CityFleet", [["Fleet", "Environment"]])
    assert fleet["_aws"]["Timestamp"] == 1500
    assert (fleet["Fleet"], fleet["Environment"]) == ("houses", "laptop")
    assert (fleet["Predictions"], fleet["Errors"], fleet["ColdLoads"]) == (100, 1, 1)
    assert len(fleet["Latency"]) == 99
    assert waco["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["Fleet", "Environment", "City"]]
    assert (waco["City"], waco["Predictions"], waco["Errors"], waco["Latency"]) == ("waco", 2, 1, [7.5])
    assert "Served" not in waco
    assert documents(metrics) == [], "each is told of once"


def test_what_was_asked_is_in_no_line_and_who_answered_is() -> None:
    metrics = EmbeddedMetrics(KEYS)
    metrics(replace(SEEN, error="", cold=False))
    metrics(
        replace(SEEN, status=400, answer={}, target_model="", cold=None, error="BadRequest: 'x': got 2873")
    )
    hostile = 'ö"},\n\u2028\\'
    metrics(replace(SEEN, city=hostile, status=404, answer={}, cold=None, error=f"{hostile}: no"))
    (line,) = documents(metrics)
    good, bad, strange = line["Served"]
    assert good["City"] == "austin"
    assert good["TargetModel"] == SEEN.target_model
    assert (good["PackageVersion"], good["Status"], good["Cold"], good["LatencyMs"]) == (7, 200, False, 12.5)
    assert (bad["Status"], bad["Error"]) == (400, "BadRequest")
    assert (line["Errors"], line["ColdLoads"]) == (0, 0), "a caller's mistake is not the fleet's"
    assert "2873" not in json.dumps(line)
    assert (strange["City"], strange["Error"]) == (hostile, hostile)


def test_who_shadows_is_shown_and_not_counted() -> None:
    metrics = EmbeddedMetrics(KEYS, ["austin"])
    metrics(replace(SEEN, role=CHALLENGER, shadow=True))
    fleet, austin = documents(metrics)
    assert fleet["_aws"]["CloudWatchMetrics"] == austin["_aws"]["CloudWatchMetrics"] == []
    assert (fleet["Served"][0]["Role"], fleet["Served"][0]["Shadow"]) == ("challenger", True)


def test_more_than_a_line_holds_are_several_and_failed_writes_are_counted() -> None:
    metrics = EmbeddedMetrics(KEYS)
    for _ in range(201):
        metrics(replace(SEEN, cold=None))
    found = documents(metrics, capture_errors=2)
    assert [each.get("Predictions") for each in found] == [100, 100, 1, None]
    assert "ColdLoads" not in found[0], "nobody has said it"
    assert found[-1]["CaptureErrors"] == 2
