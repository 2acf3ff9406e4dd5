"""Counts predictions for Prometheus, as text that it reads. The number of series is fixed by the cities that are named.

Standard library only.

Source: Prometheus documentation, "Exposition formats", text format 0.0.4.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterator

from city_fleet.state.observed import CHAMPION, Observed

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: What stands for all cities that have no series of their own.
OTHER = "other"
BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0)


class TrafficPage:
    """An observer whose text says what has been predicted since it began. Safe to use from many threads.

    :param cities: those that have series of their own.
    """

    def __init__(self, fleet: str, environment: str, cities: Collection[str] = ()) -> None:
        self._labels = f'fleet="{fleet}",environment="{environment}"'
        self._cities = frozenset(cities)
        self._lock = threading.Lock()
        # From 0 on what every city may have: of a series that begins with its first error, rate() sees none.
        every = (*self._cities, OTHER)
        self._answers: Counter[tuple[str, str, str]] = Counter(
            {(city, CHAMPION, status): 0 for city in every for status in ("2xx", "4xx", "5xx")}
        )
        self._cold: Counter[str] = Counter(dict.fromkeys(every, 0))
        self._buckets: dict[str, list[int]] = {}
        self._seconds: Counter[str] = Counter()
        self._capture_errors = 0

    def __call__(self, observed: Observed) -> None:
        city = observed.city if observed.city in self._cities else OTHER
        role = "shadow" if observed.shadow else observed.role
        with self._lock:
            self._answers[city, role, f"{observed.status // 100}xx"] += 1
            if observed.cold and not observed.shadow:
                self._cold[city] += 1
            if observed.status == 200 and not observed.shadow:
                counts = self._buckets.setdefault(city, [0] * (len(BUCKETS_SECONDS) + 1))
                counts[bisect_left(BUCKETS_SECONDS, observed.latency_ms / 1000)] += 1
                self._seconds[city] += observed.latency_ms / 1000  # type: ignore[assignment]

    def count_capture_errors(self, number: int) -> None:
        """Count writes of captured predictions that have failed."""
        with self._lock:
            self._capture_errors += number

    def text(self) -> str:
        """Return everything in the text format."""
        with self._lock:
            return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        yield from _head(
            "predictions_total", "counter", "Predictions, by city, who answered and class of status."
        )
        for (city, role, status), count in sorted(self._answers.items()):
            more = f'city="{city}",role="{role}",status="{status}"'
            yield f"city_fleet_predictions_total{{{self._labels},{more}}} {count}"
        yield from _head("cold_loads_total", "counter", "Predictions whose model had to be loaded first.")
        for city, count in sorted(self._cold.items()):
            yield f'city_fleet_cold_loads_total{{{self._labels},city="{city}"}} {count}'
        yield from _head(
            "prediction_seconds", "histogram", "Time from the request to the answer, of answers."
        )
        for city, counts in sorted(self._buckets.items()):
            labels, total = f'{self._labels},city="{city}"', 0
            for bound, count in zip((*map(repr, BUCKETS_SECONDS), "+Inf"), counts, strict=True):
                total += count
                yield f'city_fleet_prediction_seconds_bucket{{{labels},le="{bound}"}} {total}'
            yield f"city_fleet_prediction_seconds_sum{{{labels}}} {self._seconds[city]!r}"
            yield f"city_fleet_prediction_seconds_count{{{labels}}} {total}"
        yield from _head("capture_errors_total", "counter", "Writes of captured predictions that failed.")
        yield f"city_fleet_capture_errors_total{{{self._labels}}} {self._capture_errors}"


def _head(name: str, kind: str, says: str) -> Iterator[str]:
    yield f"# HELP city_fleet_{name} {says}"
    yield f"# TYPE city_fleet_{name} {kind}"
