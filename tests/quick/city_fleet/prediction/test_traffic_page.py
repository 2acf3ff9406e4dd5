"""Predictions in Prometheus's text format: as many series as cities are named, and one of all others."""

from __future__ import annotations

import re
from dataclasses import replace

from city_fleet.prediction.traffic_page import OTHER, TrafficPage
from city_fleet.state.observed import CHALLENGER
from tests.quick.city_fleet.state.test_captured import SEEN

_SERIES = re.compile(r'(?P<name>[a-z_]+)\{(?P<labels>(?:[a-z]+="[^"\\]*",?)+)\} (?P<value>[0-9.e+-]+)')


def series(page: TrafficPage) -> dict[tuple[str, str], float]:
    found = {}
    for line in page.text().splitlines():
        if line.startswith("# "):
            continue
        match = _SERIES.fullmatch(line)
        assert match is not None, line
        labels = match["labels"].removeprefix('fleet="houses",environment="laptop"').lstrip(",")
        assert (match["name"], labels) not in found
        found[match["name"], labels] = float(match["value"])
    return found


def test_cities_that_are_not_named_are_one() -> None:
    page = TrafficPage("houses", "laptop", ["austin"])
    page(replace(SEEN, latency_ms=20))
    for number in range(50):
        page(replace(SEEN, city=f'a"{number}\n', status=404, answer={}, cold=None))
    page(replace(SEEN, role=CHALLENGER, shadow=True))
    page.count_capture_errors(3)
    found = series(page)
    answers = "city_fleet_predictions_total"
    assert found[answers, 'city="austin",role="champion",status="2xx"'] == 1
    assert found[answers, 'city="austin",role="shadow",status="2xx"'] == 1
    assert found[answers, f'city="{OTHER}",role="champion",status="4xx"'] == 50
    assert found["city_fleet_cold_loads_total", 'city="austin"'] == 1
    assert found["city_fleet_capture_errors_total", ""] == 3


def test_what_has_not_happened_yet_is_there_and_zero() -> None:
    found = series(TrafficPage("houses", "laptop", ["austin"]))
    for city in ("austin", OTHER):
        assert found["city_fleet_predictions_total", f'city="{city}",role="champion",status="5xx"'] == 0
        assert found["city_fleet_cold_loads_total", f'city="{city}"'] == 0


def test_latency_is_a_histogram_of_answers() -> None:
    page = TrafficPage("houses", "laptop")
    for milliseconds in (1, 20, 20_000, 60_000):
        page(replace(SEEN, latency_ms=milliseconds))
    page(replace(SEEN, status=503, latency_ms=25_000))
    found = {
        labels.partition("le=")[2].strip('"'): value
        for (name, labels), value in series(page).items()
        if name.endswith("seconds_bucket")
    }
    assert (found["0.005"], found["0.025"], found["10.0"], found["25.0"], found["+Inf"]) == (1, 2, 2, 3, 4)
    assert series(page)["city_fleet_prediction_seconds_count", f'city="{OTHER}"'] == 4
    assert series(page)["city_fleet_prediction_seconds_sum", f'city="{OTHER}"'] == 80.021
