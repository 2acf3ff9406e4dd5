"""Counts predictions in lines that CloudWatch makes metrics of: its embedded metric format.

A line per call, whatever the number of cities in it. Its dimensions are fleet and environment alone, so that a fleet of
3,000 cities has as many metrics as one of three; cities that are to have their own are named. What happened to each
prediction stands in the same line, where Logs Insights finds it. Standard library only.

Source: Amazon CloudWatch User Guide, "Specification: Embedded metric format".
"""

from __future__ import annotations

import functools
import json
import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

from city_fleet.naming import Keys
from city_fleet.state.observed import CHAMPION, Observed

NAMESPACE = "CityFleet"
#: Values of one metric in one line.
_MOST_VALUES = 100
_MILLISECONDS = ("Latency",)
_ENCODED = json.JSONEncoder(separators=(",", ":")).encode


class EmbeddedMetrics:
    """An observer that gathers what a call has predicted, and writes it as lines. Safe to use from many threads.

    :param cities: those that have metrics of their own.
    :param now: seconds since 1970.
    """

    def __init__(
        self, keys: Keys, cities: Collection[str] = (), now: Callable[[], float] = time.time
    ) -> None:
        self._where = {"Fleet": keys.fleet, "Environment": keys.environment}
        self._cities = frozenset(cities)
        self._now = now
        self._lock = threading.Lock()
        self._seen: list[Observed] = []

    def __call__(self, observed: Observed) -> None:
        with self._lock:
            self._seen.append(observed)

    def lines(self, capture_errors: int = 0) -> list[str]:
        """Return what has been observed since the last time, as lines without their ends.

        :param capture_errors: writes of captured predictions that have failed.
        """
        with self._lock:
            seen, self._seen = self._seen, []
        made = []
        for start in range(0, len(seen), _MOST_VALUES):
            part = seen[start : start + _MOST_VALUES]
            made.append(self._line(self._where, part, {"Served": [_shown(each) for each in part]}))
            for city in sorted({each.city for each in part} & self._cities):
                of_city = [each for each in part if each.city == city]
                made.append(self._line({**self._where, "City": city}, of_city, {}))
        if capture_errors:
            made.append(self._document(self._where, {"CaptureErrors": capture_errors}, {}))
        return made

    def _line(self, dimensions: dict[str, str], seen: Sequence[Observed], more: dict[str, Any]) -> str:
        asked = [each for each in seen if not each.shadow]
        metrics: dict[str, Any] = {
            "Predictions": len(asked),
            "Errors": sum(each.status >= 500 for each in asked),
        }
        if latencies := [each.latency_ms for each in asked if each.status == 200]:
            metrics["Latency"] = latencies
        if known := [each.cold for each in asked if each.cold is not None]:
            metrics["ColdLoads"] = sum(known)
        return self._document(dimensions, metrics if asked else {}, more)

    def _document(self, dimensions: dict[str, str], metrics: dict[str, Any], more: dict[str, Any]) -> str:
        values = _ENCODED({**dimensions, **metrics, **more})
        directives = _directives(tuple(dimensions), tuple(metrics))
        return f'{{"_aws":{{"Timestamp":{int(self._now() * 1000)},{directives},{values[1:]}'


@functools.lru_cache(maxsize=64)
def _directives(dimensions: tuple[str, ...], metrics: tuple[str, ...]) -> str:
    """Return what tells CloudWatch of a line's metrics, and ends ``_aws``: the same in every line that has these."""
    directive = {
        "Namespace": NAMESPACE,
        "Dimensions": [dimensions],
        "Metrics": [
            {"Name": name, "Unit": "Milliseconds" if name in _MILLISECONDS else "Count"} for name in metrics
        ],
    }
    return _ENCODED({"CloudWatchMetrics": [directive] if metrics else []})[1:]


def _shown(observed: Observed) -> dict[str, Any]:
    """Return what a line says of one prediction: who answered and how, and nothing of what was asked."""
    said: dict[str, Any] = {
        "City": observed.city,
        "Status": observed.status,
        "LatencyMs": observed.latency_ms,
    }
    if observed.error:
        said["Error"] = observed.error.partition(":")[0]
    if observed.target_model:
        said["TargetModel"] = observed.target_model
    if observed.package_version is not None:
        said["PackageVersion"] = observed.package_version
    if observed.role != CHAMPION:
        said["Role"] = observed.role
    if observed.shadow:
        said["Shadow"] = True
    if observed.cold is not None:
        said["Cold"] = observed.cold
    if observed.prediction_id:
        said["PredictionId"] = observed.prediction_id
    return said
