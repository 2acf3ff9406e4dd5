"""What Airflow sends metrics by, in a test that keeps them instead."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflow._shared.observability.metrics.base_stats_logger import NoStatsLogger as TriggererSendsNothing
from airflow.observability.stats import initialize as initialize_triggerer
from airflow.sdk._shared.observability.metrics.base_stats_logger import NoStatsLogger
from airflow.sdk.observability.stats import initialize


class Recorder:
    """Keeps gauges and counts in the order in which they came: name, value, tags."""

    def __init__(self) -> None:
        self.gauges: list[tuple[str, float, dict[str, str]]] = []
        self.counts: list[tuple[str, float, dict[str, str]]] = []

    def gauge(
        self, stat: str, value: float, rate: float = 1, delta: bool = False, *, tags: Any = None
    ) -> None:
        self.gauges.append((stat, value, tags))

    def incr(self, stat: str, count: int = 1, rate: float = 1, *, tags: Any = None) -> None:
        self.counts.append((stat, count, tags))

    def told(self, name: str, **tags: str) -> list[float]:
        """Return the values of a gauge, those with tags among theirs."""
        return [value for each, value, had in self.gauges if each == name and {**had, **tags} == had]


@contextmanager
def recorded() -> Iterator[Recorder]:
    """Keep what tasks and triggers send meanwhile."""
    recorder: Any = Recorder()
    initialize(factory=lambda: recorder, export_legacy_names=False)
    initialize_triggerer(factory=lambda: recorder, export_legacy_names=False)
    try:
        yield recorder
    finally:
        initialize(factory=NoStatsLogger, export_legacy_names=False)
        initialize_triggerer(factory=TriggererSendsNothing, export_legacy_names=False)
